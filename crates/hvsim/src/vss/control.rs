//! The requests about the simulated backup devices, and their results. Only types; `host` performs them.

use serde::{Deserialize, Serialize};

/// The host's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Can this guest be backed up live?
    Check,
    /// Bring the disks to rest.
    Freeze,
    /// End the freeze.
    Thaw,
}

impl Operation {
    /// The number in messages.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Check => 1,
            Self::Freeze => 2,
            Self::Thaw => 3,
        }
    }

    /// The name for users.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

/// One of the two devices on which the kernel delivers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// `/dev/hv_fsvss_dev`, of the daemon that freezes the file systems.
    FileSystem,
    /// `/dev/hv_appvss_dev`, of an application's own daemon.
    Application,
}

impl Side {
    /// The node's name.
    #[must_use]
    pub fn node(self) -> &'static str {
        match self {
            Self::FileSystem => "hv_fsvss_dev",
            Self::Application => "hv_appvss_dev",
        }
    }
}

/// The result of a request of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest answered with success.
    Success,
    /// The guest answered with failure.
    Failure,
    /// The kernel answered with failure, because no answer came in time.
    TimedOut,
    /// The kernel answered with failure, because the daemon has ended.
    DaemonGone,
    /// The kernel dropped the request, because another one was pending. The host gets no answer.
    Dropped,
    /// The device was detached before there was an answer.
    Detached,
}

/// An answer, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    pub operation: Operation,
    /// The result.
    pub outcome: Outcome,
    /// How long it took, in nanoseconds.
    pub nanoseconds: u64,
}

impl Answer {
    /// Whether the host continues the backup.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Success
    }
}

/// The counters of the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// `poll` calls of the file-system daemon. One sleeping `poll(2)` makes two or three of them.
    pub polls: u64,
    /// READ calls, both devices.
    pub reads: u64,
    /// READ calls that found no request.
    pub empty_reads: u64,
    /// WRITE calls, both devices.
    pub writes: u64,
    /// WRITE calls that were too late and ignored.
    pub late_writes: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
    /// Requests that were dropped, because another one was pending.
    pub dropped: u64,
    /// UFSSUSPEND calls that succeeded.
    pub suspended: u64,
    /// Suspensions that ended.
    pub resumed: u64,
    /// Milliseconds that UFSSUSPEND calls slept for the buffers of their file systems.
    pub flushed_in_suspensions: u64,
    /// Files that lost stores through a mapping at a resume.
    pub lost_pages: u64,
    /// How often the observation of the frozen daemon ended. Each found no write, or recorded a violation.
    pub watches: u64,
    /// Descriptors of `/dev/ufssuspend` that are open now.
    pub open_suspenders: u64,
    /// The process that has the file-system device open, 0 for none.
    pub opener: u32,
}

/// A kind of calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// READ of the file-system device.
    Read,
    /// WRITE of the file-system device.
    Write,
    /// `poll`: the device hangs up.
    Poll,
    /// UFSSUSPEND.
    Suspend,
    /// `open` of `/dev/ufssuspend`.
    OpenSuspender,
}

/// Makes one call of the guest fail, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which call.
    pub call: Call,
    /// How many calls of that kind succeed before.
    pub after: u32,
    /// The number of errno(3). 0: the call succeeds, only late.
    pub errno: i32,
    /// How many milliseconds the caller sleeps in it.
    pub delay: u64,
}

/// A request about the devices of a live backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "vss", rename_all = "kebab-case")]
pub enum VssCommand {
    /// Send a request of the host: an [`Answer`].
    Ask {
        /// The request.
        operation: Operation,
        /// Milliseconds to wait for the answer, also while no daemon has the device open. None: for ever.
        limit: Option<u64>,
    },
    /// Send requests of the host as fast as they are answered: [`crate::control::Latencies`].
    AskMany {
        /// The requests, used in turn.
        operations: Vec<Operation>,
        /// How many are sent in all.
        count: usize,
    },
    /// Wait until a program has one of the devices open, or none has: whether that happened.
    WaitOpen {
        /// The device.
        side: Side,
        /// Whether it shall be open.
        open: bool,
        /// Milliseconds to wait.
        limit: u64,
    },
    /// Unmount a file system in the guest, as umount(8) does: `true`, or `false` while it sleeps.
    Unmount {
        /// The mount point.
        on: String,
    },
    /// From now on `vfs.runningbufspace` in the file `sysctl` of the facts directory falls as writes are
    /// completed.
    PlayWrites,
    /// Wait until nothing is suspended: whether that happened.
    WaitThawed {
        /// Milliseconds to wait.
        limit: u64,
    },
    /// Return the suspended mount points, in the order of suspending: a list of texts.
    Suspended,
    /// Return the counters: [`Statistics`].
    Statistics,
    /// Return the events: a list of [`super::timeline::Entry`].
    Timeline {
        /// Clear them afterwards.
        take: bool,
    },
    /// Change how long the kernel waits for an answer.
    SetTimeout {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// Make a call fail.
    Inject(Fault),
    /// Switch the examination of callers on or off: their threads, open files and writes. Benchmarks switch
    /// it off, because it costs nothing on a real kernel. The mount table is then read once and kept.
    Scrutinize {
        /// Whether callers are examined.
        on: bool,
    },
    /// Remove the two backup devices and kill the processes that have them open, as the kernel does.
    Detach,
    /// Create them again.
    Attach,
}
