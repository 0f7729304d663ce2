//! One simulated device file: what the FreeBSD kernel's `cdevsw` is for the real one.
//!
//! A device is a state machine that knows no file system and no clock: calls come in with the time, and
//! what must happen later is told by [`DeviceFile::next_deadline`]. [`crate::nodes`] makes files of any
//! number of them, [`crate::station::Station`] lets host and guest side share one.

use std::time::Instant;

use nix::errno::Errno;

/// One open description of a device file; numbers are never used again during a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

/// The process that opened a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opener {
    /// Its process number, as the mounting process sees it; 0 for a port inside the own process.
    pub pid: u32,
}

/// One `read(2)` as it reached the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCall {
    /// The open description that is read.
    pub handle: Handle,
    /// The file offset: of `pread`, or where earlier `read`s left it.
    pub offset: u64,
    /// Bytes asked for.
    pub size: usize,
    /// False at the first attempt, true when a sleeping read is tried again after a change: what a
    /// device counts or records about a read belongs to the first attempt.
    pub again: bool,
}

/// How a read went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The bytes; none is the end of the file.
    Data(Vec<u8>),
    /// The call fails.
    Failed(Errno),
    /// The caller sleeps; the read is tried again after every change of the device.
    Sleeps,
}

/// What `poll(2)` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// `POLLIN`.
    pub readable: bool,
    /// `POLLHUP`: the device is gone.
    pub hung_up: bool,
}

impl Readiness {
    /// Whether a poller returns.
    #[must_use]
    pub fn any(self) -> bool {
        self.readable || self.hung_up
    }
}

/// A simulated device file.
///
/// Every method is called with the station's lock held and must not block. Whatever a method changes,
/// pollers, sleeping readers and waiting host calls are looked at again afterwards.
#[expect(unused_variables, reason = "the parameters' names are part of the documentation")]
pub trait DeviceFile: Send + 'static {
    /// The node's name below `/dev`.
    fn name(&self) -> &'static str;

    /// The node's permission bits.
    fn mode(&self) -> u16 {
        0o640
    }

    /// Whether the node exists; false after the device was detached.
    fn is_present(&self) -> bool {
        true
    }

    /// Opens the device.
    ///
    /// # Errors
    /// What `open(2)` fails with; the handle is then unknown to the device.
    fn open(&mut self, handle: Handle, opener: Opener, now: Instant) -> Result<(), Errno>;

    /// The last descriptor of this open description is closed, or its process died.
    fn close(&mut self, handle: Handle, now: Instant);

    /// Reads.
    fn read(&mut self, call: ReadCall, now: Instant) -> ReadOutcome {
        ReadOutcome::Failed(Errno::ENODEV)
    }

    /// Writes, and returns how many bytes were taken.
    ///
    /// # Errors
    /// What `write(2)` fails with.
    fn write(&mut self, handle: Handle, offset: u64, data: &[u8], now: Instant) -> Result<usize, Errno> {
        Err(Errno::ENODEV)
    }

    /// The state that `poll(2)` sees. Called for every poll of the guest, so a device may count.
    fn poll(&mut self, handle: Handle, now: Instant) -> Readiness;

    /// The same state, looked at by the simulator itself: nothing is counted.
    fn readiness(&self, handle: Handle) -> Readiness;

    /// An `ioctl(2)` by the number that the Linux side of the daemons uses. `input` is what the
    /// command's size and direction bits made the kernel copy in, the result is copied out and must be
    /// no longer than those bits allow.
    ///
    /// # Errors
    /// What `ioctl(2)` fails with; `ENOTTY` for a device that has none.
    fn ioctl(&mut self, handle: Handle, command: u32, input: &[u8], now: Instant) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTTY)
    }

    /// What the guest's program did against the device's contract so far, a sentence each.
    fn violations(&self) -> &[String] {
        &[]
    }

    /// The same, and forgets them.
    fn take_violations(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// When [`DeviceFile::tick`] has something to do next.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Lets time-outs happen that are due at `now`. Called before every other call, too.
    fn tick(&mut self, now: Instant) {}
}
