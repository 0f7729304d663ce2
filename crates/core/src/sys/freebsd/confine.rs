//! Capsicum and procctl(2). What needs which right is said in sys/sys/capsicum.h.

use std::ffi::{c_int, c_ulong, c_ulonglong};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::confine::Keep;

/// Limits the rights, and for ioctl(2) the requests.
pub(in crate::sys) fn limit(descriptor: BorrowedFd<'_>, keep: Keep<'_>) -> io::Result<()> {
    match keep {
        Keep::Messages => limit_rights(descriptor, [libc::CAP_PREAD, libc::CAP_PWRITE, libc::CAP_EVENT]),
        Keep::Requests(requests) => {
            // One right stands twice, because the list has the length of the other case.
            limit_rights(descriptor, [libc::CAP_IOCTL, libc::CAP_EVENT, libc::CAP_EVENT])?;
            let requests: Vec<c_ulong> = requests.iter().map(|request| *request as c_ulong).collect();
            // SAFETY: the descriptor is open, and the pointer is to as many numbers as the length says; the
            // kernel copies them.
            let result =
                unsafe { libc::cap_ioctls_limit(descriptor.as_raw_fd(), requests.as_ptr(), requests.len()) };
            outcome(result)
        }
    }
}

fn limit_rights(descriptor: BorrowedFd<'_>, [first, second, third]: [u64; 3]) -> io::Result<()> {
    let mut rights = MaybeUninit::<libc::cap_rights_t>::zeroed();
    let end: c_ulonglong = 0;
    // SAFETY: the set is initialised by the first call, which takes rights of 64 bits up to a zero and keeps
    // no pointer; the second call reads the set, and the descriptor is open.
    let result = unsafe {
        libc::__cap_rights_init(
            libc::CAP_RIGHTS_VERSION,
            rights.as_mut_ptr(),
            c_ulonglong::from(first),
            c_ulonglong::from(second),
            c_ulonglong::from(third),
            end,
        );
        libc::cap_rights_limit(descriptor.as_raw_fd(), rights.as_ptr())
    };
    outcome(result)
}

/// PROC_NO_NEW_PRIVS_CTL, of the calling process.
pub(in crate::sys) fn refuse_privileges() -> io::Result<()> {
    let mut enable: c_int = libc::PROC_NO_NEW_PRIVS_ENABLE;
    let own = nix::unistd::getpid().as_raw();
    // SAFETY: the request reads one int, which lives until the call returns.
    let result = unsafe {
        libc::procctl(
            libc::P_PID,
            libc::id_t::from(own),
            libc::PROC_NO_NEW_PRIVS_CTL,
            (&raw mut enable).cast(),
        )
    };
    outcome(result)
}

fn outcome(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
