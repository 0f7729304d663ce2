//! The limits that Linux has. Rights of descriptors are not among them, so a descriptor keeps its rights.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::confine::Keep;

/// Does nothing.
pub(in crate::sys) fn limit(_descriptor: BorrowedFd<'_>, _keep: Keep<'_>) -> io::Result<()> {
    Ok(())
}

/// By prctl(2).
pub(in crate::sys) fn refuse_privileges() -> io::Result<()> {
    // SAFETY: this request takes four integers and no pointer.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
