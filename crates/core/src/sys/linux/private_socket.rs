//! Linux takes the mode of a socket's name from the socket (net/unix/af_unix.c, `unix_bind_bsd`).
//! The mask of the process is not changed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, UnixAddr};
use nix::sys::stat::{Mode, fchmod};

/// Binds with mode 0600.
pub(in crate::sys) fn bind(socket: &OwnedFd, address: &UnixAddr) -> io::Result<()> {
    fchmod(socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(socket::bind(socket.as_raw_fd(), address)?)
}
