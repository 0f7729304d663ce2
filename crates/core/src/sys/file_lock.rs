//! Advisory locks that other programs of the guest see.
//!
//! FreeBSD's POSIX locks and flock(2) locks exclude each other (one lock manager, sys/kern/kern_lockf.c), so the POSIX
//! lock is enough there, and taking both would make a process exclude itself. On Linux they are unrelated and both are
//! taken, so that programs with either kind of lock are seen in tests too.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

// The constants are c_int on Linux and c_short on FreeBSD; the fields are c_short on both.
const READ: libc::c_short = libc::F_RDLCK as _;
const WRITE: libc::c_short = libc::F_WRLCK as _;
const NONE: libc::c_short = libc::F_UNLCK as _;
const FROM_START: libc::c_short = libc::SEEK_SET as _;

/// Takes a lock on the whole file; `false` when another program holds one that excludes it.
///
/// # Errors
/// What fcntl(2) or flock(2) say.
pub fn try_lock(file: &File, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { WRITE } else { READ };
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
    let _ = fcntl(file, FcntlArg::F_SETLK(&whole_file(NONE)));
    if cfg!(target_os = "linux") {
        let _ = file.unlock();
    }
}

fn whole_file(kind: libc::c_short) -> libc::flock {
    // SAFETY: `flock` consists of integers, for which all bits zero is a value; zero start and length mean the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = FROM_START;
    lock
}
