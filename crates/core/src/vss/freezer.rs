//! The state machine of a backup: every request, every failure and every deadline, without a clock or a device.
//!
//! ```text
//!         freeze                      answered              thaw, watchdog, leaving
//!  Idle ──────────> Freezing ───────────────────> Frozen ─────────────────┐
//!   ^  <─ no hooks ── │ failure, late, leaving                             v
//!   └──────────────── └──────────────────────────────────────────────> After (hooks)
//! ```
//!
//! Whatever ends a freeze resumes all that was suspended *before* anything else is done: the file systems come first,
//! then the host's answer, then the log, then the hooks.

mod after;
mod events;
mod freezing;
mod frozen;
mod refusals;
mod rules;
#[cfg(test)]
mod tests;

use std::time::Duration;

use log::Level;

use self::after::After;
pub use self::events::{Action, Ended, Event, Leaving, Outcome, Purpose, Suspended, Task};
use self::freezing::Freezing;
use self::frozen::Frozen;
use self::refusals::Refusals;
pub use self::rules::{HeldOpen, Limits, Rules};
use super::hooks::Phase;
use super::mounts::Mount;
use crate::abi::vss::{Answer, Operation, Request, Status};

/// How long the kernel waits for an answer to a request, over both devices together (TIMEOUT_LIMIT of
/// dev/hyperv/utilities/hv_snapshot.c); then it tells the host that the request failed.
pub const KERNEL_LIMIT: Duration = Duration::from_secs(15);

/// An answer is given this long before [`KERNEL_LIMIT`] at the latest, even when an application's daemon used most of it.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// A success whose writing ended less than this before [`KERNEL_LIMIT`] may have reached nobody.
const DOUBT_MARGIN: Duration = Duration::from_millis(500);

/// A freeze to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    request: Request,
    /// When we got it.
    read_at: Duration,
    /// When the kernel gives up on it.
    kernel_limit: Duration,
    /// When it must be answered, whatever has been reached.
    answer_by: Duration,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Freezing(Freezing),
    Frozen(Frozen),
    After(After),
}

/// The engine of the backup daemon. Times are of one monotonic clock.
#[derive(Debug)]
pub struct Freezer {
    rules: Rules,
    state: State,
    /// A freeze that was answered with success was undone since: the thaw that the host sends must fail.
    void: bool,
    leaving: Option<Leaving>,
    refusals: Refusals,
}

impl Freezer {
    /// A freezer of a guest that is not frozen.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: State::Idle, void: false, leaving: None, refusals: Refusals::default() }
    }

    /// Replaces the rules; deadlines that run already stay as they are.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When [`Event::Tick`] is due; `None` while nothing depends on time.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Idle => None,
            State::Freezing(freezing) => Some(freezing.job.answer_by),
            State::Frozen(frozen) => frozen.thaw_by,
            State::After(after) => after.waiting.map(|job| job.answer_by),
        }
    }

    /// Whether no backup is going on: the moment to change the rules.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether file systems are, or may be, suspended.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        match &self.state {
            State::Idle | State::After(_) => false,
            State::Freezing(freezing) => freezing.is_suspending(),
            State::Frozen(_) => true,
        }
    }

    /// Takes what happened at `now` and says what to do.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Request { request, age } => self.request(request, age, now),
            Event::Surveyed(Purpose::Check(request), table) => self.check(request, table, now),
            Event::Surveyed(Purpose::Freeze, table) => {
                self.advance(now, |freezing, rules, out| freezing.surveyed(table, rules, now, out))
            }
            Event::Hooks(selection) => {
                self.advance(now, |freezing, rules, out| freezing.hooks(selection, rules, now, out))
            }
            Event::Ended(ended) => self.ended(ended, now),
            Event::Opened(result) => self.advance(now, |freezing, _, out| freezing.opened(result, now, out)),
            Event::Suspended(outcome) => {
                self.advance(now, |freezing, _, out| freezing.mount_suspended(outcome, now, out))
            }
            Event::Answered(Ok(())) => self.answered(now),
            Event::Answered(Err(reason)) | Event::DeviceGone(reason) => self.device_gone(&reason, now),
            Event::Tick => self.tick(now),
            Event::Terminate => self.terminate(now),
        }
    }

    fn request(&mut self, request: Request, age: Duration, now: Duration) -> Vec<Action> {
        match request.operation {
            Operation::Check => self.request_check(request, now),
            Operation::Freeze => self.request_freeze(request, age, now),
            Operation::Thaw => self.request_thaw(request, now),
            Operation::Other(_) => {
                let text = format!("request refused: {} is unknown", request.operation);
                refused(request, self.refusals.unknown.repeat(vec![text], now))
            }
        }
    }

    fn request_check(&mut self, request: Request, now: Duration) -> Vec<Action> {
        match &self.state {
            State::Freezing(_) | State::Frozen(_) => {
                let text = "check refused: a backup is going on".to_owned();
                refused(request, self.refusals.check_in_backup.report(vec![text], now))
            }
            State::Idle | State::After(_) => vec![Action::Survey(Purpose::Check(request))],
        }
    }

    fn check(&mut self, request: Request, table: Result<Vec<Mount>, String>, now: Duration) -> Vec<Action> {
        let refusals = match table {
            Ok(table) => self.rules.refusals(&self.rules.policy.judge(&table)),
            Err(reason) => vec![reason],
        };
        if refusals.is_empty() {
            self.refusals.check.end();
            let text = "check passed: a backup can be made".to_owned();
            return vec![answer(request, Status::Success), Action::Log(Level::Debug, text)];
        }
        let lines = refusals.into_iter().map(|reason| format!("check refused: {reason}")).collect();
        refused(request, self.refusals.check.report(lines, now))
    }

    fn request_freeze(&mut self, request: Request, age: Duration, now: Duration) -> Vec<Action> {
        let kernel_limit = (now + KERNEL_LIMIT).saturating_sub(age);
        let answer_by = (now + self.rules.limits.answer).min(kernel_limit.saturating_sub(ANSWER_MARGIN));
        let job = Job { request, read_at: now, kernel_limit, answer_by };
        match &mut self.state {
            State::Idle => self.begin(job),
            // The hooks of the last backup are not through: the freeze waits for them as long as it can.
            State::After(after) if after.waiting.is_none() && self.leaving.is_none() => {
                after.waiting = Some(job);
                Vec::new()
            }
            State::Freezing(_) | State::Frozen(_) | State::After(_) => {
                let text = "freeze refused: another one is in force".to_owned();
                refused(request, self.refusals.freeze_in_backup.report(vec![text], now))
            }
        }
    }

    /// Begins a freeze: a new backup, so whatever became of the one before does not matter any more.
    fn begin(&mut self, job: Job) -> Vec<Action> {
        self.void = false;
        self.state = State::Freezing(Freezing::new(job));
        vec![Action::Survey(Purpose::Freeze)]
    }

    fn request_thaw(&mut self, request: Request, now: Duration) -> Vec<Action> {
        let success = answer(request, Status::Success);
        match std::mem::take(&mut self.state) {
            State::Frozen(frozen) => {
                let text = format!("thawed after={:.3}s", now.saturating_sub(frozen.since).as_secs_f64());
                let (mut actions, hooks) = frozen.resume();
                actions.extend([success, Action::ReleaseLog, Action::Log(Level::Info, text)]);
                self.run_after(Phase::Thaw, hooks, actions)
            }
            State::Freezing(freezing) => {
                // Only possible when the kernel gave the freeze up.
                let mut actions = self.fail(freezing, "the host thaws already", true, now);
                let answered = actions.iter().position(|a| matches!(a, Action::Answer(_)));
                actions.insert(answered.map_or(0, |index| index + 1), success);
                actions
            }
            other => {
                self.state = other;
                let mut actions = self.drop_waiting("the host thaws already");
                actions.extend(self.thaw_nothing(request));
                actions
            }
        }
    }

    /// A thaw while nothing is frozen: fine, unless the host believes that something was.
    fn thaw_nothing(&mut self, request: Request) -> Vec<Action> {
        if !std::mem::take(&mut self.void) {
            return vec![answer(request, Status::Success)];
        }
        let text = "thaw refused: the file systems were thawed before, the backup is void".to_owned();
        vec![answer(request, Status::Failure), Action::Log(Level::Warn, text)]
    }

    fn ended(&mut self, ended: Ended, now: Duration) -> Vec<Action> {
        match std::mem::take(&mut self.state) {
            State::After(mut after) => {
                let lines = after.ended(ended);
                self.continue_after(after, lines, now)
            }
            other => {
                self.state = other;
                self.advance(now, |freezing, rules, out| freezing.ended(ended, rules, now, out))
            }
        }
    }

    /// Lets the freeze that is being prepared take its next step, which adds its actions to a list; an error ends it.
    fn advance(
        &mut self,
        now: Duration,
        step: impl FnOnce(&mut Freezing, &Rules, &mut Vec<Action>) -> Result<(), String>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        match std::mem::take(&mut self.state) {
            State::Freezing(mut freezing) => match step(&mut freezing, &self.rules, &mut actions) {
                Ok(()) => self.state = State::Freezing(freezing),
                Err(reason) => actions.extend(self.fail(freezing, &reason, true, now)),
            },
            other => self.state = other,
        }
        actions
    }

    /// Undoes a freeze that was not answered yet; answers it, unless the device is gone.
    fn fail(&mut self, freezing: Freezing, reason: &str, can_answer: bool, now: Duration) -> Vec<Action> {
        let request = freezing.job.request;
        let held = freezing.is_suspending();
        let (mut actions, hooks) = freezing.undo();
        if can_answer {
            actions.push(answer(request, Status::Failure));
        }
        if held {
            actions.push(Action::ReleaseLog);
        }
        let text = format!("freeze failed, nothing is frozen: {reason}");
        actions.extend(self.refusals.freeze.report(vec![text], now));
        self.run_after(Phase::Abort, hooks, actions)
    }

    fn answered(&mut self, now: Duration) -> Vec<Action> {
        match std::mem::take(&mut self.state) {
            State::Freezing(freezing) if freezing.is_answering() => {
                let doubt = now >= freezing.job.kernel_limit.saturating_sub(DOUBT_MARGIN);
                let frozen = freezing.into_frozen(&self.rules.limits, now);
                if doubt {
                    return self.give_up(frozen, "the answer to the freeze came too late");
                }
                self.refusals.freeze.end();
                let text = frozen.report();
                self.state = State::Frozen(frozen);
                vec![Action::Log(Level::Info, text)]
            }
            other => {
                self.state = other;
                Vec::new()
            }
        }
    }

    /// Thaws what the host believes to be frozen: the thaw that it will send must fail.
    fn give_up(&mut self, frozen: Frozen, reason: &str) -> Vec<Action> {
        self.void = true;
        let (mut actions, hooks) = frozen.resume();
        let text = format!("thawed without the host, the backup is void: {reason}");
        actions.extend([Action::ReleaseLog, Action::Log(Level::Error, text)]);
        self.run_after(Phase::Abort, hooks, actions)
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match std::mem::take(&mut self.state) {
            State::Freezing(freezing) => self.fail(freezing, "it took too long", true, now),
            State::Frozen(frozen) => self.give_up(frozen, "no thaw came in time"),
            other => {
                self.state = other;
                self.drop_waiting("the hooks of the last backup take too long")
            }
        }
    }

    fn terminate(&mut self, now: Duration) -> Vec<Action> {
        let again = self.leaving.replace(Leaving::Terminated).is_some();
        match std::mem::take(&mut self.state) {
            State::Idle => vec![Action::Leave(Leaving::Terminated)],
            State::Freezing(freezing) => self.fail(freezing, "the daemon was asked to stop", true, now),
            State::Frozen(frozen) => self.give_up(frozen, "the daemon was asked to stop"),
            State::After(_) if again => vec![Action::Stop, Action::Leave(Leaving::Terminated)],
            State::After(after) => {
                self.state = State::After(after);
                self.drop_waiting("the daemon was asked to stop")
            }
        }
    }

    fn device_gone(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        self.leaving = Some(Leaving::DeviceGone);
        let log = Action::Log(Level::Error, format!("the device is gone: {reason}"));
        let mut actions = match std::mem::take(&mut self.state) {
            State::Idle => vec![Action::Leave(Leaving::DeviceGone)],
            State::Freezing(freezing) => self.fail(freezing, "the device is gone", false, now),
            State::Frozen(frozen) => self.give_up(frozen, "the device is gone"),
            State::After(mut after) => {
                after.waiting = None;
                self.state = State::After(after);
                Vec::new()
            }
        };
        // Before the end, and behind what thaws.
        let end = actions.iter().position(|a| matches!(a, Action::Leave(_))).unwrap_or(actions.len());
        actions.insert(end, log);
        actions
    }
}

fn refused(request: Request, lines: Vec<Action>) -> Vec<Action> {
    std::iter::once(answer(request, Status::Failure)).chain(lines).collect()
}

fn answer(request: Request, status: Status) -> Action {
    Action::Answer(Answer { request, status })
}
