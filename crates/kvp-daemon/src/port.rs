//! Where requests come from and answers go to.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hv_core::abi::kvp::{MESSAGE_SIZE, Message};

/// The kernel's end of the exchange. For each request it wants exactly one read and then exactly one answer.
pub trait KvpPort {
    /// The descriptor that is readable from the moment a request is there until its answer was written.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Registers the daemon; nothing can be read before.
    ///
    /// # Errors
    /// What write(2) says.
    fn register(&mut self, registration: &Message) -> io::Result<()>;

    /// Reads the request that [`Self::descriptor`] announced and gives its size. Without one it would block for ever.
    ///
    /// # Errors
    /// What read(2) says.
    fn read_request(&mut self, buffer: &mut [u8; MESSAGE_SIZE]) -> io::Result<usize>;

    /// Writes the answer to the request that was read.
    ///
    /// # Errors
    /// What write(2) says. The host may have got the answer all the same, so it is never written twice.
    fn write_answer(&mut self, answer: &Message) -> io::Result<()>;
}

/// The real device.
#[derive(Debug)]
pub struct DeviceFile(File);

/// Why the device cannot be had.
#[derive(Debug)]
pub enum OpenError {
    /// It does not exist: this is no guest of Hyper-V, or its driver is not there yet.
    Missing(PathBuf),
    /// Another process has it.
    Taken(PathBuf),
    /// Anything else.
    Refused(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => {
                write!(
                    f,
                    "{} does not exist: no Hyper-V key-value exchange here, nothing to do",
                    path.display()
                )
            }
            Self::Taken(path) => {
                write!(f, "{} is in use: another key-value daemon is running", path.display())
            }
            Self::Refused(path, _) => write!(f, "cannot open {}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_, source) => Some(source),
            Self::Missing(_) | Self::Taken(_) => None,
        }
    }
}

impl DeviceFile {
    /// Opens the device, which lets one opener in at a time.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::Missing(path.to_owned())),
            // FreeBSD's driver returns a negated EBUSY to a second opener.
            Err(error) if error.raw_os_error().is_some_and(|errno| errno.abs() == libc::EBUSY) => {
                Err(OpenError::Taken(path.to_owned()))
            }
            Err(error) => Err(OpenError::Refused(path.to_owned(), error)),
        }
    }

    // The driver takes the file offset for a position in its message: always zero, so never plain read and write.
    fn write_message(&self, message: &Message) -> io::Result<()> {
        match self.0.write_at(message.bytes(), 0)? {
            MESSAGE_SIZE => Ok(()),
            size => Err(io::Error::other(format!("the device took {size} bytes of {MESSAGE_SIZE}"))),
        }
    }
}

impl KvpPort for DeviceFile {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn register(&mut self, registration: &Message) -> io::Result<()> {
        self.write_message(registration)
    }

    fn read_request(&mut self, buffer: &mut [u8; MESSAGE_SIZE]) -> io::Result<usize> {
        self.0.read_at(buffer, 0)
    }

    fn write_answer(&mut self, answer: &Message) -> io::Result<()> {
        self.write_message(answer)
    }
}
