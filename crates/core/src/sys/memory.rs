//! Memory that is there whatever happens to the disks.

use std::io;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Keeps all memory of this process resident, what it gets later included (contract B26).
///
/// A child does not inherit the lock, so a daemon calls this behind its last fork.
///
/// # Errors
/// What mlockall(2) says, usually that the limit `memorylocked` of login.conf(5) or `vm.max_user_wired` is
/// too low.
pub fn lock_all() -> io::Result<()> {
    // With a limit in force, memory beyond it could not be had any more at all, which is worse than memory
    // that may be paged out: then only what is there now is locked.
    let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    let flags = if unlimited {
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE
    } else {
        MlockAllFlags::MCL_CURRENT
    };
    Ok(mlockall(flags)?)
}

/// Forbids a core file: the death of this process must resume what it suspended at once, and the kernel
/// closes descriptors only when the core file is written, which on a suspended file system would be never.
///
/// # Errors
/// What getrlimit(2) or setrlimit(2) say.
pub fn forbid_core_file() -> io::Result<()> {
    // Only the soft limit, so that a service that a hook restarts can have core files again.
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, hard)?)
}
