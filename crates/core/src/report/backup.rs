//! The record of one backup, as the report and the history have it. Only types; `ledger` fills them.

use serde::{Deserialize, Serialize};

/// The result of a backup for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Frozen, and thawed when the host asked for it.
    Good,
    /// The freeze was refused or failed. Nothing was frozen when the host got the answer.
    Failed,
    /// Thawed before the host asked for it: the host's copy must not be used.
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

/// A file system that was flushed and not suspended, because a suspension would have done harm.
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

/// Another step before the suspension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// The step's name.
    pub what: String,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What went wrong.
    pub failed: Option<String>,
}

/// One backup, from the host's freeze request to the last hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backup {
    /// When the freeze request arrived.
    pub at: u64,
    /// Its result.
    pub verdict: Verdict,
    /// Why it failed or is void.
    pub reason: Option<String>,
    /// From the request to its answer, in microseconds.
    pub answered_in: u64,
    /// How long file systems were suspended, in microseconds. `None` if none was.
    pub frozen_for: Option<u64>,
    /// The suspended file systems, the first one first.
    pub mounts: Vec<MountFreeze>,
    /// The hooks, in the order in which they ran.
    pub hooks: Vec<HookRun>,
    /// Other steps, in the order in which they were done.
    pub steps: Vec<Step>,
    /// File systems that were flushed instead of suspended. In the copy they are as after a power cut.
    #[serde(default)]
    pub flushed: Vec<Flushed>,
}
