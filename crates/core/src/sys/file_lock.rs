//! Advisory locks that other programs of the guest see.
//!
//! FreeBSD's POSIX locks and flock(2) locks exclude each other (one lock manager, sys/kern/kern_lockf.c), so the POSIX
//! lock is enough there, and taking both would make a process exclude itself. On Linux they are unrelated and both are
//! taken, so that programs with either kind of lock are seen in tests too.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Takes a lock on the whole file; `false` when another program holds one that excludes it.
///
/// # Errors
/// What fcntl(2) or flock(2) say.
pub fn try_lock(file: &File, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    match fcntl(file, FcntlArg::F_SETLK(&whole_file(kind))) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    if cfg!(target_os = "linux") {
        let locked = if exclusive { file.try_lock() } else { file.try_lock_shared() };
        match locked {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                unlock(file);
                return Ok(false);
            }
            Err(std::fs::TryLockError::Error(error)) => {
                unlock(file);
                return Err(error);
            }
        }
    }
    Ok(true)
}

/// Lifts the lock. It cannot fail for a lock that is held, and a lock that is not held needs none.
pub fn unlock(file: &File) {
    let _ = fcntl(file, FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK)));
    if cfg!(target_os = "linux") {
        let _ = file.unlock();
    }
}

#[cfg_attr(
    target_os = "linux",
    expect(clippy::cast_possible_truncation, reason = "the lock types are 0 to 3")
)]
fn whole_file(kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` consists of integers, for which all bits zero is a value; zero start and length mean the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}
