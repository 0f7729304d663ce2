//! The reports of the daemons on their control sockets: counters, times and reasons, never the contents of a
//! pool. A report is one JSON object. Its member `report` is the version of the format. The format only
//! grows: members are neither renamed nor removed, and a reader ignores members that it does not know.
//!
//! Moments are seconds since the epoch, durations are in microseconds.

mod backup;
mod ledger;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

pub use backup::{Backup, Flushed, HookRun, MountFreeze, Step, Verdict};
pub use ledger::Ledger;

use crate::runtime::VERSION;
use crate::sys::clock;

/// The version of the reports' format.
pub const REPORT: u32 = 1;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// On the monotonic clock, for durations.
    pub monotonic: Duration,
    /// Seconds since the epoch, for people.
    pub unix: u64,
}

impl Moment {
    /// The current moment.
    #[must_use]
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { monotonic: clock::monotonic(), unix }
    }
}

/// The part that all reports have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Common {
    /// [`REPORT`].
    pub report: u32,
    /// The program's name.
    pub program: String,
    /// The version of the suite.
    pub version: String,
    /// Its process number.
    pub pid: u32,
    /// When it began to serve.
    pub started: u64,
    /// How long it has served, in seconds.
    pub uptime: u64,
    /// The most memory that it had resident, in KiB.
    pub peak_memory_kib: u64,
    /// The configuration file that was named when it was started.
    pub config: Option<String>,
    /// Its device.
    pub device: String,
}

/// The identity of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The program's name.
    pub program: &'static str,
    /// The configuration file that was named.
    pub config: Option<String>,
    /// Its device.
    pub device: String,
    /// When it began to serve.
    pub started: Moment,
}

impl Identity {
    /// The common part at the moment `now`.
    #[must_use]
    pub fn common(&self, now: Moment) -> Common {
        let usage = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
        Common {
            report: REPORT,
            program: self.program.to_owned(),
            version: VERSION.to_owned(),
            pid: std::process::id(),
            started: self.started.unix,
            uptime: now.monotonic.saturating_sub(self.started.monotonic).as_secs(),
            peak_memory_kib: u64::try_from(usage).unwrap_or(0),
            config: self.config.clone(),
            device: self.device.clone(),
        }
    }
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answered {
    /// The kind of the request, as it is counted.
    pub request: String,
    /// When it was answered.
    pub at: u64,
    /// How long it took, in microseconds.
    pub took: u64,
}

/// A request that was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refused {
    /// When.
    pub at: u64,
    /// Why, as the log has it.
    pub reason: String,
}

/// Requests by kind, in the order of the kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Requests {
    /// How many requests of each kind arrived since the start.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// The last answered request.
    pub last: Option<Answered>,
    /// The slowest request.
    pub slowest: Option<Answered>,
    /// How many were refused or failed. An answer that an item does not exist is no failure.
    pub refused: u64,
    /// The last of those.
    pub last_refused: Option<Refused>,
}

impl Requests {
    /// Counts a request of this kind.
    pub fn count(&mut self, kind: &str) {
        match self.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(kind.to_owned(), 1)),
        }
    }

    /// Records that a request of this kind was answered.
    pub fn answered(&mut self, kind: &str, took: Duration, now: Moment) {
        let took = micros(took);
        if let Some(last) = &mut self.last {
            // Usually the kind is the same, so the text is kept and nothing is allocated.
            if last.request != kind {
                kind.clone_into(&mut last.request);
            }
            (last.at, last.took) = (now.unix, took);
        } else {
            self.last = Some(Answered { request: kind.to_owned(), at: now.unix, took });
        }
        if self.slowest.as_ref().is_none_or(|slowest| took > slowest.took) {
            self.slowest.clone_from(&self.last);
        }
    }

    /// Records that a request was refused or failed.
    pub fn refuse(&mut self, reason: &str, now: Moment) {
        self.refused += 1;
        self.last_refused = Some(Refused { at: now.unix, reason: shortened(reason) });
    }
}

/// An attempt of the host to set addresses, and its result: a line of the file that [`injections_in`] names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Injection {
    /// When.
    pub at: u64,
    /// The adapter, as the kernel names it.
    pub adapter: String,
    /// The addresses, or `DHCP`. Empty for a malformed request.
    pub wanted: String,
    /// Why it was refused. `None`: it took effect.
    pub refused: Option<String>,
}

/// The file beside the undo files in which the daemon records attempts of the host to set addresses.
#[must_use]
pub fn injections_in(directory: &Path) -> PathBuf {
    directory.join("history")
}

/// The report of `hv_kvp_daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KvpReport {
    /// The reporting daemon.
    #[serde(flatten)]
    pub common: Common,
    /// The kernel accepted its registration. Otherwise the daemon ends.
    pub registered: bool,
    /// The host's requests.
    pub requests: Requests,
}

/// The report of `hv_vss_daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VssReport {
    /// The reporting daemon.
    #[serde(flatten)]
    pub common: Common,
    /// The host's requests.
    pub requests: Requests,
    /// A backup is under way, including its hooks.
    #[serde(default)]
    pub under_way: bool,
    /// Why no backup can be made, by the mounts, the hooks and the daemon's own files.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// The file systems that are suspended now, in the order of suspending.
    pub frozen: Vec<String>,
    /// When the first of them was suspended.
    pub frozen_since: Option<u64>,
    /// The last backup that ended since the start.
    pub last_backup: Option<Backup>,
}

/// A report as text: one line.
#[must_use]
pub fn text(report: &impl Serialize) -> Vec<u8> {
    // Every report can become JSON.
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    text
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A text that may contain a path or a program's output, cut to a few lines of a terminal.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { monotonic: Duration::from_secs(seconds), unix: 1_000_000 + seconds }
    }

    #[test]
    fn requests_are_counted_and_the_slowest_is_kept() {
        let mut requests = Requests::default();
        for (kind, took) in [("get", 5), ("set", 900), ("get", 7)] {
            requests.count(kind);
            requests.answered(kind, Duration::from_micros(took), at(took));
        }
        requests.refuse(&"x".repeat(1000), at(9));
        let counts: Vec<_> = requests.counts.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(counts, [("get", 2), ("set", 1)]);
        assert_eq!(requests.last, Some(Answered { request: "get".into(), at: 1_000_007, took: 7 }));
        assert_eq!(requests.slowest, Some(Answered { request: "set".into(), at: 1_000_900, took: 900 }));
        assert_eq!(requests.last_refused.unwrap().reason.len(), 400);
    }

    #[test]
    fn a_report_is_one_line_and_can_be_read_back() {
        let identity = Identity {
            program: "hv_kvp_daemon",
            config: Some("/etc/x \"y\".toml".into()),
            device: "/dev/hv_kvp_dev".into(),
            started: at(1),
        };
        let report =
            KvpReport { common: identity.common(at(63)), registered: true, requests: Requests::default() };
        let text = text(&report);
        assert!(text.starts_with(b"{\"report\":1,\"program\":\"hv_kvp_daemon\","));
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(report.common.uptime, 62);
        assert!(report.common.peak_memory_kib > 100);
        let mut members: serde_json::Value = serde_json::from_slice(&text).unwrap();
        // Members of a later version are ignored.
        members["later"] = 1.into();
        assert_eq!(serde_json::from_value::<KvpReport>(members).unwrap(), report);
    }
}
