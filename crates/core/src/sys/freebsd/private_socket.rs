//! FreeBSD takes the mode of a socket's name from the mask of the process alone (sys/kern/uipc_usrreq.c,
//! `uipc_bindat`). The mask is what it was afterwards.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, UnixAddr};
use nix::sys::stat::{Mode, umask};

/// Binds with mode 0600.
pub(in crate::sys) fn bind(socket: &OwnedFd, address: &UnixAddr) -> io::Result<()> {
    let mask = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let result = socket::bind(socket.as_raw_fd(), address);
    umask(mask);
    Ok(result?)
}
