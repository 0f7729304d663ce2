//! The three device files of a machine, and the calls of host and tests on them. The rules are in `machine`,
//! `driver` and `file_systems`.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hv_core::sys::vss_device::numbers;
use nix::errno::Errno;

use super::control::{Call, Fault, Operation, Outcome, Side, Statistics};
use super::driver::Ticket;
use super::machine::{Machine, Settings};
use super::message;
use super::timeline::{Entry, Happening};
use crate::device::{DeviceFile, Handle, Opener, Readiness};
use crate::station::{Station, lock};

/// How often the progress of writes is read.
const LOOK_AT_WRITES: Duration = Duration::from_millis(2);

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Backup(Side),
    Suspender,
}

/// One device file of the machine.
#[derive(Debug)]
pub struct Node {
    kind: Kind,
    machine: Arc<Mutex<Machine>>,
    /// The violations that calls of this node caused.
    violations: Vec<String>,
}

impl Node {
    fn new(kind: Kind, machine: &Arc<Mutex<Machine>>) -> Self {
        Self { kind, machine: Arc::clone(machine), violations: Vec::new() }
    }

    fn side(&self) -> Option<Side> {
        match self.kind {
            Kind::Backup(side) => Some(side),
            Kind::Suspender => None,
        }
    }

    fn with<R>(&mut self, now: Instant, act: impl FnOnce(&mut Machine) -> R) -> R {
        let mut machine = lock(&self.machine);
        machine.driver.tick(now);
        let result = act(&mut machine);
        machine.settle(self.side(), now);
        self.violations.append(&mut machine.violations);
        result
    }

    /// Sends a request of the host.
    pub fn submit(&mut self, operation: Operation, now: Instant) -> Ticket {
        self.with(now, |machine| {
            machine.note(now, Happening::Sent { operation });
            let clock = machine.clock(now);
            machine.driver.submit(operation, clock)
        })
    }

    /// Takes the result, if there is one.
    pub fn take_answer(&mut self, ticket: Ticket) -> Option<Outcome> {
        lock(&self.machine).driver.take_answer(ticket)
    }

    /// Whether a program has this device open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let machine = lock(&self.machine);
        match self.kind {
            Kind::Backup(side) => machine.driver.opener(side).is_some(),
            Kind::Suspender => machine.file_systems.open_count() > 0,
        }
    }

    /// The mount points that are suspended, in the order of suspending.
    #[must_use]
    pub fn suspended(&self) -> Vec<String> {
        lock(&self.machine).file_systems.suspended().map(|mount| mount.on.clone()).collect()
    }

    /// The counters.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let machine = lock(&self.machine);
        Statistics {
            timeouts: machine.driver.timeouts,
            dropped: machine.driver.dropped,
            opener: machine.driver.opener(Side::FileSystem).map_or(0, |opener| opener.pid),
            open_suspenders: u64::try_from(machine.file_systems.open_count()).unwrap_or(u64::MAX),
            ..machine.statistics
        }
    }

    /// The events.
    pub fn timeline(&mut self, take: bool) -> Vec<Entry> {
        let mut machine = lock(&self.machine);
        let entries = machine.timeline.list();
        if take {
            machine.timeline.clear();
        }
        entries
    }

    /// Changes how long the kernel waits, beginning with the next request.
    pub fn set_timeout(&mut self, timeout: Duration) {
        lock(&self.machine).driver.timeout = timeout;
    }

    /// Makes a call fail.
    pub fn inject(&mut self, fault: Fault) {
        let mut machine = lock(&self.machine);
        if fault.call == Call::Poll {
            machine.hung_up = true;
        } else {
            machine.faults.push(fault);
        }
    }

    /// See [`super::VssCommand::Scrutinize`].
    pub fn scrutinize(&mut self, on: bool) {
        let mut machine = lock(&self.machine);
        machine.scrutiny = on;
        machine.looked = false;
    }

    /// Unmounts a file system in the guest. Returns true if it is done, and false if it sleeps.
    ///
    /// # Errors
    /// The error of umount(8): `EINVAL` if nothing is mounted there, `EBUSY` if another file system is
    /// mounted on it.
    pub fn unmount(&mut self, on: &str, now: Instant) -> Result<bool, Errno> {
        self.with(now, |machine| machine.unmount(on, now))
    }

    /// Writes to the guest's facts how much is being written, if that is not what was `told` before.
    fn tell_writes(&self, told: &mut Option<u64>, now: Instant) {
        let mut machine = lock(&self.machine);
        let bytes = machine.bytes_being_written(now);
        if told.replace(bytes) != Some(bytes) {
            machine.tell_sysctl("vfs.runningbufspace", bytes);
        }
    }

    /// Detaches the backup devices. Returns the processes that the kernel kills.
    pub fn detach(&mut self, now: Instant) -> Vec<Opener> {
        self.with(now, |machine| machine.driver.detach())
    }

    /// Attaches them again.
    pub fn attach(&mut self, now: Instant) {
        self.with(now, |machine| machine.driver.attach());
    }
}

impl DeviceFile for Node {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Backup(side) => side.node(),
            Kind::Suspender => "ufssuspend",
        }
    }

    fn mode(&self) -> u16 {
        match self.kind {
            Kind::Backup(_) => 0o640,
            Kind::Suspender => 0o600,
        }
    }

    fn is_present(&self) -> bool {
        self.kind == Kind::Suspender || lock(&self.machine).driver.is_present()
    }

    fn open(&mut self, handle: Handle, opener: Opener, now: Instant) -> Result<(), Errno> {
        let kind = self.kind;
        self.with(now, |machine| match kind {
            Kind::Backup(side) => {
                let clock = machine.clock(now);
                machine.driver.open(side, handle, opener, clock)
            }
            Kind::Suspender => {
                machine.fault(Call::OpenSuspender)?;
                machine.open_suspender(handle, opener, None);
                Ok(())
            }
        })
    }

    fn close(&mut self, handle: Handle, now: Instant) {
        let kind = self.kind;
        self.with(now, |machine| match kind {
            Kind::Backup(side) => {
                machine.hung_up &= side != Side::FileSystem;
                machine.driver.close(side, handle);
            }
            Kind::Suspender => machine.close_suspender(handle, now),
        });
    }

    fn poll(&mut self, handle: Handle, now: Instant) -> Readiness {
        if self.kind == Kind::Backup(Side::FileSystem) {
            self.with(now, |machine| machine.statistics.polls += 1);
        }
        self.readiness(handle)
    }

    fn readiness(&self, _handle: Handle) -> Readiness {
        let machine = lock(&self.machine);
        match self.kind {
            Kind::Backup(side) => Readiness {
                readable: machine.driver.is_waiting(side),
                hung_up: !machine.driver.is_present() || (machine.hung_up && side == Side::FileSystem),
            },
            Kind::Suspender => Readiness::default(),
        }
    }

    fn ioctl(&mut self, handle: Handle, command: u32, input: &[u8], now: Instant) -> Result<Vec<u8>, Errno> {
        let kind = self.kind;
        self.with(now, |machine| match (kind, u64::from(command)) {
            (Kind::Backup(_), _) if !machine.driver.is_present() => Err(Errno::ENXIO),
            (Kind::Backup(side), numbers::VSS_READ) => {
                if side == Side::FileSystem {
                    machine.fault(Call::Read)?;
                }
                Ok(machine.read(side, now))
            }
            (Kind::Backup(side), numbers::VSS_WRITE) => {
                if side == Side::FileSystem {
                    machine.fault(Call::Write)?;
                }
                machine.write(side, input, now).map(|()| Vec::new())
            }
            (Kind::Suspender, numbers::UFS_SUSPEND) => {
                machine.suspend(handle, input, now).map(|()| Vec::new())
            }
            (Kind::Suspender, numbers::UFS_RESUME) => machine.resume(handle, now).map(|()| Vec::new()),
            // The backup driver accepts any number and does nothing. The other one fails.
            (Kind::Backup(_), _) => Ok(vec![0; message::SIZE]),
            (Kind::Suspender, _) => Err(Errno::ENXIO),
        })
    }

    fn violations(&self) -> &[String] {
        &self.violations
    }

    fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    fn next_deadline(&self) -> Option<Instant> {
        lock(&self.machine).driver.next_deadline()
    }

    fn tick(&mut self, now: Instant) {
        self.with(now, |_| ());
    }
}

/// The devices of a live backup, shared by host and guest.
#[derive(Debug, Clone)]
pub struct Devices {
    /// `/dev/hv_fsvss_dev`.
    pub file_system: Arc<Station<Node>>,
    /// `/dev/hv_appvss_dev`.
    pub application: Arc<Station<Node>>,
    /// `/dev/ufssuspend`.
    pub suspender: Arc<Station<Node>>,
}

impl Devices {
    /// Creates the devices. A thread exists as long as they do: when a call of one device changed another
    /// one, it wakes the waiters of that one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (wake, woken) = channel();
        let machine = Arc::new(Mutex::new(Machine::new(settings, wake)));
        let station = |kind| Arc::new(Station::new(Node::new(kind, &machine)));
        let devices = Self {
            file_system: station(Kind::Backup(Side::FileSystem)),
            application: station(Kind::Backup(Side::Application)),
            suspender: station(Kind::Suspender),
        };
        devices.announce_changes(woken);
        devices
    }

    fn announce_changes(&self, woken: Receiver<Side>) {
        let file_system = Arc::downgrade(&self.file_system);
        let application = Arc::downgrade(&self.application);
        thread::spawn(move || {
            for side in woken {
                let station = match side {
                    Side::FileSystem => file_system.upgrade(),
                    Side::Application => application.upgrade(),
                };
                let Some(station) = station else { return };
                station.with(|_, _| ());
            }
        });
    }

    /// See [`super::VssCommand::PlayWrites`]. It ends with the devices.
    pub(super) fn play_writes(&self) {
        self.suspender.peek(|node, _| lock(&node.machine).plays_writes = true);
        let suspender = Arc::downgrade(&self.suspender);
        thread::spawn(move || {
            let mut told = None;
            while let Some(station) = suspender.upgrade() {
                station.peek(|node, now| node.tell_writes(&mut told, now));
                drop(station);
                thread::sleep(LOOK_AT_WRITES);
            }
        });
    }

    /// One of the two devices on which the kernel delivers requests.
    #[must_use]
    pub fn side(&self, side: Side) -> &Arc<Station<Node>> {
        match side {
            Side::FileSystem => &self.file_system,
            Side::Application => &self.application,
        }
    }
}
