//! The system's console: its path, and opening it for writing. Only the log uses it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The path of the console. `None` on a system where the suite does not start at boot.
#[must_use]
pub fn path() -> Option<&'static Path> {
    cfg!(target_os = "freebsd").then(|| Path::new("/dev/console"))
}

/// Opens it for writing. It does not become the controlling terminal, and opening never blocks.
///
/// # Errors
/// The error of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)
}
