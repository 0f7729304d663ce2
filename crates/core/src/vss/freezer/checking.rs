//! From a CHECK to its answer: looks for everything that would stand in the way of a freeze. It is given the
//! mounts, hooks, pools and processes, one event after another, and collects the reasons. It suspends nothing
//! and runs no hook.

use std::time::Duration;

use super::{Action, Ended, Findings, Lane, Limits, Outcome, Preparation, Prepared, Rules, Survey, Task};
use crate::abi::vss::Request;
use crate::vss::fates::Scanned;
use crate::vss::hooks::Selection;
use crate::vss::mounts::Mount;
use crate::vss::pools::Pools;

/// A check under way. Each step returns the next action, or nothing when the check is complete.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) request: Request,
    pub(super) answer_by: Duration,
    table: Vec<Mount>,
    pub(super) findings: Findings,
    /// Whether a task runs.
    pub(super) running: bool,
}

impl Checking {
    pub(super) fn new(request: Request, answer_by: Duration) -> Self {
        Self { request, answer_by, table: Vec::new(), findings: Findings::default(), running: false }
    }

    pub(super) fn surveyed(&mut self, survey: Result<Survey, String>, rules: &Rules) -> Option<Action> {
        match survey {
            Ok(survey) => {
                self.findings.verdict = rules.policy.judge(&survey.mounts);
                self.findings.held_open = survey.held_open;
                self.table = survey.mounts;
                Some(Action::ListHooks(Lane::Check))
            }
            Err(reason) => {
                self.findings.trouble.push(reason);
                None
            }
        }
    }

    pub(super) fn hooks(&mut self, selection: Selection, limits: &Limits, now: Duration) -> Option<Action> {
        self.findings.hooks = selection;
        if self.findings.verdict.sync_plan().pools.is_empty() {
            return self.scan(limits, now);
        }
        Some(self.run(Task::ListPools, limits.zpool, now))
    }

    pub(super) fn ended(&mut self, ended: Ended, limits: &Limits, now: Duration) -> Option<Action> {
        self.running = false;
        match ended.outcome {
            Outcome::Succeeded => {
                self.findings.pools = Pools::parse(ended.output.iter().map(String::as_str));
            }
            Outcome::Failed(reason) | Outcome::NotStarted(reason) => self.findings.trouble.push(reason),
        }
        self.scan(limits, now)
    }

    fn scan(&mut self, limits: &Limits, now: Duration) -> Option<Action> {
        if !self.findings.verdict.wants_scan() {
            return None;
        }
        let preparation = Preparation {
            mounts: self.table.clone(),
            vdevs: self.findings.pools.vdevs.clone(),
            scan: Some(limits.scan),
            flush: None,
        };
        Some(self.run(Task::Prepare(preparation), limits.scan, now))
    }

    fn run(&mut self, task: Task, limit: Duration, now: Duration) -> Action {
        self.running = true;
        let left = self.answer_by.saturating_sub(now).max(Duration::from_millis(1));
        Action::Run(Lane::Check, task, limit.min(left))
    }

    pub(super) fn prepared(&mut self, prepared: Prepared, rules: &Rules) {
        self.running = false;
        let scanned = match prepared.scan {
            Some(Ok(scan)) => {
                self.findings.at_work.clone_from(&scan.at_work);
                Scanned::Done(scan)
            }
            Some(Err(reason)) => Scanned::Failed(reason),
            None => Scanned::NotYet,
        };
        self.findings.verdict = rules.policy.judge_with(&self.table, &scanned);
    }
}
