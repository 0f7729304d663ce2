//! Where requests come from and answers go to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hv_core::abi::kvp::{MESSAGE_SIZE, Message};
use hv_core::runtime::device::OpenError;

/// The kernel's end of the exchange. For each request it wants exactly one read and then exactly one answer.
pub trait KvpPort {
    /// The descriptor that is readable from the moment a request is there until its answer was written.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Registers the daemon; nothing can be read before.
    ///
    /// # Errors
    /// What write(2) says.
    fn register(&mut self, registration: &Message) -> io::Result<()>;

    /// Reads the request that [`Self::descriptor`] announced and gives its size. Without one it would block
    /// for ever.
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

impl DeviceFile {
    /// Opens the device, which lets one opener in at a time.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map(Self).map_err(|error| OpenError::new(path, "key-value exchange", "key-value", error))
    }

    // The driver takes the file offset for a position in its message: always zero, so never plain read and
    // write.
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
