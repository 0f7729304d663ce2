//! The control socket of a daemon: each connection gets one report and is closed.
//!
//! Nothing is read from a connection, and nothing waits for one. What the socket's buffer does not take at
//! once is lost, and the reader gets a cut report. One connection is served between two requests, so many
//! connections delay a request only by the making of one report. Without a connection the socket wakes no
//! process.
//!
//! On FreeBSD a connection works also while the file system that holds the socket is suspended, because
//! neither side writes to a file. Removing the socket would sleep then, so a daemon removes it only when
//! nothing is frozen.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, listen, setsockopt, socket, sockopt,
};

use crate::sys::{descriptor, private_socket};

/// Connections that may wait. The kernel refuses more.
const BACKLOG: i32 = 8;
/// Room for a report in the socket: FreeBSD's default is 8 KiB.
const SEND_BUFFER: usize = 256 * 1024;
/// The socket's descriptor has at least this number. A process that dies closes its descriptors in ascending
/// order, so suspensions end before the socket is closed.
const LOWEST_DESCRIPTOR: i32 = 64;

/// A socket at a path. Dropping this leaves the path: see [`Self::remove`].
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl ControlSocket {
    /// Creates the socket, and replaces one that an earlier daemon left. Only the daemon that has the device
    /// calls this, so there is no other one. A file that is no socket is left alone.
    ///
    /// # Errors
    /// The error of the system. Then there is no socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else lies there"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // The socket is created under another name and then renamed, so that there is one at any time.
        let new = path.with_extension("sock.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen_at(&new)?;
        let inode = inode_of(&new)?;
        fs::rename(&new, path)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// The descriptor that becomes readable when a connection waits.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Sends a report to the connection that waits longest. Errors are only logged.
    pub fn answer(&self, report: impl FnOnce() -> Vec<u8>) {
        let Ok((mut stream, _)) = self.listener.accept() else { return };
        // With a smaller buffer the report may be cut.
        let _ = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER);
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if let Err(error) = stream.write_all(&report()) {
            log::debug!("a report was not taken: {error}");
        }
    }

    /// Removes the socket, unless it is another daemon's by now.
    pub fn remove(self) {
        if inode_of(&self.path).ok() != Some(self.inode) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn inode_of(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let socket = descriptor::raise(socket, LOWEST_DESCRIPTOR)?;
    private_socket::bind(&socket, &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.sock");
        (directory, path)
    }

    fn is_ready(socket: &ControlSocket) -> bool {
        let mut polled = [PollFd::new(socket.descriptor(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
    }

    fn connect(path: &Path) -> UnixStream {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn read(mut stream: UnixStream) -> Vec<u8> {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn a_connection_gets_the_report_and_the_end() {
        let (directory, path) = scratch();
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(socket.listener.as_raw_fd() >= LOWEST_DESCRIPTOR);
        assert!(!is_ready(&socket));
        let reader = connect(&path);
        assert!(is_ready(&socket));
        socket.answer(|| b"report".to_vec());
        assert_eq!(read(reader), b"report");
        assert!(!is_ready(&socket));
        socket.remove();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_call_serves_one_connection() {
        let (_directory, path) = scratch();
        let socket = ControlSocket::bind(&path).unwrap();
        let (first, second) = (connect(&path), connect(&path));
        (&first).write_all(b"GET / HTTP/1.0").unwrap();
        socket.answer(|| b"one".to_vec());
        assert!(is_ready(&socket));
        socket.answer(|| b"two".to_vec());
        assert_eq!(read(second), b"two");
        let mut text = [0; 3];
        (&first).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one");
    }

    #[test]
    fn a_slow_or_absent_reader_delays_nothing() {
        let (_directory, path) = scratch();
        let socket = ControlSocket::bind(&path).unwrap();
        let lazy = connect(&path);
        socket.answer(|| vec![b'x'; 64 * SEND_BUFFER]);
        // It gets a cut report.
        let length = read(lazy).len();
        assert!((1..64 * SEND_BUFFER).contains(&length), "{length}");
        drop(connect(&path));
        socket.answer(|| b"unread".to_vec());
        // Without a connection the call does not wait.
        socket.answer(|| unreachable!("no connection, no report"));
        let next = connect(&path);
        socket.answer(|| b"next".to_vec());
        assert_eq!(read(next), b"next");
    }

    #[test]
    fn stale_socket_is_replaced_and_anything_else_left_alone() {
        let (directory, path) = scratch();
        let old = ControlSocket::bind(&path).unwrap();
        fs::write(path.with_extension("sock.new"), "left behind").unwrap();
        let new = ControlSocket::bind(&path).unwrap();
        // The end of the old daemon does not remove the new daemon's socket.
        old.remove();
        let reader = connect(&path);
        new.answer(|| b"new".to_vec());
        assert_eq!(read(reader), b"new");
        new.remove();
        fs::write(&path, "precious").unwrap();
        ControlSocket::bind(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(ControlSocket::bind(&directory.path().join("none/daemon.sock")).is_err());
    }
}
