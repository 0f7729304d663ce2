//! The system's console.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where it is; `None` on a system on which nothing of ours runs at boot.
#[must_use]
pub fn path() -> Option<&'static Path> {
    cfg!(target_os = "freebsd").then(|| Path::new("/dev/console"))
}

/// Opens it for writing. It never becomes the controlling terminal, and never holds the program up.
///
/// # Errors
/// What open(2) says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)
}
