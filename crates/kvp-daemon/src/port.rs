//! The device of the key-value exchange as a trait, and its real implementation. It moves whole messages and
//! does not look into them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hv_core::abi::kvp::{MESSAGE_SIZE, Message};
use hv_core::runtime::device::OpenError;
use hv_core::sys::confine::{Keep, limit};

/// The device. For each request it expects exactly one read and then exactly one answer.
pub trait KvpPort {
    /// The descriptor that is readable from the arrival of a request until its answer is written.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Registers the daemon. Before that nothing can be read.
    ///
    /// # Errors
    /// The error of write(2).
    fn register(&mut self, registration: &Message) -> io::Result<()>;

    /// Reads the request that [`Self::descriptor`] announced. Returns its size. Without a request it blocks
    /// for ever.
    ///
    /// # Errors
    /// The error of read(2).
    fn read_request(&mut self, buffer: &mut [u8; MESSAGE_SIZE]) -> io::Result<usize>;

    /// Writes the answer to the request that was read.
    ///
    /// # Errors
    /// The error of write(2). The host may have got the answer nevertheless, so it is never written twice.
    fn write_answer(&mut self, answer: &Message) -> io::Result<()>;
}

/// The real device.
#[derive(Debug)]
pub struct DeviceFile(File);

impl DeviceFile {
    /// Opens the device, which only one process can have open.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.inspect(|file| limit(file.as_fd(), Keep::Messages));
        file.map(Self).map_err(|error| OpenError::new(path, "key-value exchange", "key-value", error))
    }

    // The driver uses the file offset as a position in its message. The offset must be zero, so plain read
    // and write are never used.
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
