//! Decides which interface answers for an adapter where vlan(4), carp(4) or bridge(4) are involved. It
//! changes a snapshot before the answer is made from it; it reads nothing.

use std::collections::BTreeMap;

use crate::net::{Interface, InterfaceAddress, InterfaceName, NetworkSnapshot};
use crate::plan::network::Link;

/// The part of `network` that is reported. A vlan(4) is left out: it has the Ethernet address of its parent,
/// but is no adapter of the host. An address of carp(4) is left out, because the other node may be using it.
/// So are temporary addresses, and those that are not used because another node has them. The addresses of a
/// bridge(4) are reported for a member that has none of its own. `links` is the output of ifconfig(8); an
/// interface that is not in it stays as it is.
#[must_use]
pub fn as_the_host_sees(network: &NetworkSnapshot, links: &BTreeMap<InterfaceName, Link>) -> NetworkSnapshot {
    let mut seen = network.clone();
    for interface in &mut seen.interfaces {
        let Some(link) = links.get(&interface.name) else { continue };
        if link.vlan_parent.is_some() {
            interface.mac = None;
        }
        interface.addresses.retain(|InterfaceAddress { address, .. }| {
            !link.vhids.contains_key(address)
                && !link.temporary.contains(address)
                && !link.duplicated.contains(address)
        });
    }
    let macs: Vec<_> = seen.interfaces.iter().filter(|interface| !holds_any(interface)).collect();
    let member_mac = |bridge: &InterfaceName| {
        let members = &links.get(bridge)?.members;
        macs.iter().find(|interface| members.contains(&interface.name)).and_then(|interface| interface.mac)
    };
    let bridged: Vec<_> = seen.interfaces.iter().map(|interface| member_mac(&interface.name)).collect();
    for (interface, mac) in seen.interfaces.iter_mut().zip(bridged) {
        interface.mac = mac.or(interface.mac);
    }
    seen
}

fn holds_any(interface: &Interface) -> bool {
    interface.addresses.iter().any(|address| !address.is_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvp::ip_info::answer;
    use crate::kvp::ip_info::tests::interface;

    const MAC: &str = "00:15:5d:01:02:03";

    fn answered(interfaces: Vec<Interface>, links: &[(&str, Link)]) -> String {
        let network = NetworkSnapshot { interfaces, ..NetworkSnapshot::default() };
        let links = links.iter().map(|(name, link)| (name.parse().unwrap(), link.clone())).collect();
        answer(MAC, &as_the_host_sees(&network, &links)).unwrap().addresses
    }

    #[test]
    fn a_bridge_answers_for_a_member_without_addresses() {
        let bridge =
            Link { members: vec!["hn0".parse().unwrap(), "tap0".parse().unwrap()], ..Link::default() };
        let other = "58:9c:fc:00:00:01";
        let bridge0 = || interface("bridge0", other, &["10.0.0.5/24"]);
        let member = interface("hn0", MAC, &["fe80::1/64"]);
        assert_eq!(answered(vec![member, bridge0()], &[("bridge0", bridge.clone())]), "10.0.0.5;fe80::1");
        let own = interface("hn0", MAC, &["10.0.0.9/24"]);
        assert_eq!(answered(vec![own.clone(), bridge0()], &[("bridge0", bridge.clone())]), "10.0.0.9");
        let other_family = interface("bridge0", other, &["fd00::5/64"]);
        assert_eq!(answered(vec![own, other_family], &[("bridge0", bridge.clone())]), "10.0.0.9");
        let stranger = interface("hn1", MAC, &[]);
        assert_eq!(answered(vec![stranger, bridge0()], &[("bridge0", bridge)]), "");
    }

    #[test]
    fn a_vlan_is_never_reported_as_its_parent() {
        let vlan = Link { vlan_parent: "hn0".parse().ok(), ..Link::default() };
        let all = vec![interface("hn0", MAC, &[]), interface("hn0.5", MAC, &["10.5.0.5/24"])];
        assert_eq!(answered(all, &[("hn0.5", vlan)]), "");
    }

    #[test]
    fn an_address_of_carp_is_not_reported() {
        let carp = Link { vhids: [("10.0.0.50".parse().unwrap(), 5)].into(), ..Link::default() };
        let hn0 = interface("hn0", MAC, &["10.0.0.5/24", "10.0.0.50/32"]);
        assert_eq!(answered(vec![hn0], &[("hn0", carp)]), "10.0.0.5");
    }

    #[test]
    fn temporary_and_duplicated_addresses_are_not_those_of_the_host() {
        let [tentative, temporary, duplicated] =
            ["fd00::5", "fd00::6", "fd00::7"].map(|text| vec![text.parse().unwrap()]);
        let link = Link { tentative, temporary, duplicated, ..Link::default() };
        let hn0 = interface("hn0", MAC, &["fd00::5/64", "fd00::6/64", "fd00::7/64"]);
        assert_eq!(answered(vec![hn0], &[("hn0", link)]), "fd00::5");
    }
}
