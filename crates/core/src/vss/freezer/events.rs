//! What the freezer is told, and what it says.

use std::time::Duration;

use log::Level;

use super::HeldOpen;
use crate::abi::vss::{Answer, Request};
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::Mount;
use crate::vss::scan::Scan;

/// What something is done for. The two can go on side by side: a check does not wait for the hooks of the
/// last backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A CHECK.
    Check,
    /// A freeze, and what comes after it.
    Backup,
}

/// What a look at the mounts and at this process found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// Files that this process has open.
    pub held_open: Vec<HeldOpen>,
}

/// Something that takes time, and is done beside the freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// One of the administrator's hooks.
    Hook(Hook, Phase),
    /// Ask for the pools of ZFS and their devices.
    ListPools,
    /// Commit the open transaction groups of these ZFS pools.
    SyncPools(Vec<String>),
    /// Look at all programs and bring to disk what is in memory.
    Prepare(Preparation),
}

/// A look at all programs, bringing all to disk, or, with both, one look before it and one behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// The devices and files of ZFS pools, by pool.
    pub vdevs: Vec<(String, String)>,
    /// How long one look may take; none is wanted where `None`.
    pub scan: Option<Duration>,
    /// Whether all is brought to disk, and how.
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

/// What became of a [`Preparation`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What the looks found together, where they were wanted.
    pub scan: Option<Result<Scan, String>>,
    /// Whether all is on disk, where that was wanted.
    pub flush: Option<Result<(), String>>,
    /// How long the looks took.
    pub scan_took: Duration,
    /// How long bringing all to disk took.
    pub flush_took: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With exit status 0, in time.
    Succeeded,
    /// Otherwise, like this; it may have done a part of its work.
    Failed(String),
    /// It never ran.
    NotStarted(String),
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Lines that it printed: of a hook what is fit for the log, else all.
    pub output: Vec<String>,
}

/// How suspending one mount ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspended {
    /// No write reaches it any more.
    Done,
    /// It is not mounted any more: nothing to suspend.
    Vanished,
    /// It is not suspended, for this reason.
    Failed(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// READ gave a request that the kernel has had for `age`.
    Request {
        /// The request.
        request: Request,
        /// See [`Request::age`].
        age: Duration,
    },
    /// What [`Action::Survey`] asked for.
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
    /// The device cannot be used any more.
    DeviceGone(String),
}

/// What to do, in the order given. Each of [`Action::Survey`], [`Action::ListHooks`], [`Action::Run`],
/// [`Action::Open`], [`Action::Suspend`] and [`Action::Answer`] is followed by its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the mount table, and look which files this process has open.
    Survey(Lane),
    /// Read the hook directory.
    ListHooks(Lane),
    /// Begin a task that may take this long.
    Run(Lane, Task, Duration),
    /// End the task of this lane, with its whole process group; its end is no event any more.
    Stop(Lane),
    /// The hooks are through: what they left running in their process groups is killed or left alone.
    EndHooks {
        /// Kill it.
        kill: bool,
    },
    /// It is settled what becomes of each mount. Nothing is to be done.
    Decided {
        /// Mount points that are brought to disk instead of being suspended, with the reasons.
        flushed: Vec<(String, String)>,
    },
    /// Open as many descriptors of /dev/ufssuspend, and close them all should one fail. That of slot 0 has
    /// the highest number: the kernel closes those of a dead process in ascending order, and what was
    /// suspended last must be resumed first.
    Open(usize),
    /// From now on no log line may leave the process.
    HoldLog,
    /// Write the lines that waited.
    ReleaseLog,
    /// Suspend writes to `mount` through the descriptor with this index.
    Suspend {
        /// Index of the descriptor.
        slot: usize,
        /// What to suspend.
        mount: Mount,
    },
    /// Resume what the descriptor with this index suspended.
    Resume(usize),
    /// Close all descriptors of [`Action::Open`], the last suspended first, which resumes whatever they still
    /// suspend.
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
    /// It was asked to.
    Terminated,
    /// The device is gone.
    DeviceGone,
}
