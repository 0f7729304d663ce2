//! The server's side of cuse(3): character devices that a program serves. It passes calls between kernel and
//! server and does not interpret them.
//!
//! It makes the calls of `/dev/cuse` itself. libcuse would want C callbacks and signals to its threads, and
//! its header is not one that [`crate::sys::freebsd_abi`] can be checked against. These calls can.
//!
//! Only the simulator uses this.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;

use crate::sys::freebsd_abi as abi;

/// `struct cuse_command`.
#[repr(C)]
#[derive(Debug, Default)]
struct Command {
    dev: usize,
    fflags: u64,
    per_file_handle: u64,
    data_pointer: u64,
    argument: u64,
    command: u64,
}

/// `struct cuse_data_chunk`.
#[repr(C)]
#[derive(Debug)]
struct DataChunk {
    local_ptr: usize,
    peer_ptr: u64,
    length: u64,
}

/// `struct cuse_create_dev`.
#[repr(C)]
#[derive(Debug)]
struct CreateDev {
    dev: usize,
    user_id: u32,
    group_id: u32,
    permissions: i32,
    devname: [u8; NAME_SIZE],
}

/// Bytes of a device's name with its NUL.
const NAME_SIZE: usize = 80;

/// Asserts that pairs of numbers are equal, whatever their types.
macro_rules! equal {
    ($($left:expr, $right:expr;)*) => { $(const _: () = assert!($left as u64 == $right as u64, stringify!($left));)* };
}

equal! {
    abi::CUSE_GET_COMMAND, nix::request_code_read!(b'C', 0, size_of::<Command>());
    abi::CUSE_WRITE_DATA, nix::request_code_write!(b'C', 1, size_of::<DataChunk>());
    abi::CUSE_READ_DATA, nix::request_code_write!(b'C', 2, size_of::<DataChunk>());
    abi::CUSE_SYNC_COMMAND, nix::request_code_write!(b'C', 3, size_of::<i32>());
    abi::CUSE_SET_PFH, nix::request_code_write!(b'C', 7, size_of::<usize>());
    abi::CUSE_CREATE_DEV, nix::request_code_write!(b'C', 8, size_of::<CreateDev>());
    abi::CUSE_SELWAKEUP, nix::request_code_write!(b'C', 12, size_of::<i32>());
    abi::CUSE_COMMAND_DEV, offset_of!(Command, dev);
    abi::CUSE_COMMAND_HANDLE, offset_of!(Command, per_file_handle);
    abi::CUSE_COMMAND_DATA, offset_of!(Command, data_pointer);
    abi::CUSE_COMMAND_ARGUMENT, offset_of!(Command, argument);
    abi::CUSE_COMMAND_KIND, offset_of!(Command, command);
    abi::CUSE_CHUNK_LOCAL, offset_of!(DataChunk, local_ptr);
    abi::CUSE_CHUNK_PEER, offset_of!(DataChunk, peer_ptr);
    abi::CUSE_CHUNK_LENGTH, offset_of!(DataChunk, length);
    abi::CUSE_CREATE_USER, offset_of!(CreateDev, user_id);
    abi::CUSE_CREATE_GROUP, offset_of!(CreateDev, group_id);
    abi::CUSE_CREATE_MODE, offset_of!(CreateDev, permissions);
    abi::CUSE_CREATE_NAME, offset_of!(CreateDev, devname);
}

mod calls {
    use super::{Command, CreateDev, DataChunk};

    nix::ioctl_read!(get_command, b'C', 0, Command);
    nix::ioctl_write_ptr!(write_data, b'C', 1, DataChunk);
    nix::ioctl_write_ptr!(read_data, b'C', 2, DataChunk);
    nix::ioctl_write_ptr!(sync_command, b'C', 3, i32);
    nix::ioctl_write_ptr!(set_file_handle, b'C', 7, usize);
    nix::ioctl_write_ptr!(create_dev, b'C', 8, CreateDev);
    nix::ioctl_write_ptr!(wake_pollers, b'C', 12, i32);
}

/// A client's call on a device. The client sleeps until [`CuseServer::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCall {
    /// The device's number, as given to [`CuseServer::create`].
    pub device: usize,
    /// The open file's number, as given to [`CuseServer::set_handle`]; 0 before.
    pub handle: u64,
    /// One of `CUSE_CMD_…` of [`crate::sys::freebsd_abi`].
    pub kind: u64,
    /// Bytes of a read or write, the number of an ioctl, the events of a poll.
    pub argument: u64,
    /// The address of the client's data, for [`CuseServer::copy_in`] and [`CuseServer::copy_out`].
    pub data: u64,
}

/// `/dev/cuse`, opened. Dropping it removes its devices, and calls on them fail with ENXIO.
#[derive(Debug)]
pub struct CuseServer(File);

impl CuseServer {
    /// Opens `/dev/cuse`.
    ///
    /// # Errors
    /// The error of open(2): `NotFound` if the kernel's module cuse is not loaded. Only root may open it.
    pub fn open() -> io::Result<Self> {
        File::options().read(true).write(true).open("/dev/cuse").map(Self)
    }

    /// Creates the device `/dev/NAME`, owned by root and wheel.
    ///
    /// # Errors
    /// `InvalidInput` for a name of 80 bytes or more. Otherwise the error of ioctl(2): `ENOMEM` if the name
    /// is taken.
    pub fn create(&self, device: usize, name: &str, mode: u16) -> io::Result<()> {
        let mut devname = [0; NAME_SIZE];
        let place = devname[..NAME_SIZE - 1].get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(name.as_bytes());
        let create =
            CreateDev { dev: device, user_id: 0, group_id: 0, permissions: i32::from(mode), devname };
        // SAFETY: the descriptor is open, and the pointer is to the structure that the request number says is
        // read. The kernel hands `dev` back as it is and never follows it.
        unsafe { calls::create_dev(self.0.as_raw_fd(), &raw const create) }?;
        Ok(())
    }

    /// Waits for the next call of a client. The call belongs to this thread until [`CuseServer::finish`].
    ///
    /// # Errors
    /// The error of ioctl(2): `Interrupted` by a signal.
    pub fn next(&self) -> io::Result<ClientCall> {
        let mut command = Command::default();
        // SAFETY: the descriptor is open, and the pointer is to the structure that the request number says is
        // written.
        unsafe { calls::get_command(self.0.as_raw_fd(), &raw mut command) }?;
        Ok(ClientCall {
            device: command.dev,
            handle: command.per_file_handle,
            kind: command.command,
            argument: command.argument,
            data: command.data_pointer,
        })
    }

    /// Assigns a number to the open file of this thread's call. Later calls on that file carry it.
    ///
    /// # Errors
    /// The error of ioctl(2): ENXIO if the client has ended.
    pub fn set_handle(&self, handle: usize) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the pointer is to the number that the request number says is
        // read.
        unsafe { calls::set_file_handle(self.0.as_raw_fd(), &raw const handle) }?;
        Ok(())
    }

    /// Reads `bytes` from the client's memory at `peer`, the address in this thread's call.
    ///
    /// # Errors
    /// The error of ioctl(2): EFAULT for an address that the client does not have, ENXIO if the client has
    /// ended.
    pub fn copy_in(&self, peer: u64, bytes: &mut [u8]) -> io::Result<()> {
        let chunk = DataChunk {
            local_ptr: bytes.as_mut_ptr().expose_provenance(),
            peer_ptr: peer,
            length: length(bytes),
        };
        // SAFETY: the descriptor is open, the pointer is to the structure that the request number says is
        // read, and its local address is of as many writable bytes as its length says.
        unsafe { calls::read_data(self.0.as_raw_fd(), &raw const chunk) }?;
        Ok(())
    }

    /// Writes `bytes` to the client's memory at `peer`, the address in this thread's call.
    ///
    /// # Errors
    /// As [`CuseServer::copy_in`].
    pub fn copy_out(&self, peer: u64, bytes: &[u8]) -> io::Result<()> {
        let chunk = DataChunk {
            local_ptr: bytes.as_ptr().expose_provenance(),
            peer_ptr: peer,
            length: length(bytes),
        };
        // SAFETY: the descriptor is open, the pointer is to the structure that the request number says is
        // read, and its local address is of as many readable bytes as its length says.
        unsafe { calls::write_data(self.0.as_raw_fd(), &raw const chunk) }?;
        Ok(())
    }

    /// Ends this thread's call: with `result` bytes or events, or with the error of one of `CUSE_ERR_…`.
    ///
    /// # Errors
    /// The error of ioctl(2).
    pub fn finish(&self, result: i32) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the pointer is to the number that the request number says is
        // read.
        unsafe { calls::sync_command(self.0.as_raw_fd(), &raw const result) }?;
        Ok(())
    }

    /// Makes every poll(2) on the devices ask for readiness again.
    ///
    /// # Errors
    /// The error of ioctl(2).
    pub fn wake_pollers(&self) -> io::Result<()> {
        let unused = 0;
        // SAFETY: the descriptor is open, and the pointer is to the number that the request number says is
        // read.
        unsafe { calls::wake_pollers(self.0.as_raw_fd(), &raw const unused) }?;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
