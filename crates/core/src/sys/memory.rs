//! Locks the memory of the process and forbids core files. Neither may depend on a disk that is frozen.

use std::io;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Keeps all memory of this process resident, including memory that it gets later (contract B26).
///
/// A child does not inherit the lock, so a daemon calls this after its last fork.
///
/// # Errors
/// The error of mlockall(2). Usually the limit `memorylocked` of login.conf(5) or `vm.max_user_wired` is too
/// low.
pub fn lock_all() -> io::Result<()> {
    // Under a limit, allocations above it would fail, which is worse than memory that may be paged out. Then
    // only the present memory is locked.
    let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    let flags = if unlimited {
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE
    } else {
        MlockAllFlags::MCL_CURRENT
    };
    Ok(mlockall(flags)?)
}

/// Forbids a core file. The kernel closes the descriptors of a dying process only after its core file is
/// written, which never ends on a suspended file system, and closing them is what resumes file systems.
///
/// # Errors
/// The error of getrlimit(2) or setrlimit(2).
pub fn forbid_core_file() -> io::Result<()> {
    // Only the soft limit, so that a service which a hook restarts can have core files again.
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, hard)?)
}
