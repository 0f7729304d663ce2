//! What the freezer is told, and what it says.

use std::time::Duration;

use log::Level;

use crate::abi::vss::{Answer, Request};
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::Mount;

/// What a mount table is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To answer this CHECK.
    Check(Request),
    /// For the freeze that is being prepared.
    Freeze,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// One of the administrator's hooks.
    Hook(Hook, Phase),
    /// Commit the open transaction groups of these ZFS pools.
    SyncPools(Vec<String>),
    /// Start writing what all file systems have in memory.
    SyncAll,
    /// Wait until what lies in these directories is on disk.
    SyncDirectories(Vec<String>),
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
    /// Lines that it printed.
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
    /// The mount table that [`Action::Survey`] asked for.
    Surveyed(Purpose, Result<Vec<Mount>, String>),
    /// The hooks that [`Action::ListHooks`] asked for.
    Hooks(Selection),
    /// The program of [`Action::Run`] ended.
    Ended(Ended),
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

/// What to do, in the order given. Each of [`Action::Survey`], [`Action::ListHooks`], [`Action::Run`], [`Action::Open`],
/// [`Action::Suspend`] and [`Action::Answer`] is followed by its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the mount table.
    Survey(Purpose),
    /// Read the hook directory.
    ListHooks,
    /// Start a program that may take this long.
    Run(Task, Duration),
    /// Kill the program that runs, with its whole process group; its end is no event any more.
    Stop,
    /// Open as many descriptors of /dev/ufssuspend, and close them all should one fail.
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
    /// Close all descriptors of [`Action::Open`], which resumes whatever they still suspend.
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
