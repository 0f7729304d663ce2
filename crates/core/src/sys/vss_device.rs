//! The devices of a live backup: `/dev/hv_fsvss_dev` or `/dev/hv_appvss_dev`, and `/dev/ufssuspend`. It makes
//! their calls; the daemon decides when.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use super::confine::{Keep, limit};
use crate::abi::vss::{Answer, MESSAGE_SIZE, Request};
use crate::vss::mounts::FsId;

/// The calls of dev/hyperv/hv_snapshot.h and ufs/ffs/fs.h, with the request numbers of this platform.
mod calls {
    use super::MESSAGE_SIZE;

    nix::ioctl_read!(vss_read, b'v', 2, [u8; MESSAGE_SIZE]);
    nix::ioctl_write_ptr!(vss_write, b'v', 3, [u8; MESSAGE_SIZE]);
    nix::ioctl_write_ptr!(ufs_suspend, b'U', 1, [i32; 2]);
    nix::ioctl_none!(ufs_resume, b'U', 2);
}

/// The request numbers of this platform, for the simulated devices.
pub mod numbers {
    use super::MESSAGE_SIZE;

    /// IOCHVVSSREAD.
    pub const VSS_READ: u64 = nix::request_code_read!(b'v', 2, MESSAGE_SIZE);
    /// IOCHVVSSWRITE.
    pub const VSS_WRITE: u64 = nix::request_code_write!(b'v', 3, MESSAGE_SIZE);
    /// UFSSUSPEND.
    pub const UFS_SUSPEND: u64 = nix::request_code_write!(b'U', 1, 8);
    /// UFSRESUME.
    pub const UFS_RESUME: u64 = nix::request_code_none!(b'U', 2);
}

/// Opens a device that is good for these requests only, where the kernel can limit it to them.
fn open(path: &Path, requests: &[u64]) -> io::Result<File> {
    let file = File::options().read(true).write(true).open(path)?;
    limit(file.as_fd(), Keep::Requests(requests));
    Ok(file)
}

/// The device on which the kernel delivers requests. One process can have it open.
#[derive(Debug)]
pub struct VssDevice(File);

impl VssDevice {
    /// Opens the device. From then on the kernel delivers requests. After the close it fails them all.
    ///
    /// # Errors
    /// The error of open(2): `ResourceBusy` if another process has it open, `NotFound` off Hyper-V.
    pub fn open(path: &Path) -> io::Result<Self> {
        open(path, &[numbers::VSS_READ, numbers::VSS_WRITE]).map(Self)
    }

    /// Reads the waiting request. `None` if it timed out after poll(2) reported it.
    ///
    /// # Errors
    /// The error of ioctl(2): the device is gone.
    pub fn read(&self) -> io::Result<Option<Request>> {
        let mut message = [0; MESSAGE_SIZE];
        // SAFETY: the descriptor is open, and the pointer is to as many bytes as the request number says are
        // written.
        unsafe { calls::vss_read(self.0.as_raw_fd(), &raw mut message) }?;
        Ok(Request::decode(&message))
    }

    /// Answers a request. The kernel ignores an answer that is too late.
    ///
    /// # Errors
    /// The error of ioctl(2): the device is gone.
    pub fn write(&self, answer: Answer) -> io::Result<()> {
        let message = answer.encode();
        // SAFETY: the descriptor is open, and the pointer is to as many bytes as the request number says are
        // read.
        unsafe { calls::vss_write(self.0.as_raw_fd(), &raw const message) }?;
        Ok(())
    }
}

impl AsFd for VssDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor of `/dev/ufssuspend`, which suspends at most one file system. Dropping it, or the death of
/// the process, resumes the file system.
#[derive(Debug)]
pub struct SuspendDevice(File);

impl SuspendDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// The error of open(2). Only root may open it.
    pub fn open(path: &Path) -> io::Result<Self> {
        open(path, &[numbers::UFS_SUSPEND, numbers::UFS_RESUME]).map(Self)
    }

    /// Suspends writes to a file system. First all of its data goes to disk; then every program that writes
    /// sleeps until the file system is resumed.
    ///
    /// # Errors
    /// The error of ioctl(2): ENOENT for an id that is not mounted, EINVAL if it is not UFS, EBUSY if it is
    /// suspended already, is being unmounted, or this descriptor suspends another one, EDEADLK if this
    /// process has a second thread or has a file open for writing there, EPERM in a jail. The file system is
    /// then not suspended.
    pub fn suspend(&self, id: FsId) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the pointer is to an fsid_t, two i32.
        unsafe { calls::ufs_suspend(self.0.as_raw_fd(), &raw const id.0) }?;
        Ok(())
    }

    /// Resumes writes.
    ///
    /// # Errors
    /// The error of ioctl(2): ENOENT if nothing is suspended. Dropping the descriptor resumes in any case.
    pub fn resume(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the call takes no argument.
        unsafe { calls::ufs_resume(self.0.as_raw_fd()) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::vss::{Operation, Status};

    #[test]
    fn a_missing_device_or_another_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device");
        for error in [VssDevice::open(&path).unwrap_err(), SuspendDevice::open(&path).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        std::fs::write(&path, "").unwrap();
        let device = VssDevice::open(&path).unwrap();
        assert!(device.as_fd().as_raw_fd() > 2);
        let suspend = SuspendDevice::open(&path).unwrap();
        let request = Request { operation: Operation::Check, id: 7 };
        let calls = [
            device.read().map(drop),
            device.write(Answer { request, status: Status::Failure }),
            suspend.suspend(FsId([1, 2])),
            suspend.resume(),
        ];
        for call in calls {
            assert_eq!(call.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
