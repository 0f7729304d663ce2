//! What the host and a test can ask of the simulated backup devices, and what they get.

use serde::{Deserialize, Serialize};

/// What the host wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Can this guest be backed up live?
    Check,
    /// Bring the disks to rest.
    Freeze,
    /// Go on.
    Thaw,
}

impl Operation {
    /// The number in the messages, and the word for people.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Check => 1,
            Self::Freeze => 2,
            Self::Thaw => 3,
        }
    }

    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

/// One of the two devices that the kernel asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// `/dev/hv_fsvss_dev`: the daemon that freezes the file systems.
    FileSystem,
    /// `/dev/hv_appvss_dev`: an application's own.
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

/// How a request of the host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest says yes.
    Success,
    /// The guest says no.
    Failure,
    /// The kernel says no, for nobody answered in time.
    TimedOut,
    /// The kernel says no, for the daemon is not there any more.
    DaemonGone,
    /// The kernel dropped the request, for another one was pending: the host never hears of it.
    Dropped,
    /// The device went away before there was an answer.
    Detached,
}

/// An answer, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    pub operation: Operation,
    /// What came.
    pub outcome: Outcome,
    /// How long it took, in nanoseconds.
    pub nanoseconds: u64,
}

impl Answer {
    /// Whether the host goes on with the backup.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Success
    }
}

/// What the devices counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// `poll` calls of the file-system daemon; one sleeping `poll(2)` makes two or three of them.
    pub polls: u64,
    /// READ calls, both devices.
    pub reads: u64,
    /// READ calls that found nothing.
    pub empty_reads: u64,
    /// WRITE calls, both devices.
    pub writes: u64,
    /// WRITE calls that came too late and were ignored.
    pub late_writes: u64,
    /// Requests that nobody answered in time.
    pub timeouts: u64,
    /// Requests that were dropped, because another one was pending.
    pub dropped: u64,
    /// UFSSUSPEND calls that succeeded.
    pub suspended: u64,
    /// Suspensions that ended.
    pub resumed: u64,
    /// Milliseconds that UFSSUSPEND calls slept for the buffers of their file systems.
    pub flushed_in_suspensions: u64,
    /// Files that lost at a resume what was stored through a mapping.
    pub lost_pages: u64,
    /// How often a watch over the daemon while it was frozen came to an end; each found no write, or there is
    /// a violation.
    pub watches: u64,
    /// Descriptors of `/dev/ufssuspend` that are open now.
    pub open_suspenders: u64,
    /// The process that has the file-system device open now, 0 for none.
    pub opener: u32,
}

/// A call of the guest that can be made to fail.
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
    /// How many calls of that kind go well before.
    pub after: u32,
    /// With this number of errno(3); 0: the call succeeds after all, only late.
    pub errno: i32,
    /// How many milliseconds the caller sleeps in it.
    pub delay: u64,
}

/// What a client asks about the devices of a live backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "vss", rename_all = "kebab-case")]
pub enum VssCommand {
    /// The host sends a request: an [`Answer`].
    Ask {
        /// The request.
        operation: Operation,
        /// Milliseconds to wait for the answer, also while no daemon has the device open; none: for ever.
        limit: Option<u64>,
    },
    /// The host sends requests as fast as they are answered: [`crate::control::Latencies`].
    AskMany {
        /// The requests, in turn.
        operations: Vec<Operation>,
        /// How many are sent altogether.
        count: usize,
    },
    /// Waits until a program has one of the devices open, or none has: whether that came true.
    WaitOpen {
        /// Which one.
        side: Side,
        /// Whether it is to be open.
        open: bool,
        /// Milliseconds to wait.
        limit: u64,
    },
    /// Somebody in the guest unmounts a file system, as umount(8) does: `true`, or `false` while it sleeps.
    Unmount {
        /// The mount point.
        on: String,
    },
    /// From now on `vfs.runningbufspace` in the file `sysctl` of the facts directory falls as writes come to
    /// their end.
    PlayWrites,
    /// Waits until nothing is suspended: whether that came true.
    WaitThawed {
        /// Milliseconds to wait.
        limit: u64,
    },
    /// The mount points that are suspended now, in the order of suspending: a list of texts.
    Suspended,
    /// Counters: [`Statistics`].
    Statistics,
    /// What happened: a list of [`super::timeline::Entry`].
    Timeline {
        /// Forget it afterwards.
        take: bool,
    },
    /// Changes how long the kernel waits for an answer.
    SetTimeout {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// Makes a call fail.
    Inject(Fault),
    /// Whether callers are looked at: their threads, open files and writes. Benchmarks do without, for on a
    /// real kernel that costs nothing; the mount table is then read once and kept, too.
    Scrutinize {
        /// They are.
        on: bool,
    },
    /// Removes the two backup devices and kills who has them open, as the kernel does.
    Detach,
    /// Brings them back, as new.
    Attach,
}
