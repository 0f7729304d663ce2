//! The state between the answer to a freeze and the thaw. It knows what is suspended and how to resume it. It
//! runs no program and writes no log line while the guest is frozen.

use std::time::Duration;

use super::Action;
use super::after::Resumed;
use crate::vss::hooks::Hook;

/// A guest whose UFS file systems take no writes.
#[derive(Debug)]
pub(super) struct Frozen {
    /// What is suspended, in the order of suspending.
    pub(super) suspended: Vec<(usize, Resumed)>,
    /// The hooks that ran before the freeze.
    pub(super) hooks: Vec<Hook>,
    /// Mount points that were flushed, because suspending them would do harm.
    pub(super) flushed: Vec<String>,
    /// When the freeze was answered.
    pub(super) since: Duration,
    /// How long the freeze took.
    pub(super) took: Duration,
    /// When the watchdog thaws.
    pub(super) thaw_by: Option<Duration>,
}

impl Frozen {
    /// The log line about the freeze. It is written after the thaw.
    pub(super) fn report(&self) -> String {
        let mounts: Vec<&str> = self.suspended.iter().map(|(_, resumed)| resumed.mount.on.as_str()).collect();
        let mut text = format!(
            "frozen took={:.3}s mounts={} order={}",
            self.took.as_secs_f64(),
            mounts.len(),
            mounts.join(",")
        );
        if !self.flushed.is_empty() {
            text.push_str(" flushed=");
            text.push_str(&self.flushed.join(","));
        }
        text
    }

    /// The actions that resume everything, the last suspended first; the mounts that they resume; the hooks
    /// to run.
    pub(super) fn resume(self) -> (Vec<Action>, Vec<Resumed>, Vec<Hook>) {
        let slots = self.suspended.iter().rev().map(|(slot, _)| Action::Resume(*slot));
        let actions = slots.chain([Action::Close]).collect();
        (actions, self.suspended.into_iter().map(|(_, resumed)| resumed).collect(), self.hooks)
    }
}
