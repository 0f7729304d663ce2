//! The hooks after a freeze, run when the file systems are back and the host has its answer.

use std::time::Duration;

use log::Level;

use super::freezing::output_lines;
use super::{Action, Ended, Freezer, Job, Outcome, State, Task, answer};
use crate::abi::vss::Status;
use crate::vss::hooks::{Hook, Phase};

/// Hooks that run one after another.
#[derive(Debug)]
pub(super) struct After {
    phase: Phase,
    /// Hooks still to run; the next one is the last.
    left: Vec<Hook>,
    running: Option<Hook>,
    /// A freeze that came meanwhile.
    pub(super) waiting: Option<Job>,
}

impl After {
    /// What the log should know of a hook that ended. Its failure changes nothing: the guest runs.
    pub(super) fn ended(&mut self, ended: Ended) -> Vec<Action> {
        let Some(hook) = self.running.take() else {
            return Vec::new();
        };
        let phase = self.phase;
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
}

impl Freezer {
    /// Behind `actions`, runs the hooks that had run before the freeze, the last one first.
    pub(super) fn run_after(&mut self, phase: Phase, hooks: Vec<Hook>, actions: Vec<Action>) -> Vec<Action> {
        let after = After { phase, left: hooks, running: None, waiting: None };
        self.continue_after(after, actions, Duration::ZERO)
    }

    /// Behind `actions`, runs the next hook, or what comes after the last one.
    pub(super) fn continue_after(
        &mut self,
        mut after: After,
        mut actions: Vec<Action>,
        now: Duration,
    ) -> Vec<Action> {
        if let Some(hook) = after.left.pop() {
            after.running = Some(hook.clone());
            actions.push(Action::Run(Task::Hook(hook, after.phase), self.rules.limits.thaw_hook));
            self.state = State::After(after);
            return actions;
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

    /// Fails the freeze that waits for the hooks, if one does.
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
