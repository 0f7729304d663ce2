//! Adds to a report the gateways that the host gave and the kernel does not have: those after the first of
//! each family. It changes no route.
//!
//! A default route has one gateway. The others are kept, so that the host reads back what it set. They are
//! reported while the first one is in use.

use std::net::IpAddr;

use crate::net::{DefaultRoute, InterfaceName, NetworkSnapshot};

/// The host's last gateways, by the interface with the configuration.
pub type GivenGateways = Vec<(InterfaceName, Vec<IpAddr>)>;

/// `network` with the other gateways after the one in use.
#[must_use]
pub fn with_further_gateways(network: &NetworkSnapshot, given: &GivenGateways) -> NetworkSnapshot {
    let mut all = network.clone();
    all.default_routes = network.default_routes.iter().flat_map(|route| with_further(route, given)).collect();
    all
}

fn with_further(route: &DefaultRoute, given: &GivenGateways) -> Vec<DefaultRoute> {
    let of_family = |gateway: &&IpAddr| gateway.is_ipv4() == route.gateway.is_ipv4();
    let list = given.iter().find(|(name, _)| name == &route.interface).map_or(&[][..], |(_, list)| list);
    let own: Vec<IpAddr> = list.iter().filter(of_family).copied().collect();
    let in_use = own.first() == Some(&route.gateway);
    let further = own.into_iter().skip(1).filter(|_| in_use);
    let interface = &route.interface;
    let more = further.map(|gateway| DefaultRoute { gateway, interface: interface.clone() });
    std::iter::once(route.clone()).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_gateways_are_reported_while_the_first_is_in_use() {
        let route = |gateway: &str, interface: &str| DefaultRoute {
            gateway: gateway.parse().unwrap(),
            interface: interface.parse().unwrap(),
        };
        let list = ["10.0.0.1", "fe80::1", "10.0.0.2"].map(|text| text.parse().unwrap()).to_vec();
        let given: GivenGateways = vec![("hn0".parse().unwrap(), list)];
        let with = |routes: &[DefaultRoute]| {
            let network = NetworkSnapshot { default_routes: routes.to_vec(), ..NetworkSnapshot::default() };
            with_further_gateways(&network, &given).default_routes
        };
        let (first, second) = (route("10.0.0.1", "hn0"), route("10.0.0.2", "hn0"));
        assert_eq!(with(&[first.clone(), route("fe80::1", "hn0")]), [first, second, route("fe80::1", "hn0")]);
        for other in [route("10.0.0.2", "hn0"), route("10.0.0.1", "hn1"), route("10.0.0.9", "hn0")] {
            assert_eq!(with(std::slice::from_ref(&other)), [other]);
        }
    }
}
