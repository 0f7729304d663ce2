//! From a freeze request to its answer: hooks, sync, suspend.

use std::collections::VecDeque;
use std::time::Duration;

use log::Level;

use super::frozen::Frozen;
use super::{Action, Ended, Job, Limits, Outcome, Purpose, Rules, Suspended, Task, answer};
use crate::abi::vss::Status;
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::{Mount, SyncPlan, Verdict};

/// A freeze under way. Its steps add the next actions to `out`, or say why it cannot go on.
#[derive(Debug)]
pub(super) struct Freezing {
    pub(super) job: Job,
    step: Step,
    /// Programs still to run.
    tasks: VecDeque<Task>,
    /// The program that runs.
    running: Option<Task>,
    /// Hooks that were started, in that order, whatever became of them.
    started: Vec<Hook>,
    /// What is on disk by now.
    synced: SyncPlan,
    mounts: Vec<Mount>,
    /// Slots of the mounts that are suspended, in the order of suspending.
    suspended: Vec<usize>,
}

#[derive(Debug)]
enum Step {
    /// The first look at the mounts: a veto comes before any hook runs.
    Look,
    /// The hooks are being listed; this was the first look.
    ListHooks(Verdict),
    /// Programs run, and mounts are looked at again after them.
    Prepare,
    Open,
    Suspend {
        slot: usize,
    },
    Answer,
}

impl Freezing {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            step: Step::Look,
            tasks: VecDeque::new(),
            running: None,
            started: Vec::new(),
            synced: SyncPlan::default(),
            mounts: Vec::new(),
            suspended: Vec::new(),
        }
    }

    /// Whether the log is held and mounts may be suspended.
    pub(super) fn is_suspending(&self) -> bool {
        matches!(self.step, Step::Suspend { .. } | Step::Answer)
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.step, Step::Answer)
    }

    pub(super) fn surveyed(
        &mut self,
        table: Result<Vec<Mount>, String>,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let verdict = rules.policy.judge(&table?);
        let refusals = rules.refusals(&verdict);
        if !refusals.is_empty() {
            return Err(refusals.join("; "));
        }
        if matches!(self.step, Step::Look) {
            self.step = Step::ListHooks(verdict);
            out.push(Action::ListHooks);
            return Ok(());
        }
        self.settle(&verdict, rules, now, out)
    }

    pub(super) fn hooks(
        &mut self,
        selection: Selection,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Step::ListHooks(verdict) = std::mem::replace(&mut self.step, Step::Prepare) else {
            return Ok(());
        };
        out.extend(selection.skipped.iter().map(|skipped| Action::Log(Level::Warn, skipped.to_string())));
        self.tasks.extend(selection.hooks.into_iter().map(|hook| Task::Hook(hook, Phase::Freeze)));
        if self.tasks.is_empty() {
            // Without a hook nothing can have changed since the first look.
            return self.settle(&verdict, rules, now, out);
        }
        self.run_next(&rules.limits, now, out)
    }

    /// Syncs what is not synced yet, then suspends.
    fn settle(
        &mut self,
        verdict: &Verdict,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let SyncPlan { mut pools, mut directories } = verdict.sync_plan();
        pools.retain(|pool| !self.synced.pools.contains(pool));
        directories.retain(|directory| !self.synced.directories.contains(directory));
        if pools.is_empty() && directories.is_empty() {
            self.step = Step::Open;
            self.mounts = verdict.to_suspend().cloned().collect();
            out.push(Action::Open(self.mounts.len()));
            return Ok(());
        }
        self.synced.pools.extend_from_slice(&pools);
        self.synced.directories.extend_from_slice(&directories);
        if !pools.is_empty() {
            self.tasks.push_back(Task::SyncPools(pools));
        }
        if !directories.is_empty() {
            self.tasks.extend([Task::SyncAll, Task::SyncDirectories(directories)]);
        }
        self.run_next(&rules.limits, now, out)
    }

    fn run_next(&mut self, limits: &Limits, now: Duration, out: &mut Vec<Action>) -> Result<(), String> {
        let left = self.time_left(now)?;
        let Some(task) = self.tasks.pop_front() else {
            // Programs take time and may mount and unmount.
            out.push(Action::Survey(Purpose::Freeze));
            return Ok(());
        };
        let limit = match &task {
            Task::Hook(hook, _) => {
                self.started.push(hook.clone());
                limits.freeze_hook.min(left)
            }
            Task::SyncPools(_) | Task::SyncAll | Task::SyncDirectories(_) => left,
        };
        self.running = Some(task.clone());
        out.push(Action::Run(task, limit));
        Ok(())
    }

    pub(super) fn ended(
        &mut self,
        ended: Ended,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Some(task) = self.running.take() else {
            return Ok(());
        };
        out.extend(output_lines(&task, &ended.output));
        match ended.outcome {
            Outcome::Succeeded => self.run_next(&rules.limits, now, out),
            Outcome::Failed(reason) => Err(reason),
            Outcome::NotStarted(reason) => {
                if matches!(task, Task::Hook(..)) {
                    self.started.pop();
                }
                Err(reason)
            }
        }
    }

    pub(super) fn opened(
        &mut self,
        result: Result<(), String>,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        result?;
        if !matches!(self.step, Step::Open) {
            return Ok(());
        }
        self.step = Step::Suspend { slot: 0 };
        out.push(Action::HoldLog);
        self.suspend_next(0, now, out)
    }

    pub(super) fn mount_suspended(
        &mut self,
        outcome: Suspended,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Step::Suspend { slot } = self.step else {
            return Ok(());
        };
        let on = self.mounts.get(slot).map_or("?", |mount| mount.on.as_str());
        match outcome {
            Suspended::Done => self.suspended.push(slot),
            Suspended::Vanished => {
                out.push(Action::Log(Level::Info, format!("not suspended, it was unmounted: {on}")));
            }
            Suspended::Failed(reason) => return Err(format!("cannot suspend {on}: {reason}")),
        }
        self.suspend_next(slot + 1, now, out)
    }

    fn suspend_next(&mut self, slot: usize, now: Duration, out: &mut Vec<Action>) -> Result<(), String> {
        // Also behind the last mount: one that took long to suspend must not lead to a late answer.
        self.time_left(now)?;
        if let Some(mount) = self.mounts.get(slot) {
            self.step = Step::Suspend { slot };
            out.push(Action::Suspend { slot, mount: mount.clone() });
        } else {
            self.step = Step::Answer;
            out.push(answer(self.job.request, Status::Success));
        }
        Ok(())
    }

    fn time_left(&self, now: Duration) -> Result<Duration, String> {
        match self.job.answer_by.checked_sub(now) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err("it took too long".to_owned()),
        }
    }

    /// The actions that leave nothing suspended and nothing running, and the hooks to tell.
    pub(super) fn undo(self) -> (Vec<Action>, Vec<Hook>) {
        let mut actions = Vec::new();
        if self.running.is_some() {
            actions.push(Action::Stop);
        }
        actions.extend(self.suspended.iter().rev().map(|slot| Action::Resume(*slot)));
        if matches!(self.step, Step::Open | Step::Suspend { .. } | Step::Answer) {
            actions.push(Action::Close);
        }
        (actions, self.started)
    }

    pub(super) fn into_frozen(self, limits: &Limits, now: Duration) -> Frozen {
        Frozen {
            suspended: self
                .suspended
                .iter()
                .filter_map(|slot| Some((*slot, self.mounts.get(*slot)?.on.clone())))
                .collect(),
            hooks: self.started,
            since: now,
            took: now.saturating_sub(self.job.read_at),
            thaw_by: limits.watchdog.map(|watchdog| now + watchdog),
        }
    }
}

/// What a program printed, for the log.
pub(super) fn output_lines(task: &Task, output: &[String]) -> Vec<Action> {
    let Task::Hook(hook, phase) = task else {
        return Vec::new();
    };
    output
        .iter()
        .map(|line| Action::Log(Level::Info, format!("hook={} phase={phase}: {line}", hook.name)))
        .collect()
}
