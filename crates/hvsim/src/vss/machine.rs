//! The three devices together: what they share, and what each is as a device file.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::numbers;
use hv_core::vss::mounts::{FsId, Mount};
use nix::errno::Errno;

use super::control::{Call, Fault, Operation, Outcome, Side, Statistics};
use super::driver::{Driver, KERNEL_TIMEOUT, Ticket, Write};
use super::message::{self, Message};
use super::process::{self, Activity};
use super::suspension::{Caller, Suspenders};
use super::timeline::{Entry, Happening, Timeline};
use crate::device::{DeviceFile, Handle, Opener, Readiness};
use crate::station::{Station, lock};

/// What can be chosen about the devices.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the kernel waits for both daemons together: 15 seconds, less in tests.
    pub timeout: Duration,
    /// The directory with the file `mounts`, the mount table of the guest. Without it nothing is mounted.
    pub facts: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: KERNEL_TIMEOUT, facts: None }
    }
}

/// Everything behind the three nodes.
#[derive(Debug)]
struct Machine {
    driver: Driver,
    suspenders: Suspenders,
    settings: Settings,
    scrutiny: bool,
    kept_table: Option<Arc<[Mount]>>,
    timeline: Timeline,
    statistics: Statistics,
    violations: Vec<String>,
    faults: Vec<Fault>,
    hung_up: bool,
    /// The frozen daemon, and what it had done before.
    watch: Option<(u32, Activity)>,
    start: Instant,
    start_real: u64,
    wake: Sender<Side>,
}

impl Machine {
    fn new(settings: Settings, wake: Sender<Side>) -> Self {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            driver: Driver::new(settings.timeout),
            suspenders: Suspenders::default(),
            settings,
            scrutiny: true,
            kept_table: None,
            timeline: Timeline::default(),
            statistics: Statistics::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            hung_up: false,
            watch: None,
            start: Instant::now(),
            start_real: nanoseconds(real),
            wake,
        }
    }

    /// Real time and monotonic time.
    fn clock(&self, now: Instant) -> (u64, Instant) {
        (self.start_real + nanoseconds(now.saturating_duration_since(self.start)), now)
    }

    fn note(&mut self, now: Instant, happening: Happening) {
        self.timeline.add(nanoseconds(now.saturating_duration_since(self.start)), happening);
    }

    /// Whether a call fails by order, after it slept by order.
    fn fault(&mut self, call: Call) -> Result<(), Errno> {
        let Some(index) = self.faults.iter().position(|fault| fault.call == call) else { return Ok(()) };
        if self.faults[index].after > 0 {
            self.faults[index].after -= 1;
            return Ok(());
        }
        let fault = self.faults.remove(index);
        // As a thread sleeps in the kernel; nobody else has business with these devices meanwhile.
        thread::sleep(Duration::from_millis(fault.delay));
        if fault.errno == 0 { Ok(()) } else { Err(Errno::from_raw(fault.errno)) }
    }

    /// Whoever waits for another node than the one that is called must look again.
    fn settle(&mut self, called: Option<Side>, now: Instant) {
        let heard = self.driver.take_heard();
        for (operation, outcome) in &heard {
            self.note(now, Happening::Answered { operation: *operation, outcome: *outcome });
        }
        if called != Some(Side::FileSystem) && (!heard.is_empty() || self.driver.is_waiting(Side::FileSystem))
        {
            // It fails only when the machine is being taken apart.
            let _ = self.wake.send(Side::FileSystem);
        }
        if called != Some(Side::Application) && self.driver.is_waiting(Side::Application) {
            let _ = self.wake.send(Side::Application);
        }
    }

    fn read(&mut self, side: Side, now: Instant) -> Vec<u8> {
        self.statistics.reads += 1;
        let Some((operation, id)) = self.driver.read(side) else {
            self.statistics.empty_reads += 1;
            return Message::bytes(0, 1, 0);
        };
        if side == Side::FileSystem && operation == Operation::Thaw {
            self.end_watch();
        }
        self.note(now, Happening::Read { side, operation });
        Message::bytes(operation.number(), 0, id)
    }

    fn write(&mut self, side: Side, input: &[u8], now: Instant) -> Result<(), Errno> {
        self.statistics.writes += 1;
        let message = Message::parse(input).ok_or(Errno::EINVAL)?;
        let node = side.node();
        if !message.reserved_is_zero {
            self.violations.push(format!("{node}: an answer has reserved bytes that are not zero"));
        }
        if message.status > 1 {
            self.violations.push(format!("{node}: an answer has the unknown status {}", message.status));
        }
        match self.driver.write(side, message.id, message.status) {
            Write::Taken(operation) => self.audit_answer(side, operation, message, now),
            Write::Ignored if self.driver.gave_up(message.id) => self.statistics.late_writes += 1,
            Write::Ignored if self.driver.unread(message.id) => {
                self.violations.push(format!("{node}: a request was answered before it was read"));
            }
            Write::Ignored => {
                self.violations
                    .push(format!("{node}: an answer names no request that was read: {}", message.id));
            }
        }
        Ok(())
    }

    fn audit_answer(&mut self, side: Side, operation: Operation, message: Message, now: Instant) {
        let success = message.status == 0;
        self.note(now, Happening::Wrote { side, operation, success });
        if message.operation != operation.number() {
            self.violations.push(format!(
                "{}: a {} was answered with operation {}, which panics a debugging kernel",
                side.node(),
                operation.word(),
                message.operation
            ));
        }
        if side == Side::Application {
            return;
        }
        let suspended: Vec<&str> = self.suspenders.suspended().map(|mount| mount.on.as_str()).collect();
        match (operation, success) {
            (Operation::Freeze, true) => {
                let opener = self.driver.opener(side).map(|opener| opener.pid);
                self.begin_watch(opener);
            }
            (Operation::Freeze, false) if self.watch.is_some() && suspended.is_empty() => self.end_watch(),
            (Operation::Thaw, true) if !suspended.is_empty() => {
                let text = format!("a thaw was answered while {} was suspended", suspended.join(", "));
                self.violations.push(text);
            }
            _ => {}
        }
    }

    fn begin_watch(&mut self, pid: Option<u32>) {
        if let (None, Some(pid), true) = (&self.watch, pid, self.scrutiny) {
            self.watch = Activity::of(pid).map(|activity| (pid, activity));
        }
    }

    fn end_watch(&mut self) {
        let Some((pid, before)) = self.watch.take() else { return };
        let Some(after) = Activity::of(pid) else { return };
        self.statistics.watches += 1;
        if let Some(offence) = after.offence_since(&before) {
            self.violations.push(format!("the daemon {offence} while the guest was frozen"));
        }
    }

    fn table(&mut self) -> Arc<[Mount]> {
        if let Some(kept) = &self.kept_table {
            return Arc::clone(kept);
        }
        let facts = self.settings.facts.clone().map(FactsSource::Directory);
        // A table that cannot be read is one without mounts, as the guest itself would say more about.
        let table: Arc<[Mount]> = facts.and_then(|facts| facts.mounts().ok()).unwrap_or_default().into();
        self.kept_table = (!self.scrutiny).then(|| Arc::clone(&table));
        table
    }

    fn suspend(&mut self, handle: Handle, input: &[u8], now: Instant) -> Result<(), Errno> {
        let id = parse_id(input).ok_or(Errno::EINVAL)?;
        let table = self.table();
        let scrutiny = self.scrutiny;
        let look = |pid| Caller {
            threads: if scrutiny { process::threads(pid) } else { 1 },
            writes_there: scrutiny && process::holds_open_for_writing(pid, id, &table),
        };
        let on = || {
            let known = table.iter().find(|mount| mount.id == id);
            known.map_or_else(|| id.to_string(), |mount| mount.on.clone())
        };
        let result =
            self.fault(Call::Suspend).and_then(|()| self.suspenders.suspend(handle, id, &table, look));
        match result {
            Ok(mount) => {
                self.audit_order(&mount, &table);
                self.statistics.suspended += 1;
                let pid = self.suspenders.opener(handle).map(|opener| opener.pid);
                self.begin_watch(pid);
                self.note(now, Happening::Suspended { on: mount.on });
                Ok(())
            }
            Err(error) => {
                self.note(now, Happening::Refused { on: on(), errno: error as i32 });
                Err(error)
            }
        }
    }

    /// The newest mount must be suspended first.
    fn audit_order(&mut self, mount: &Mount, table: &[Mount]) {
        let place = |mount: &Mount| table.iter().position(|known| known.id == mount.id);
        let older =
            self.suspenders.suspended().find(|other| other.id != mount.id && place(other) < place(mount));
        if let Some(older) = older {
            let text = format!("{} was suspended behind {}, which is the older mount", mount.on, older.on);
            self.violations.push(text);
        }
    }

    fn resume(&mut self, handle: Handle, now: Instant) -> Result<(), Errno> {
        self.end_watch();
        let last = self.suspenders.suspended().next_back().map(|mount| mount.id);
        let mount = self.suspenders.resume(handle)?;
        if last != Some(mount.id) {
            self.violations.push(format!("{} was resumed before what was suspended behind it", mount.on));
        }
        self.statistics.resumed += 1;
        self.note(now, Happening::Resumed { on: mount.on, asked: true });
        Ok(())
    }

    fn close_suspender(&mut self, handle: Handle, now: Instant) {
        if let Some(mount) = self.suspenders.close(handle) {
            // Its process may be dead, or be about to write again.
            self.watch = None;
            self.statistics.resumed += 1;
            self.note(now, Happening::Resumed { on: mount.on, asked: false });
        }
    }
}

fn parse_id(input: &[u8]) -> Option<FsId> {
    let [a, b, c, d, e, f, g, h] = *<&[u8; 8]>::try_from(input).ok()?;
    Some(FsId([i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])]))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Which of the three nodes.
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
    /// Those that calls of this node brought up.
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

    /// The host sends a request.
    pub fn submit(&mut self, operation: Operation, now: Instant) -> Ticket {
        self.with(now, |machine| {
            machine.note(now, Happening::Sent { operation });
            let clock = machine.clock(now);
            machine.driver.submit(operation, clock)
        })
    }

    /// The answer, once it is there.
    pub fn take_answer(&mut self, ticket: Ticket) -> Option<Outcome> {
        lock(&self.machine).driver.take_answer(ticket)
    }

    /// Whether a program has this device open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let machine = lock(&self.machine);
        match self.kind {
            Kind::Backup(side) => machine.driver.opener(side).is_some(),
            Kind::Suspender => machine.suspenders.open_count() > 0,
        }
    }

    /// The mount points that are suspended, in the order of suspending.
    #[must_use]
    pub fn suspended(&self) -> Vec<String> {
        lock(&self.machine).suspenders.suspended().map(|mount| mount.on.clone()).collect()
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let machine = lock(&self.machine);
        Statistics {
            timeouts: machine.driver.timeouts,
            dropped: machine.driver.dropped,
            opener: machine.driver.opener(Side::FileSystem).map_or(0, |opener| opener.pid),
            open_suspenders: u64::try_from(machine.suspenders.open_count()).unwrap_or(u64::MAX),
            ..machine.statistics
        }
    }

    /// What happened.
    pub fn timeline(&mut self, take: bool) -> Vec<Entry> {
        let mut machine = lock(&self.machine);
        let entries = machine.timeline.list();
        if take {
            machine.timeline.clear();
        }
        entries
    }

    /// Changes how long the kernel waits, from the next request on.
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
        machine.kept_table = None;
    }

    /// The backup devices go away; returns whom the kernel kills.
    pub fn detach(&mut self, now: Instant) -> Vec<Opener> {
        self.with(now, |machine| machine.driver.detach())
    }

    /// They are back.
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
                machine.suspenders.open(handle, opener);
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
            // The backup driver takes any number and does nothing; the other one says this.
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
    /// Makes the devices. A thread lives as long as they do: it lets those who wait for one device look again when a
    /// call of another one changed it.
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

    /// One of the two that the kernel asks.
    #[must_use]
    pub fn side(&self, side: Side) -> &Arc<Station<Node>> {
        match side {
            Side::FileSystem => &self.file_system,
            Side::Application => &self.application,
        }
    }
}
