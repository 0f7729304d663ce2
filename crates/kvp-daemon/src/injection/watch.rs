//! After an answer: keeps the network as it was reported to the host for a minute, and then leaves it to the
//! administrator.
//!
//! A script of rc(8) that had read the old values, or devd(8) with a waiting event, can come after the last
//! look of a transaction. A [`Watch`] is told about changes and the time. It never reads the network, and
//! says when to look.

use std::collections::BTreeSet;
use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::injection::plan::Earlier;
use hv_core::kvp::ip_info::request::Method;
use hv_core::net::InterfaceAddress;

/// How long the network is watched.
const PERIOD: Duration = Duration::from_secs(60);
/// The pause between a change and the look, so that a burst of changes causes one look.
const SETTLE: Duration = Duration::from_millis(150);
/// The pause before the next look while a rival works or the lock is taken.
const BUSY: Duration = Duration::from_millis(250);
/// How long a rival can delay the end.
const EXTENSION: Duration = Duration::from_secs(10);
/// How often the network is corrected. More corrections mean that another program wants it otherwise.
const REPAIRS: u32 = 10;

/// What an interface is watched for.
#[derive(Debug)]
pub(super) struct Watch {
    /// Its adapter.
    pub(super) hn: Adapter,
    /// The wanted configuration.
    pub(super) method: Method,
    /// What it had before the injection.
    pub(super) earlier: Earlier,
    /// `method` was measured while rivals worked, so the configuration of rc.conf(5) is preferred, if it has
    /// one.
    pub(super) by_rc_conf: bool,
    until: Duration,
    look_at: Option<Duration>,
    /// The rivals that were seen.
    rivals: BTreeSet<String>,
    repairs: u32,
    /// Duplicated addresses that were logged.
    duplicated: Vec<InterfaceAddress>,
}

impl Watch {
    /// Begins at `now`.
    pub(super) fn new(hn: Adapter, method: Method, earlier: Earlier, now: Duration) -> Self {
        let until = now.saturating_add(PERIOD);
        Self {
            hn,
            method,
            earlier,
            by_rc_conf: false,
            until,
            look_at: None,
            rivals: BTreeSet::new(),
            repairs: 0,
            duplicated: Vec::new(),
        }
    }

    /// Postpones the end until after `until`, if it is earlier.
    pub(super) fn extend(&mut self, until: Duration) {
        self.until = self.until.max(until.saturating_add(EXTENSION));
    }

    /// Records a change, with the rivals that worked then.
    pub(super) fn note(&mut self, now: Duration, rivals: impl IntoIterator<Item = String>) {
        self.rivals.extend(rivals);
        self.look_at.get_or_insert(now.saturating_add(SETTLE));
    }

    /// When a look is due: after a change, and once at the end.
    pub(super) fn due(&self) -> Duration {
        self.look_at.unwrap_or(self.until)
    }

    /// Postpones the look, because a rival works on the interface.
    pub(super) fn postpone(&mut self, now: Duration) {
        self.look_at = Some(now.saturating_add(BUSY));
    }

    /// Logs once that another node has an address of the host's, which was not known at the time of the
    /// answer.
    pub(super) fn log_duplicated(&mut self, address: Option<InterfaceAddress>) {
        let Some(address) = address.filter(|address| !self.duplicated.contains(address)) else { return };
        log::error!("{}: {} is in use by another node of the network", self.hn, address.address);
        self.duplicated.push(address);
    }

    /// Records that the interface is as it should be. Returns whether the watch is over.
    pub(super) fn is_right(&mut self, now: Duration) -> bool {
        self.look_at = None;
        now >= self.until
    }

    /// Whether the watch is over although a rival still works.
    pub(super) fn is_exhausted(&self, now: Duration) -> bool {
        now >= self.until.saturating_add(EXTENSION) || self.repairs >= REPAIRS
    }

    /// Records a correction. Returns the rivals that were seen.
    pub(super) fn begin_repair(&mut self, now: Duration) -> String {
        self.repairs += 1;
        self.look_at = Some(now.saturating_add(SETTLE));
        let rivals = std::mem::take(&mut self.rivals);
        if rivals.is_empty() {
            return "an unknown program".to_owned();
        }
        rivals.into_iter().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new("hn0".parse().unwrap(), Method::Dhcp, Earlier::default(), Duration::from_secs(100))
    }

    #[test]
    fn a_watch_without_changes_looks_once_at_its_end() {
        let mut watch = watch();
        assert_eq!(watch.due(), Duration::from_secs(160));
        assert!(watch.is_right(Duration::from_secs(160)));
    }

    #[test]
    fn a_watch_lasts_longer_where_a_lease_is_waited_for() {
        let mut watch = watch();
        watch.extend(Duration::from_secs(120));
        assert_eq!(watch.due(), Duration::from_secs(160), "it is long enough");
        watch.extend(Duration::from_secs(190));
        assert_eq!(watch.due(), Duration::from_secs(200));
        assert!(!watch.is_right(Duration::from_secs(199)) && watch.is_right(Duration::from_secs(200)));
    }

    #[test]
    fn a_burst_of_changes_causes_one_look() {
        let mut watch = watch();
        let now = Duration::from_secs(110);
        watch.note(now, ["netif restart hn0".to_owned()]);
        watch.note(now + SETTLE / 2, ["dhclient of hn0".to_owned(), "netif restart hn0".to_owned()]);
        assert_eq!(watch.due(), now + SETTLE);
        assert_eq!(watch.begin_repair(now), "dhclient of hn0, netif restart hn0");
        assert_eq!(watch.begin_repair(now), "an unknown program");
        assert!(!watch.is_right(now + SETTLE));
        assert_eq!(watch.due(), Duration::from_secs(160));
    }

    #[test]
    fn a_rival_delays_the_end_for_a_limited_time() {
        let mut watch = watch();
        let end = Duration::from_secs(160);
        watch.postpone(end);
        assert_eq!(watch.due(), end + BUSY);
        assert!(!watch.is_exhausted(end) && watch.is_exhausted(end + EXTENSION));
    }

    #[test]
    fn repeated_corrections_end_the_watch() {
        let mut watch = watch();
        for _ in 0..REPAIRS {
            assert!(!watch.is_exhausted(Duration::from_secs(101)));
            watch.begin_repair(Duration::from_secs(101));
        }
        assert!(watch.is_exhausted(Duration::from_secs(101)));
    }
}
