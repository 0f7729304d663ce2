//! Steps that could not be taken back before the answer was due, tried again after it.

use std::time::Duration;

use hv_core::injection::apply::{Deadlines, InjectionPort};
use hv_core::injection::step::Step;
use hv_core::net::InterfaceName;
use hv_core::plan::{Event, Port};
use hv_core::runtime::error_chain;
use hv_core::sys::clock;

/// How often it is tried, and the time from one try to the next.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long one try may hold up the daemon: a request that comes meanwhile is still answered in time.
const LIMIT: Duration = Duration::from_millis(1500);

/// What is left of a failed injection.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// The interface that it was for.
    pub(super) hn: InterfaceName,
    steps: Vec<Step>,
    attempts: u32,
    next: Duration,
}

impl Leftovers {
    /// Leftovers that are due at once.
    pub(super) fn new(hn: InterfaceName, steps: Vec<Step>) -> Self {
        Self { hn, steps, attempts: 0, next: clock::monotonic() }
    }

    /// When the next try is due.
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// Until when a try that begins now goes on.
    pub(super) fn deadlines() -> Deadlines {
        let until = clock::monotonic() + LIMIT;
        Deadlines { steps: until, undo: until, share: LIMIT }
    }

    /// Tries all steps, in their order; says whether nothing more is to be done.
    pub(super) fn attempt(&mut self, port: &mut InjectionPort) -> bool {
        self.attempts += 1;
        let last = self.attempts >= ATTEMPTS;
        let hn = &self.hn;
        self.steps.retain(|step| {
            port.announce(Event::Undoing(step));
            let Err(error) = port.perform(step) else { return false };
            if last {
                log::error!("{hn}: could not {step}, it is left behind: {}", error_chain(&error));
            }
            true
        });
        self.next = clock::monotonic() + PAUSE;
        last || self.steps.is_empty()
    }
}
