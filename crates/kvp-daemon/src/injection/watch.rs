//! After an answer: the network is held to what was said for a minute, and then left to the administrator.
//!
//! A script of rc(8) that had read the old values, or devd(8) with an event that had waited, can come after
//! the last look of a transaction. A [`Watch`] is told that something has changed, never asks by itself, and
//! says what to put right.

use std::collections::BTreeSet;
use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::kvp::ip_info::request::Method;
use hv_core::net::InterfaceAddress;

/// How long the network is held to what was said.
const PERIOD: Duration = Duration::from_secs(60);
/// How long after a change is looked, so that a burst of them is one look.
const SETTLE: Duration = Duration::from_millis(150);
/// How long after that where somebody is still at work, or the lock is taken.
const BUSY: Duration = Duration::from_millis(250);
/// How long the end is put off by somebody who is at work.
const EXTENSION: Duration = Duration::from_secs(10);
/// How often it is put right; then somebody wants it otherwise.
const REPAIRS: u32 = 10;

/// What an interface is held to.
#[derive(Debug)]
pub(super) struct Watch {
    /// Its adapter.
    pub(super) hn: Adapter,
    /// What it is to be.
    pub(super) method: Method,
    /// Addresses that nobody wants any more.
    pub(super) gone: Vec<InterfaceAddress>,
    /// `method` was measured while others were at work: rc.conf(5) has the word where it says anything.
    pub(super) by_rc_conf: bool,
    until: Duration,
    look_at: Option<Duration>,
    /// Who was seen at work.
    rivals: BTreeSet<String>,
    repairs: u32,
    /// Addresses of which it was told that another node has them.
    duplicated: Vec<InterfaceAddress>,
}

impl Watch {
    /// Begins `now`.
    pub(super) fn new(hn: Adapter, method: Method, gone: Vec<InterfaceAddress>, now: Duration) -> Self {
        let until = now.saturating_add(PERIOD);
        Self {
            hn,
            method,
            gone,
            by_rc_conf: false,
            until,
            look_at: None,
            rivals: BTreeSet::new(),
            repairs: 0,
            duplicated: Vec::new(),
        }
    }

    /// Something has changed, while these were at work.
    pub(super) fn note(&mut self, now: Duration, rivals: impl IntoIterator<Item = String>) {
        self.rivals.extend(rivals);
        self.look_at.get_or_insert(now.saturating_add(SETTLE));
    }

    /// When a look is due: after a change, and a last one at the end.
    pub(super) fn due(&self) -> Duration {
        self.look_at.unwrap_or(self.until)
    }

    /// Somebody is at work on the interface.
    pub(super) fn postpone(&mut self, now: Duration) {
        self.look_at = Some(now.saturating_add(BUSY));
    }

    /// Another node has an address of the host's, which was not known when the host was answered: told once.
    pub(super) fn tell_duplicated(&mut self, address: Option<InterfaceAddress>) {
        let Some(address) = address.filter(|address| !self.duplicated.contains(address)) else { return };
        log::error!("{}: {} is in use by another node of the network", self.hn, address.address);
        self.duplicated.push(address);
    }

    /// All is as it should be; whether the watch is over.
    pub(super) fn is_right(&mut self, now: Duration) -> bool {
        self.look_at = None;
        now >= self.until
    }

    /// Whether the watch is over although somebody is still at work.
    pub(super) fn is_exhausted(&self, now: Duration) -> bool {
        now >= self.until.saturating_add(EXTENSION) || self.repairs >= REPAIRS
    }

    /// It is put right once more; who is to blame, as far as it was seen.
    pub(super) fn begin_repair(&mut self, now: Duration) -> String {
        self.repairs += 1;
        self.look_at = Some(now.saturating_add(SETTLE));
        let rivals = std::mem::take(&mut self.rivals);
        if rivals.is_empty() {
            return "somebody".to_owned();
        }
        rivals.into_iter().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new("hn0".parse().unwrap(), Method::Dhcp, Vec::new(), Duration::from_secs(100))
    }

    #[test]
    fn a_quiet_watch_looks_once_at_its_end() {
        let mut watch = watch();
        assert_eq!(watch.due(), Duration::from_secs(160));
        assert!(watch.is_right(Duration::from_secs(160)));
    }

    #[test]
    fn a_burst_of_changes_is_one_look_that_names_all_rivals() {
        let mut watch = watch();
        let now = Duration::from_secs(110);
        watch.note(now, ["netif restart hn0".to_owned()]);
        watch.note(now + SETTLE / 2, ["dhclient of hn0".to_owned(), "netif restart hn0".to_owned()]);
        assert_eq!(watch.due(), now + SETTLE);
        assert_eq!(watch.begin_repair(now), "dhclient of hn0, netif restart hn0");
        assert_eq!(watch.begin_repair(now), "somebody");
        assert!(!watch.is_right(now + SETTLE));
        assert_eq!(watch.due(), Duration::from_secs(160));
    }

    #[test]
    fn somebody_at_work_puts_the_end_off_but_not_for_ever() {
        let mut watch = watch();
        let end = Duration::from_secs(160);
        watch.postpone(end);
        assert_eq!(watch.due(), end + BUSY);
        assert!(!watch.is_exhausted(end) && watch.is_exhausted(end + EXTENSION));
    }

    #[test]
    fn a_fight_is_given_up() {
        let mut watch = watch();
        for _ in 0..REPAIRS {
            assert!(!watch.is_exhausted(Duration::from_secs(101)));
            watch.begin_repair(Duration::from_secs(101));
        }
        assert!(watch.is_exhausted(Duration::from_secs(101)));
    }
}
