//! The three devices together: what they share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::mounts::{FsId, Mount, is_below};
use nix::errno::Errno;

use super::control::{Call, Fault, Operation, Side, Statistics};
use super::driver::{Driver, KERNEL_TIMEOUT, Write};
use super::message::Message;
use super::process::{self, Activity};
use super::suspension::{Caller, Suspenders};
use super::timeline::{Happening, Timeline};
use crate::device::Handle;

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
pub(super) struct Machine {
    pub(super) driver: Driver,
    pub(super) suspenders: Suspenders,
    settings: Settings,
    pub(super) scrutiny: bool,
    pub(super) kept_table: Option<Arc<[Mount]>>,
    pub(super) timeline: Timeline,
    pub(super) statistics: Statistics,
    pub(super) violations: Vec<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) hung_up: bool,
    /// The frozen daemon, and what it had done before.
    watch: Option<(u32, Activity)>,
    start: Instant,
    start_real: u64,
    wake: Sender<Side>,
}

impl Machine {
    pub(super) fn new(settings: Settings, wake: Sender<Side>) -> Self {
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
    pub(super) fn clock(&self, now: Instant) -> (u64, Instant) {
        (self.start_real + nanoseconds(now.saturating_duration_since(self.start)), now)
    }

    pub(super) fn note(&mut self, now: Instant, happening: Happening) {
        self.timeline.add(nanoseconds(now.saturating_duration_since(self.start)), happening);
    }

    /// Whether a call fails by order, after it slept by order.
    pub(super) fn fault(&mut self, call: Call) -> Result<(), Errno> {
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
    pub(super) fn settle(&mut self, called: Option<Side>, now: Instant) {
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

    pub(super) fn read(&mut self, side: Side, now: Instant) -> Vec<u8> {
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

    pub(super) fn write(&mut self, side: Side, input: &[u8], now: Instant) -> Result<(), Errno> {
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

    pub(super) fn suspend(&mut self, handle: Handle, input: &[u8], now: Instant) -> Result<(), Errno> {
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

    /// A mount must be suspended before those that are mounted on it.
    fn audit_order(&mut self, mount: &Mount, _table: &[Mount]) {
        let below = |other: &Mount| other.id != mount.id && is_below(&other.on, &mount.on);
        if let Some(child) = self.suspenders.suspended().find(|other| below(other)) {
            let text = format!("{} was suspended behind {}, which is mounted on it", mount.on, child.on);
            self.violations.push(text);
        }
    }

    pub(super) fn resume(&mut self, handle: Handle, now: Instant) -> Result<(), Errno> {
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

    pub(super) fn close_suspender(&mut self, handle: Handle, now: Instant) {
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
