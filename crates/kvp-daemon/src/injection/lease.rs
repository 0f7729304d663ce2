//! A DHCP client that was started for the host, watched after the answer.

use std::time::Duration;

use hv_core::net::{InterfaceName, NetworkSnapshot};
use hv_core::sys::clock;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits for a lease.
#[derive(Debug)]
pub(crate) struct LeaseWatch {
    interface: InterfaceName,
    next: Duration,
    until: Duration,
    limit: Duration,
}

impl LeaseWatch {
    /// Watches `interface` from now on, at most for `limit`.
    pub(crate) fn new(interface: InterfaceName, limit: Duration) -> Self {
        let now = clock::monotonic();
        Self { interface, next: now + PAUSE, until: now.saturating_add(limit), limit }
    }

    pub(crate) fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// When the next look is due.
    pub(crate) fn next_look(&self) -> Duration {
        self.next
    }

    /// Looks, logs what came of it, and says whether the watch is over.
    pub(crate) fn look(&mut self, now: Duration, network: &NetworkSnapshot) -> bool {
        self.next = now + PAUSE;
        let name = &self.interface;
        let interface = network.interfaces.iter().find(|interface| &interface.name == name);
        let lease = interface
            .and_then(|interface| interface.addresses.iter().find(|address| address.address.is_ipv4()));
        if let Some(address) = lease {
            log::info!("{name}: DHCP lease address={address}");
            return true;
        }
        if !network.dhcp_clients.contains(name) {
            log::warn!("{name}: dhclient ended without a lease");
            return true;
        }
        if now >= self.until {
            log::warn!("{name}: no DHCP lease after {:?}, dhclient goes on", self.limit);
            return true;
        }
        false
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

    #[test]
    fn the_watch_ends_with_a_lease_the_client_or_the_time() {
        let mut watch = LeaseWatch::new("hn0".parse().unwrap(), Duration::from_secs(5));
        let now = watch.next_look();
        assert!(!watch.look(now, &network(&[], true)));
        assert_eq!(watch.next_look(), now + PAUSE);
        assert!(!watch.look(now, &network(&["fd00::5/64"], true)));
        assert!(watch.look(now, &network(&["10.0.0.5/24"], true)));
        assert!(watch.look(now, &network(&[], false)));
        assert!(watch.look(now + Duration::from_secs(6), &network(&[], true)));
    }
}
