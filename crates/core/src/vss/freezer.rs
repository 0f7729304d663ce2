//! The state machine of a backup. It is given each event with its time, and returns the actions to perform.
//! It never reads a clock, a file or the device.
//!
//! ```text
//!         freeze                      answered              thaw, watchdog, leaving
//!  Idle ──────────> Freezing ───────────────────> Frozen ─────────────────┐
//!   ^  <─ no hooks ── │ failure, late, leaving                             v
//!   └──────────────── └──────────────────────────────────────────────> After (hooks)
//! ```
//!
//! Before a freeze the hooks run, all data goes to disk between two scans of all programs, and the mounts are
//! read again. Then the fate of each mount is decided, and the suspensions follow at once. After a thaw one
//! more scan finds programs that lost what they stored. A check runs beside that, because it does not wait
//! for hooks.
//!
//! Every end of a freeze resumes all that was suspended *before* anything else is done. The order is: file
//! systems, the host's answer, the log, the hooks.

mod after;
mod checking;
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
use self::checking::Checking;
pub use self::events::{
    Action, Ended, Event, Flush, Lane, Leaving, Outcome, Preparation, Prepared, Survey, Suspended, Task,
};
use self::freezing::Freezing;
use self::frozen::Frozen;
use self::refusals::Refusals;
pub use self::rules::{Findings, HeldOpen, Limits, Rules};
use super::hooks::Phase;
use super::mounts::Decision;
use crate::abi::vss::{Answer, Operation, Request, Status};

/// How long the kernel waits for the answer to a request, over both devices together (TIMEOUT_LIMIT of
/// dev/hyperv/utilities/hv_snapshot.c). Then it tells the host that the request failed.
pub const KERNEL_LIMIT: Duration = Duration::from_secs(15);

/// An answer is written at least this long before [`KERNEL_LIMIT`], even when an application's daemon used
/// most of the time.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// A success that was written later than this before [`KERNEL_LIMIT`] may not have reached the kernel in
/// time.
const DOUBT_MARGIN: Duration = Duration::from_millis(500);

/// A freeze that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    request: Request,
    /// When the daemon read it.
    read_at: Duration,
    /// When the kernel gives up on it.
    kernel_limit: Duration,
    /// When it must be answered, finished or not.
    answer_by: Duration,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Freezing(Box<Freezing>),
    Frozen(Frozen),
    After(After),
}

/// The engine of the backup daemon. Times are of one monotonic clock.
#[derive(Debug)]
pub struct Freezer {
    rules: Rules,
    state: State,
    /// The check under way, which is independent of `state`.
    check: Option<Checking>,
    /// What the last check found.
    last_check: Option<Findings>,
    /// Why the last freeze of this process is no good backup.
    void: Option<String>,
    leaving: Option<Leaving>,
    refusals: Refusals,
    /// The log lines of the last backup about mounts that were flushed instead of suspended.
    logged_flushes: Vec<String>,
}

impl Freezer {
    /// A freezer of a guest that is not frozen.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Idle,
            check: None,
            last_check: None,
            void: None,
            leaving: None,
            refusals: Refusals::default(),
            logged_flushes: Vec::new(),
        }
    }

    /// Replaces the rules. Deadlines that run already stay as they are.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When [`Event::Tick`] is due. `None` where no deadline runs.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let check = self.check.as_ref().map(|check| check.answer_by);
        check.into_iter().chain(self.backup_deadline()).min()
    }

    fn backup_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Idle => None,
            State::Freezing(freezing) => Some(freezing.job.answer_by),
            State::Frozen(frozen) => frozen.thaw_by,
            State::After(after) => after.waiting.map(|job| job.answer_by),
        }
    }

    /// Whether neither a backup nor a check is under way. Only then the rules may change.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.check.is_none()
    }

    /// What the last check found.
    #[must_use]
    pub fn last_check(&self) -> Option<&Findings> {
        self.last_check.as_ref()
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

    /// Takes an event that happened at `now` and returns the actions to perform.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Request { request, age } => self.request(request, age, now),
            Event::Surveyed(Lane::Check, survey) => {
                self.advance_check(now, |check, rules| check.surveyed(survey, rules))
            }
            Event::Hooks(Lane::Check, selection) => {
                self.advance_check(now, |check, rules| check.hooks(selection, &rules.limits, now))
            }
            Event::Ended(Lane::Check, ended) => {
                self.advance_check(now, |check, rules| check.ended(ended, &rules.limits, now))
            }
            Event::Prepared(Lane::Check, prepared) => self.advance_check(now, |check, rules| {
                check.prepared(prepared, rules);
                None
            }),
            Event::Surveyed(Lane::Backup, survey) => {
                self.advance(now, |freezing, rules, out| freezing.surveyed(survey, rules, now, out))
            }
            Event::Hooks(Lane::Backup, selection) => {
                self.advance(now, |freezing, rules, out| freezing.hooks(selection, rules, now, out))
            }
            Event::Ended(Lane::Backup, ended) => self.ended(ended, now),
            Event::Prepared(Lane::Backup, prepared) => self.prepared(prepared, now),
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
        // The kernel hands over one request at a time, so a check without an answer was given up by it.
        let mut actions = self.drop_check("another request came");
        actions.extend(match request.operation {
            Operation::Check => self.request_check(request, age, now),
            Operation::Freeze => self.request_freeze(request, age, now),
            Operation::Thaw => self.request_thaw(request, now),
            Operation::Other(_) => {
                let text = format!("request refused: {} is unknown", request.operation);
                refused(request, self.refusals.log_limited("unknown operation", vec![text], now))
            }
        });
        actions
    }

    fn request_check(&mut self, request: Request, age: Duration, now: Duration) -> Vec<Action> {
        match &self.state {
            State::Freezing(_) | State::Frozen(_) => {
                let text = "check refused: a backup is going on".to_owned();
                refused(request, self.refusals.log_on_change(vec![text], now))
            }
            State::Idle | State::After(_) => {
                let (_, answer_by) = self.deadlines(age, now);
                self.check = Some(Checking::new(request, answer_by));
                vec![Action::Survey(Lane::Check)]
            }
        }
    }

    /// When the kernel gives up on a request, and when it must be answered.
    fn deadlines(&self, age: Duration, now: Duration) -> (Duration, Duration) {
        let kernel_limit = (now + KERNEL_LIMIT).saturating_sub(age);
        (kernel_limit, (now + self.rules.limits.answer).min(kernel_limit.saturating_sub(ANSWER_MARGIN)))
    }

    /// Lets the check take its next step, or answers it after the last one.
    fn advance_check(
        &mut self,
        now: Duration,
        step: impl FnOnce(&mut Checking, &Rules) -> Option<Action>,
    ) -> Vec<Action> {
        let Some(mut check) = self.check.take() else { return Vec::new() };
        let next = step(&mut check, &self.rules);
        if let Some(action) = next {
            self.check = Some(check);
            return vec![action];
        }
        self.finish_check(check, now)
    }

    fn finish_check(&mut self, check: Checking, now: Duration) -> Vec<Action> {
        let refusals = check.findings.refusals();
        let request = check.request;
        let at_work = check.findings.at_work.iter().map(|process| {
            let text = format!("a freeze fails while {} (pid {}) is at work", process.program, process.pid);
            Action::Log(Level::Debug, text)
        });
        let at_work: Vec<Action> = at_work.collect();
        self.last_check = Some(check.findings);
        if refusals.is_empty() {
            self.refusals.reset("check refused");
            let text = "check passed: a backup can be made".to_owned();
            let mut actions = vec![answer(request, Status::Success), Action::Log(Level::Debug, text)];
            actions.extend(at_work);
            return actions;
        }
        let lines = refusals.into_iter().map(|reason| format!("check refused: {reason}")).collect();
        refused(request, self.refusals.log_on_change(lines, now))
    }

    /// Answers a check under way with failure.
    fn drop_check(&mut self, reason: &str) -> Vec<Action> {
        let Some(check) = self.check.take() else { return Vec::new() };
        let mut actions = Vec::new();
        if check.running {
            actions.push(Action::Stop(Lane::Check));
        }
        actions.push(answer(check.request, Status::Failure));
        actions.push(Action::Log(Level::Warn, format!("check refused: {reason}")));
        actions
    }

    fn request_freeze(&mut self, request: Request, age: Duration, now: Duration) -> Vec<Action> {
        let (kernel_limit, answer_by) = self.deadlines(age, now);
        let job = Job { request, read_at: now, kernel_limit, answer_by };
        match &mut self.state {
            State::Idle => self.begin(job),
            // The hooks of the last backup still run: the freeze waits for them as long as it can.
            State::After(after) if after.waiting.is_none() && self.leaving.is_none() => {
                after.waiting = Some(job);
                Vec::new()
            }
            State::Freezing(_) | State::Frozen(_) | State::After(_) => {
                let text = "freeze refused: another one is in force".to_owned();
                refused(request, self.refusals.log_on_change(vec![text], now))
            }
        }
    }

    /// Begins a freeze, which is a new backup: the result of the one before no longer matters.
    fn begin(&mut self, job: Job) -> Vec<Action> {
        self.void = None;
        self.state = State::Freezing(Box::new(Freezing::new(job)));
        vec![Action::Survey(Lane::Backup)]
    }

    fn request_thaw(&mut self, request: Request, now: Duration) -> Vec<Action> {
        match std::mem::take(&mut self.state) {
            State::Frozen(frozen) => {
                let frozen_for = now.saturating_sub(frozen.since);
                let text = format!("thawed after={:.3}s", frozen_for.as_secs_f64());
                let (mut actions, resumed, hooks) = frozen.resume();
                let success = answer(request, Status::Success);
                actions.extend([success, Action::ReleaseLog, Action::Log(Level::Info, text)]);
                self.run_after(Phase::Thaw, resumed, hooks, actions)
            }
            State::Freezing(freezing) => {
                // Only possible after the kernel gave the freeze up.
                let mut actions = self.fail(freezing, "the host thaws already", true, now);
                let answered = actions.iter().position(|a| matches!(a, Action::Answer(_)));
                let failure = answer(request, Status::Failure);
                actions.insert(answered.map_or(0, |index| index + 1), failure);
                actions
            }
            other => {
                self.state = other;
                let mut actions = self.drop_waiting("the host thaws already");
                actions.extend(self.thaw_nothing(request, now));
                actions
            }
        }
    }

    /// Refuses a thaw while nothing is frozen. The answer to a thaw tells the host whether the backup is
    /// good, and it is not, even if an earlier process of the daemon had frozen the guest.
    fn thaw_nothing(&mut self, request: Request, now: Duration) -> Vec<Action> {
        let reason = self.void.as_deref().unwrap_or("this daemon has frozen nothing");
        let text = format!("thaw refused, the backup is void: {reason}");
        refused(request, self.refusals.log_on_change(vec![text], now))
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

    fn prepared(&mut self, prepared: Prepared, now: Duration) -> Vec<Action> {
        match std::mem::take(&mut self.state) {
            State::After(mut after) => {
                let lines = after.prepared(prepared);
                self.continue_after(after, lines, now)
            }
            other => {
                self.state = other;
                self.advance(now, |freezing, rules, out| freezing.prepared(prepared, rules, now, out))
            }
        }
    }

    /// Lets the freeze take its next step. An error of the step ends the freeze.
    fn advance(
        &mut self,
        now: Duration,
        step: impl FnOnce(&mut Freezing, &Rules, &mut Vec<Action>) -> Result<(), String>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        match std::mem::take(&mut self.state) {
            State::Freezing(mut freezing) => match step(&mut freezing, &self.rules, &mut actions) {
                Ok(()) => {
                    self.log_decisions(&freezing, &mut actions);
                    self.state = State::Freezing(freezing);
                }
                Err(reason) => actions.extend(self.fail(freezing, &reason, true, now)),
            },
            other => self.state = other,
        }
        actions
    }

    /// Once the fate of each mount is decided, logs the mounts that are flushed instead of suspended. The
    /// same lines as in the backup before are not repeated.
    fn log_decisions(&mut self, freezing: &Freezing, actions: &mut Vec<Action>) {
        let Some(open) = actions.iter().position(|action| matches!(action, Action::Open(_))) else { return };
        let verdict = freezing.verdict();
        let flushed = verdict.sync_plan().flushed;
        let flushed: Vec<&Decision> =
            verdict.decisions.iter().filter(|decision| flushed.contains(&decision.mount.on)).collect();
        let lines: Vec<String> = flushed
            .iter()
            .map(|decision| format!("not suspended, only brought to disk: {decision}"))
            .collect();
        let named = flushed.iter().map(|d| (d.mount.on.clone(), d.reason.to_string())).collect();
        actions.insert(open, Action::Decided { flushed: named });
        if lines != self.logged_flushes {
            self.logged_flushes.clone_from(&lines);
            let lines = lines.into_iter().map(|line| Action::Log(Level::Warn, line));
            actions.splice(open..open, lines);
        }
    }

    /// Undoes a freeze that was not answered yet. Answers it too, unless the device is gone.
    fn fail(
        &mut self,
        freezing: Box<Freezing>,
        reason: &str,
        can_answer: bool,
        now: Duration,
    ) -> Vec<Action> {
        let request = freezing.job.request;
        let held = freezing.is_suspending();
        self.void = Some(format!("its freeze failed: {reason}"));
        let (mut actions, resumed, hooks) = freezing.undo();
        if can_answer {
            actions.push(answer(request, Status::Failure));
        }
        if held {
            actions.push(Action::ReleaseLog);
        }
        let text = format!("freeze failed, nothing is frozen: {reason}");
        actions.extend(self.refusals.log_on_change(vec![text], now));
        self.run_after(Phase::Abort, resumed, hooks, actions)
    }

    fn answered(&mut self, now: Duration) -> Vec<Action> {
        match std::mem::take(&mut self.state) {
            State::Freezing(freezing) if freezing.is_answering() => {
                let doubt = now >= freezing.job.kernel_limit.saturating_sub(DOUBT_MARGIN);
                let frozen = freezing.into_frozen(&self.rules.limits, now);
                if doubt {
                    return self.give_up(frozen, "the answer to the freeze came too late");
                }
                self.refusals.reset("freeze failed");
                self.refusals.reset("thaw ");
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

    /// Thaws a guest that the host believes to be frozen. The host's thaw must fail afterwards.
    fn give_up(&mut self, frozen: Frozen, reason: &str) -> Vec<Action> {
        self.void = Some(format!("it was thawed before: {reason}"));
        let (mut actions, resumed, hooks) = frozen.resume();
        let text = format!("thawed without the host, the backup is void: {reason}");
        actions.extend([Action::ReleaseLog, Action::Log(Level::Error, text)]);
        self.run_after(Phase::Abort, resumed, hooks, actions)
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.check.as_ref().is_some_and(|check| now >= check.answer_by) {
            actions.extend(self.drop_check("it took too long"));
        }
        if self.backup_deadline().is_none_or(|deadline| now < deadline) {
            return actions;
        }
        actions.extend(match std::mem::take(&mut self.state) {
            State::Freezing(freezing) => self.fail(freezing, "it took too long", true, now),
            State::Frozen(frozen) => self.give_up(frozen, "no thaw came in time"),
            other => {
                self.state = other;
                self.drop_waiting("the hooks of the last backup take too long")
            }
        });
        actions
    }

    fn terminate(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = self.drop_check("the daemon was asked to stop");
        let again = self.leaving.replace(Leaving::Terminated).is_some();
        actions.extend(match std::mem::take(&mut self.state) {
            State::Idle => vec![Action::Leave(Leaving::Terminated)],
            State::Freezing(freezing) => self.fail(freezing, "the daemon was asked to stop", true, now),
            State::Frozen(frozen) => self.give_up(frozen, "the daemon was asked to stop"),
            State::After(_) if again => vec![Action::Stop(Lane::Backup), Action::Leave(Leaving::Terminated)],
            State::After(after) => {
                self.state = State::After(after);
                self.drop_waiting("the daemon was asked to stop")
            }
        });
        actions
    }

    fn device_gone(&mut self, reason: &str, now: Duration) -> Vec<Action> {
        self.leaving = Some(Leaving::DeviceGone);
        let log = Action::Log(Level::Error, format!("the device is gone: {reason}"));
        let mut actions: Vec<Action> = Vec::new();
        if self.check.take().is_some_and(|check| check.running) {
            actions.push(Action::Stop(Lane::Check));
        }
        actions.extend(match std::mem::take(&mut self.state) {
            State::Idle => vec![Action::Leave(Leaving::DeviceGone)],
            State::Freezing(freezing) => self.fail(freezing, "the device is gone", false, now),
            State::Frozen(frozen) => self.give_up(frozen, "the device is gone"),
            State::After(mut after) => {
                after.waiting = None;
                self.state = State::After(after);
                Vec::new()
            }
        });
        // Before the action that ends the program, and after those that thaw.
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
