//! The interface of the freezer: its events, its actions, and the tasks that run beside it. Only types; the
//! rules are in the other modules.

use std::time::Duration;

use log::Level;

use super::HeldOpen;
use crate::abi::vss::{Answer, Request};
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::Mount;
use crate::vss::scan::Scan;

/// What a task is done for. Both can be under way at the same time: a check does not wait for the hooks of
/// the last backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A CHECK.
    Check,
    /// A freeze, and what follows it.
    Backup,
}

/// The result of reading the mount table and this process's descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// Files that this process has open.
    pub held_open: Vec<HeldOpen>,
}

/// Work that takes time and is done beside the freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// One of the administrator's hooks.
    Hook(Hook, Phase),
    /// Ask for the pools of ZFS and their devices.
    ListPools,
    /// Commit the open transaction groups of these ZFS pools.
    SyncPools(Vec<String>),
    /// Scan all programs and bring to disk what is in memory.
    Prepare(Preparation),
}

/// A scan of all programs, a flush of all data, or both. With both there is one scan before the flush and one
/// after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// The devices and files of ZFS pools, by pool.
    pub vdevs: Vec<(String, String)>,
    /// How long one scan may take. `None`: no scan.
    pub scan: Option<Duration>,
    /// How data is brought to disk. `None`: it is not.
    pub flush: Option<Flush>,
}

/// sync(2), and then fsync(2) of some mount points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    /// How long it may take.
    pub limit: Duration,
    /// The mounts.
    pub mounts: Vec<Mount>,
}

/// The result of a [`Preparation`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What the scans found together. `None`: none was wanted.
    pub scan: Option<Result<Scan, String>>,
    /// Whether all is on disk. `None`: that was not wanted.
    pub flush: Option<Result<(), String>>,
    /// How long the scans took.
    pub scan_took: Duration,
    /// How long the flush took.
    pub flush_took: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With exit status 0, in time.
    Succeeded,
    /// In another way, described here. It may have done a part of its work.
    Failed(String),
    /// It never ran.
    NotStarted(String),
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Its output: for a hook the lines that may be logged, else all lines.
    pub output: Vec<String>,
}

/// The result of suspending one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspended {
    /// Writes to it now sleep.
    Done,
    /// It is no longer mounted, so there is nothing to suspend.
    Vanished,
    /// It is not suspended, for this reason.
    Failed(String),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request was read that the kernel has had for `age`.
    Request {
        /// The request.
        request: Request,
        /// See [`Request::age`].
        age: Duration,
    },
    /// The result of [`Action::Survey`].
    Surveyed(Lane, Result<Survey, String>),
    /// The hooks that [`Action::ListHooks`] asked for.
    Hooks(Lane, Selection),
    /// The program of [`Action::Run`] ended.
    Ended(Lane, Ended),
    /// The [`Task::Prepare`] of [`Action::Run`] ended.
    Prepared(Lane, Prepared),
    /// [`Action::Open`] is done.
    Opened(Result<(), String>),
    /// [`Action::Suspend`] is done.
    Suspended(Suspended),
    /// [`Action::Answer`] is done.
    Answered(Result<(), String>),
    /// Time has passed.
    Tick,
    /// SIGTERM or SIGINT.
    Terminate,
    /// The device can no longer be used.
    DeviceGone(String),
}

/// Something to do, in the order given. The driver reports the result of [`Action::Survey`],
/// [`Action::ListHooks`], [`Action::Run`], [`Action::Open`], [`Action::Suspend`] and [`Action::Answer`] by
/// the event that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the mount table, and find the files that this process has open.
    Survey(Lane),
    /// Read the hook directory.
    ListHooks(Lane),
    /// Begin a task, with its time limit.
    Run(Lane, Task, Duration),
    /// End the task of this lane, with its whole process group. No event reports its end.
    Stop(Lane),
    /// All hooks have ended. Processes that they left in their process groups are killed or left alone.
    EndHooks {
        /// Kill them.
        kill: bool,
    },
    /// The fate of each mount is decided. There is nothing to do; the driver may report it.
    Decided {
        /// Mount points that are flushed instead of suspended, with the reasons.
        flushed: Vec<(String, String)>,
    },
    /// Open this number of descriptors of /dev/ufssuspend, and close them all if one fails. Slot 0 gets the
    /// highest number: the kernel closes the descriptors of a dead process in ascending order, and the file
    /// system that was suspended last must be resumed first.
    Open(usize),
    /// No log line may leave the process from now on.
    HoldLog,
    /// Write the lines that were held.
    ReleaseLog,
    /// Suspend writes to `mount` through the descriptor with this index.
    Suspend {
        /// Index of the descriptor.
        slot: usize,
        /// What to suspend.
        mount: Mount,
    },
    /// Resume the file system that the descriptor with this index suspended.
    Resume(usize),
    /// Close all descriptors of [`Action::Open`], the last suspended first. Closing resumes a file system
    /// that is still suspended.
    Close,
    /// Write this answer to the device.
    Answer(Answer),
    /// Log a line.
    Log(Level, String),
    /// End the program.
    Leave(Leaving),
}

/// Why the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It was asked to end.
    Terminated,
    /// The device is gone.
    DeviceGone,
}
