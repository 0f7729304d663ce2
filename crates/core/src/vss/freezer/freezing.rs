//! From a FREEZE to its answer: hooks, flush, scan of all programs, suspensions. It is given the events of
//! the backup's lane in turn, and adds the next actions. It never answers later than the job allows, and when
//! it fails, the freezer undoes what it did.

use std::collections::VecDeque;
use std::time::Duration;

use log::Level;

use super::after::Resumed;
use super::frozen::Frozen;
use super::rules::mount_refusals;
use super::{
    Action, Ended, Flush, Job, Lane, Limits, Outcome, Preparation, Prepared, Rules, Survey, Suspended, Task,
    answer,
};
use crate::abi::vss::Status;
use crate::vss::fates::Scanned;
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::{FsId, Mount, SyncPlan, Verdict};
use crate::vss::pools::Pools;
use crate::vss::scan::Scan;

/// Time that the flush must leave for the last scan and the suspensions.
const SUSPEND_RESERVE: Duration = Duration::from_secs(1);

/// A freeze under way. Each step adds the next actions to `out`, or returns why the freeze fails.
#[derive(Debug)]
pub(super) struct Freezing {
    pub(super) job: Job,
    step: Step,
    /// Programs still to run.
    tasks: VecDeque<Task>,
    /// The task that runs.
    running: Option<Task>,
    /// Hooks that were started, in that order, failed ones included.
    started: Vec<Hook>,
    /// The mount table as it was last read.
    table: Vec<Mount>,
    /// The pools, after zpool(8) listed them.
    pools: Option<Pools>,
    /// Pools whose transaction groups are committed.
    synced_pools: Vec<String>,
    /// What is known about programs and devices.
    scanned: Scanned,
    /// The file systems that were mounted when `scanned` and `flush` were made.
    prepared_for: Vec<FsId>,
    /// Whether all data that was in memory is on disk.
    flush: Option<Result<(), String>>,
    /// The fate of each mount, once it is decided.
    verdict: Verdict,
    mounts: Vec<Mount>,
    /// Slots of the mounts that are suspended, in the order of suspending.
    suspended: Vec<usize>,
}

#[derive(Debug)]
enum Step {
    /// The first reading of the mount table: a veto must come before any hook runs.
    Look,
    /// A scan of the devices, because a mount may be an EFI partition.
    LookAtDevices,
    /// The hooks are being listed.
    ListHooks,
    /// Programs run, and the mount table is read again after them.
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
            table: Vec::new(),
            pools: None,
            synced_pools: Vec::new(),
            scanned: Scanned::NotYet,
            prepared_for: Vec::new(),
            flush: None,
            verdict: Verdict::default(),
            mounts: Vec::new(),
            suspended: Vec::new(),
        }
    }

    /// Whether the log is held, so that mounts may be suspended.
    pub(super) fn is_suspending(&self) -> bool {
        matches!(self.step, Step::Suspend { .. } | Step::Answer)
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.step, Step::Answer)
    }

    /// The fate of each mount.
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    pub(super) fn surveyed(
        &mut self,
        survey: Result<Survey, String>,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Survey { mounts, held_open } = survey?;
        self.table = mounts;
        let verdict = rules.policy.judge_with(&self.table, &self.scanned);
        if matches!(self.step, Step::Look) && verdict.may_be_efi() {
            self.step = Step::LookAtDevices;
            return self.run(self.preparation(Some(rules.limits.scan), None), rules.limits.scan, now, out);
        }
        let refusals = mount_refusals(&verdict, &held_open);
        if !refusals.is_empty() {
            return Err(refusals.join("; "));
        }
        if matches!(self.step, Step::Look | Step::LookAtDevices) {
            self.step = Step::ListHooks;
            out.push(Action::ListHooks(Lane::Backup));
            return Ok(());
        }
        self.settle(verdict, rules, now, out)
    }

    pub(super) fn hooks(
        &mut self,
        selection: Selection,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        if !matches!(self.step, Step::ListHooks) {
            return Ok(());
        }
        if !selection.faults.is_empty() {
            let faults: Vec<String> = selection.faults.iter().map(ToString::to_string).collect();
            return Err(faults.join("; "));
        }
        self.step = Step::Prepare;
        self.tasks.extend(selection.hooks.into_iter().map(|hook| Task::Hook(hook, Phase::Freeze)));
        if self.tasks.is_empty() {
            // Without a hook the mount table is still as it was read.
            let verdict = rules.policy.judge_with(&self.table, &self.scanned);
            return self.settle(verdict, rules, now, out);
        }
        self.run_next(&rules.limits, now, out)
    }

    /// Does what is left to do before mounts can be suspended, then begins to suspend them.
    fn settle(
        &mut self,
        verdict: Verdict,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let plan = verdict.sync_plan();
        if !plan.pools.is_empty() && self.pools.is_none() {
            return self.run(Task::ListPools, rules.limits.zpool, now, out);
        }
        if let Some(refusal) =
            self.pools.as_ref().and_then(|pools| pools.refusals(&plan.pools).into_iter().next())
        {
            return Err(refusal);
        }
        let mut pools = plan.pools.clone();
        pools.retain(|pool| !self.synced_pools.contains(pool));
        if !pools.is_empty() {
            return self.sync_pools(pools, rules, now, out);
        }
        // By the table alone: the result of the scan must not decide whether a scan is made.
        let first = rules.policy.judge(&self.table);
        let wanted: Vec<FsId> = first.to_suspend().chain(&plan.mounts).map(|mount| mount.id).collect();
        if wanted.iter().any(|id| !self.prepared_for.contains(id)) {
            let scan = first.wants_scan().then_some(rules.limits.scan);
            self.prepared_for = wanted;
            let flush = self.flush_within(plan.mounts, &rules.limits, now);
            let left = self.time_left(now)?;
            return self.run(self.preparation(scan, Some(flush)), left, now, out);
        }
        self.check_flush(&plan, out)?;
        self.mounts = verdict.to_suspend().cloned().collect();
        self.verdict = verdict;
        self.step = Step::Open;
        out.push(Action::Open(self.mounts.len()));
        Ok(())
    }

    /// sync(2) comes first, because mapped pages of ZFS files go to the pool through it. Committing the pools
    /// takes time, so the preparation is repeated after it.
    fn sync_pools(
        &mut self,
        pools: Vec<String>,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        self.prepared_for.clear();
        self.synced_pools.extend_from_slice(&pools);
        let flush = self.flush_within(Vec::new(), &rules.limits, now);
        self.tasks.push_back(self.preparation(None, Some(flush)));
        self.tasks.push_back(Task::SyncPools(pools));
        self.run_next(&rules.limits, now, out)
    }

    fn preparation(&self, scan: Option<Duration>, flush: Option<Flush>) -> Task {
        let vdevs = self.pools.as_ref().map(|pools| pools.vdevs.clone()).unwrap_or_default();
        Task::Prepare(Preparation { mounts: self.table.clone(), vdevs, scan, flush })
    }

    fn flush_within(&self, mounts: Vec<Mount>, limits: &Limits, now: Duration) -> Flush {
        let left = self.job.answer_by.saturating_sub(now);
        let most = left.saturating_sub(2 * limits.scan + SUSPEND_RESERVE).max(left / 2);
        Flush { limit: limits.sync.min(most), mounts }
    }

    /// A flush that failed matters only for mounts that are not suspended: a suspension writes what is left.
    fn check_flush(&self, plan: &SyncPlan, out: &mut Vec<Action>) -> Result<(), String> {
        let Some(Err(reason)) = &self.flush else { return Ok(()) };
        let mounts = plan.mounts.iter().map(|mount| &mount.on);
        match mounts.chain(&plan.flushed).next() {
            Some(on) => Err(format!("{on} cannot be brought to disk: {reason}")),
            None => {
                let text = format!("not all was brought to disk before the freeze: {reason}");
                out.push(Action::Log(Level::Warn, text));
                Ok(())
            }
        }
    }

    fn run(
        &mut self,
        task: Task,
        limit: Duration,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let left = self.time_left(now)?;
        self.running = Some(task.clone());
        out.push(Action::Run(Lane::Backup, task, limit.min(left)));
        Ok(())
    }

    fn run_next(&mut self, limits: &Limits, now: Duration, out: &mut Vec<Action>) -> Result<(), String> {
        let left = self.time_left(now)?;
        let Some(task) = self.tasks.pop_front() else {
            // Programs take time, and may have mounted or unmounted something.
            out.push(Action::Survey(Lane::Backup));
            return Ok(());
        };
        let limit = match &task {
            Task::Hook(hook, _) => {
                self.started.push(hook.clone());
                limits.freeze_hook
            }
            Task::ListPools => limits.zpool,
            Task::SyncPools(_) | Task::Prepare(_) => left,
        };
        self.run(task, limit, now, out)
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
            Outcome::Succeeded => {
                if task == Task::ListPools {
                    self.pools = Some(Pools::parse(ended.output.iter().map(String::as_str)));
                }
                self.run_next(&rules.limits, now, out)
            }
            Outcome::Failed(reason) => Err(reason),
            Outcome::NotStarted(reason) => {
                if matches!(task, Task::Hook(..)) {
                    self.started.pop();
                }
                Err(reason)
            }
        }
    }

    pub(super) fn prepared(
        &mut self,
        prepared: Prepared,
        rules: &Rules,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        if self.running.take().is_none() {
            return Ok(());
        }
        if matches!(self.step, Step::LookAtDevices) {
            // Only the devices count. The programs may change while hooks run.
            let stores = prepared.scan.and_then(Result::ok).map(|scan| scan.stores).unwrap_or_default();
            self.scanned = Scanned::Done(Scan { stores, ..Scan::default() });
            out.push(Action::Survey(Lane::Backup));
            return Ok(());
        }
        match prepared.scan {
            Some(Ok(scan)) => self.scanned = Scanned::Done(scan),
            Some(Err(reason)) => self.scanned = Scanned::Failed(reason),
            None => {}
        }
        if let Some(flush) = prepared.flush {
            self.flush = Some(flush);
        }
        self.run_next(&rules.limits, now, out)
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
        // After the last mount, too: one that took long to suspend must not lead to a late answer.
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

    /// The actions that resume everything and stop what runs; the mounts that they resume; the hooks to run.
    pub(super) fn undo(self) -> (Vec<Action>, Vec<Resumed>, Vec<Hook>) {
        let mut actions = Vec::new();
        if self.running.is_some() {
            actions.push(Action::Stop(Lane::Backup));
        }
        actions.extend(self.suspended.iter().rev().map(|slot| Action::Resume(*slot)));
        if matches!(self.step, Step::Open | Step::Suspend { .. } | Step::Answer) {
            actions.push(Action::Close);
        }
        let resumed = self.suspensions().into_iter().map(|(_, resumed)| resumed).collect();
        (actions, resumed, self.started)
    }

    fn suspensions(&self) -> Vec<(usize, Resumed)> {
        let resumed = |slot: &usize| {
            let mount = self.mounts.get(*slot)?;
            let decision = self.verdict.suspended_decisions().find(|d| d.mount.id == mount.id)?;
            let (accepts_loss, writers) = (decision.accepts_loss, decision.writers.clone());
            Some((*slot, Resumed { mount: mount.clone(), accepts_loss, writers }))
        };
        self.suspended.iter().filter_map(resumed).collect()
    }

    pub(super) fn into_frozen(self, limits: &Limits, now: Duration) -> Frozen {
        Frozen {
            suspended: self.suspensions(),
            flushed: self.verdict.sync_plan().flushed,
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
