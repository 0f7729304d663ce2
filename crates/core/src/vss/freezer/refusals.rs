//! Lines that the host can have logged as often as it likes.

use std::time::Duration;

use log::Level;

use super::events::Action;
use crate::runtime::rate_limit::{RateLimit, Verdict};

/// How often a refusal is logged again while its reasons stay the same.
const REPETITIONS: u32 = 5;
const REPETITIONS_PER: Duration = Duration::from_secs(3600);

/// What has been refused, by kind.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) check: Refusal,
    pub(super) check_in_backup: Refusal,
    pub(super) freeze_in_backup: Refusal,
    pub(super) freeze: Refusal,
    pub(super) thaw: Refusal,
    pub(super) unknown: Refusal,
}

/// One kind of refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    last: Vec<String>,
    limit: RateLimit,
}

impl Default for Refusal {
    fn default() -> Self {
        Self { last: Vec::new(), limit: RateLimit::new(REPETITIONS, REPETITIONS_PER) }
    }
}

impl Refusal {
    /// The lines about one refusal, a line for each reason: all when a reason is new, else all or none. `reasons` are the
    /// guest's own; what the host wrote would be new each time if it liked.
    pub(super) fn report(&mut self, reasons: Vec<String>, now: Duration) -> Vec<Action> {
        if self.last != reasons {
            self.limit.restart();
            self.last.clone_from(&reasons);
        }
        self.repeat(reasons, now)
    }

    /// Nothing is refused any more: the next refusal is news.
    pub(super) fn end(&mut self) {
        self.last.clear();
    }

    /// The lines about one refusal whose reasons are the host's making.
    pub(super) fn repeat(&mut self, mut lines: Vec<String>, now: Duration) -> Vec<Action> {
        match self.limit.check(now) {
            Verdict::Suppress => return Vec::new(),
            Verdict::Log { suppressed: 0 } => {}
            Verdict::Log { suppressed } => {
                lines.last_mut().into_iter().for_each(|line| *line = format!("{line} unlogged={suppressed}"));
            }
        }
        lines.into_iter().map(|line| Action::Log(Level::Warn, line)).collect()
    }
}
