//! The trait of a simulated device file, which corresponds to the `cdevsw` of FreeBSD's kernel. No
//! implementation is here.
//!
//! A device is a state machine without file system and clock. Calls come with the time, and
//! [`DeviceFile::next_deadline`] says when it must be called again. [`crate::nodes`] makes files of devices,
//! and [`crate::station::Station`] shares a device between host and guest.

use std::time::Instant;

use nix::errno::Errno;

/// One open description of a device file. A server never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

/// The process that opened a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opener {
    /// Its process id, as the mounting process sees it. 0 for a port inside this process.
    pub pid: u32,
}

/// One `read(2)` that reached the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCall {
    /// The open description.
    pub handle: Handle,
    /// The file offset: that of `pread`, or the position after earlier reads.
    pub offset: u64,
    /// The requested number of bytes.
    pub size: usize,
    /// False at the first attempt, true when a sleeping read is tried again. A device counts and records a
    /// read at the first attempt.
    pub again: bool,
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The bytes. Empty at the end of the file.
    Data(Vec<u8>),
    /// The call fails.
    Failed(Errno),
    /// The caller sleeps. The read is tried again after every change of the device.
    Sleeps,
}

/// The result of `poll(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// `POLLIN`.
    pub readable: bool,
    /// `POLLHUP`: the device is gone.
    pub hung_up: bool,
}

impl Readiness {
    /// Whether `poll(2)` returns.
    #[must_use]
    pub fn any(self) -> bool {
        self.readable || self.hung_up
    }
}

/// A simulated device file.
///
/// Every method is called with the station's lock held and must not block. After a change all pollers,
/// sleeping readers and waiting host calls are tried again.
#[expect(unused_variables, reason = "the parameters' names are part of the documentation")]
pub trait DeviceFile: Send + 'static {
    /// The node's name below `/dev`.
    fn name(&self) -> &'static str;

    /// The node's permission bits.
    fn mode(&self) -> u16 {
        0o640
    }

    /// Whether the node exists. False after the device was detached.
    fn is_present(&self) -> bool {
        true
    }

    /// Opens the device.
    ///
    /// # Errors
    /// The error of `open(2)`. The device does not know the handle then.
    fn open(&mut self, handle: Handle, opener: Opener, now: Instant) -> Result<(), Errno>;

    /// The last descriptor of this open description was closed, or its process died.
    fn close(&mut self, handle: Handle, now: Instant);

    /// Reads.
    fn read(&mut self, call: ReadCall, now: Instant) -> ReadOutcome {
        ReadOutcome::Failed(Errno::ENODEV)
    }

    /// Writes. Returns how many bytes were taken.
    ///
    /// # Errors
    /// The error of `write(2)`.
    fn write(&mut self, handle: Handle, offset: u64, data: &[u8], now: Instant) -> Result<usize, Errno> {
        Err(Errno::ENODEV)
    }

    /// The result of a `poll(2)` of the guest, which the device may count.
    fn poll(&mut self, handle: Handle, now: Instant) -> Readiness;

    /// The same without counting, for the simulator itself.
    fn readiness(&self, handle: Handle) -> Readiness;

    /// An `ioctl(2)` with the number that the daemons use on Linux. `input` has the bytes that the number's
    /// size and direction make the kernel copy in. The result is copied out and must not be longer than the
    /// number allows.
    ///
    /// # Errors
    /// The error of `ioctl(2)`. `ENOTTY` for a device without any.
    fn ioctl(&mut self, handle: Handle, command: u32, input: &[u8], now: Instant) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTTY)
    }

    /// The violations of the device's contract by the guest's program so far, one sentence each.
    fn violations(&self) -> &[String] {
        &[]
    }

    /// The same, and clears them.
    fn take_violations(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// When [`DeviceFile::tick`] must be called next.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Performs time-outs that are due at `now`. It is also called before every other call.
    fn tick(&mut self, now: Instant) {}
}
