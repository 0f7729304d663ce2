//! The backup devices without FUSE: ports for the daemon's loop inside a test. The devices are the same as on
//! files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use hv_core::abi::vss::{Answer, Request};
use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::numbers;
use hv_core::vss::HeldOpen;
use hv_core::vss::mounts::{FsId, Mount};
use nix::errno::Errno;
use vss_daemon::port::{SuspendPort, Suspender, VssPort};

use super::node::{Devices, Node};
use crate::client::Client;
use crate::device::{DeviceFile, Handle, Opener};
use crate::host::Host;
use crate::in_process::Level;
use crate::kvp;
use crate::server;
use crate::station::Station;

/// An unused handle.
fn next_handle() -> Handle {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Handle(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client of these devices' host. A thread serves it as long as it exists.
///
/// # Errors
/// No socket pair can be created.
pub fn client(devices: &Devices) -> io::Result<Client> {
    let (ours, theirs) = UnixStream::pair()?;
    let kvp = Arc::new(Station::new(kvp::KvpDevice::new(kvp::Settings::default())));
    let host = Host::new(PathBuf::new(), kvp, devices.clone());
    thread::spawn(move || server::converse(&theirs, &host));
    Ok(Client::on(ours))
}

fn call(station: &Station<Node>, handle: Handle, number: u64, input: &[u8]) -> io::Result<Vec<u8>> {
    let command = u32::try_from(number).map_err(|_| Errno::ENOTTY)?;
    Ok(station.with(|node, now| node.ioctl(handle, command, input, now))?)
}

/// `/dev/hv_fsvss_dev`, opened by this process.
#[derive(Debug)]
pub struct Port {
    station: Arc<Station<Node>>,
    handle: Handle,
    level: Arc<Level>,
}

impl Port {
    /// Opens the device.
    ///
    /// # Errors
    /// `EBUSY` while another port is open, `ENXIO` after the devices were detached.
    pub fn open(devices: &Devices) -> io::Result<Self> {
        let station = Arc::clone(&devices.file_system);
        let handle = next_handle();
        let level = Arc::new(Level::new()?);
        station.with(|node, now| node.open(handle, Opener { pid: 0 }, now))?;
        let (weak_station, weak_level) = (Arc::downgrade(&station), Arc::downgrade(&level));
        station.listen(Box::new(move || look(&weak_station, &weak_level, handle)));
        look(&Arc::downgrade(&station), &Arc::downgrade(&level), handle);
        Ok(Self { station, handle, level })
    }
}

fn look(station: &Weak<Station<Node>>, level: &Weak<Level>, handle: Handle) {
    if let (Some(station), Some(level)) = (station.upgrade(), level.upgrade()) {
        level.adjust(|| station.peek(|node, _| node.readiness(handle).any()));
    }
}

impl VssPort for Port {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.level.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        let message = call(&self.station, self.handle, numbers::VSS_READ, &[])?;
        let message = message.as_slice().try_into().map_err(|_| Errno::EIO)?;
        Ok(Request::decode(message))
    }

    fn write(&mut self, answer: Answer) -> io::Result<()> {
        call(&self.station, self.handle, numbers::VSS_WRITE, &answer.encode()).map(drop)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.station.with(|node, now| node.close(self.handle, now));
    }
}

/// `/dev/ufssuspend` of these devices.
#[derive(Debug, Clone)]
pub struct SuspendDevices(pub Devices);

impl SuspendPort for SuspendDevices {
    type Suspender = InProcessSuspender;

    fn open(&mut self) -> io::Result<InProcessSuspender> {
        let station = Arc::clone(&self.0.suspender);
        let handle = next_handle();
        station.with(|node, now| node.open(handle, Opener { pid: 0 }, now))?;
        Ok(InProcessSuspender { station, handle })
    }

    /// This process is the test's: its open files are not the daemon's.
    fn held_open(&self, _facts: &FactsSource, _mounts: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        Ok(Vec::new())
    }

    /// This process has threads.
    fn may_fork(&self) -> bool {
        false
    }
}

/// A descriptor of `/dev/ufssuspend`, opened by this process.
#[derive(Debug)]
pub struct InProcessSuspender {
    station: Arc<Station<Node>>,
    handle: Handle,
}

impl Suspender for InProcessSuspender {
    fn suspend(&self, FsId([low, high]): FsId) -> io::Result<()> {
        let mut input = low.to_ne_bytes().to_vec();
        input.extend(high.to_ne_bytes());
        call(&self.station, self.handle, numbers::UFS_SUSPEND, &input).map(drop)
    }

    fn resume(&self) -> io::Result<()> {
        call(&self.station, self.handle, numbers::UFS_RESUME, &[]).map(drop)
    }
}

impl Drop for InProcessSuspender {
    fn drop(&mut self) {
        self.station.with(|node, now| node.close(self.handle, now));
    }
}
