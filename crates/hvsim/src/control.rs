//! The control protocol: one JSON value a line over a Unix stream socket, request and reply in turn.
//!
//! A connection's requests are served one after the other; whoever wants requests to overlap opens
//! several connections.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kvp::HostRequest;
use crate::vss::VssCommand;

/// The control socket of the server in `dir`.
#[must_use]
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Where the server in `dir` mounts the device files.
#[must_use]
pub fn device_dir(dir: &Path) -> PathBuf {
    dir.join("dev")
}

/// What a client asks of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Who is there: a [`Hello`].
    Hello,
    /// `hvsim run` is about to become a program: the time that a start takes begins.
    Starting,
    /// Nanoseconds from the latest [`Command::Starting`] to the latest registration of a key-value daemon, or
    /// nothing.
    StartUp,
    /// What the guest's programs did against the contract: a list of sentences.
    Violations {
        /// Forget them afterwards.
        take: bool,
    },
    /// Something about `/dev/hv_kvp_dev`.
    Kvp(KvpCommand),
    /// Something about the devices of a live backup.
    Vss(VssCommand),
}

/// What a client asks about `/dev/hv_kvp_dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kvp", rename_all = "kebab-case")]
pub enum KvpCommand {
    /// The host sends a request: a [`crate::kvp::HostAnswer`].
    Ask {
        /// The request.
        request: HostRequest,
        /// Milliseconds to wait for the answer, also while no daemon is registered; none: for ever.
        limit: Option<u64>,
    },
    /// The host sends requests as fast as they are answered: [`Latencies`].
    AskMany {
        /// The requests, in turn.
        requests: Vec<HostRequest>,
        /// How many are sent altogether.
        count: usize,
    },
    /// Waits until a daemon is registered: whether one is.
    WaitRegistered {
        /// Milliseconds to wait.
        limit: u64,
    },
    /// Counters: [`crate::kvp::Statistics`].
    Statistics,
    /// Changes how long the kernel waits for the daemon.
    SetTimeout {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// Removes the device and kills the daemon, as the kernel does.
    Detach,
    /// Brings the device back, as new.
    Attach,
}

/// Who serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The server's process, whose namespaces hold the mount.
    pub pid: i32,
    /// The directory of the device files, as seen in those namespaces.
    pub devices: PathBuf,
}

/// How long requests took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Nanoseconds of each request, in the order of sending.
    pub nanoseconds: Vec<u64>,
    /// Nanoseconds for all of them together.
    pub total: u64,
    /// How many answers had a status other than OK.
    pub failed: usize,
}

/// What the server answers: the value that the command promises, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It went well.
    Done(Value),
    /// It did not.
    Refused(String),
}
