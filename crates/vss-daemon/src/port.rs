//! The devices as the daemon sees them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hv_core::abi::vss::{Answer, Request};
use hv_core::runtime::device::OpenError;
use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::{SuspendDevice, VssDevice};
use hv_core::vss::HeldOpen;
use hv_core::vss::mounts::{FsId, Mount};

/// The kernel's end of a live backup.
pub trait VssPort {
    /// The descriptor that is readable while a request waits to be read.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Takes the request that waits; `None` where none does any more.
    ///
    /// # Errors
    /// The device is gone.
    fn read(&mut self) -> io::Result<Option<Request>>;

    /// Answers a request; one that timed out meanwhile is not there to be answered, which is no error.
    ///
    /// # Errors
    /// The device is gone.
    fn write(&mut self, answer: Answer) -> io::Result<()>;
}

/// Where suspenders come from.
pub trait SuspendPort {
    /// One suspender.
    type Suspender: Suspender;

    /// Makes a suspender, which suspends nothing yet.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn open(&mut self) -> io::Result<Self::Suspender>;

    /// Files that this process has open on these mounts: see [`HeldOpen`].
    ///
    /// # Errors
    /// They cannot be found out.
    fn held_open(&self, facts: &FactsSource, mounts: &[Mount]) -> io::Result<Vec<HeldOpen>>;

    /// Whether the loop may have helper processes. Where it runs inside a program with threads it may not,
    /// and does itself what they would do.
    fn may_fork(&self) -> bool {
        true
    }
}

/// What suspends at most one file system. Dropping it resumes that.
pub trait Suspender {
    /// Suspends writes to a file system.
    ///
    /// # Errors
    /// It is not suspended: see [`SuspendDevice::suspend`].
    fn suspend(&self, id: FsId) -> io::Result<()>;

    /// Resumes them.
    ///
    /// # Errors
    /// Nothing is suspended.
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

/// `/dev/ufssuspend` under this path.
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

/// Opens the device, which lets one opener in at a time.
///
/// # Errors
/// See [`OpenError`].
pub fn open_device(path: &Path) -> Result<VssDevice, OpenError> {
    VssDevice::open(path).map_err(|error| OpenError::new(path, "live backup", "backup", error))
}
