//! Moves an open file to a higher descriptor number. It decides about no number itself.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

/// Moves the open file to the lowest free number from `lowest` on, closed on exec(2). The old number is free
/// afterwards.
///
/// # Errors
/// The error of fcntl(2), such as a number above the process's limit. The file is closed then.
pub fn raise(descriptor: OwnedFd, lowest: i32) -> io::Result<OwnedFd> {
    let raised = fcntl(&descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raised) })
}
