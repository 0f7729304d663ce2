//! What an administrator can set about backups, and what the start-up found.

use std::time::Duration;

use crate::vss::mounts::{FsId, Policy, Treatment, Verdict};

/// The deadlines of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the delivery of a freeze to its answer.
    pub answer: Duration,
    /// From the freeze to a thaw that the host did not ask for; never where `None`.
    pub watchdog: Option<Duration>,
    /// One hook before the freeze.
    pub freeze_hook: Duration,
    /// One hook after it.
    pub thaw_hook: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            watchdog: Some(Duration::from_secs(60)),
            freeze_hook: Duration::from_secs(5),
            thaw_hook: Duration::from_secs(30),
        }
    }
}

/// A descriptor that this process holds open for writing. A file system that holds it cannot be suspended (EDEADLK).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOpen {
    /// Its number.
    pub descriptor: i32,
    /// The file system that it is on.
    pub id: FsId,
}

/// What an administrator can set, and what the start-up found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What is done with which mount.
    pub policy: Policy,
    /// The deadlines.
    pub limits: Limits,
    /// Descriptors of our own that stand in the way.
    pub held_open: Vec<HeldOpen>,
}

impl Rules {
    /// Why no backup can be made, one sentence each; empty where one can.
    #[must_use]
    pub fn refusals(&self, verdict: &Verdict) -> Vec<String> {
        let vetoes = verdict.vetoes().map(ToString::to_string);
        let held = verdict.decisions.iter().filter(|d| d.treatment == Treatment::Suspend).filter_map(|d| {
            let held = self.held_open.iter().find(|held| held.id == d.mount.id)?;
            Some(format!(
                "{} ({}): this daemon itself holds descriptor {} open for writing there; send its output elsewhere",
                d.mount.on, d.mount.fs_type, held.descriptor
            ))
        });
        vetoes.chain(held).collect()
    }
}
