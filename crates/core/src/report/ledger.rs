//! Keeps the records of the backup daemon. It is given each event and action of the freezer with its time,
//! and makes reports from them. It never influences a backup.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Backup, Flushed, HookRun, Identity, Moment, MountFreeze, Requests, Step, Verdict, VssReport};
use super::{micros, shortened};
use crate::abi::vss::{Answer, Operation, Request, Status};
use crate::vss::{Action, Ended, Event, Lane, Outcome, Prepared, Suspended, Task};

/// The most finished backups that wait to be written.
const MOST_WAITING: usize = 20;
/// The most unanswered requests that are remembered. The kernel has fewer under way, and some that it gave
/// up.
const MOST_ASKED: usize = 8;
/// The most mounts, hooks and steps that a record names, each.
const MOST_NAMED: usize = 64;

/// A backup that is not finished.
#[derive(Debug)]
struct Open {
    backup: Backup,
    request: Option<Request>,
    concluded: bool,
    /// When the freeze was read.
    begun: Duration,
    /// When the first file system was suspended, and when all were resumed.
    suspended: Option<Duration>,
    answered: bool,
}

/// The records.
#[derive(Debug)]
pub struct Ledger {
    identity: Identity,
    requests: Requests,
    /// Requests that were not answered yet.
    asked: Vec<(Request, Duration)>,
    open: Option<Open>,
    last: Option<Backup>,
    waiting: VecDeque<Backup>,
    /// The file systems that are suspended now, by slot.
    frozen: Vec<(usize, String)>,
    frozen_since: Option<u64>,
    suspending: Option<(usize, String, Duration)>,
    running: Option<(Task, Duration)>,
    /// A refusal whose reason is in the next log line, if that line is logged.
    refusing: Option<Request>,
    /// The last reason by kind, because a repeated reason is not logged each time.
    reasons: BTreeMap<&'static str, String>,
}

impl Ledger {
    /// Empty records of this daemon.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            requests: Requests::default(),
            asked: Vec::new(),
            open: None,
            last: None,
            waiting: VecDeque::new(),
            frozen: Vec::new(),
            frozen_since: None,
            suspending: None,
            running: None,
            refusing: None,
            reasons: BTreeMap::new(),
        }
    }

    /// Sets the configuration file that was named.
    pub fn named(&mut self, config: Option<String>) {
        self.identity.config = config;
    }

    /// The report.
    #[must_use]
    pub fn report(&self, now: Moment) -> VssReport {
        VssReport {
            common: self.identity.common(now),
            requests: self.requests.clone(),
            under_way: self.open.is_some(),
            refusals: Vec::new(),
            frozen: self.frozen.iter().map(|(_, on)| on.clone()).take(MOST_NAMED).collect(),
            frozen_since: self.frozen_since,
            last_backup: self.last.clone(),
        }
    }

    /// The next backup to write to the history. Call it only while nothing is frozen.
    pub fn take_finished(&mut self) -> Option<Backup> {
        self.waiting.pop_front()
    }

    /// Records an event of the freezer.
    pub fn event(&mut self, event: &Event, now: Moment) {
        // The answer is written before the line with its reason is logged.
        if !matches!(event, Event::Answered(_)) {
            self.settle_refusal(None, now);
        }
        match event {
            Event::Request { request, .. } => {
                self.requests.count(kind(request.operation));
                if self.asked.len() >= MOST_ASKED {
                    // The kernel gave the request up.
                    self.asked.remove(0);
                }
                self.asked.push((*request, now.monotonic));
            }
            Event::Ended(Lane::Backup, ended) => self.ended(ended, now),
            Event::Prepared(Lane::Backup, prepared) => self.prepared(prepared),
            Event::Suspended(outcome) => self.suspended(outcome, now),
            _ => {}
        }
    }

    /// Records an action of the freezer.
    pub fn action(&mut self, action: &Action, now: Moment) {
        match action {
            Action::Survey(Lane::Backup) => self.begin(now),
            Action::Run(Lane::Backup, task, _) => {
                self.settle_refusal(None, now);
                self.running = Some((task.clone(), now.monotonic));
            }
            Action::Stop(Lane::Backup) => self.running = None,
            Action::Decided { flushed } => self.decided(flushed),
            Action::Suspend { slot, mount } => {
                self.suspending = Some((*slot, mount.on.clone(), now.monotonic));
            }
            Action::Resume(slot) => {
                self.frozen.retain(|(frozen, _)| frozen != slot);
                self.note_thaw(now);
            }
            Action::Close => {
                self.frozen.clear();
                self.note_thaw(now);
            }
            Action::Answer(answer) => self.answer(answer, now),
            Action::Log(level, text) if *level <= log::Level::Warn => self.line(text, now),
            _ => {}
        }
    }

    /// Records that everything that a backup started has ended. A backup with a result is then finished.
    pub fn idle(&mut self, now: Moment) {
        self.settle_refusal(None, now);
        self.finish();
    }

    /// Records that the mount table is read for a freeze, which happens more than once in a backup.
    fn begin(&mut self, now: Moment) {
        let asked = self.asked.iter().rev().find(|(request, _)| request.operation == Operation::Freeze);
        if self.open.as_ref().is_some_and(|open| open.request == asked.map(|(request, _)| *request)) {
            return;
        }
        let asked = asked.copied();
        self.finish();
        let backup = Backup {
            at: now.unix,
            verdict: Verdict::Failed,
            reason: None,
            answered_in: 0,
            frozen_for: None,
            mounts: Vec::new(),
            hooks: Vec::new(),
            steps: Vec::new(),
            flushed: Vec::new(),
        };
        let begun = asked.map_or(now.monotonic, |(_, read_at)| read_at);
        let request = asked.map(|(request, _)| request);
        self.open = Some(Open { backup, request, concluded: false, begun, suspended: None, answered: false });
    }

    fn finish(&mut self) {
        if !self.open.as_ref().is_some_and(|open| open.concluded) {
            return;
        }
        if let Some(open) = self.open.take() {
            self.waiting.push_back(open.backup);
            if self.waiting.len() > MOST_WAITING {
                self.waiting.pop_front();
            }
        }
    }

    fn conclude(&mut self, verdict: Verdict, reason: Option<String>) {
        let Some(open) = self.open.as_mut().filter(|open| !open.concluded) else { return };
        open.concluded = true;
        open.backup.verdict = verdict;
        open.backup.reason = reason.map(|reason| shortened(&reason));
        self.last = Some(open.backup.clone());
    }

    fn ended(&mut self, ended: &Ended, now: Moment) {
        let Some((task, begun)) = self.running.take() else { return };
        let Some(open) = &mut self.open else { return };
        let took = micros(now.monotonic.saturating_sub(begun));
        let failed = match &ended.outcome {
            Outcome::Succeeded => None,
            Outcome::Failed(text) | Outcome::NotStarted(text) => Some(shortened(text)),
        };
        match task {
            Task::Hook(hook, phase) if open.backup.hooks.len() < MOST_NAMED => {
                let phase = phase.as_str().to_owned();
                open.backup.hooks.push(HookRun { name: hook.name, phase, took, failed });
            }
            Task::Hook(..) => {}
            other if open.backup.steps.len() < MOST_NAMED => {
                open.backup.steps.push(Step { what: describe(&other), took, failed });
            }
            _ => {}
        }
        if open.concluded {
            self.last = Some(open.backup.clone());
        }
    }

    /// Adds the scan and the flush as steps.
    fn prepared(&mut self, prepared: &Prepared) {
        self.running = None;
        let Some(open) = &mut self.open else { return };
        let failure = |reason: &String| shortened(reason);
        let scan = prepared.scan.as_ref().map(|scan| {
            let failed = scan.as_ref().err().map(failure);
            Step { what: "look at programs".to_owned(), took: micros(prepared.scan_took), failed }
        });
        let flush = prepared.flush.as_ref().map(|flush| {
            let failed = flush.as_ref().err().map(failure);
            Step { what: "sync".to_owned(), took: micros(prepared.flush_took), failed }
        });
        let room = MOST_NAMED.saturating_sub(open.backup.steps.len());
        open.backup.steps.extend(scan.into_iter().chain(flush).take(room));
        if open.concluded {
            self.last = Some(open.backup.clone());
        }
    }

    fn decided(&mut self, flushed: &[(String, String)]) {
        let Some(open) = &mut self.open else { return };
        let named = flushed.iter().take(MOST_NAMED);
        open.backup.flushed =
            named.map(|(mount, why)| Flushed { mount: mount.clone(), why: shortened(why) }).collect();
    }

    fn suspended(&mut self, outcome: &Suspended, now: Moment) {
        let Some((slot, on, begun)) = self.suspending.take() else { return };
        if *outcome != Suspended::Done {
            return;
        }
        self.frozen_since.get_or_insert(now.unix);
        self.frozen.push((slot, on.clone()));
        let Some(open) = &mut self.open else { return };
        open.suspended.get_or_insert(now.monotonic);
        if open.backup.mounts.len() < MOST_NAMED {
            let took = micros(now.monotonic.saturating_sub(begun));
            open.backup.mounts.push(MountFreeze { mount: on, took });
        }
    }

    fn note_thaw(&mut self, now: Moment) {
        if !self.frozen.is_empty() {
            return;
        }
        self.frozen_since = None;
        if let Some(open) = &mut self.open
            && let Some(since) = open.suspended
            && open.backup.frozen_for.is_none()
        {
            open.backup.frozen_for = Some(micros(now.monotonic.saturating_sub(since)));
        }
    }

    fn answer(&mut self, answer: &Answer, now: Moment) {
        let operation = answer.request.operation;
        if let Some(at) = self.asked.iter().position(|(request, _)| *request == answer.request) {
            let (_, read_at) = self.asked.remove(at);
            let took = now.monotonic.saturating_sub(read_at);
            self.requests.answered(kind(operation), took, now);
        }
        let success = answer.status == Status::Success;
        match (operation, success, &mut self.open) {
            (Operation::Freeze, _, Some(open)) if !open.answered => {
                open.answered = true;
                open.backup.answered_in = micros(now.monotonic.saturating_sub(open.begun));
            }
            (Operation::Thaw, true, Some(open)) if open.answered => self.conclude(Verdict::Good, None),
            _ => {}
        }
        if !success {
            self.refusing = Some(answer.request);
        }
    }

    fn line(&mut self, text: &str, now: Moment) {
        if let Some(reason) = text.strip_prefix("thawed without the host, the backup is void: ") {
            self.conclude(Verdict::Void, Some(reason.to_owned()));
        }
        self.settle_refusal(Some(text), now);
    }

    /// Completes a refusal: its reason is the line, or else the last reason of its kind.
    fn settle_refusal(&mut self, line: Option<&str>, now: Moment) {
        let Some(request) = self.refusing.take() else { return };
        let kind = kind(request.operation);
        if let Some(line) = line {
            let reason = line.rsplit_once(" unlogged=").map_or(line, |(reason, _)| reason);
            self.reasons.insert(kind, reason.to_owned());
        }
        let reason = self.reasons.get(kind).cloned().unwrap_or_default();
        self.requests.refuse(&reason, now);
        // The refusal of a second freeze does not belong to the first one's record.
        if self.open.as_ref().is_some_and(|open| open.request == Some(request)) {
            let reason = reason.strip_prefix("freeze failed, nothing is frozen: ").unwrap_or(&reason);
            self.conclude(Verdict::Failed, Some(reason.to_owned()));
        }
    }
}

fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::Check => "check",
        Operation::Freeze => "freeze",
        Operation::Thaw => "thaw",
        Operation::Other(_) => "unknown",
    }
}

fn describe(task: &Task) -> String {
    match task {
        Task::Hook(hook, phase) => format!("{} {phase}", hook.name),
        Task::SyncPools(pools) => format!("zpool sync {}", pools.join(" ")),
        Task::ListPools => "zpool list".to_owned(),
        Task::Prepare(_) => "preparation".to_owned(),
    }
}

#[cfg(test)]
mod tests;
