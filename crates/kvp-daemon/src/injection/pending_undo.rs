//! Steps that are done behind the answer: what could not be taken back before it was due, and what makes good
//! an injection in whose middle an earlier daemon was killed.
//!
//! One step at a time, so that requests are answered in between.

use std::collections::VecDeque;
use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::injection::apply::{Deadlines, InjectionPort};
use hv_core::injection::step::Step;
use hv_core::kvp::ip_info::request::Method;
use hv_core::plan::{Event, Port};
use hv_core::runtime::error_chain;
use hv_core::sys::clock;

/// How often all steps are tried, and the time from one round to the next.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long one step may hold up the daemon: an injection that comes meanwhile takes 3.6 seconds at most, and
/// the kernel waits for five.
const LIMIT: Duration = Duration::from_millis(900);

/// The steps for one interface.
#[derive(Debug)]
pub(super) struct PendingUndo {
    /// The interface that they are for.
    pub(super) hn: Adapter,
    /// Whether they take something back, for the log; else they complete it.
    undoes: bool,
    method: Option<Method>,
    steps: VecDeque<Step>,
    /// Those of this round that did not succeed.
    failed: VecDeque<Step>,
    rounds: u32,
    next: Duration,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do.
    Going,
    /// All is done.
    Done,
    /// Nothing more is tried; what was not done has been logged.
    GivenUp,
}

impl PendingUndo {
    /// Steps that take a failed injection back and are due at once.
    pub(super) fn undo(hn: Adapter, steps: Vec<Step>) -> Self {
        Self::new(hn, steps, true)
    }

    /// Steps that complete what a killed daemon left, due at once; then the interface is held to `method`.
    pub(super) fn completion(hn: Adapter, steps: Vec<Step>, method: Option<Method>) -> Self {
        Self { method, ..Self::new(hn, steps, false) }
    }

    /// What the interface is held to when all is done.
    pub(super) fn completes(&self) -> Option<Method> {
        self.method.clone().filter(|_| !self.undoes)
    }

    fn new(hn: Adapter, steps: Vec<Step>, undoes: bool) -> Self {
        let next = clock::monotonic();
        Self { hn, undoes, method: None, steps: steps.into(), failed: VecDeque::new(), rounds: 0, next }
    }

    /// Puts the steps of a later failure in front: they lead back to where these begin.
    pub(super) fn put_in_front(&mut self, steps: Vec<Step>) {
        let earlier = std::mem::take(&mut self.failed).into_iter().chain(std::mem::take(&mut self.steps));
        self.steps = steps.into_iter().chain(earlier).collect();
        (self.undoes, self.rounds, self.next) = (true, 0, clock::monotonic());
    }

    /// When the next try is due.
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// Puts the next try off.
    pub(super) fn postpone(&mut self) {
        self.next = clock::monotonic() + PAUSE;
    }

    /// Until when a try that begins now goes on.
    pub(super) fn deadlines() -> Deadlines {
        let until = clock::monotonic() + LIMIT;
        Deadlines { steps: until, undo: until, share: LIMIT }
    }

    /// Tries one step.
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

    /// Tries all steps once more, at the end of the daemon; the caller's port says for how long.
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
