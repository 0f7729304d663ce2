//! The control protocol between client and server: one JSON value in a line over a Unix stream socket,
//! request and reply in turn. Only types; server and client do the work.
//!
//! The requests of one connection are served one after the other. Overlapping requests need several
//! connections.

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

/// The directory in which the server in `dir` mounts the device files.
#[must_use]
pub fn device_dir(dir: &Path) -> PathBuf {
    dir.join("dev")
}

/// A request to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Identify the server: a [`Hello`].
    Hello,
    /// `hvsim run` is about to start a program: the measured time begins.
    Starting,
    /// Nanoseconds from the latest [`Command::Starting`] to the latest registration of a key-value daemon, if
    /// there was one.
    StartUp,
    /// The violations of the contract by the guest's programs: a list of sentences.
    Violations {
        /// Clear them afterwards.
        take: bool,
    },
    /// A request about `/dev/hv_kvp_dev`.
    Kvp(KvpCommand),
    /// A request about the devices of a live backup.
    Vss(VssCommand),
}

/// A request about `/dev/hv_kvp_dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kvp", rename_all = "kebab-case")]
pub enum KvpCommand {
    /// Send a request of the host: a [`crate::kvp::HostAnswer`].
    Ask {
        /// The request.
        request: HostRequest,
        /// Milliseconds to wait for the answer, also while no daemon is registered. None: for ever.
        limit: Option<u64>,
    },
    /// Send requests of the host as fast as they are answered: [`Latencies`].
    AskMany {
        /// The requests, used in turn.
        requests: Vec<HostRequest>,
        /// How many are sent in all.
        count: usize,
    },
    /// Wait until a daemon is registered: whether one is.
    WaitRegistered {
        /// Milliseconds to wait.
        limit: u64,
    },
    /// Return the counters: [`crate::kvp::Statistics`].
    Statistics,
    /// Change how long the kernel waits for the daemon.
    SetTimeout {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// Remove the device and kill the daemon, as the kernel does.
    Detach,
    /// Create the device again.
    Attach,
}

/// The identity of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The server's process, whose namespaces have the mount.
    pub pid: i32,
    /// The directory of the device files, as seen in those namespaces.
    pub devices: PathBuf,
}

/// The durations of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Nanoseconds of each request, in the order in which they were sent.
    pub nanoseconds: Vec<u64>,
    /// Nanoseconds of all requests together.
    pub total: u64,
    /// How many answers had a status other than OK.
    pub failed: usize,
}

/// The reply of the server: the value for the command, or an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Success.
    Done(Value),
    /// An error, as a sentence.
    Refused(String),
}
