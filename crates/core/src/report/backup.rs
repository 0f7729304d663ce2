//! One backup, as it went.

use serde::{Deserialize, Serialize};

/// How a backup ended for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Frozen, and thawed when the host asked for it.
    Good,
    /// The freeze was refused or failed; nothing was frozen when the host heard it.
    Failed,
    /// Thawed before the host asked for it: what the host copied is not to be used.
    Void,
}

/// A file system that was suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MountFreeze {
    /// Its mount point.
    pub mount: String,
    /// How long the suspension took, in microseconds.
    pub took: u64,
}

/// A file system that was brought to disk and not suspended, because a suspension would have done harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flushed {
    /// Its mount point.
    pub mount: String,
    /// Why.
    pub why: String,
}

/// A hook that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HookRun {
    /// Its file name.
    pub name: String,
    /// `freeze`, `thaw` or `abort`.
    pub phase: String,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What went wrong.
    pub failed: Option<String>,
}

/// Something else that was done before the suspension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// What.
    pub what: String,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What went wrong.
    pub failed: Option<String>,
}

/// One backup, from the freeze that the host asked for to the last hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backup {
    /// When the freeze was asked for.
    pub at: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or is void.
    pub reason: Option<String>,
    /// From the request to its answer, in microseconds.
    pub answered_in: u64,
    /// How long file systems were suspended, in microseconds; `None` where none was.
    pub frozen_for: Option<u64>,
    /// The suspended file systems, the first one first.
    pub mounts: Vec<MountFreeze>,
    /// The hooks, in the order of their runs.
    pub hooks: Vec<HookRun>,
    /// What else was done, in this order.
    pub steps: Vec<Step>,
    /// File systems that were brought to disk instead of being suspended: in the copy as after a power cut.
    #[serde(default)]
    pub flushed: Vec<Flushed>,
}
