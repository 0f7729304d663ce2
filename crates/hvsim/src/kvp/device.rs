//! The state machine of the driver behind `/dev/hv_kvp_dev`. It is given calls with their times, and knows no
//! file and no clock.
//!
//! The driver is one task that takes the host's messages one after the other and waits up to five seconds for
//! each, and four entry points for the daemon. A few flags connect them, and their exact meaning decides
//! whether a daemon survives. So the flags here have the driver's names.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)` below `sys`. Each row has a test.
//!
//! | contract | what a program or the host sees | FreeBSD | test |
//! |---|---|---|---|
//! | K1 | one opener, a second gets the negated EBUSY | `dev/hyperv/utilities/hv_kvp.c:701 (hv_kvp_dev_open)` | `the_device_has_one_opener` |
//! | K2 | before the registration a read is EPERM, and a write of anything but REGISTER is EINVAL | `dev/hyperv/utilities/hv_kvp.c:737 (hv_kvp_dev_daemon_read)`, `dev/hyperv/utilities/hv_kvp.c:787 (hv_kvp_dev_daemon_write)` | `calls_before_registration_fail` |
//! | K2 | requests stay in the channel until a daemon registers | `dev/hyperv/utilities/hv_kvp.c:687 (hv_kvp_callback)` | `a_request_is_held_until_a_daemon_registers` |
//! | K3 | an answer before any request follows a null pointer | `dev/hyperv/utilities/hv_kvp.c:794 (hv_kvp_dev_daemon_write)` | `an_answer_before_any_request_faults` |
//! | K4 | `poll` reports `daemon_busy`: from the delivery to the answer | `dev/hyperv/utilities/hv_kvp.c:833 (hv_kvp_dev_daemon_poll)` | `poll_is_level_triggered_until_the_answer` |
//! | K5 | a second read of a request sleeps | `dev/hyperv/utilities/hv_kvp.c:739 (hv_kvp_dev_daemon_read)` | `a_second_read_of_a_request_sleeps` |
//! | K5 | a token that was not read is there for the next opener | `dev/hyperv/utilities/hv_kvp.c:566 (hv_kvp_send_msg_to_daemon)` | `a_token_survives_its_opener` |
//! | K6 | the size of a read follows the file offset | `dev/hyperv/utilities/hv_kvp.c:745 (hv_kvp_dev_daemon_read)` | `the_copied_size_follows_the_file_offset` |
//! | K7 | a larger read gets one byte from behind the buffer | `dev/hyperv/utilities/hv_kvp.c:744 (hv_kvp_dev_daemon_read)` | `a_larger_read_gets_a_byte_behind_the_buffer` |
//! | K8 | a late answer succeeds, does not reach the host, and frees the device | `dev/hyperv/utilities/hv_kvp.c:793 (hv_kvp_dev_daemon_write)` | `a_late_answer_is_dropped_and_frees_the_device` |
//! | K8 | an answer to an unknown operation reaches the host, and the write is EINVAL | `dev/hyperv/utilities/hv_kvp.c:797 (hv_kvp_dev_daemon_write)` | `the_answer_to_an_unknown_operation_fails_afterwards` |
//! | K9 | close ends the registration | `dev/hyperv/utilities/hv_kvp.c:718 (hv_kvp_dev_close)` | `closing_unregisters` |
//! | K10 | a detach kills the process that opened the device | `dev/hyperv/utilities/hv_kvp.c:896 (hv_kvp_detach)` | `detach_returns_the_opener_and_fails_requests` |
//! | K40 | the host gets HV_E_FAIL after five seconds | `dev/hyperv/utilities/hv_kvp.c:636 (hv_kvp_process_request)`, `dev/hyperv/utilities/hv_kvp.c:655 (hv_kvp_process_request)` | `the_host_gets_a_failure_after_five_seconds` |
//! | K40 | a request during an unanswered one is not delivered, and fails after its own five seconds | `dev/hyperv/utilities/hv_kvp.c:623 (hv_kvp_process_request)` | `a_request_during_an_unanswered_one_fails` |

mod judge;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::convert::{self, Adapter};
use super::host::{HostAnswer, HostRequest};
use super::layout::{self, MESSAGE_SIZE, Message};
use crate::device::{DeviceFile, Handle, Opener, ReadCall, ReadOutcome, Readiness};

/// How long the kernel waits for the daemon.
pub const KERNEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of a device.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the kernel waits for the daemon: [`KERNEL_TIMEOUT`], less in tests.
    pub timeout: Duration,
    /// The network adapters. They turn the GUIDs of `SET_IP_INFO` into interface names.
    pub adapters: Vec<Adapter>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: KERNEL_TIMEOUT, adapters: Vec::new() }
    }
}

/// A request of the host under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The counters of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// `poll` calls. One sleeping `poll(2)` makes two or three of them.
    pub polls: u64,
    /// The most `poll` calls in a row without a read, a write or a new request between them. A large number
    /// means that the daemon spins.
    pub most_polls_without_progress: u64,
    /// `read` calls.
    pub reads: u64,
    /// `write` calls.
    pub writes: u64,
    /// Requests that were not answered in time, or never read.
    pub timeouts: u64,
    /// Whether a daemon is registered now.
    pub registered: bool,
    /// The process that has the device open now, 0 for none.
    pub opener: u32,
    /// How often a daemon has registered.
    pub registrations: u64,
}

/// The request that the daemon works on.
struct Current {
    ticket: Ticket,
    asked: HostRequest,
    /// `host_kvp_msg`, which the answer changes in place.
    host: Message,
    deadline: Instant,
}

/// How far the daemon is with the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// No request since the device was opened.
    Nothing,
    Handed,
    Read,
    Answered,
    /// The answer was refused with `EINVAL`, after the host had it.
    Refused,
}

/// `/dev/hv_kvp_dev`.
pub struct KvpDevice {
    settings: Settings,
    present: bool,
    /// `dev_accessed` and `daemon_task`.
    opener: Option<(Handle, Opener)>,
    register_done: bool,
    daemon_busy: bool,
    req_timed_out: bool,
    /// Whether `host_kvp_msg` points to a message.
    had_request: bool,
    /// `dev_sema`.
    tokens: u32,
    /// `daemon_kvp_msg`, which every write of the daemon changes.
    daemon_message: Message,
    /// The request as it was handed over, to judge the answer.
    handed: Message,
    progress: Progress,
    /// Packets in the channel that the task has not taken yet.
    ring: VecDeque<(Ticket, HostRequest)>,
    current: Option<Current>,
    done: BTreeMap<Ticket, HostAnswer>,
    next_ticket: u64,
    polls_without_progress: u64,
    registered_at: Option<Instant>,
    statistics: Statistics,
    violations: Vec<String>,
}

impl KvpDevice {
    /// A device as after boot: not open.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            present: true,
            opener: None,
            register_done: false,
            daemon_busy: false,
            req_timed_out: false,
            had_request: false,
            tokens: 0,
            daemon_message: Message::zeroed(),
            handed: Message::zeroed(),
            progress: Progress::Nothing,
            ring: VecDeque::new(),
            current: None,
            done: BTreeMap::new(),
            next_ticket: 0,
            polls_without_progress: 0,
            registered_at: None,
            statistics: Statistics::default(),
            violations: Vec::new(),
        }
    }

    /// Sends a request of the host. It stays in the channel until a daemon is registered and earlier requests
    /// are done. Its time begins when the kernel's task takes it.
    pub fn submit(&mut self, request: HostRequest, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if !self.present {
            self.done.insert(ticket, detached_answer());
            return ticket;
        }
        self.ring.push_back((ticket, request));
        if self.register_done {
            self.run_task(now);
        }
        ticket
    }

    /// Takes the answer to a request.
    pub fn take_answer(&mut self, ticket: Ticket) -> Option<HostAnswer> {
        self.done.remove(&ticket)
    }

    /// Removes the device: the node is gone, and requests under way fail. Returns the process to kill, which
    /// is the opener, or 0 for a port of this process.
    pub fn detach(&mut self) -> Option<Opener> {
        self.present = false;
        let under_way = self.current.take().map(|current| current.ticket);
        let waiting = self.ring.drain(..).map(|(ticket, _)| ticket);
        for ticket in under_way.into_iter().chain(waiting) {
            self.done.insert(ticket, detached_answer());
        }
        self.register_done = false;
        self.opener.take().map(|(_, opener)| opener)
    }

    /// Creates a detached device again. Counters and violations stay.
    pub fn attach(&mut self) {
        if self.present {
            return;
        }
        let fresh = Self::new(self.settings.clone());
        let old = std::mem::replace(self, fresh);
        self.done = old.done;
        self.next_ticket = old.next_ticket;
        self.statistics = old.statistics;
        self.violations = old.violations;
    }

    /// Changes how long the kernel waits for the daemon, beginning with the next request.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.settings.timeout = timeout;
    }

    /// Whether a daemon is registered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.register_done
    }

    /// When a daemon last registered.
    #[must_use]
    pub fn registered_at(&self) -> Option<Instant> {
        self.registered_at
    }

    /// The counters so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            registered: self.register_done,
            opener: self.opener.map_or(0, |(_, opener)| opener.pid),
            ..self.statistics
        }
    }

    /// `hv_kvp_process_request`: continues as long as there are messages, even if the daemon has ended
    /// meanwhile.
    fn run_task(&mut self, now: Instant) {
        if self.current.is_some() {
            return;
        }
        let Some((ticket, asked)) = self.ring.pop_front() else { return };
        let host = asked.to_message();
        self.had_request = true;
        if !self.daemon_busy {
            self.req_timed_out = false;
            self.daemon_busy = true;
            self.daemon_message = match &asked {
                HostRequest::Verbatim { .. } => host.clone(),
                _ => convert::to_daemon(&host, &self.settings.adapters),
            };
            self.handed = self.daemon_message.clone();
            self.progress = Progress::Handed;
            self.tokens += 1;
            self.progressed();
        }
        let deadline = now + self.settings.timeout;
        self.current = Some(Current { ticket, asked, host, deadline });
    }

    fn finish(&mut self, answer: impl FnOnce(&Current) -> HostAnswer, now: Instant) {
        // The wake-up of the task sets this flag and leaves it set, so every later answer is dropped.
        self.req_timed_out = true;
        if let Some(current) = self.current.take() {
            self.done.insert(current.ticket, answer(&current));
        }
        self.run_task(now);
    }

    fn register(&mut self, data: &[u8], now: Instant) -> Result<usize, Errno> {
        if data.len() != MESSAGE_SIZE {
            self.violation(format!("wrote {} bytes to register, not {MESSAGE_SIZE}", data.len()));
            return Err(Errno::EINVAL);
        }
        if self.daemon_message.u8_at(layout::OPERATION) != layout::OP_REGISTER {
            self.violation("wrote something else than REGISTER before it was registered".to_owned());
            return Err(Errno::EINVAL);
        }
        self.register_done = true;
        self.registered_at = Some(now);
        self.statistics.registrations += 1;
        self.run_task(now);
        Ok(data.len())
    }

    fn answer(&mut self, data: &[u8], now: Instant) -> Result<usize, Errno> {
        if data.len() != MESSAGE_SIZE {
            self.violation(format!("wrote an answer of {} bytes, not {MESSAGE_SIZE}", data.len()));
        }
        self.judge_answer();
        if !self.req_timed_out && !self.had_request {
            // The kernel follows a null pointer here. Failing is the closest equivalent.
            return Err(Errno::EFAULT);
        }
        self.daemon_busy = false;
        let mut converted = Ok(());
        if !self.req_timed_out {
            let code = self.daemon_message.u32_at(layout::ERROR);
            if let Some(current) = &mut self.current {
                converted = convert::to_host(&self.daemon_message, &mut current.host);
            }
            self.progress = if converted.is_ok() { Progress::Answered } else { Progress::Refused };
            self.finish(|current| current.asked.answer(code, &current.host), now);
        } else if self.progress == Progress::Read {
            self.progress = Progress::Answered;
        }
        converted.map(|()| data.len().min(MESSAGE_SIZE))
    }

    fn progressed(&mut self) {
        self.polls_without_progress = 0;
    }

    fn violation(&mut self, sentence: String) {
        self.violations.push(format!("hv_kvp_dev: {sentence}"));
    }

    fn is_opener(&self, handle: Handle) -> bool {
        self.present && self.opener.is_some_and(|(opened, _)| opened == handle)
    }
}

impl DeviceFile for KvpDevice {
    fn name(&self) -> &'static str {
        "hv_kvp_dev"
    }

    fn is_present(&self) -> bool {
        self.present
    }

    fn open(&mut self, handle: Handle, opener: Opener, _now: Instant) -> Result<(), Errno> {
        if !self.present {
            return Err(Errno::ENXIO);
        }
        if self.opener.is_some() {
            // The driver returns the negated number, which Linux cannot pass on.
            return Err(Errno::EBUSY);
        }
        self.opener = Some((handle, opener));
        self.daemon_busy = false;
        self.progress = Progress::Nothing;
        self.progressed();
        Ok(())
    }

    fn close(&mut self, handle: Handle, _now: Instant) {
        if self.is_opener(handle) {
            self.opener = None;
            self.register_done = false;
        }
    }

    fn read(&mut self, call: ReadCall, _now: Instant) -> ReadOutcome {
        if !self.is_opener(call.handle) {
            return ReadOutcome::Failed(Errno::ENXIO);
        }
        if !call.again {
            if !self.register_done {
                self.violation("read before it was registered".to_owned());
                return ReadOutcome::Failed(Errno::EPERM);
            }
            self.judge_read(call);
        }
        let Some(left) = self.tokens.checked_sub(1) else { return ReadOutcome::Sleeps };
        self.tokens = left;
        if self.daemon_busy && self.progress == Progress::Handed {
            self.progress = Progress::Read;
        }
        self.progressed();
        // BUFFERSIZE + 1 - uio_offset: one byte too many, from behind the driver's buffer.
        let offset = usize::try_from(call.offset).unwrap_or(usize::MAX);
        let amount = call.size.min((MESSAGE_SIZE + 1).saturating_sub(offset));
        let mut bytes = self.daemon_message.bytes().to_vec();
        bytes.push(0xa5);
        bytes.truncate(amount);
        ReadOutcome::Data(bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, data: &[u8], now: Instant) -> Result<usize, Errno> {
        if !self.is_opener(handle) {
            return Err(Errno::ENXIO);
        }
        self.statistics.writes += 1;
        self.progressed();
        if offset != 0 {
            self.violation(format!("wrote at file offset {offset}, not 0"));
        }
        self.daemon_message = Message::from_bytes(data);
        if self.register_done { self.answer(data, now) } else { self.register(data, now) }
    }

    fn poll(&mut self, handle: Handle, _now: Instant) -> Readiness {
        self.statistics.polls += 1;
        self.polls_without_progress += 1;
        let most = &mut self.statistics.most_polls_without_progress;
        *most = self.polls_without_progress.max(*most);
        self.readiness(handle)
    }

    fn readiness(&self, handle: Handle) -> Readiness {
        if self.is_opener(handle) {
            Readiness { readable: self.daemon_busy, hung_up: false }
        } else {
            Readiness { readable: false, hung_up: true }
        }
    }

    fn violations(&self) -> &[String] {
        &self.violations
    }

    fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.deadline)
    }

    fn tick(&mut self, now: Instant) {
        while self.current.as_ref().is_some_and(|current| current.deadline <= now) {
            self.statistics.timeouts += 1;
            self.finish(|_| HostAnswer { timed_out: true, ..HostAnswer::bare(layout::STATUS_FAIL) }, now);
        }
    }
}

fn detached_answer() -> HostAnswer {
    HostAnswer { detached: true, ..HostAnswer::bare(layout::STATUS_FAIL) }
}

#[cfg(test)]
mod tests;
