//! Between the answer to a freeze and the thaw.

use std::time::Duration;

use super::Action;
use crate::vss::hooks::Hook;

/// A guest whose UFS file systems take no writes.
#[derive(Debug)]
pub(super) struct Frozen {
    /// Slots and mount points, in the order of suspending.
    pub(super) suspended: Vec<(usize, String)>,
    /// The hooks that ran before.
    pub(super) hooks: Vec<Hook>,
    /// When the freeze was answered.
    pub(super) since: Duration,
    /// How long it took.
    pub(super) took: Duration,
    /// When the watchdog thaws.
    pub(super) thaw_by: Option<Duration>,
}

impl Frozen {
    /// The line of the log, which is written after the thaw.
    pub(super) fn report(&self) -> String {
        let mounts: Vec<&str> = self.suspended.iter().map(|(_, on)| on.as_str()).collect();
        format!(
            "frozen took={:.3}s mounts={} order={}",
            self.took.as_secs_f64(),
            mounts.len(),
            mounts.join(",")
        )
    }

    /// The actions that end the suspensions, the last one first, and the hooks to tell.
    pub(super) fn resume(self) -> (Vec<Action>, Vec<Hook>) {
        let slots = self.suspended.iter().rev().map(|(slot, _)| Action::Resume(*slot));
        (slots.chain([Action::Close]).collect(), self.hooks)
    }
}
