//! The control socket of a daemon: whoever connects gets one report and the end of the stream.
//!
//! Nothing is ever read from a connection and nothing waits for one: what the buffer does not take at once is
//! lost, and the reader sees a report that is cut. One connection is served between two requests, so that a
//! flood of them delays no request by more than the making of one report. Without a connection the socket
//! wakes nobody.
//!
//! On FreeBSD a connection is made and served also while the file system that holds the socket is suspended:
//! neither side writes to a file. Removing the socket would sleep then, so a daemon does that only when
//! nothing is frozen.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};

use crate::sys::descriptor;

/// Who may connect: the daemon's own user.
const MODE: u32 = 0o600;
/// Connections that may wait; more are refused by the kernel.
const BACKLOG: i32 = 8;
/// Room for a report in the socket: FreeBSD's default is 8 KiB.
const SEND_BUFFER: usize = 256 * 1024;
/// The socket's descriptor is at least this one. A process that dies closes its descriptors in ascending
/// order, so the suspensions of a frozen guest end before anything of the socket is touched.
const LOWEST_DESCRIPTOR: i32 = 64;

/// A socket at a path. It stays there when this is dropped: see [`Self::remove`].
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl ControlSocket {
    /// Makes the socket, in the place of one that an earlier daemon left: only one daemon can have its
    /// device, and this is called by the one that has it. Anything but a socket is left alone.
    ///
    /// # Errors
    /// What the system says; then there is no socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else lies there"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Made beside its place and renamed when it has its mode: nobody can connect before.
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

    /// The descriptor that is readable while somebody waits.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Gives the one who waits longest a report. Failures are its own concern.
    pub fn answer(&self, report: impl FnOnce() -> Vec<u8>) {
        let Ok((mut stream, _)) = self.listener.accept() else { return };
        // A buffer that stays small cuts the report.
        let _ = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER);
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if let Err(error) = stream.write_all(&report()) {
            log::debug!("a report was not taken: {error}");
        }
    }

    /// Removes the socket, unless another daemon's lies there meanwhile.
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
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
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
    fn whoever_connects_gets_the_report_and_the_end() {
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
    fn one_call_serves_one_connection_whatever_it_sends() {
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
    fn a_reader_that_does_not_read_or_is_gone_delays_nothing() {
        let (_directory, path) = scratch();
        let socket = ControlSocket::bind(&path).unwrap();
        let lazy = connect(&path);
        socket.answer(|| vec![b'x'; 64 * SEND_BUFFER]);
        // It sees a report that is cut.
        let length = read(lazy).len();
        assert!((1..64 * SEND_BUFFER).contains(&length), "{length}");
        drop(connect(&path));
        socket.answer(|| b"unread".to_vec());
        // Nobody there: no wait.
        socket.answer(|| unreachable!("no connection, no report"));
        let next = connect(&path);
        socket.answer(|| b"next".to_vec());
        assert_eq!(read(next), b"next");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
        let (directory, path) = scratch();
        let old = ControlSocket::bind(&path).unwrap();
        fs::write(path.with_extension("sock.new"), "left behind").unwrap();
        let new = ControlSocket::bind(&path).unwrap();
        // The old daemon's end does not take the new one's socket away.
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
