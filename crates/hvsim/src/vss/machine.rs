//! The three backup devices together: the state that they share, and the judgement of answers, faults and
//! time-outs. It reads the guest's facts and /proc.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hv_core::sys::clock;
use hv_core::vss::mounts::FsId;
use nix::errno::Errno;

use super::control::{Call, Fault, Operation, Outcome, Side, Statistics};
use super::descriptors::{self, Descriptor};
use super::driver::{Driver, KERNEL_TIMEOUT, Write};
use super::facts::{Facts, SyncLog};
use super::file_systems::{Caller, FileSystems, Unmounting};
use super::message::Message;
use super::process::{self, Activity};
use super::timeline::{Happening, Timeline};
use crate::device::{Handle, Opener};

/// The settings of the devices.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the kernel waits for both daemons together: 15 seconds, less in tests.
    pub timeout: Duration,
    /// The directory that [`Facts::load`] reads. Without it the facts are those of `Kernel::set_facts`.
    pub facts: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: KERNEL_TIMEOUT, facts: None }
    }
}

/// The state of a freeze that the host was told is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backup {
    /// There is no such freeze.
    None,
    /// Nothing was resumed since.
    Frozen,
    /// The daemon has read the thaw, so it may resume.
    Thawing,
    /// Something was resumed before.
    Void,
}

/// The state behind the three nodes.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) driver: Driver,
    pub(super) file_systems: FileSystems,
    settings: Settings,
    pub(super) scrutiny: bool,
    /// The facts were read. Without scrutiny they are not read again.
    pub(super) looked: bool,
    /// Buffers are written over time, so the facts must be read each time.
    pub(super) plays_writes: bool,
    log: SyncLog,
    /// The descriptors of the daemon at the last look.
    held: Option<(u32, Vec<Descriptor>)>,
    /// How long callers slept in the kernel in all, if they only count it.
    pub(super) slept: Option<Duration>,
    pub(super) timeline: Timeline,
    pub(super) statistics: Statistics,
    pub(super) violations: Vec<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) hung_up: bool,
    /// The backup as the host believes it to be.
    pub(super) backup: Backup,
    /// The frozen daemon, and what it had written before.
    watch: Option<(u32, Activity)>,
    start: Instant,
    start_real: u64,
    start_monotonic: Duration,
    wake: Sender<Side>,
}

impl Machine {
    pub(super) fn new(settings: Settings, wake: Sender<Side>) -> Self {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            driver: Driver::new(settings.timeout),
            file_systems: FileSystems::default(),
            log: SyncLog::default(),
            settings,
            scrutiny: true,
            looked: false,
            plays_writes: false,
            held: None,
            slept: None,
            timeline: Timeline::default(),
            statistics: Statistics::default(),
            violations: Vec::new(),
            faults: Vec::new(),
            hung_up: false,
            backup: Backup::None,
            watch: None,
            start: Instant::now(),
            start_real: nanoseconds(real),
            start_monotonic: clock::monotonic(),
            wake,
        }
    }

    /// Real time and monotonic time.
    pub(super) fn clock(&self, now: Instant) -> (u64, Instant) {
        (self.start_real + nanoseconds(now.saturating_duration_since(self.start)), now)
    }

    /// CLOCK_MONOTONIC, which the guest's programs read, too.
    fn monotonic(&self, now: Instant) -> Duration {
        self.start_monotonic + now.saturating_duration_since(self.start)
    }

    pub(super) fn note(&mut self, now: Instant, happening: Happening) {
        self.timeline.add(nanoseconds(now.saturating_duration_since(self.start)), happening);
    }

    /// Performs the fault of a call, if there is one: sleeps, then fails.
    pub(super) fn fault(&mut self, call: Call) -> Result<(), Errno> {
        let Some(index) = self.faults.iter().position(|fault| fault.call == call) else { return Ok(()) };
        if self.faults[index].after > 0 {
            self.faults[index].after -= 1;
            return Ok(());
        }
        let fault = self.faults.remove(index);
        self.sleep(Duration::from_millis(fault.delay));
        if fault.errno == 0 { Ok(()) } else { Err(Errno::from_raw(fault.errno)) }
    }

    /// Sleeps as a thread in the kernel does. No other thread uses these devices meanwhile.
    fn sleep(&mut self, time: Duration) {
        match &mut self.slept {
            Some(slept) => *slept += time,
            None => thread::sleep(time),
        }
    }

    /// Reads the facts of the guest's kernel, and the calls of its programs since the last look.
    pub(super) fn look(&mut self, now: Instant) {
        let wanted = self.scrutiny || self.plays_writes || !self.looked;
        let Some(directory) = self.settings.facts.clone().filter(|_| wanted) else { return };
        self.looked = true;
        let monotonic = self.monotonic(now);
        let clock = |time: SystemTime| monotonic.saturating_sub(time.elapsed().unwrap_or_default());
        self.file_systems.look(Facts::load(&directory, clock), monotonic);
        for call in self.log.read(&directory) {
            match call.path {
                None => self.file_systems.synced(call.at),
                Some(path) => self.file_systems.file_synced(&path, call.at),
            }
        }
        self.look_at_descriptors();
    }

    /// The value of `vfs.runningbufspace`: an invented speed, in steps of a write of 64 KiB each 20 ms. It
    /// stays constant at the beginning, because the exact return of a sync(2) is unknown.
    pub(super) fn bytes_being_written(&mut self, now: Instant) -> u64 {
        self.look(now);
        let left = self.file_systems.still_writing(self.monotonic(now)).as_millis().div_ceil(20);
        u64::try_from(left).unwrap_or(u64::MAX).saturating_mul(65_536)
    }

    pub(super) fn tell_sysctl(&self, name: &str, number: u64) {
        if let Some(directory) = &self.settings.facts {
            super::facts::set_sysctl(directory, name, number);
        }
    }

    fn look_at_descriptors(&mut self) {
        let opener = self.driver.opener(Side::FileSystem).map(|opener| opener.pid).filter(|pid| *pid != 0);
        let Some(pid) = opener.filter(|_| self.scrutiny) else { return };
        let Some(after) = descriptors::of(pid, self.file_systems.table()) else { return };
        if let Some((_, before)) = self.held.as_ref().filter(|(known, _)| *known == pid) {
            self.file_systems.audit_closed(before, &after);
        }
        self.held = Some((pid, after));
    }

    /// Passes events of the file systems on to the timeline, the violations and the mount table.
    fn collect(&mut self, now: Instant) {
        let news = self.file_systems.take_news();
        for happening in news.happened {
            if matches!(happening, Happening::Resumed { .. }) && self.backup == Backup::Frozen {
                self.backup = Backup::Void;
            }
            match happening {
                Happening::Suspended { .. } => self.statistics.suspended += 1,
                Happening::Resumed { .. } => self.statistics.resumed += 1,
                Happening::PagesLost { .. } => self.statistics.lost_pages += 1,
                _ => {}
            }
            self.note(now, happening);
        }
        self.violations.extend(news.violations);
        if let Some(directory) = &self.settings.facts {
            news.unmounted.iter().for_each(|id| super::facts::remove_mount(directory, *id));
        }
    }

    /// Makes waiters of other nodes than the called one look again.
    pub(super) fn settle(&mut self, called: Option<Side>, now: Instant) {
        let heard = self.driver.take_heard();
        for (operation, outcome) in &heard {
            self.audit_heard(*operation, *outcome);
            self.note(now, Happening::Answered { operation: *operation, outcome: *outcome });
        }
        if called != Some(Side::FileSystem) && (!heard.is_empty() || self.driver.is_waiting(Side::FileSystem))
        {
            // It fails only while the machine is being dropped.
            let _ = self.wake.send(Side::FileSystem);
        }
        if called != Some(Side::Application) && self.driver.is_waiting(Side::Application) {
            let _ = self.wake.send(Side::Application);
        }
    }

    pub(super) fn read(&mut self, side: Side, now: Instant) -> Vec<u8> {
        self.statistics.reads += 1;
        self.look(now);
        let Some((operation, id)) = self.driver.read(side) else {
            self.statistics.empty_reads += 1;
            return Message::bytes(0, 1, 0);
        };
        if side == Side::FileSystem && operation == Operation::Thaw {
            self.end_watch();
            if self.backup == Backup::Frozen {
                self.backup = Backup::Thawing;
            }
        }
        self.note(now, Happening::Read { side, operation });
        Message::bytes(operation.number(), 0, id)
    }

    pub(super) fn write(&mut self, side: Side, input: &[u8], now: Instant) -> Result<(), Errno> {
        self.statistics.writes += 1;
        self.look(now);
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
        let suspended: Vec<&str> = self.file_systems.suspended().map(|mount| mount.on.as_str()).collect();
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

    /// Judges a result: the host takes the answer to the thaw for the one about the backup.
    fn audit_heard(&mut self, operation: Operation, outcome: Outcome) {
        let void = match (operation, outcome) {
            (Operation::Freeze, Outcome::Success) => {
                self.backup = Backup::Frozen;
                return;
            }
            // A refused second freeze does not change the first.
            (Operation::Check | Operation::Freeze, _) | (_, Outcome::Dropped) => return,
            (Operation::Thaw, _) => std::mem::replace(&mut self.backup, Backup::None),
        };
        let why = match void {
            Backup::None => "without a freeze",
            Backup::Void => "though writes were possible since the freeze",
            Backup::Frozen | Backup::Thawing => return,
        };
        if outcome == Outcome::Success {
            self.violations
                .push(format!("a thaw was answered with success {why}: the host has a void backup"));
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

    pub(super) fn open_suspender(&mut self, handle: Handle, opener: Opener, descriptor: Option<i32>) {
        let looked_at =
            || if self.scrutiny && opener.pid != 0 { descriptors::next_free(opener.pid) } else { -1 };
        self.file_systems.open(handle, opener, descriptor.unwrap_or_else(looked_at));
    }

    pub(super) fn suspend(&mut self, handle: Handle, input: &[u8], now: Instant) -> Result<(), Errno> {
        let id = parse_id(input).ok_or(Errno::EINVAL)?;
        self.look(now);
        let caller = self.caller(handle, id);
        let result = self
            .fault(Call::Suspend)
            .and_then(|()| self.file_systems.suspend(handle, id, self.monotonic(now), caller));
        if let Err(error) = result {
            let known = self.file_systems.table().iter().find(|mount| mount.id == id);
            let on = known.map_or_else(|| id.to_string(), |mount| mount.on.clone());
            self.note(now, Happening::Refused { on, errno: error as i32 });
        }
        self.collect(now);
        let (_, took) = result?;
        self.statistics.flushed_in_suspensions += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let pid = self.file_systems.opener(handle).map(|opener| opener.pid);
        self.begin_watch(pid);
        self.sleep(took);
        Ok(())
    }

    fn caller(&self, handle: Handle, id: FsId) -> Caller {
        let pid = self.file_systems.opener(handle).map_or(0, |opener| opener.pid);
        if !self.scrutiny || pid == 0 {
            return Caller { threads: 1, writes_there: false };
        }
        let held = descriptors::of(pid, self.file_systems.table()).unwrap_or_default();
        Caller { threads: process::threads(pid), writes_there: held.iter().any(|held| held.writes_on(id)) }
    }

    pub(super) fn resume(&mut self, handle: Handle, now: Instant) -> Result<(), Errno> {
        self.end_watch();
        self.look(now);
        let result = self.file_systems.resume(handle);
        self.collect(now);
        result.map(drop)
    }

    pub(super) fn close_suspender(&mut self, handle: Handle, now: Instant) {
        self.look(now);
        let pid = self.file_systems.opener(handle).map_or(0, |opener| opener.pid);
        let exits = self.scrutiny && pid != 0 && descriptors::of(pid, &[]).is_none();
        if exits {
            let held = self.held.take_if(|(known, _)| *known == pid).map(|(_, held)| held);
            self.exit(pid, &held.unwrap_or_default(), now);
        } else if self.file_systems.close(handle) {
            // Its process may write from now on.
            self.watch = None;
        }
        self.collect(now);
    }

    /// A process ends with these descriptors open, besides the suspenders.
    pub(super) fn exit(&mut self, pid: u32, held: &[Descriptor], now: Instant) {
        self.watch = None;
        self.file_systems.exit(pid, held);
        self.collect(now);
    }

    pub(super) fn unmount(&mut self, on: &str, now: Instant) -> Result<bool, Errno> {
        self.look(now);
        let result = self.file_systems.unmount(on);
        self.collect(now);
        result.map(|unmounting| unmounting == Unmounting::Done)
    }
}

fn parse_id(input: &[u8]) -> Option<FsId> {
    let [a, b, c, d, e, f, g, h] = *<&[u8; 8]>::try_from(input).ok()?;
    Some(FsId([i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])]))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
