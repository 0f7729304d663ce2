//! Advisory locks on whole files that other programs of the guest respect. It never waits for a lock; callers
//! try again.
//!
//! On FreeBSD, POSIX locks and flock(2) locks exclude each other (one lock manager, sys/kern/kern_lockf.c).
//! The POSIX lock is enough there, and with both a process would exclude itself. On Linux they are
//! independent and both are taken, so that tests see programs with either kind of lock.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::Pid;

/// The kinds of lock as `flock` has them. The constants are `c_int` on Linux and `c_short` on FreeBSD.
#[cfg_attr(target_os = "linux", expect(clippy::cast_possible_truncation, reason = "they are 0 to 2"))]
mod kind {
    use libc::c_short;

    pub(super) const READ: c_short = libc::F_RDLCK as _;
    pub(super) const WRITE: c_short = libc::F_WRLCK as _;
    pub(super) const NONE: c_short = libc::F_UNLCK as _;
}

/// Locks the whole file. `false` if another program holds a lock that excludes it.
///
/// # Errors
/// The error of fcntl(2) or flock(2).
pub fn try_lock(file: &File, exclusive: bool) -> io::Result<bool> {
    let wanted = if exclusive { kind::WRITE } else { kind::READ };
    match fcntl(file, FcntlArg::F_SETLK(&whole_file(wanted))) {
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

/// Releases the lock. It cannot fail for a lock that is held, and has no effect otherwise.
pub fn unlock(file: &File) {
    let _ = fcntl(file, FcntlArg::F_SETLK(&whole_file(kind::NONE)));
    if cfg!(target_os = "linux") {
        let _ = file.unlock();
    }
}

/// The process whose POSIX lock excludes an exclusive one, if there is one.
///
/// # Errors
/// The error of fcntl(2).
pub fn holder(file: &File) -> io::Result<Option<Pid>> {
    let mut lock = whole_file(kind::WRITE);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    // A lock of flock(2) has no process. FreeBSD returns -1 for it.
    Ok((lock.l_type != kind::NONE && lock.l_pid > 0).then(|| Pid::from_raw(lock.l_pid)))
}

fn whole_file(kind: libc::c_short) -> libc::flock {
    // SAFETY: `flock` consists of integers, for which all bits zero is a value; zero whence (SEEK_SET),
    // start and length mean the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock
}
