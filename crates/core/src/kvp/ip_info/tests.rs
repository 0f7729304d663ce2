//! Answers to GET_IP_INFO from made-up snapshots. No interface of the machine is read.

use super::*;
use crate::net::DefaultRoute;

const MAC: &str = "00:15:5D:01:02:0A";

/// An interface that is up, with these addresses. `mac` may be empty.
pub(super) fn interface(name: &str, mac: &str, addresses: &[&str]) -> Interface {
    Interface {
        name: name.parse().unwrap(),
        index: 1,
        up: true,
        loopback: false,
        mac: mac.parse().ok(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn network(interfaces: Vec<Interface>, routes: &[(&str, &str)]) -> NetworkSnapshot {
    let route = |(gateway, name): &(&str, &str)| DefaultRoute {
        gateway: gateway.parse().unwrap(),
        interface: name.parse().unwrap(),
    };
    NetworkSnapshot {
        interfaces,
        default_routes: routes.iter().map(route).collect(),
        static_routes: Vec::new(),
        name_servers: vec!["10.0.0.2".into(), "fd00::53".into(), "fe80::1%hn0".into()],
        dhcp_clients: Vec::new(),
    }
}

#[test]
fn a_plain_adapter_is_answered_in_full() {
    let hn0 = interface("hn0", MAC, &["fe80::1/64", "10.0.0.5/24", "fd00::5/56", "10.0.1.5/20"]);
    let info = answer(MAC, &network(vec![hn0], &[("fe80::ff", "hn0"), ("10.0.0.1", "hn0")])).unwrap();
    let expected = IpAnswer {
        dhcp: false,
        families: 3,
        addresses: "10.0.0.5;10.0.1.5;fd00::5;fe80::1".into(),
        masks: "255.255.255.0;255.255.240.0;/56;/64".into(),
        gateways: "10.0.0.1;fe80::ff".into(),
        name_servers: "10.0.0.2;fd00::53;fe80::1".into(),
    };
    assert_eq!(info, expected);
}

#[test]
fn the_host_may_write_the_mac_in_any_case() {
    let network = network(vec![interface("hn0", MAC, &["10.0.0.5/24"])], &[]);
    for text in ["00:15:5D:01:02:0A", "00:15:5d:01:02:0a", "00-15-5d-01-02-0A"] {
        assert_eq!(answer(text, &network).unwrap().addresses, "10.0.0.5");
    }
}

// contract K31
#[test]
fn an_unknown_mac_is_an_unknown_adapter() {
    let network =
        network(vec![interface("hn0", MAC, &["10.0.0.5/24"]), interface("lo0", "", &["127.0.0.1/8"])], &[]);
    let long = "x".repeat(4000);
    for text in
        ["", "hn0", "00:15:5D:01:02", "00:15:5D:01:02:0B", "00:15:5D:01:02:0A;", "00:00:00:00:00:00", &long]
    {
        let error = answer(text, &network).unwrap_err();
        assert!(error.to_string().len() < 120, "{error}");
    }
}

#[test]
fn interface_names_are_compared_whole() {
    let interfaces = vec![
        interface("hn1", MAC, &["10.1.0.5/24"]),
        interface("hn10", "00:15:5d:01:02:0b", &["10.10.0.5/24"]),
    ];
    let mut network = network(interfaces, &[("10.10.0.1", "hn10"), ("10.1.0.1", "hn1")]);
    network.dhcp_clients = vec!["hn10".parse().unwrap()];
    let info = answer(MAC, &network).unwrap();
    assert_eq!((&*info.addresses, &*info.gateways, info.dhcp), ("10.1.0.5", "10.1.0.1", false));
}

// contract K32
#[test]
fn a_lagg_that_holds_the_addresses_answers_for_its_ports() {
    let interfaces = vec![
        interface("hn0", MAC, &["fe80::1/64"]),
        interface("mce0", MAC, &["fe80::1/64"]),
        interface("lagg0", MAC, &["10.0.0.5/24", "fe80::1/64"]),
    ];
    let mut network = network(interfaces, &[("10.0.0.1", "lagg0")]);
    network.dhcp_clients = vec!["lagg0".parse().unwrap()];
    let info = answer(MAC, &network).unwrap();
    assert_eq!((&*info.addresses, &*info.masks), ("10.0.0.5;fe80::1", "255.255.255.0;/64"));
    assert_eq!((&*info.gateways, info.dhcp), ("10.0.0.1", true));
}

#[test]
fn empty_lagg_does_not_hide_addresses_of_its_port() {
    let interfaces = vec![
        interface("mce0", MAC, &[]),
        interface("hn0", MAC, &["10.0.0.5/24"]),
        interface("lagg0", MAC, &[]),
    ];
    let info = answer(MAC, &network(interfaces, &[("10.0.0.1", "hn0")])).unwrap();
    assert_eq!((&*info.addresses, &*info.gateways), ("10.0.0.5", "10.0.0.1"));
}

#[test]
fn each_family_is_answered_from_its_holder() {
    let interfaces = vec![
        interface("hn0", MAC, &["fe80::1/64", "fd00::5/64"]),
        interface("lagg0", MAC, &["10.0.0.5/24", "fe80::1/64"]),
    ];
    let info = answer(MAC, &network(interfaces, &[("10.0.0.1", "lagg0"), ("fd00::1", "hn0")])).unwrap();
    assert_eq!(info.addresses, "10.0.0.5;fd00::5;fe80::1");
    assert_eq!(info.gateways, "10.0.0.1;fd00::1");
}

#[test]
fn lagg_answers_before_hn_and_hn_before_the_vf() {
    let all = [
        interface("mce0", MAC, &["10.0.0.3/24"]),
        interface("hn0", MAC, &["10.0.0.2/24"]),
        interface("lagg0", MAC, &["10.0.0.1/24"]),
    ];
    let first = |interfaces: &[Interface]| answer(MAC, &network(interfaces.to_vec(), &[])).unwrap().addresses;
    assert_eq!(first(&all), "10.0.0.1");
    assert_eq!(first(&all[..2]), "10.0.0.2");
    assert_eq!(first(&all[..1]), "10.0.0.3");
    let mut down = all.clone();
    down[2].up = false;
    assert_eq!(first(&down), "10.0.0.2");
}

#[test]
fn an_adapter_without_addresses_has_an_answer() {
    let mut hn0 = interface("hn0", MAC, &[]);
    hn0.up = false;
    let info = answer(MAC, &network(vec![hn0], &[])).unwrap();
    assert_eq!((info.families, &*info.addresses, &*info.masks), (0, "", ""));
}

// contract K34
#[test]
fn addresses_and_masks_are_cut_in_step() {
    let long: Vec<String> = (0..90).map(|n| format!("2001:db8:1111:2222:3333:4444:5555:{n:x}/128")).collect();
    let short: Vec<String> = (0..90).map(|n| format!("10.0.0.{n}/25")).collect();
    for (texts, list) in [(&long, 1023), (&short, 1023)] {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let info = answer(MAC, &network(vec![interface("hn0", MAC, &texts)], &[])).unwrap();
        let (addresses, masks) = (info.addresses.split(';').count(), info.masks.split(';').count());
        assert_eq!(addresses, masks);
        assert!(addresses < 90 && info.addresses.len() <= list && info.masks.len() <= list);
        assert!(info.addresses.len() > 950 || info.masks.len() > 950);
    }
}

#[test]
fn families_are_those_of_the_reported_addresses() {
    let mut texts: Vec<String> = (0..70).map(|n| format!("10.200.200.{}/24", 100 + n)).collect();
    texts.push("fd00::5/64".into());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let info = answer(MAC, &network(vec![interface("hn0", MAC, &texts)], &[])).unwrap();
    assert_eq!(info.families, FAMILY_IPV4);
}

// contract K34
#[test]
fn gateways_and_name_servers_are_cut_at_their_own_limits() {
    let gateways: Vec<String> = (0..50).map(|n| format!("10.200.200.{}", 100 + n)).collect();
    let routes: Vec<(&str, &str)> = gateways.iter().map(|gateway| (gateway.as_str(), "hn0")).collect();
    let mut network = network(vec![interface("hn0", MAC, &[])], &routes);
    network.name_servers = (0..99).map(|n| format!("10.200.200.{}", 100 + n)).collect();
    let info = answer(MAC, &network).unwrap();
    assert!(info.gateways.len() <= 511 && info.gateways.len() > 490);
    assert!(info.name_servers.len() <= 1023 && info.name_servers.len() > 1000);
    assert!(info.gateways.ends_with(char::is_numeric) && info.name_servers.ends_with(char::is_numeric));
}
