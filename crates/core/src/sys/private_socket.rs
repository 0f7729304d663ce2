//! Gives a socket a name to which only its owner can connect, from its first instant. The mode is never set by
//! the name, which could lead to another file by then.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::UnixAddr;

use super::os;

/// Binds a socket to a path. What is made there has mode 0600. A process with threads must not call it on
/// FreeBSD, where the mask of the process is another one meanwhile.
///
/// # Errors
/// The error of bind(2), or on Linux of fchmod(2).
pub fn bind(socket: &OwnedFd, address: &UnixAddr) -> io::Result<()> {
    os::private_socket::bind(socket, address)
}
