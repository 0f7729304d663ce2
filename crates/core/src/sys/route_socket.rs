//! A socket that becomes readable when the network has changed: a routing socket (route(4)), on Linux a
//! netlink socket.
//!
//! The messages are not interpreted: the reader examines the network itself, which is right even if messages
//! were lost.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::os;
use super::system_facts::FactsSource;

/// The size of the read buffer. The rest of a longer message is dropped, which does not matter.
const MESSAGE: usize = 2048;

/// A socket that is readable when the network has changed.
#[derive(Debug)]
pub struct RouteSocket {
    socket: OwnedFd,
    /// The path of a simulated socket.
    name: Option<PathBuf>,
}

impl RouteSocket {
    /// Opens a socket that never blocks.
    ///
    /// With a directory of facts, the process that changes the facts sends a datagram to each `route.sock.*`
    /// in it.
    ///
    /// # Errors
    /// The system has no such socket, or no descriptor is left.
    pub fn open(facts: &FactsSource) -> io::Result<Self> {
        match facts {
            FactsSource::System => os::route_socket::open().map(|socket| Self { socket, name: None }),
            FactsSource::Directory(directory) => Self::simulated(directory),
        }
    }

    fn simulated(directory: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = directory.join(format!("route.sock.{}.{number}", std::process::id()));
        let socket = UnixDatagram::bind(&name)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: socket.into(), name: Some(name) })
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all waiting messages. Returns whether there was one, or messages were lost.
    #[must_use]
    pub fn take(&self) -> bool {
        let mut buffer = [0; MESSAGE];
        let mut any = false;
        loop {
            match recv(std::os::fd::AsRawFd::as_raw_fd(&self.socket), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                // The kernel had no room for more (ENOBUFS), so something has changed.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl Drop for RouteSocket {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The directory may already be removed.
            let _ = fs::remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_to_a_simulated_socket_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let socket = RouteSocket::open(&FactsSource::Directory(directory.path().to_owned())).unwrap();
        assert!(!socket.take());
        let name = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"x", &name).unwrap();
        sender.send_to(b"y", &name).unwrap();
        assert!(socket.take() && !socket.take());
        drop(socket);
        assert!(!name.exists());
    }

    #[test]
    fn the_running_system_has_one() {
        let socket = RouteSocket::open(&FactsSource::System).unwrap();
        // Whether something changes meanwhile is not known.
        let _ = socket.take();
    }
}
