//! The devices without FUSE: a port for a daemon's loop that runs inside the test.
//!
//! State machine, violations and the host's calls are the same as on device files. Only the file and the
//! processes are missing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::client::Client;
use crate::device::{DeviceFile, Handle, Opener, ReadCall, ReadOutcome};
use crate::host::Host;
use crate::kvp::layout::MESSAGE_SIZE;
use crate::kvp::{KvpDevice, Settings};
use crate::server;
use crate::station::{Station, lock};
use crate::vss;

/// A simulated machine inside this process.
#[derive(Debug, Clone)]
pub struct Machine {
    kvp: Arc<Station<KvpDevice>>,
    host: Host,
}

impl Machine {
    /// A machine whose key-value device has these settings.
    #[must_use]
    pub fn new(kvp: Settings) -> Self {
        let kvp = Arc::new(Station::new(KvpDevice::new(kvp)));
        let host = Host::new(PathBuf::new(), Arc::clone(&kvp), vss::Devices::new(vss::Settings::default()));
        Self { kvp, host }
    }

    /// A client of the host's side. A thread serves it as long as it exists.
    ///
    /// # Errors
    /// No socket pair can be created.
    pub fn client(&self) -> io::Result<Client> {
        let (ours, theirs) = UnixStream::pair()?;
        let host = self.host.clone();
        thread::spawn(move || server::converse(&theirs, &host));
        Ok(Client::on(ours))
    }

    /// Opens the key-value device.
    ///
    /// # Errors
    /// `EBUSY` while another port is open, `ENXIO` after the device was detached.
    pub fn open_kvp(&self) -> io::Result<KvpPort> {
        KvpPort::open(&self.kvp)
    }
}

/// The key-value device, opened by this process.
///
/// Its descriptor ([`AsFd`]) polls readable exactly while the device would report `POLLIN` or `POLLHUP`; it
/// is never read or written by its owner.
#[derive(Debug)]
pub struct KvpPort {
    station: Arc<Station<KvpDevice>>,
    handle: Handle,
    level: Arc<Level>,
}

/// A descriptor that is readable while a condition holds.
#[derive(Debug)]
pub(crate) struct Level {
    event: EventFd,
    raised: Mutex<bool>,
}

impl AsFd for Level {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Level {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self { event: EventFd::from_flags(flags)?, raised: Mutex::new(false) })
    }

    /// Evaluates the condition under a lock of its own, so that of two simultaneous changes the later one
    /// counts.
    pub(crate) fn adjust(&self, holds: impl FnOnce() -> bool) {
        let mut raised = lock(&self.raised);
        let wanted = holds();
        // Neither can fail: the counter is 0 or 1, as `raised` says.
        match (*raised, wanted) {
            (false, true) => drop(self.event.write(1)),
            (true, false) => drop(self.event.read()),
            _ => {}
        }
        *raised = wanted;
    }
}

impl KvpPort {
    fn open(station: &Arc<Station<KvpDevice>>) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let handle = Handle(NEXT.fetch_add(1, Ordering::Relaxed));
        let level = Arc::new(Level::new()?);
        station.with(|device, now| device.open(handle, Opener { pid: 0 }, now))?;
        let (weak_station, weak_level): (Weak<_>, Weak<Level>) =
            (Arc::downgrade(station), Arc::downgrade(&level));
        station.listen(Box::new(move || {
            if let (Some(station), Some(level)) = (weak_station.upgrade(), weak_level.upgrade()) {
                let station: Arc<Station<KvpDevice>> = station;
                level.adjust(|| station.peek(|device, _| device.readiness(handle).any()));
            }
        }));
        Ok(Self { station: Arc::clone(station), handle, level })
    }

    /// `pread(fd, buffer, 7430, 0)`: blocks when there is no request.
    ///
    /// # Errors
    /// The error of the device: `EPERM` before registration, `ENXIO` after detach.
    pub fn read_message(&self) -> io::Result<Vec<u8>> {
        let mut again = false;
        let outcome = self.station.wait(None, |device, now| {
            device.tick(now);
            let call = ReadCall { handle: self.handle, offset: 0, size: MESSAGE_SIZE, again };
            again = true;
            Some(device.read(call, now)).filter(|outcome| *outcome != ReadOutcome::Sleeps)
        });
        match outcome {
            Some(ReadOutcome::Data(bytes)) => Ok(bytes),
            Some(ReadOutcome::Failed(error)) => Err(error.into()),
            Some(ReadOutcome::Sleeps) | None => Err(Errno::EIO.into()),
        }
    }

    /// `pwrite(fd, message, size, 0)`.
    ///
    /// # Errors
    /// The error of the device: `EINVAL` for a wrong registration or the answer to an unknown operation.
    pub fn write_message(&self, message: &[u8]) -> io::Result<usize> {
        Ok(self.station.with(|device, now| device.write(self.handle, 0, message, now))?)
    }
}

impl AsFd for KvpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.level.event.as_fd()
    }
}

impl Drop for KvpPort {
    fn drop(&mut self) {
        self.station.with(|device, now| device.close(self.handle, now));
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::kvp::layout::{OP_REGISTER, OPERATION, STATUS_CONT};

    fn registered(machine: &Machine) -> KvpPort {
        let port = machine.open_kvp().unwrap();
        let mut message = vec![0; MESSAGE_SIZE];
        message[OPERATION] = OP_REGISTER;
        port.write_message(&message).unwrap();
        port
    }

    fn is_readable(port: &KvpPort, limit: PollTimeout) -> bool {
        let mut descriptors = [PollFd::new(port.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, limit).unwrap() == 1
    }

    #[test]
    fn the_descriptor_is_readable_until_the_answer() {
        let machine = Machine::new(Settings::default());
        let port = registered(&machine);
        assert!(!is_readable(&port, PollTimeout::ZERO));
        let mut client = machine.client().unwrap();
        let host = thread::spawn(move || client.get(0, "key").unwrap());
        assert!(is_readable(&port, PollTimeout::NONE));
        let mut message = port.read_message().unwrap();
        assert!(is_readable(&port, PollTimeout::ZERO));
        message.fill(0);
        message[..4].copy_from_slice(&STATUS_CONT.to_le_bytes());
        port.write_message(&message).unwrap();
        assert!(!is_readable(&port, PollTimeout::ZERO));
        assert_eq!(host.join().unwrap().code, STATUS_CONT);
        assert_eq!(machine.client().unwrap().violations().unwrap(), [""; 0]);
    }

    #[test]
    fn the_port_behaves_like_the_device_file() {
        let machine = Machine::new(Settings::default());
        let port = machine.open_kvp().unwrap();
        let number = |error: io::Error| error.raw_os_error().map(Errno::from_raw);
        assert_eq!(machine.open_kvp().map_err(number).unwrap_err(), Some(Errno::EBUSY));
        assert_eq!(port.read_message().map_err(number).unwrap_err(), Some(Errno::EPERM));
        assert_eq!(port.write_message(&[0; 10]).map_err(number), Err(Some(Errno::EINVAL)));
        let mut client = machine.client().unwrap();
        assert_eq!(client.take_violations().unwrap().len(), 2);
        client.detach().unwrap();
        assert!(is_readable(&port, PollTimeout::ZERO), "stands for POLLHUP");
        assert_eq!(port.read_message().map_err(number).unwrap_err(), Some(Errno::ENXIO));
    }

    #[test]
    fn dropping_the_port_closes_the_device() {
        let machine = Machine::new(Settings::default());
        let mut client = machine.client().unwrap();
        drop(registered(&machine));
        assert!(!client.statistics().unwrap().registered);
        let port = registered(&machine);
        assert!(client.statistics().unwrap().registered);
        drop(port);
    }
}
