//! Watches a DHCP client that was started for the host, after the answer. It is given the time and snapshots,
//! and says when to start the client again.

use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::injection::plan::Target;
use hv_core::net::{InterfaceName, NetworkSnapshot};
use hv_core::sys::clock;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a client that ended without a lease is started again, and after which time.
const RESTARTS: u32 = 5;
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// A client that is watched.
#[derive(Debug)]
pub(crate) struct LeaseWatch {
    hn: Adapter,
    interface: InterfaceName,
    next: Duration,
    until: Duration,
    limit: Duration,
    restarts: u32,
}

/// The result of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// There is a lease, or none is expected any more.
    Over,
    /// The client still waits for a lease.
    Wait,
    /// The client has ended and is to be started again.
    Restart,
}

impl LeaseWatch {
    /// Watches the client of `target`, at most for `limit`.
    pub(crate) fn new(target: Target, hn: Adapter, limit: Duration) -> Self {
        let now = clock::monotonic();
        let (interface, until) = (target.live().clone(), now.saturating_add(limit));
        Self { hn, interface, next: now + PAUSE, until, limit, restarts: 0 }
    }

    pub(crate) fn hn(&self) -> &Adapter {
        &self.hn
    }

    pub(crate) fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// When the next look is due.
    pub(crate) fn next_look(&self) -> Duration {
        self.next
    }

    /// Looks, logs the result, and returns what to do.
    pub(crate) fn look(&mut self, now: Duration, network: &NetworkSnapshot) -> Look {
        self.next = now + PAUSE;
        let name = &self.interface;
        let interface = network.interfaces.iter().find(|interface| &interface.name == name);
        let Some(interface) = interface else { return Look::Over };
        let served = network.dhcp_clients.contains(name);
        let lease = interface.addresses.iter().find(|address| address.address.is_ipv4());
        if let (Some(address), true) = (lease, served) {
            log::info!("{name}: DHCP lease address={address}");
            return Look::Over;
        }
        if !served {
            return self.without_client(now);
        }
        if now >= self.until {
            log::warn!("{name}: no DHCP lease after {:?}, dhclient goes on", self.limit);
            return Look::Over;
        }
        Look::Wait
    }

    fn without_client(&mut self, now: Duration) -> Look {
        let name = &self.interface;
        if self.restarts >= RESTARTS || now >= self.until {
            log::error!(
                "{name}: dhclient ended without a lease, as it does without a link; nobody serves it now"
            );
            return Look::Over;
        }
        self.restarts += 1;
        log::warn!("{name}: dhclient ended without a lease, it is started again attempt={}", self.restarts);
        self.next = now + RESTART_PAUSE;
        Look::Restart
    }
}

#[cfg(test)]
mod tests {
    use hv_core::net::Interface;

    use super::*;

    fn network(addresses: &[&str], client: bool) -> NetworkSnapshot {
        let name: InterfaceName = "hn0".parse().unwrap();
        NetworkSnapshot {
            interfaces: vec![Interface {
                name: name.clone(),
                index: 1,
                up: true,
                loopback: false,
                mac: None,
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            }],
            dhcp_clients: if client { vec![name] } else { Vec::new() },
            ..NetworkSnapshot::default()
        }
    }

    fn watch() -> LeaseWatch {
        let target = Target { hn: "hn0".parse().unwrap(), lagg: None };
        LeaseWatch::new(target, "hn0".parse().unwrap(), Duration::from_secs(5))
    }

    #[test]
    fn the_watch_ends_with_a_lease_or_the_time() {
        let mut watch = watch();
        let now = watch.next_look();
        assert_eq!(watch.look(now, &network(&[], true)), Look::Wait);
        assert_eq!(watch.next_look(), now + PAUSE);
        assert_eq!(watch.look(now, &network(&["fd00::5/64"], true)), Look::Wait);
        assert_eq!(watch.look(now, &network(&["10.0.0.5/24"], true)), Look::Over);
        assert_eq!(watch.look(now + Duration::from_secs(6), &network(&[], true)), Look::Over);
        assert_eq!(watch.look(now, &NetworkSnapshot::default()), Look::Over, "the interface is gone");
    }

    #[test]
    fn a_client_that_gave_up_is_restarted_a_few_times() {
        let mut watch = watch();
        let now = watch.next_look();
        for _ in 0..RESTARTS {
            assert_eq!(watch.look(now, &network(&[], false)), Look::Restart);
            assert_eq!(watch.next_look(), now + RESTART_PAUSE);
        }
        assert_eq!(watch.look(now, &network(&[], false)), Look::Over);
    }
}
