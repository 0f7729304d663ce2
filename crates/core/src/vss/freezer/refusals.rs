//! Lines that the host can have logged as often as it likes.

use std::time::Duration;

use log::Level;

use super::events::Action;
use crate::runtime::rate_limit::{Reasons, Verdict};

/// How often a refusal is logged again while its reasons stay the same.
const REPETITIONS: u32 = 5;
const REPETITIONS_PER: Duration = Duration::from_secs(3600);

/// What has been refused.
#[derive(Debug)]
pub(super) struct Refusals(Reasons);

impl Default for Refusals {
    fn default() -> Self {
        Self(Reasons::new(REPETITIONS, REPETITIONS_PER))
    }
}

impl Refusals {
    /// The lines about one refusal, a line for each reason: all when the reasons are new together, else all
    /// or none. They are the guest's own words.
    pub(super) fn report(&mut self, lines: Vec<String>, now: Duration) -> Vec<Action> {
        self.repeat(&lines.join("; "), lines, now)
    }

    /// The lines about one refusal of a `kind` whose reasons are the host's making.
    pub(super) fn repeat(&mut self, kind: &str, mut lines: Vec<String>, now: Duration) -> Vec<Action> {
        let verdict = self.0.check(kind, now);
        if verdict == Verdict::Suppress {
            return Vec::new();
        }
        if let Some(last) = lines.last_mut() {
            *last = verdict.line(last).unwrap_or_default();
        }
        lines.into_iter().map(|line| Action::Log(Level::Warn, line)).collect()
    }

    /// Nothing that begins like this is refused any more: the next refusal is news.
    pub(super) fn end(&mut self, beginning: &str) {
        self.0.forget(beginning);
    }
}
