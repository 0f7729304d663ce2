//! Opens a routing socket, see route(4). Reading it is left to `sys/route_socket`.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Opens a socket for all families that never blocks.
pub(in crate::sys) fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes three numbers.
    let socket = unsafe { libc::socket(libc::PF_ROUTE, kind, libc::AF_UNSPEC) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}
