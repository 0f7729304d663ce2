//! Numbers of descriptors.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

/// The same open file under the lowest free number from `lowest` on, closed on exec(2); the old number is
/// free then.
///
/// # Errors
/// What fcntl(2) says, such as that the process may not have numbers that high; the file is closed then.
pub fn raise(descriptor: OwnedFd, lowest: i32) -> io::Result<OwnedFd> {
    let raised = fcntl(&descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raised) })
}
