//! Asks the daemons on their control sockets. It only reads; a daemon that does not answer in time is
//! reported.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use serde::de::DeserializeOwned;

/// A daemon may be waiting for another program's lock.
const PATIENCE: Duration = Duration::from_secs(6);
/// The longest report that is read.
const LONGEST: u64 = 1024 * 1024;
/// The size of the receive buffer, which FreeBSD counts against the report: its default is 8 KiB.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// The answer of a daemon.
#[derive(Debug)]
pub(crate) enum Live<T> {
    /// It runs.
    Report(T),
    /// No daemon listens.
    NotRunning,
    /// Only root may connect.
    NotPermitted,
    /// The answer is not a report.
    Strange(String),
}

impl<T> Live<T> {
    pub(crate) fn report(&self) -> Option<&T> {
        match self {
            Self::Report(report) => Some(report),
            _ => None,
        }
    }
}

/// Reads the report of the daemon behind a socket.
pub(crate) fn ask<T: DeserializeOwned>(path: &Path) -> Live<T> {
    match read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(report) => Live::Report(report),
            Err(error) => Live::Strange(format!("{}: no report comes: {error}", path.display())),
        },
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Live::NotRunning,
            io::ErrorKind::PermissionDenied => Live::NotPermitted,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Live::Strange(format!("it does not answer within {} s", PATIENCE.as_secs()))
            }
            _ => Live::Strange(format!("{}: {error}", path.display())),
        },
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?).map_err(|error| match error {
        Errno::ENAMETOOLONG => io::ErrorKind::NotFound.into(),
        error => io::Error::from(error),
    })?;
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    Read::by_ref(&mut stream).take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}
