//! Limits of this process that the kernel enforces, for good: the rights of a descriptor (Capsicum,
//! rights(4)) and programs that would give privileges. It only takes away.

use std::io;
use std::os::fd::BorrowedFd;

use super::os;

/// The system calls that a descriptor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep<'a> {
    /// poll(2), pread(2) and pwrite(2).
    Messages,
    /// poll(2) and ioctl(2) with these requests.
    Requests(&'a [u64]),
}

/// Takes all rights but `keep` from a descriptor and from all copies that are made of it later. Linux, and a
/// kernel without Capsicum, leave it as it is.
pub fn limit(descriptor: BorrowedFd<'_>, keep: Keep<'_>) {
    tell("the rights of a descriptor", os::confine::limit(descriptor, keep));
}

/// Keeps all descendants of this process from getting privileges by set-id bits. FreeBSD before 13.1 cannot
/// do that.
pub fn refuse_privileges() {
    tell("set-id programs", os::confine::refuse_privileges());
}

fn tell(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        log::debug!("{what} cannot be limited: {error}");
    }
}
