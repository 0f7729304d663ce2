//! What the daemons tell of themselves on their control sockets: counters, times and reasons, never the
//! contents of a pool. One JSON object; `report` is the version of its shape, which only grows: a reader
//! ignores members that it does not know, and none is renamed or removed.
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

/// The version of the reports' shape.
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
    /// The present.
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
    /// How long ago that is, in seconds.
    pub uptime: u64,
    /// The most memory that it had resident, in KiB.
    pub peak_memory_kib: u64,
    /// The configuration file that was named when it was started.
    pub config: Option<String>,
    /// Its device.
    pub device: String,
}

/// Who a daemon is.
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
    /// What was asked: the name under which it is counted.
    pub request: String,
    /// When the answer was there.
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
    /// How many of each kind came since the start.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// The last one that was answered.
    pub last: Option<Answered>,
    /// The one that took longest.
    pub slowest: Option<Answered>,
    /// How many were refused or failed; an item that is not there counts as found out.
    pub refused: u64,
    /// The last of those.
    pub last_refused: Option<Refused>,
}

impl Requests {
    /// A request of this kind came.
    pub fn count(&mut self, kind: &str) {
        match self.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(kind.to_owned(), 1)),
        }
    }

    /// It was answered.
    pub fn answered(&mut self, kind: &str, took: Duration, now: Moment) {
        let took = micros(took);
        if let Some(last) = &mut self.last {
            // Kinds are few: mostly the text stays, and nothing is allocated.
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

    /// It was refused or failed.
    pub fn refuse(&mut self, reason: &str, now: Moment) {
        self.refused += 1;
        self.last_refused = Some(Refused { at: now.unix, reason: shortened(reason) });
    }
}

/// What the host wanted of the network, and what became of it: a line of the file that [`injections_in`]
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Injection {
    /// When.
    pub at: u64,
    /// The adapter, as the kernel names it.
    pub adapter: String,
    /// The addresses, or `DHCP`; empty where the request made no sense.
    pub wanted: String,
    /// Why it was refused; `None`: it took effect.
    pub refused: Option<String>,
}

/// The file beside the undo files in which the daemon writes down what the host wanted to set.
#[must_use]
pub fn injections_in(directory: &Path) -> PathBuf {
    directory.join("history")
}

/// What `hv_kvp_daemon` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KvpReport {
    /// Who tells it.
    #[serde(flatten)]
    pub common: Common,
    /// The kernel took its registration. The daemon ends where it does not.
    pub registered: bool,
    /// What the host asked.
    pub requests: Requests,
}

/// What `hv_vss_daemon` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VssReport {
    /// Who tells it.
    #[serde(flatten)]
    pub common: Common,
    /// What the host asked.
    pub requests: Requests,
    /// A backup is under way, its hooks included.
    #[serde(default)]
    pub under_way: bool,
    /// Why no backup can be made, as far as the mounts, the hooks and the daemon's own files tell.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// The file systems that are suspended now, the first one first.
    pub frozen: Vec<String>,
    /// When the first of them was suspended.
    pub frozen_since: Option<u64>,
    /// The last backup that ended since the start.
    pub last_backup: Option<Backup>,
}

/// The text of a report: one line.
#[must_use]
pub fn text(report: &impl Serialize) -> Vec<u8> {
    // Nothing in a report can fail to become JSON.
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A reason that can hold a path or what a program said, not longer than a few lines of a terminal.
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
    fn a_report_is_one_line_with_a_version_and_comes_back() {
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
        // What a later version adds does not disturb.
        members["later"] = 1.into();
        assert_eq!(serde_json::from_value::<KvpReport>(members).unwrap(), report);
    }
}
