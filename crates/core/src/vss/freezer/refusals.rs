//! Log lines about refused requests, which the host could cause in a loop. It decides which of them are
//! written and which are only counted. It is given the time, and writes nothing itself.

use std::time::Duration;

use log::Level;

use super::events::Action;
use crate::runtime::rate_limit::{Reasons, Verdict};

/// How often a refusal is logged again while its reasons stay the same.
const REPETITIONS: u32 = 5;
const REPETITIONS_PER: Duration = Duration::from_secs(3600);

/// The refusals that were logged, by their reasons.
#[derive(Debug)]
pub(super) struct Refusals(Reasons);

impl Default for Refusals {
    fn default() -> Self {
        Self(Reasons::new(REPETITIONS, REPETITIONS_PER))
    }
}

impl Refusals {
    /// Lines about a refusal whose reasons are the guest's: one line for each reason. They are logged when
    /// the reasons have changed, and otherwise only as often as the limit allows.
    pub(super) fn log_on_change(&mut self, lines: Vec<String>, now: Duration) -> Vec<Action> {
        self.log_limited(&lines.join("; "), lines, now)
    }

    /// Lines about a refusal of a `kind` whose reasons the host makes, logged only as often as the limit
    /// allows.
    pub(super) fn log_limited(&mut self, kind: &str, mut lines: Vec<String>, now: Duration) -> Vec<Action> {
        let verdict = self.0.check(kind, now);
        if verdict == Verdict::Suppress {
            return Vec::new();
        }
        if let Some(last) = lines.last_mut() {
            *last = verdict.line(last).unwrap_or_default();
        }
        lines.into_iter().map(|line| Action::Log(Level::Warn, line)).collect()
    }

    /// Forgets refusals whose line begins with `beginning`: the next one is logged at once.
    pub(super) fn reset(&mut self, beginning: &str) {
        self.0.forget(beginning);
    }
}
