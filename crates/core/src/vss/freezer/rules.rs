//! The administrator's rules for backups, and the reasons against one that a check finds. It turns findings
//! into sentences. It looks at nothing itself.

use std::time::Duration;

use crate::vss::hooks::Selection;
use crate::vss::mounts::{FsId, Policy, Reason, Treatment, Verdict};
use crate::vss::pools::Pools;
use crate::vss::scan::Process;

/// The time limits of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the delivery of a freeze to its answer.
    pub answer: Duration,
    /// From the answer to a freeze to a thaw without the host. `None`: no watchdog.
    pub watchdog: Option<Duration>,
    /// One hook before a freeze.
    pub freeze_hook: Duration,
    /// One hook after a freeze.
    pub thaw_hook: Duration,
    /// One scan of all programs.
    pub scan: Duration,
    /// Bringing to disk what is in memory.
    pub sync: Duration,
    /// The listing of the pools.
    pub zpool: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            watchdog: Some(Duration::from_secs(60)),
            freeze_hook: Duration::from_secs(5),
            thaw_hook: Duration::from_secs(30),
            scan: Duration::from_secs(1),
            sync: Duration::from_secs(6),
            zpool: Duration::from_secs(2),
        }
    }
}

/// A file, directory or FIFO that this process has open. If it is open for writing, the kernel refuses to
/// suspend its file system (EDEADLK). Any of them can keep the exit of this process from resuming the file
/// system, because closing it sleeps (`vn_close1()` of kern/vfs_vnops.c calls `vn_start_write()`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOpen {
    /// The number of the descriptor.
    pub descriptor: i32,
    /// The file system that it is on.
    pub id: FsId,
    /// Its path, if it is known.
    pub path: String,
    /// Whether it is open for writing.
    pub writable: bool,
}

/// What an administrator can set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules for mounts.
    pub policy: Policy,
    /// The deadlines.
    pub limits: Limits,
}

/// All findings of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The fate of each mount.
    pub verdict: Verdict,
    /// Files that this process has open.
    pub held_open: Vec<HeldOpen>,
    /// The hooks.
    pub hooks: Selection,
    /// The pools. Empty where no mount needs them.
    pub pools: Pools,
    /// Running programs that would make a freeze fail.
    pub at_work: Vec<Process>,
    /// What the check could not find out.
    pub trouble: Vec<String>,
}

impl Findings {
    /// Why no backup can be made, one sentence each; empty where one can.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let mut refusals = self.trouble.clone();
        refusals.extend(mount_refusals(&self.verdict, &self.held_open));
        refusals.extend(self.hooks.faults.iter().map(ToString::to_string));
        refusals.extend(self.pools.refusals(&self.verdict.sync_plan().pools));
        refusals
    }
}

/// Why mounts, or descriptors of this process on them, stand in the way of a backup.
pub(super) fn mount_refusals(verdict: &Verdict, held_open: &[HeldOpen]) -> Vec<String> {
    let vetoes = verdict.vetoes().map(ToString::to_string);
    let held = verdict.decisions.iter().filter(|d| closing_sleeps(d.treatment, &d.reason)).filter_map(|d| {
        let held = held_open.iter().find(|held| held.id == d.mount.id)?;
        let path = if held.path.is_empty() { "" } else { " of " };
        Some(format!(
            "{} ({}): this daemon itself holds descriptor {}{path}{} open there; send its output elsewhere",
            d.mount.on, d.mount.fs_type, held.descriptor, held.path
        ))
    });
    vetoes.chain(held).collect()
}

/// Whether closing a file on this mount can sleep while the guest is frozen. Closing a file of a nullfs
/// closes the file below it.
fn closing_sleeps(treatment: Treatment, reason: &Reason) -> bool {
    treatment == Treatment::Suspend || matches!(reason, Reason::ShowsPartOf(_))
}
