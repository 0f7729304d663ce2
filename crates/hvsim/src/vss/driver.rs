//! The driver of the two backup devices: one request at a time, which passes both of them. It is given calls
//! with their times, and knows no file system.
//!
//! The real driver has a queue to notify and a queue to acknowledge for each device. A request that arrives
//! while one of them is occupied is dropped, so there is at most one request in all of them. Its [`Stage`]
//! says where.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)` below `sys`. Each row has a test.
//!
//! | contract | what a program or the host sees | FreeBSD | test |
//! |---|---|---|---|
//! | B1 | one opener for each device | `dev/hyperv/utilities/hv_snapshot.c:536 (hv_vss_dev_open)`, `dev/hyperv/utilities/hv_snapshot.c:618 (hv_appvss_dev_open)` | `one_opener_for_each_device` |
//! | B2 | `poll` reports a request until it is read | `dev/hyperv/utilities/hv_snapshot.c:598 (hv_vss_dev_daemon_poll)`, `dev/hyperv/utilities/hv_snapshot.c:394 (hv_vss_notified)` | `poll_sees_a_request_until_it_is_read` |
//! | B3 | a request that timed out unread is gone: READ has status 1 | `dev/hyperv/utilities/hv_snapshot.c:401 (hv_vss_notified)` | `a_request_that_timed_out_unread_is_gone` |
//! | B6 | both daemons share fifteen seconds, and a late answer is ignored | `dev/hyperv/utilities/hv_snapshot.c:779 (hv_vss_start_notify)`, `dev/hyperv/utilities/hv_snapshot.c:698 (hv_vss_timeout)`, `dev/hyperv/utilities/hv_snapshot.c:439 (hv_vss_daemon_acked)` | `both_daemons_share_fifteen_seconds` |
//! | B7 | CHECK and FREEZE go to the application first, THAW last | `dev/hyperv/utilities/hv_snapshot.c:775 (hv_vss_start_notify)`, `dev/hyperv/utilities/hv_snapshot.c:458 (hv_vss_daemon_acked)` | `check_and_freeze_reach_the_application_first_and_thaw_last` |
//! | | the first failure is the answer, and the other daemon gets no request | `dev/hyperv/utilities/hv_snapshot.c:511 (hv_vss_app_acked)`, `dev/hyperv/utilities/hv_snapshot.c:462 (hv_vss_daemon_acked)` | `the_first_failure_is_the_answer` |
//! | | the status of the application is kept in eight bits | `dev/hyperv/utilities/hv_snapshot.c:482 (hv_vss_app_acked)` | `the_applications_status_has_eight_bits` |
//! | B9 | a request during a pending one is dropped without an answer | `dev/hyperv/utilities/hv_snapshot.c:739 (hv_vss_get_new_req_locked)`, `dev/hyperv/utilities/hv_snapshot.c:835 (hv_vss_process_request)` | `a_request_while_one_is_pending_is_dropped` |
//! | | requests before the first daemon wait in the channel; all but the first are dropped then | `dev/hyperv/utilities/hv_snapshot.c:279 (hv_vss_callback)`, `dev/hyperv/utilities/hv_snapshot.c:539 (hv_vss_dev_open)` | `requests_before_the_first_daemon_are_dropped_except_one` |
//! | B10 | when a daemon was there and is gone, each request fails at once | `dev/hyperv/utilities/hv_snapshot.c:265 (hv_vss_is_daemon_killed_after_launch)`, `dev/hyperv/utilities/hv_snapshot.c:886 (hv_vss_process_request)` | `a_daemon_that_is_gone_fails_every_request` |
//! | | an application that answers while the daemon is gone loses the request until its time-out | `dev/hyperv/utilities/hv_snapshot.c:502 (hv_vss_app_acked)` | `an_applications_success_without_daemon_is_lost` |
//! | B11 | a detach kills both openers | `dev/hyperv/utilities/hv_snapshot.c:1031 (hv_vss_detach)`, `dev/hyperv/utilities/hv_snapshot.c:1036 (hv_vss_detach)` | `detach_kills_all_openers_without_an_answer` |

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::control::{Operation, Outcome, Side};
use crate::device::{Handle, Opener};

/// How long the kernel waits for both daemons together.
pub const KERNEL_TIMEOUT: Duration = Duration::from_secs(15);

/// A request of the host under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Where the request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In a device's queue to notify: `poll` reports it, READ takes it.
    ToNotify(Side),
    /// Read, and not answered.
    ToAcknowledge(Side),
    /// Removed from every queue without an answer, because the application answered when the file-system
    /// daemon was gone. It can only time out.
    Lost,
}

#[derive(Debug, Clone)]
struct Pending {
    ticket: Ticket,
    operation: Operation,
    id: u64,
    stage: Stage,
    deadline: Instant,
}

/// One device's opener.
#[derive(Debug, Default)]
struct Channel {
    opened_by: Option<(Handle, Opener)>,
    /// `proc_task`: it was open once. From then on requests fail while it is closed, instead of waiting.
    was_open: bool,
}

/// The result of a WRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// It answers a request with this operation.
    Taken(Operation),
    /// No request with that id waits for an answer of this device.
    Ignored,
}

#[derive(Debug)]
pub(super) struct Driver {
    file_system: Channel,
    application: Channel,
    /// The requests in the channel's ring, until a daemon opens the device for the first time.
    ring: VecDeque<(Ticket, Operation)>,
    pending: Vec<Pending>,
    answers: BTreeMap<Ticket, Outcome>,
    next_ticket: u64,
    last_id: u64,
    present: bool,
    pub(super) timeout: Duration,
    pub(super) timeouts: u64,
    pub(super) dropped: u64,
    /// Requests that the kernel gave up and answered itself.
    given_up: VecDeque<u64>,
    /// The results that the host got since the last call.
    heard: Vec<(Operation, Outcome)>,
}

impl Driver {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            file_system: Channel::default(),
            application: Channel::default(),
            ring: VecDeque::new(),
            pending: Vec::new(),
            answers: BTreeMap::new(),
            next_ticket: 0,
            last_id: 0,
            present: true,
            timeout,
            timeouts: 0,
            dropped: 0,
            given_up: VecDeque::new(),
            heard: Vec::new(),
        }
    }

    fn channel(&mut self, side: Side) -> &mut Channel {
        match side {
            Side::FileSystem => &mut self.file_system,
            Side::Application => &mut self.application,
        }
    }

    /// Everything that decides about later requests, without numbers that only have to differ from each
    /// other.
    pub(super) fn state(&self, now: Instant) -> String {
        let pending: Vec<_> = self
            .pending
            .iter()
            .map(|p| (p.operation, p.stage, p.deadline.saturating_duration_since(now)))
            .collect();
        let channel = |channel: &Channel| (channel.opened_by.is_some(), channel.was_open);
        let ring: Vec<_> = self.ring.iter().map(|(_, operation)| *operation).collect();
        format!(
            "{} {:?} {:?} {ring:?} {pending:?}",
            self.present,
            channel(&self.file_system),
            channel(&self.application)
        )
    }

    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// The process that has a device open.
    pub(super) fn opener(&self, side: Side) -> Option<Opener> {
        let channel = match side {
            Side::FileSystem => &self.file_system,
            Side::Application => &self.application,
        };
        channel.opened_by.map(|(_, opener)| opener)
    }

    pub(super) fn open(
        &mut self,
        side: Side,
        handle: Handle,
        opener: Opener,
        clock: (u64, Instant),
    ) -> Result<(), Errno> {
        if !self.present {
            return Err(Errno::ENXIO);
        }
        let channel = self.channel(side);
        if channel.opened_by.is_some() {
            return Err(Errno::EBUSY);
        }
        channel.opened_by = Some((handle, opener));
        channel.was_open = true;
        if side == Side::FileSystem {
            // Requests that the host sent before. All except the first are dropped.
            for (ticket, operation) in std::mem::take(&mut self.ring) {
                self.process(ticket, operation, clock);
            }
        }
        Ok(())
    }

    pub(super) fn close(&mut self, side: Side, handle: Handle) {
        let channel = self.channel(side);
        if channel.opened_by.is_some_and(|(known, _)| known == handle) {
            channel.opened_by = None;
        }
    }

    /// Sends a request of the host. `clock` is the real time in nanoseconds, from which the driver makes the
    /// id, and the monotonic time.
    pub(super) fn submit(&mut self, operation: Operation, clock: (u64, Instant)) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if !self.present {
            self.answer(ticket, operation, Outcome::Detached);
        } else if self.file_system.was_open {
            self.process(ticket, operation, clock);
        } else {
            self.ring.push_back((ticket, operation));
        }
        ticket
    }

    fn process(&mut self, ticket: Ticket, operation: Operation, (real, now): (u64, Instant)) {
        if self.file_system.opened_by.is_none() {
            self.answer(ticket, operation, Outcome::DaemonGone);
            return;
        }
        if self.pending.iter().any(|pending| pending.stage != Stage::Lost) {
            self.dropped += 1;
            self.answers.insert(ticket, Outcome::Dropped);
            return;
        }
        // In the real driver two requests within one tick of the clock have the same id, too. No host is that
        // fast.
        self.last_id = real.max(self.last_id + 1);
        let first = match operation {
            Operation::Check | Operation::Freeze if self.application.opened_by.is_some() => Side::Application,
            Operation::Check | Operation::Freeze | Operation::Thaw => Side::FileSystem,
        };
        self.pending.push(Pending {
            ticket,
            operation,
            id: self.last_id,
            stage: Stage::ToNotify(first),
            deadline: now + self.timeout,
        });
    }

    /// Whether `poll` reports a request.
    pub(super) fn is_waiting(&self, side: Side) -> bool {
        self.pending.iter().any(|pending| pending.stage == Stage::ToNotify(side))
    }

    /// READ: operation and id of the waiting request.
    pub(super) fn read(&mut self, side: Side) -> Option<(Operation, u64)> {
        let pending = self.pending.iter_mut().find(|pending| pending.stage == Stage::ToNotify(side))?;
        pending.stage = Stage::ToAcknowledge(side);
        Some((pending.operation, pending.id))
    }

    /// WRITE.
    pub(super) fn write(&mut self, side: Side, id: u64, status: u32) -> Write {
        let found = self
            .pending
            .iter()
            .position(|pending| pending.id == id && pending.stage == Stage::ToAcknowledge(side));
        let Some(index) = found else { return Write::Ignored };
        let Pending { operation, ticket, .. } = self.pending[index];
        // The application's status is kept in eight bits.
        let success = if side == Side::Application { status & 0xff == 0 } else { status == 0 };
        match self.next_stage(side, operation, success) {
            Some(stage) => self.pending[index].stage = stage,
            None => {
                self.pending.remove(index);
                self.answer(ticket, operation, if success { Outcome::Success } else { Outcome::Failure });
            }
        }
        Write::Taken(operation)
    }

    /// The next stage of a request after an answer. `None`: to the host.
    fn next_stage(&self, side: Side, operation: Operation, success: bool) -> Option<Stage> {
        match (side, operation) {
            (Side::Application, _) if self.file_system.opened_by.is_none() => Some(Stage::Lost),
            _ if !success => None,
            (Side::Application, Operation::Check | Operation::Freeze) => {
                Some(Stage::ToNotify(Side::FileSystem))
            }
            (Side::FileSystem, Operation::Thaw) if self.application.opened_by.is_some() => {
                Some(Stage::ToNotify(Side::Application))
            }
            _ => None,
        }
    }

    /// Whether the kernel answered this request itself, because it took too long.
    pub(super) fn gave_up(&self, id: u64) -> bool {
        self.given_up.contains(&id)
    }

    /// The operation of the request that a device has not read yet.
    pub(super) fn unread(&self, id: u64) -> bool {
        self.pending.iter().any(|pending| pending.id == id && matches!(pending.stage, Stage::ToNotify(_)))
    }

    fn answer(&mut self, ticket: Ticket, operation: Operation, outcome: Outcome) {
        self.answers.insert(ticket, outcome);
        self.heard.push((operation, outcome));
    }

    pub(super) fn take_answer(&mut self, ticket: Ticket) -> Option<Outcome> {
        self.answers.remove(&ticket)
    }

    /// The results that the host got since the last call.
    pub(super) fn take_heard(&mut self) -> Vec<(Operation, Outcome)> {
        std::mem::take(&mut self.heard)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.deadline).min()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let late: Vec<Pending> = self.pending.extract_if(.., |pending| pending.deadline <= now).collect();
        for pending in late {
            self.timeouts += 1;
            self.given_up.push_back(pending.id);
            if self.given_up.len() > 64 {
                self.given_up.pop_front();
            }
            self.answer(pending.ticket, pending.operation, Outcome::TimedOut);
        }
    }

    /// Detaches the devices. Returns the processes that the kernel kills.
    pub(super) fn detach(&mut self) -> Vec<Opener> {
        self.present = false;
        let ring = std::mem::take(&mut self.ring);
        let pending = std::mem::take(&mut self.pending).into_iter().map(|p| (p.ticket, p.operation));
        for (ticket, operation) in ring.into_iter().chain(pending) {
            self.answer(ticket, operation, Outcome::Detached);
        }
        let openers = [&mut self.file_system, &mut self.application].map(|channel| channel.opened_by.take());
        openers.into_iter().flatten().map(|(_, opener)| opener).collect()
    }

    /// Attaches the devices, as after a boot.
    pub(super) fn attach(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        let (next_ticket, last_id) = (self.next_ticket, self.last_id);
        *self = Self { answers, next_ticket, last_id, ..Self::new(self.timeout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        driver: Driver,
        now: Instant,
        real: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self { driver: Driver::new(KERNEL_TIMEOUT), now: Instant::now(), real: 1_000 }
        }

        fn with_daemon() -> Self {
            let mut bench = Self::new();
            bench.open(Side::FileSystem, 1).unwrap();
            bench
        }

        fn open(&mut self, side: Side, handle: u64) -> Result<(), Errno> {
            self.driver.open(side, Handle(handle), Opener { pid: 0 }, (self.real, self.now))
        }

        fn submit(&mut self, operation: Operation) -> Ticket {
            self.driver.submit(operation, (self.real, self.now))
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.real += u64::try_from(time.as_nanos()).unwrap();
            self.driver.tick(self.now);
        }

        /// READ, and WRITE with this status.
        fn serve(&mut self, side: Side, status: u32) -> Operation {
            let (operation, id) = self.driver.read(side).expect("nothing waits");
            assert_eq!(self.driver.write(side, id, status), Write::Taken(operation));
            operation
        }
    }

    use Operation::{Check, Freeze, Thaw};
    use Side::{Application, FileSystem};

    // contract B1
    #[test]
    fn one_opener_for_each_device() {
        let mut bench = Bench::with_daemon();
        assert_eq!(bench.open(FileSystem, 2), Err(Errno::EBUSY));
        bench.open(Application, 3).unwrap();
        assert_eq!(bench.open(Application, 4), Err(Errno::EBUSY));
        bench.driver.close(FileSystem, Handle(2));
        assert_eq!(bench.open(FileSystem, 2), Err(Errno::EBUSY));
        bench.driver.close(FileSystem, Handle(1));
        bench.open(FileSystem, 2).unwrap();
    }

    // contract B2
    #[test]
    fn poll_sees_a_request_until_it_is_read() {
        let mut bench = Bench::with_daemon();
        assert!(!bench.driver.is_waiting(FileSystem));
        let ticket = bench.submit(Check);
        assert!(bench.driver.is_waiting(FileSystem) && !bench.driver.is_waiting(Application));
        let (operation, id) = bench.driver.read(FileSystem).unwrap();
        assert_eq!((operation, id), (Check, 1_000));
        assert!(!bench.driver.is_waiting(FileSystem));
        assert_eq!(bench.driver.read(FileSystem), None);
        bench.driver.write(FileSystem, id, 0);
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Success));
    }

    // contract B7
    #[test]
    fn check_and_freeze_reach_the_application_first_and_thaw_last() {
        for operation in [Check, Freeze] {
            let mut bench = Bench::with_daemon();
            bench.open(Application, 2).unwrap();
            let ticket = bench.submit(operation);
            assert!(!bench.driver.is_waiting(FileSystem));
            bench.serve(Application, 0);
            assert_eq!(bench.driver.take_answer(ticket), None);
            bench.serve(FileSystem, 0);
            assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Success));
        }
        let mut bench = Bench::with_daemon();
        bench.open(Application, 2).unwrap();
        let ticket = bench.submit(Thaw);
        assert!(!bench.driver.is_waiting(Application));
        bench.serve(FileSystem, 0);
        bench.serve(Application, 0);
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Success));
    }

    #[test]
    fn the_first_failure_is_the_answer() {
        for (operation, first, second) in [
            (Freeze, Application, FileSystem),
            (Check, Application, FileSystem),
            (Thaw, FileSystem, Application),
        ] {
            let mut bench = Bench::with_daemon();
            bench.open(Application, 2).unwrap();
            let ticket = bench.submit(operation);
            bench.serve(first, 1);
            assert!(!bench.driver.is_waiting(second));
            assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Failure));
            let ticket = bench.submit(operation);
            bench.serve(first, 0);
            bench.serve(second, 1);
            assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Failure));
        }
    }

    #[test]
    fn the_applications_status_has_eight_bits() {
        let mut bench = Bench::with_daemon();
        bench.open(Application, 2).unwrap();
        bench.submit(Check);
        bench.serve(Application, 256);
        assert!(bench.driver.is_waiting(FileSystem));
        let mut alone = Bench::with_daemon();
        let ticket = alone.submit(Check);
        alone.serve(FileSystem, 256);
        assert_eq!(alone.driver.take_answer(ticket), Some(Outcome::Failure));
    }

    // contract B6
    #[test]
    fn both_daemons_share_fifteen_seconds() {
        let mut bench = Bench::with_daemon();
        bench.open(Application, 2).unwrap();
        let ticket = bench.submit(Freeze);
        bench.pass(Duration::from_secs(14));
        bench.serve(Application, 0);
        let (_, id) = bench.driver.read(FileSystem).unwrap();
        assert_eq!(bench.driver.next_deadline(), Some(bench.now + Duration::from_secs(1)));
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::TimedOut));
        assert!(bench.driver.gave_up(id));
        // The late answer is ignored, and the device is free again.
        assert_eq!(bench.driver.write(FileSystem, id, 0), Write::Ignored);
        assert_eq!(bench.driver.take_answer(ticket), None);
        bench.submit(Thaw);
        assert!(bench.driver.is_waiting(FileSystem));
    }

    // contract B3
    #[test]
    fn a_request_that_timed_out_unread_is_gone() {
        let mut bench = Bench::with_daemon();
        let ticket = bench.submit(Check);
        assert!(bench.driver.is_waiting(FileSystem));
        bench.pass(KERNEL_TIMEOUT);
        assert_eq!(bench.driver.read(FileSystem), None);
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::TimedOut));
    }

    // contract B9
    #[test]
    fn a_request_while_one_is_pending_is_dropped() {
        let mut bench = Bench::with_daemon();
        let first = bench.submit(Freeze);
        let second = bench.submit(Thaw);
        assert_eq!(bench.driver.take_answer(second), Some(Outcome::Dropped));
        let (_, id) = bench.driver.read(FileSystem).unwrap();
        let third = bench.submit(Thaw);
        assert_eq!(bench.driver.take_answer(third), Some(Outcome::Dropped));
        bench.driver.write(FileSystem, id, 0);
        assert_eq!(bench.driver.take_answer(first), Some(Outcome::Success));
        assert_eq!(bench.driver.dropped, 2);
    }

    #[test]
    fn requests_before_the_first_daemon_are_dropped_except_one() {
        let mut bench = Bench::new();
        let first = bench.submit(Check);
        let second = bench.submit(Freeze);
        bench.pass(KERNEL_TIMEOUT * 10);
        assert_eq!(bench.driver.take_answer(first), None);
        bench.open(FileSystem, 1).unwrap();
        assert_eq!(bench.driver.take_answer(second), Some(Outcome::Dropped));
        assert_eq!(bench.serve(FileSystem, 0), Check);
        assert_eq!(bench.driver.take_answer(first), Some(Outcome::Success));
    }

    // contract B10
    #[test]
    fn a_daemon_that_is_gone_fails_every_request() {
        let mut bench = Bench::with_daemon();
        let pending = bench.submit(Freeze);
        bench.driver.close(FileSystem, Handle(1));
        let later = bench.submit(Thaw);
        assert_eq!(bench.driver.take_answer(later), Some(Outcome::DaemonGone));
        // The pending request waits for a daemon that opens the device, or for its time-out.
        assert_eq!(bench.driver.take_answer(pending), None);
        bench.open(FileSystem, 2).unwrap();
        assert_eq!(bench.serve(FileSystem, 1), Freeze);
        assert_eq!(bench.driver.take_answer(pending), Some(Outcome::Failure));
    }

    #[test]
    fn an_applications_success_without_daemon_is_lost() {
        let mut bench = Bench::with_daemon();
        bench.open(Application, 2).unwrap();
        let ticket = bench.submit(Freeze);
        bench.driver.close(FileSystem, Handle(1));
        bench.serve(Application, 0);
        assert_eq!(bench.driver.take_answer(ticket), None);
        bench.open(FileSystem, 3).unwrap();
        // It blocks no other request, and times out.
        let next = bench.submit(Thaw);
        bench.serve(FileSystem, 0);
        bench.serve(Application, 0);
        assert_eq!(bench.driver.take_answer(next), Some(Outcome::Success));
        bench.pass(KERNEL_TIMEOUT);
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::TimedOut));
    }

    // contract B11
    #[test]
    fn detach_kills_all_openers_without_an_answer() {
        let mut bench = Bench::with_daemon();
        bench.open(Application, 2).unwrap();
        let ticket = bench.submit(Check);
        assert_eq!(bench.driver.detach().len(), 2);
        assert_eq!(bench.driver.take_answer(ticket), Some(Outcome::Detached));
        assert_eq!(bench.open(FileSystem, 3), Err(Errno::ENXIO));
        let dead = bench.submit(Check);
        assert_eq!(bench.driver.take_answer(dead), Some(Outcome::Detached));
        bench.driver.attach();
        let early = bench.submit(Check);
        assert_eq!(bench.driver.take_answer(early), None);
        bench.open(FileSystem, 4).unwrap();
        bench.serve(FileSystem, 0);
        assert_eq!(bench.driver.take_answer(early), Some(Outcome::Success));
    }
}
