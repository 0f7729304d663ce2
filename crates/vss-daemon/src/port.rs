//! The daemon's devices as traits: requests and answers of a backup, and suspensions of file systems. The
//! implementations pass calls to `sys`; they decide nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hv_core::abi::vss::{Answer, Request};
use hv_core::runtime::device::OpenError;
use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::{SuspendDevice, VssDevice};
use hv_core::vss::HeldOpen;
use hv_core::vss::mounts::{FsId, Mount};

/// Where requests are read and answers are written.
pub trait VssPort {
    /// The descriptor that becomes readable when a request waits.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Reads the request that waits. `None` if it timed out meanwhile.
    ///
    /// # Errors
    /// The device is gone.
    fn read(&mut self) -> io::Result<Option<Request>>;

    /// Answers a request. A request that timed out meanwhile is no longer there to be answered, which is no
    /// error.
    ///
    /// # Errors
    /// The device is gone.
    fn write(&mut self, answer: Answer) -> io::Result<()>;
}

/// Opens suspenders.
pub trait SuspendPort {
    /// One suspender.
    type Suspender: Suspender;

    /// Makes a suspender, which suspends nothing yet.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn open(&mut self) -> io::Result<Self::Suspender>;

    /// Files that this process has open on these mounts. See [`HeldOpen`].
    ///
    /// # Errors
    /// The descriptors of this process cannot be listed.
    fn held_open(&self, facts: &FactsSource, mounts: &[Mount]) -> io::Result<Vec<HeldOpen>>;

    /// Whether the loop may start helper processes. Inside a program with threads it must not, and does their
    /// work itself.
    fn may_fork(&self) -> bool {
        true
    }
}

/// A descriptor that suspends at most one file system. Dropping it resumes the file system.
pub trait Suspender {
    /// Suspends writes to a file system.
    ///
    /// # Errors
    /// The file system is not suspended. See [`SuspendDevice::suspend`].
    fn suspend(&self, id: FsId) -> io::Result<()>;

    /// Resumes the file system.
    ///
    /// # Errors
    /// Nothing was suspended.
    fn resume(&self) -> io::Result<()>;
}

impl VssPort for VssDevice {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        Self::read(self)
    }

    fn write(&mut self, answer: Answer) -> io::Result<()> {
        Self::write(self, answer)
    }
}

impl Suspender for SuspendDevice {
    fn suspend(&self, id: FsId) -> io::Result<()> {
        Self::suspend(self, id)
    }

    fn resume(&self) -> io::Result<()> {
        Self::resume(self)
    }
}

/// The path of `/dev/ufssuspend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspendPath(pub PathBuf);

impl SuspendPort for SuspendPath {
    type Suspender = SuspendDevice;

    fn open(&mut self) -> io::Result<SuspendDevice> {
        SuspendDevice::open(&self.0)
    }

    fn held_open(&self, facts: &FactsSource, mounts: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        facts.held_open(mounts)
    }
}

/// Opens the device, which only one process can have open.
///
/// # Errors
/// See [`OpenError`].
pub fn open_device(path: &Path) -> Result<VssDevice, OpenError> {
    VssDevice::open(path).map_err(|error| OpenError::new(path, "live backup", "backup", error))
}
