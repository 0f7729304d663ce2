//! Steps that are performed after the answer: the undo that was not finished in time, and the completion of
//! an injection during which an earlier daemon was killed.
//!
//! One step is performed at a time, so that requests are answered in between. The steps are decided
//! elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::injection::apply::{Deadlines, InjectionPort};
use hv_core::injection::step::Step;
use hv_core::kvp::ip_info::request::Method;
use hv_core::plan::{Event, Port};
use hv_core::runtime::error_chain;
use hv_core::sys::clock;

/// How often all steps are tried, and the pause between two rounds.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// The time limit of one step. An injection that comes meanwhile then takes at most 3.6 seconds, and the
/// kernel waits for five.
const LIMIT: Duration = Duration::from_millis(900);

/// The steps for one interface.
#[derive(Debug)]
pub(super) struct PendingUndo {
    /// The interface.
    pub(super) hn: Adapter,
    /// Whether they are an undo or a completion, for the log.
    undoes: bool,
    method: Option<Method>,
    steps: VecDeque<Step>,
    /// The steps that failed in this round.
    failed: VecDeque<Step>,
    rounds: u32,
    next: Duration,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More steps are left.
    Going,
    /// All is done.
    Done,
    /// No more attempts. The log has the steps that failed.
    GivenUp,
}

impl PendingUndo {
    /// The undo of a failed injection. It is due at once.
    pub(super) fn undo(hn: Adapter, steps: Vec<Step>) -> Self {
        Self::new(hn, steps, true)
    }

    /// The completion of a killed daemon's work, due at once. Afterwards the interface is watched for
    /// `method`.
    pub(super) fn completion(hn: Adapter, steps: Vec<Step>, method: Option<Method>) -> Self {
        Self { method, ..Self::new(hn, steps, false) }
    }

    /// The configuration to watch for after the last step.
    pub(super) fn completes(&self) -> Option<Method> {
        self.method.clone().filter(|_| !self.undoes)
    }

    fn new(hn: Adapter, steps: Vec<Step>, undoes: bool) -> Self {
        let next = clock::monotonic();
        Self { hn, undoes, method: None, steps: steps.into(), failed: VecDeque::new(), rounds: 0, next }
    }

    /// Puts the undo of a later failure before these steps: it leads to the state in which these begin.
    pub(super) fn put_in_front(&mut self, steps: Vec<Step>) {
        let earlier = std::mem::take(&mut self.failed).into_iter().chain(std::mem::take(&mut self.steps));
        self.steps = steps.into_iter().chain(earlier).collect();
        (self.undoes, self.rounds, self.next) = (true, 0, clock::monotonic());
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// Postpones the next attempt.
    pub(super) fn postpone(&mut self) {
        self.next = clock::monotonic() + PAUSE;
    }

    /// The deadline of an attempt that begins now.
    pub(super) fn deadlines() -> Deadlines {
        let until = clock::monotonic() + LIMIT;
        Deadlines { steps: until, undo: until, share: LIMIT }
    }

    /// Performs one step.
    pub(super) fn attempt(&mut self, port: &mut InjectionPort) -> Progress {
        if let Some(step) = self.steps.pop_front() {
            port.announce(if self.undoes { Event::Undoing(&step) } else { Event::Doing(&step) });
            if let Err(error) = port.perform(&step) {
                if self.rounds + 1 >= ROUNDS {
                    let hn = &self.hn;
                    log::error!("{hn}: could not {step}, it is left behind: {}", error_chain(&error));
                }
                self.failed.push_back(step);
            }
        }
        if !self.steps.is_empty() {
            return Progress::Going;
        }
        self.rounds += 1;
        self.steps = std::mem::take(&mut self.failed);
        self.postpone();
        match self.steps.is_empty() {
            true => Progress::Done,
            false if self.rounds >= ROUNDS => Progress::GivenUp,
            false => Progress::Going,
        }
    }

    /// Performs all steps once more, before the daemon ends. The caller's port has the time limit.
    pub(super) fn attempt_all(&mut self, port: &mut InjectionPort) -> Progress {
        self.rounds = ROUNDS - 1;
        loop {
            match self.attempt(port) {
                Progress::Going => {}
                end => return end,
            }
        }
    }
}
