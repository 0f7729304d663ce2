//! The steps after a freeze, when the file systems are resumed and the host has its answer: a scan for
//! programs that lost what they stored, and the hooks.
//!
//! It is given what was suspended, and how hooks and scan ended. It never delays or changes an answer to the
//! host, except that a freeze which comes meanwhile waits for the hooks.

use std::time::Duration;

use log::Level;

use super::freezing::output_lines;
use super::{Action, Ended, Freezer, Job, Lane, Limits, Outcome, Preparation, Prepared, State, Task, answer};
use crate::abi::vss::Status;
use crate::vss::hooks::{Hook, Phase};
use crate::vss::mounts::Mount;
use crate::vss::scan::Writer;

/// A mount that was suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resumed {
    pub(super) mount: Mount,
    /// It was suspended by a rule, although programs could store into it.
    pub(super) accepts_loss: bool,
    /// The programs that could store into it before the freeze.
    pub(super) writers: Vec<Writer>,
}

/// The tasks that run one after another.
#[derive(Debug)]
pub(super) struct After {
    phase: Phase,
    /// What was suspended, until the scan of all programs is done.
    resumed: Vec<Resumed>,
    /// Hooks still to run. They are taken from the end.
    left: Vec<Hook>,
    /// Whether any hook was started for this backup.
    had_hooks: bool,
    running: Option<Task>,
    /// A freeze request that came while hooks run.
    pub(super) waiting: Option<Job>,
}

impl After {
    /// The log line for a hook that failed. The guest runs already, so the failure has no other consequence.
    pub(super) fn ended(&mut self, ended: Ended) -> Vec<Action> {
        let Some(Task::Hook(hook, phase)) = self.running.take() else {
            return Vec::new();
        };
        let failure = match ended.outcome {
            Outcome::Succeeded => None,
            Outcome::Failed(reason) | Outcome::NotStarted(reason) => {
                let text = format!("hook failed hook={} phase={phase}: {reason}", hook.name);
                Some(Action::Log(Level::Warn, text))
            }
        };
        let mut actions = output_lines(&Task::Hook(hook, phase), &ended.output);
        actions.extend(failure);
        actions
    }

    /// The log lines for programs that can store into what was suspended: their stores are lost.
    pub(super) fn prepared(&mut self, prepared: Prepared) -> Vec<Action> {
        self.running = None;
        let resumed = std::mem::take(&mut self.resumed);
        let scan = prepared.scan.unwrap_or_else(|| Err("nobody looked".to_owned()));
        let mut actions = Vec::new();
        for Resumed { mount, accepts_loss, mut writers } in resumed {
            if let Ok(scan) = &scan {
                writers.extend(scan.writers_of(mount.id).cloned());
                writers.sort();
                writers.dedup();
            }
            actions.extend(writers.iter().map(|writer| damaged(&mount, writer, accepts_loss)));
        }
        if let Err(reason) = scan {
            let text = format!("programs that the freeze harmed cannot be told: {reason}");
            actions.push(Action::Log(Level::Warn, text));
        }
        actions
    }

    fn look(&mut self, limits: &Limits) -> Option<Action> {
        if self.resumed.is_empty() {
            return None;
        }
        let mounts = self.resumed.iter().map(|resumed| resumed.mount.clone()).collect();
        let scan = Preparation { mounts, vdevs: Vec::new(), scan: Some(limits.scan), flush: None };
        let task = Task::Prepare(scan);
        self.running = Some(task.clone());
        Some(Action::Run(Lane::Backup, task, limits.scan))
    }
}

/// A program that has such a mapping now may have stored into it while the file system was suspended.
fn damaged(mount: &Mount, writer: &Writer, accepts_loss: bool) -> Action {
    let text = format!(
        "damage possible: {writer} and may have lost what it stored there, because {} was suspended",
        mount.on
    );
    Action::Log(if accepts_loss { Level::Warn } else { Level::Error }, text)
}

impl Freezer {
    /// After `actions`, scans for programs that lost data, and runs the hooks of the freeze in reverse order.
    pub(super) fn run_after(
        &mut self,
        phase: Phase,
        resumed: Vec<Resumed>,
        hooks: Vec<Hook>,
        actions: Vec<Action>,
    ) -> Vec<Action> {
        let had_hooks = !hooks.is_empty();
        let after = After { phase, resumed, left: hooks, had_hooks, running: None, waiting: None };
        self.continue_after(after, actions, Duration::ZERO)
    }

    /// After `actions`, begins the next task, or ends the backup after the last one.
    pub(super) fn continue_after(
        &mut self,
        mut after: After,
        mut actions: Vec<Action>,
        now: Duration,
    ) -> Vec<Action> {
        if let Some(look) = after.look(&self.rules.limits) {
            actions.push(look);
            self.state = State::After(after);
            return actions;
        }
        if let Some(hook) = after.left.pop() {
            let task = Task::Hook(hook, after.phase);
            after.running = Some(task.clone());
            actions.push(Action::Run(Lane::Backup, task, self.rules.limits.thaw_hook));
            self.state = State::After(after);
            return actions;
        }
        if after.had_hooks {
            actions.push(Action::EndHooks { kill: after.phase == Phase::Abort });
        }
        self.state = State::Idle;
        match (self.leaving, after.waiting) {
            (Some(leaving), _) => actions.push(Action::Leave(leaving)),
            (None, Some(job)) if now < job.answer_by => actions.extend(self.begin(job)),
            (None, Some(job)) => actions.extend(refuse(job, "the hooks of the last backup took too long")),
            (None, None) => {}
        }
        actions
    }

    /// Answers a freeze that waits for the hooks with failure.
    pub(super) fn drop_waiting(&mut self, reason: &str) -> Vec<Action> {
        match &mut self.state {
            State::After(after) => after.waiting.take().map_or_else(Vec::new, |job| refuse(job, reason)),
            State::Idle | State::Freezing(_) | State::Frozen(_) => Vec::new(),
        }
    }
}

fn refuse(job: Job, reason: &str) -> Vec<Action> {
    let text = format!("freeze refused: {reason}");
    vec![answer(job.request, Status::Failure), Action::Log(Level::Warn, text)]
}
