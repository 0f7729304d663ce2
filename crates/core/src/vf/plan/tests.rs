//! Tests of the plan of a hand-over. Each gives the planner a network and rc.conf(5) and compares the steps
//! of the plan. None runs a step.

use crate::plan::network::Ipv6Options;
use std::collections::BTreeMap;

use super::*;
use crate::net::{DefaultRoute, Interface, StaticRoute};
use crate::plan::network::Link;
use crate::rc::{RcConf, evaluated};

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn interface(text: &str, index: u32, addresses: &[&str]) -> Interface {
    Interface {
        name: name(text),
        index,
        up: true,
        loopback: false,
        mac: "00:15:5d:01:02:03".parse().ok(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

fn route(gateway: &str, through: &str) -> DefaultRoute {
    DefaultRoute { gateway: gateway.parse().unwrap(), interface: name(through) }
}

fn rc_conf(values: &[(&str, &str)]) -> RcConf {
    evaluated::values(values)
}

fn plain() -> Link {
    let ipv6 = Ipv6Options { disabled: true, auto_linklocal: true, ..Ipv6Options::default() };
    Link { up: true, mtu: 1500, ipv6, ..Link::default() }
}

fn with_ipv6() -> Link {
    Link { ipv6: Ipv6Options { auto_linklocal: true, ..Ipv6Options::default() }, ..plain() }
}

fn own(ports: &[&str]) -> Link {
    let lagg = Lagg { protocol: "failover".into(), ports: ports.iter().map(|port| name(port)).collect() };
    Link { groups: vec![crate::hn::GROUP.to_owned()], lagg: Some(lagg), ..with_ipv6() }
}

fn hn() -> Adapter {
    "hn0".parse().unwrap()
}

/// Two IPv4 addresses, one IPv6 address, both default routes, and a VF that is up.
fn static_guest() -> Facts {
    let mut facts = Facts { vf: Some(name("mce0")), ..Facts::default() };
    facts.network.interfaces = vec![
        interface("hn0", 1, &["10.0.0.5/24", "10.0.1.5/32", "fe80::215:5dff:fe01:203/64", "fd00::5/64"]),
        interface("mce0", 2, &[]),
    ];
    facts.network.default_routes = vec![route("10.0.0.1", "hn0"), route("fd00::1", "hn0")];
    facts.links = BTreeMap::from([(name("hn0"), with_ipv6()), (name("mce0"), plain())]);
    facts.rc_conf = rc_conf(&[
        ("ifconfig_hn0", "inet 10.0.0.5/24"),
        ("ifconfig_hn0_alias0", "inet 10.0.1.5/32"),
        ("ifconfig_hn0_ipv6", "inet6 fd00::5/64"),
        ("defaultrouter", "10.0.0.1"),
        ("ipv6_defaultrouter", "fd00::1"),
    ]);
    facts
}

fn dhcp_guest() -> Facts {
    let mut facts = static_guest();
    facts.network.interfaces[0] = interface("hn0", 1, &["10.0.0.50/24"]);
    facts.network.default_routes = vec![route("10.0.0.1", "hn0")];
    facts.network.dhcp_clients = vec![name("hn0")];
    facts.links.insert(name("hn0"), plain());
    facts.rc_conf = rc_conf(&[("ifconfig_hn0", "SYNCDHCP")]);
    facts
}

/// The static guest after its plan.
fn joined_guest() -> Facts {
    let mut facts = static_guest();
    facts.network.interfaces = vec![
        interface("hn0", 1, &[]),
        interface("mce0", 2, &[]),
        interface("lagg0", 3, &["fe80::215:5dff:fe01:203/64", "10.0.0.5/24", "10.0.1.5/32", "fd00::5/64"]),
    ];
    facts.network.default_routes = vec![route("10.0.0.1", "lagg0"), route("fd00::1", "lagg0")];
    facts.links.insert(name("hn0"), plain());
    facts.links.insert(name("lagg0"), own(&["hn0", "mce0"]));
    facts
}

fn up(facts: &Facts) -> Vec<String> {
    let plan = plan_up(&hn(), facts).unwrap().unwrap();
    plan.steps().iter().map(|planned| planned.step.to_string()).collect()
}

fn down(facts: &Facts) -> Vec<String> {
    plan_down(&hn(), facts).unwrap().steps().iter().map(|planned| planned.step.to_string()).collect()
}

#[test]
fn static_guest_moves_completely() {
    let steps = [
        "remove fd00::5/64 from hn0",
        "disable IPv6 on hn0",
        "create lagg0 with failover over hn0 mce0",
        "remove 10.0.1.5/32 from hn0",
        "remove 10.0.0.5/24 from hn0",
        "configure lagg0 with inet 10.0.0.5/24",
        "configure lagg0 with inet6 fd00::5/64",
        "configure lagg0 with inet 10.0.1.5/32 alias",
        "set the default route to 10.0.0.1 through lagg0",
        "set the default route to fd00::1 through lagg0",
    ];
    assert_eq!(up(&static_guest()), steps);
}

#[test]
fn dhcp_guest_moves_with_its_client() {
    let steps = [
        "create lagg0 with failover over hn0 mce0",
        "stop dhclient on hn0",
        "remove 10.0.0.50/24 from hn0",
        "get a DHCP lease on lagg0",
    ];
    assert_eq!(up(&dhcp_guest()), steps);
    let mut background = dhcp_guest();
    background.rc_conf = rc_conf(&[("ifconfig_hn0", "DHCP")]);
    assert_eq!(up(&background)[3], "start dhclient on lagg0");
}

/// The guest with a lease and an alias, joined, whose taking apart was killed after it had given the alias to
/// hn0 and devd(8) had started a client there.
fn interrupted_guest() -> Facts {
    let mut facts = dhcp_guest();
    facts.network.interfaces = vec![interface("hn0", 1, &["10.0.0.77/32"]), interface("mce0", 2, &[])];
    facts.network.default_routes.clear();
    facts.rc_conf = rc_conf(&[("ifconfig_hn0", "DHCP"), ("ifconfig_hn0_alias0", "inet 10.0.0.77/32")]);
    facts.interrupted = true;
    facts
}

#[test]
fn the_lease_of_a_client_that_runs_already_is_waited_for() {
    let mut facts = interrupted_guest();
    let all = down(&facts);
    let rest = ["get a DHCP lease on hn0", "configure hn0 with inet 10.0.0.77/32 alias"];
    assert!(all.ends_with(&rest.map(str::to_owned)), "{all:?}");
    let plan = plan_down(&hn(), &facts).unwrap();
    let start = plan.steps().iter().find(|planned| matches!(planned.step, Step::StartDhcp { .. }));
    assert_eq!(start.unwrap().undo, [], "the client is not ours to stop");
    // With the lease first the alias is not in its way.
    facts.network.interfaces[0] = interface("hn0", 1, &["10.0.0.50/24", "10.0.0.77/32"]);
    assert!(!down(&facts).iter().any(|step| step.contains("lease")));
}

#[test]
fn only_missing_ipv4_addresses_are_given_again_after_a_lease() {
    let mut facts = interrupted_guest();
    facts.network.dhcp_clients.clear();
    facts.network.interfaces[0] = interface("hn0", 1, &[]);
    let plan = plan_down(&hn(), &facts).unwrap();
    let hn0 = name("hn0");
    assert_eq!(awaits_lease(&plan), Some(&hn0));
    let lost = |addresses: &[&str]| {
        let mut network = facts.network.clone();
        network.interfaces[0] = interface("hn0", 1, addresses);
        let lost = lost_to_lease(&plan, &hn0, &network);
        lost.into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(lost(&["10.0.0.50/24"]), ["configure hn0 with inet 10.0.0.77/32 alias"], "once");
    assert_eq!(lost(&["10.0.0.50/24", "10.0.0.77/32"]), [""; 0]);
    facts.network.interfaces.clear();
    assert_eq!(lost_to_lease(&plan, &hn0, &facts.network), Vec::<&Step>::new());
    assert_eq!(awaits_lease(&plan_down(&hn(), &joined_guest()).unwrap()), None);
}

#[test]
fn an_autoconfiguring_guest_solicits_routers() {
    let mut facts = static_guest();
    facts.network.default_routes = vec![route("fe80::1", "hn0")];
    facts.links.get_mut(&name("hn0")).unwrap().ipv6.accept_rtadv = true;
    facts.rc_conf =
        rc_conf(&[("ifconfig_hn0", "inet 10.0.0.5/24"), ("ifconfig_hn0_ipv6", "inet6 accept_rtadv")]);
    let steps = up(&facts);
    assert_eq!(steps.last().unwrap(), "solicit routers on lagg0");
    let plan = plan_up(&hn(), &facts).unwrap().unwrap();
    let Step::CreateLagg { ipv6, .. } = created(&plan) else { panic!() };
    assert!(ipv6.accept_rtadv && ipv6.auto_linklocal && !ipv6.disabled && ipv6.no_dad);
    let disable =
        plan.steps().iter().find(|planned| matches!(planned.step, Step::DisableIpv6 { .. })).unwrap();
    let undo: Vec<String> = disable.undo.iter().map(ToString::to_string).collect();
    assert_eq!(
        undo,
        ["enable IPv6 and autoconfiguration on hn0", "solicit routers on hn0"],
        "the route would be the administrator's if it was said again"
    );
}

#[test]
fn a_finished_hand_over_has_nothing_left_to_do() {
    assert_eq!(up(&joined_guest()), [""; 0]);
    // Not even if the host or the administrator has given the lagg another address since.
    let mut changed = joined_guest();
    changed.network.interfaces[2] = interface("lagg0", 3, &["10.7.7.7/24", "fd00::77/64"]);
    assert_eq!(up(&changed), [""; 0]);
    let mut dhcp = dhcp_guest();
    dhcp.network.interfaces =
        vec![interface("hn0", 1, &[]), interface("mce0", 2, &[]), interface("lagg0", 3, &[])];
    dhcp.network.dhcp_clients = vec![name("lagg0")];
    dhcp.links.insert(name("lagg0"), Link { ipv6: plain().ipv6, ..own(&["hn0", "mce0"]) });
    assert_eq!(up(&dhcp), [""; 0]);
}

#[test]
fn a_vf_that_is_gone_means_no_plan() {
    let gone = Facts { vf: None, ..static_guest() };
    assert_eq!(plan_up(&hn(), &gone).unwrap(), None);
    let vanished = Facts { vf: Some(name("mce7")), ..static_guest() };
    assert_eq!(plan_up(&hn(), &vanished).unwrap(), None);
}

#[test]
fn a_renamed_vf_replaces_the_old_port() {
    let mut facts = joined_guest();
    facts.vf = Some(name("mce1"));
    facts.network.interfaces[1] = interface("mce1", 4, &[]);
    facts.links.insert(name("mce1"), plain());
    facts.links.insert(name("lagg0"), own(&["hn0"]));
    assert_eq!(up(&facts), ["add port mce1 to lagg0"]);
    facts.links.insert(name("lagg0"), own(&["hn0", "mce10"]));
    assert_eq!(up(&facts), ["add port mce1 to lagg0", "remove port mce10 from lagg0"]);
}

#[test]
fn wrong_mtu_and_a_down_port_are_corrected_first() {
    let mut facts = static_guest();
    facts.links.get_mut(&name("mce0")).unwrap().mtu = 9000;
    facts.network.interfaces[1].up = false;
    assert_eq!(up(&facts)[..2], ["set the MTU of mce0 to 1500", "bring mce0 up"]);
}

#[test]
fn a_vf_that_the_default_has_configured_is_stripped_too() {
    let mut facts = dhcp_guest();
    facts.network.interfaces[1] = interface("mce0", 2, &["10.0.0.51/24"]);
    facts.network.dhcp_clients.push(name("mce0"));
    let steps = up(&facts);
    assert_eq!(steps[3..5], ["stop dhclient on mce0", "remove 10.0.0.51/24 from mce0"]);
}

#[test]
fn a_killed_run_is_completed_by_the_next() {
    // Killed when the lagg existed and hn had lost one address.
    let mut facts = Facts { interrupted: true, ..static_guest() };
    facts.network.interfaces[0].addresses.remove(0);
    facts.network.default_routes.remove(0);
    facts.network.interfaces.push(interface("lagg0", 3, &["fe80::215:5dff:fe01:203/64"]));
    facts.links.insert(name("lagg0"), own(&["hn0", "mce0"]));
    let steps = [
        "remove fd00::5/64 from hn0",
        "disable IPv6 on hn0",
        "remove 10.0.1.5/32 from hn0",
        "configure lagg0 with inet 10.0.0.5/24",
        "configure lagg0 with inet6 fd00::5/64",
        "configure lagg0 with inet 10.0.1.5/32 alias",
        "set the default route to fd00::1 through lagg0",
        "set the default route to 10.0.0.1 through lagg0",
    ];
    assert_eq!(up(&facts), steps);
}

#[test]
fn the_next_run_sets_missing_addresses() {
    let mut facts = joined_guest();
    facts.network.interfaces[2].addresses.pop();
    facts.network.default_routes.clear();
    assert_eq!(up(&facts), ["configure lagg0 with inet6 fd00::5/64"]);
    facts.interrupted = true;
    let steps = [
        "configure lagg0 with inet6 fd00::5/64",
        "set the default route to 10.0.0.1 through lagg0",
        "set the default route to fd00::1 through lagg0",
    ];
    assert_eq!(up(&facts), steps);
}

#[test]
fn taking_apart_that_was_killed_is_completed() {
    let mut facts = static_guest();
    facts.network.interfaces[0] = interface("hn0", 1, &["10.0.0.5/24"]);
    facts.network.default_routes.clear();
    facts.links.insert(name("hn0"), plain());
    assert_eq!(down(&facts), [""; 0]);
    facts.interrupted = true;
    let steps = [
        "bring mce0 down",
        "enable IPv6 on hn0",
        "configure hn0 with inet6 fd00::5/64",
        "configure hn0 with inet 10.0.1.5/32 alias",
        "set the default route to 10.0.0.1 through hn0",
        "set the default route to fd00::1 through hn0",
    ];
    assert_eq!(down(&facts), steps);
}

#[test]
fn foreign_laggs_and_ports_are_left_alone() {
    let mut foreign = joined_guest();
    let link = foreign.links.get_mut(&name("lagg0")).unwrap();
    link.groups = vec!["lagg".into()];
    for (protocol, ports) in [
        ("failover", &["hn0", "em0"][..]),
        ("failover", &["em0"]),
        ("failover", &[]),
        ("lacp", &["hn0", "mce0"]),
    ] {
        let lagg = Lagg { protocol: protocol.into(), ports: ports.iter().map(|port| name(port)).collect() };
        foreign.links.get_mut(&name("lagg0")).unwrap().lagg = Some(lagg);
        let error = PlanError::ForeignLagg(name("lagg0"));
        assert_eq!(plan_down(&hn(), &foreign).unwrap_err(), error, "{ports:?}");
        assert_eq!(plan_up(&hn(), &foreign).unwrap_err(), error, "{ports:?}");
    }

    let mut elsewhere = static_guest();
    elsewhere.links.insert(name("lagg7"), own(&["mce0", "em0"]));
    let error = plan_up(&hn(), &elsewhere).unwrap_err();
    assert_eq!(error.to_string(), "mce0 is a port of lagg7 already");

    let own_name = Facts { vf: Some(name("hn0")), ..static_guest() };
    assert_eq!(plan_up(&hn(), &own_name), Err(PlanError::BadVf(name("hn0"))));
}

/// Only the steps that give `interface` something.
fn given(steps: Vec<String>, interface: &str) -> Vec<String> {
    let gives =
        ["configure ", "add ", "set the default", "get a DHCP", "start dhclient", "solicit", "enable"];
    steps
        .into_iter()
        .filter(|step| gives.iter().any(|verb| step.starts_with(verb)) && step.contains(interface))
        .collect()
}

/// Variables of rc.conf, and what the lagg gets.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn state_that_is_in_no_file_is_carried_over() {
    let table: &[Case] = &[
        (
            &[],
            &[
                "add 10.0.0.5/24 to lagg0",
                "add 10.0.1.5/32 to lagg0",
                "add fd00::5/64 to lagg0",
                "set the default route to 10.0.0.1 through lagg0",
                "set the default route to fd00::1 through lagg0",
            ],
        ),
        // Other words of the lagg's variable do not replace hn's configuration.
        (
            &[("ifconfig_lagg0", "up mtu 1400"), ("ifconfig_hn0", "inet 10.0.0.5/24")],
            &[
                "configure lagg0 with up mtu 1400",
                "configure lagg0 with inet 10.0.0.5/24",
                "add 10.0.1.5/32 to lagg0",
                "add fd00::5/64 to lagg0",
                "set the default route to 10.0.0.1 through lagg0",
                "set the default route to fd00::1 through lagg0",
            ],
        ),
        (
            &[("ifconfig_lagg0", "inet 10.9.9.9/24"), ("ifconfig_hn0", "inet 10.0.0.5/24")],
            &["configure lagg0 with inet 10.9.9.9/24"],
        ),
        (
            &[("ifconfig_lagg0_ipv6", "inet6 fd09::9/64")],
            &[
                "configure lagg0 with inet6 fd09::9/64",
                "add 10.0.0.5/24 to lagg0",
                "add 10.0.1.5/32 to lagg0",
                "set the default route to 10.0.0.1 through lagg0",
            ],
        ),
        // The address may be anywhere among the words.
        (
            &[
                ("ifconfig_hn0", "mtu 1500 10.0.0.5 netmask 255.255.255.0"),
                ("ifconfig_hn0_alias0", "inet 10.0.1.5/32"),
            ],
            &[
                "configure lagg0 with mtu 1500 10.0.0.5 netmask 255.255.255.0",
                "configure lagg0 with inet 10.0.1.5/32 alias",
                "add fd00::5/64 to lagg0",
                "set the default route to 10.0.0.1 through lagg0",
                "set the default route to fd00::1 through lagg0",
            ],
        ),
        // An address that replaces a lease: both are set, because it is unknown whether there still is a
        // server.
        (
            &[("ifconfig_hn0", "SYNCDHCP")],
            &[
                "add 10.0.0.5/24 to lagg0",
                "add 10.0.1.5/32 to lagg0",
                "add fd00::5/64 to lagg0",
                "set the default route to 10.0.0.1 through lagg0",
                "set the default route to fd00::1 through lagg0",
                "start dhclient on lagg0",
            ],
        ),
    ];
    for (values, steps) in table {
        let facts = Facts { rc_conf: rc_conf(values), ..static_guest() };
        assert_eq!(given(up(&facts), "lagg0"), *steps, "{values:?}");
    }
}

#[test]
fn leases_and_advertised_addresses_are_not_carried_over() {
    let mut facts = dhcp_guest();
    facts.rc_conf = rc_conf(&[]);
    // A client that was started by hand gets another lease for the lagg.
    assert_eq!(given(up(&facts), "lagg0"), ["start dhclient on lagg0"]);
    facts.network.dhcp_clients.clear();
    facts.rc_conf = rc_conf(&[("ifconfig_hn0", "DHCP")]);
    facts.interrupted = true;
    assert_eq!(given(up(&facts), "lagg0"), ["start dhclient on lagg0"]);

    let mut facts = static_guest();
    facts.rc_conf =
        rc_conf(&[("ifconfig_hn0", "inet 10.0.0.5/24"), ("ifconfig_hn0_alias0", "inet 10.0.1.5/32")]);
    facts.network.default_routes = vec![route("fe80::1", "hn0")];
    let link = facts.links.get_mut(&name("hn0")).unwrap();
    link.ipv6.accept_rtadv = true;
    link.autoconf = vec!["fd00::5".parse().unwrap()];
    let steps = [
        "configure lagg0 with inet 10.0.0.5/24",
        "configure lagg0 with inet 10.0.1.5/32 alias",
        "solicit routers on lagg0",
    ];
    assert_eq!(given(up(&facts), "lagg0"), steps);
    let plan = plan_up(&hn(), &facts).unwrap().unwrap();
    let Step::CreateLagg { ipv6, .. } = created(&plan) else { panic!("a lagg is made") };
    let undo: Vec<String> =
        plan.steps().iter().flat_map(|planned| &planned.undo).map(ToString::to_string).collect();
    assert!(!undo.iter().any(|step| step.contains("fd00::5/64")), "it comes by itself: {undo:?}");
    assert!(ipv6.accept_rtadv && !ipv6.disabled);
}

#[test]
fn addresses_added_to_the_lagg_return_to_hn() {
    let mut facts = joined_guest();
    facts.network.interfaces[2].addresses.push("10.7.7.7/24".parse().unwrap());
    facts.network.default_routes[0] = route("10.7.7.1", "lagg0");
    let steps = given(down(&facts), "hn0");
    assert!(steps.contains(&"add 10.7.7.7/24 to hn0".to_owned()), "{steps:?}");
    assert!(steps.contains(&"set the default route to 10.7.7.1 through hn0".to_owned()), "{steps:?}");
    facts.rc_conf = rc_conf(&[("ifconfig_lagg0", "inet 10.7.7.7/24"), ("ifconfig_hn0", "inet 10.0.0.5/24")]);
    assert_eq!(given(down(&facts), "hn0"), ["configure hn0 with inet 10.0.0.5/24"]);
}

#[test]
fn a_vlan_over_hn_prevents_joining() {
    let vlan = Link { vlan_parent: Some(name("hn0")), ..plain() };
    let mut facts = static_guest();
    facts.links.insert(name("hn0.5"), vlan.clone());
    let error = plan_up(&hn(), &facts).unwrap_err();
    assert_eq!(error.to_string(), "hn0 carries hn0.5, which would receive nothing with hn0 in a lagg");
    let mut facts = joined_guest();
    facts.links.insert(name("hn0.5"), vlan);
    assert_eq!(up(&facts), [""; 0]);
}

#[test]
fn an_unused_vf_is_brought_down_when_joining_fails() {
    let without = |facts: &Facts| {
        plan_without_vf(facts).steps().iter().map(|planned| planned.step.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(without(&static_guest()), ["bring mce0 down"]);
    assert_eq!(without(&joined_guest()), [""; 0]);
    let mut facts = static_guest();
    facts.network.interfaces[1].addresses = vec!["192.0.2.9/24".parse().unwrap()];
    assert_eq!(without(&facts), [""; 0]);
    facts.network.interfaces[1].addresses = vec!["fe80::1/64".parse().unwrap()];
    assert_eq!(without(&facts), ["bring mce0 down"]);
    facts.network.interfaces[1].up = false;
    assert_eq!(without(&facts), [""; 0]);
    assert_eq!(without(&Facts { vf: None, ..static_guest() }), [""; 0]);
}

#[test]
fn down_gives_hn_its_configuration_back() {
    let steps = [
        "destroy lagg0",
        "bring mce0 down",
        "enable IPv6 on hn0",
        "configure hn0 with inet 10.0.0.5/24",
        "configure hn0 with inet6 fd00::5/64",
        "configure hn0 with inet 10.0.1.5/32 alias",
        "set the default route to 10.0.0.1 through hn0",
        "set the default route to fd00::1 through hn0",
    ];
    assert_eq!(down(&joined_guest()), steps);
    let plan = plan_down(&hn(), &joined_guest()).unwrap();
    let undo: Vec<String> = plan.steps()[0].undo.iter().map(ToString::to_string).collect();
    let rebuild = [
        "create lagg0 with failover over hn0 mce0",
        "add 10.0.0.5/24 to lagg0",
        "add 10.0.1.5/32 to lagg0",
        "add fd00::5/64 to lagg0",
        "set the default route to 10.0.0.1 through lagg0",
        "set the default route to fd00::1 through lagg0",
    ];
    assert_eq!(undo, rebuild);
    assert_eq!(down(&static_guest()), [""; 0]);
}

#[test]
fn every_step_that_changes_something_can_be_taken_back() {
    for facts in [static_guest(), dhcp_guest(), joined_guest()] {
        let up = plan_up(&hn(), &facts).unwrap().unwrap();
        let down = plan_down(&hn(), &facts).unwrap();
        for planned in up.steps().iter().chain(down.steps()) {
            assert!(!planned.undo.is_empty(), "{}", planned.step);
        }
    }
}

fn static_route(destination: &str, gateway: &str, through: &str) -> StaticRoute {
    let (destination, gateway) = (destination.parse().unwrap(), gateway.parse().unwrap());
    StaticRoute { destination, gateway, interface: name(through) }
}

/// Two routes that the addresses reach, one by a link-local gateway, one that no address reaches, and one
/// elsewhere.
fn static_routes(through: &str) -> Vec<StaticRoute> {
    vec![
        static_route("10.20.0.0/16", "10.0.0.254", through),
        static_route("fd20::/32", "fd00::fe", through),
        static_route("fd21::/32", "fe80::fe", through),
        static_route("10.21.0.0/16", "172.16.0.1", through),
        static_route("10.22.0.0/16", "10.0.0.254", "em0"),
    ]
}

#[test]
fn static_routes_lead_through_the_lagg_and_back() {
    let mut facts = static_guest();
    facts.network.static_routes = static_routes("hn0");
    let moved = |interface: &str| {
        [
            format!("set the route to 10.20.0.0/16 by 10.0.0.254 through {interface}"),
            format!("set the route to fd20::/32 by fd00::fe through {interface}"),
            format!("set the route to fd21::/32 by fe80::fe through {interface}"),
        ]
    };
    let is_static = |step: &String| step.contains("the route to");
    // IPv6 routes outlive the addresses, so they are removed first: a second route to the network would be
    // added beside them.
    let mut wanted = vec![
        "remove the route to fd20::/32 by fd00::fe through hn0".to_owned(),
        "remove the route to fd21::/32 by fe80::fe through hn0".to_owned(),
    ];
    wanted.extend(moved("lagg0"));
    assert_eq!(up(&facts).into_iter().filter(is_static).collect::<Vec<_>>(), wanted);
    let plan = plan_up(&hn(), &facts).unwrap().unwrap();
    let undo = plan.steps().iter().flat_map(|planned| &planned.undo).map(ToString::to_string);
    let mut back: Vec<String> = undo.filter(|step| step.starts_with("set the route to")).collect();
    back.sort();
    assert_eq!(back, moved("hn0"));

    let mut facts = joined_guest();
    facts.network.static_routes = static_routes("lagg0");
    assert_eq!(down(&facts).into_iter().filter(is_static).collect::<Vec<_>>(), moved("hn0"));
    let plan = plan_down(&hn(), &facts).unwrap();
    let rebuilt = plan.steps()[0].undo.iter().map(ToString::to_string).filter(is_static).count();
    assert_eq!(rebuilt, 3);
}

#[test]
fn static_route_waits_for_the_lease_that_reaches_its_gateway() {
    let mut facts = dhcp_guest();
    facts.network.static_routes = static_routes("hn0");
    let steps = up(&facts);
    let last = "set the route to 10.20.0.0/16 by 10.0.0.254 through lagg0";
    assert_eq!(steps[steps.len() - 2..], ["get a DHCP lease on lagg0", last]);
    facts.rc_conf = rc_conf(&[("ifconfig_hn0", "DHCP")]);
    assert!(!up(&facts).contains(&last.to_owned()));
}

#[test]
fn an_unreachable_route_is_not_set() {
    let mut facts = static_guest();
    facts.rc_conf = rc_conf(&[("ifconfig_lagg0", "inet 192.0.2.5/24")]);
    let steps = up(&facts);
    assert!(steps.iter().all(|step| !step.contains("set the default route")), "{steps:?}");
    assert!(steps.contains(&"remove the default route to fd00::1 through hn0".to_owned()), "{steps:?}");
}

fn created(plan: &Plan<Step>) -> &Step {
    let mut steps = plan.steps().iter().map(|planned| &planned.step);
    steps.find(|step| matches!(step, Step::CreateLagg { .. })).unwrap()
}

/// hn0 with 10.0.0.50 under vhid 5, and its words in rc.conf.
fn carp_guest(words: &str) -> Facts {
    let mut facts = static_guest();
    facts.network.interfaces[0].addresses.push("10.0.0.50/32".parse().unwrap());
    let link = facts.links.get_mut(&name("hn0")).unwrap();
    link.vhids.insert("10.0.0.50".parse().unwrap(), 5);
    let words_of_kernel = ["advbase", "1", "advskew", "100", "pass", "secret"].map(str::to_owned);
    link.carp = vec![crate::plan::network::Carp { vhid: 5, words: words_of_kernel.into() }];
    if !words.is_empty() {
        facts.rc_conf = rc_conf(&[("ifconfig_hn0", "inet 10.0.0.5/24"), ("ifconfig_hn0_alias0", words)]);
    }
    facts
}

fn words_of(plan: &Plan<Step>, interface: &str) -> Vec<String> {
    let all = plan.steps().iter().flat_map(|planned| planned.undo.iter().chain([&planned.step]));
    let words = all.filter_map(|step| match step {
        Step::Configure { interface: to, arguments } if to.as_str() == interface => {
            Some(arguments.words.join(" "))
        }
        _ => None,
    });
    words.filter(|words| words.contains("10.0.0.50")).collect()
}

#[test]
fn an_address_keeps_its_vhid() {
    let live = "inet 10.0.0.50/32 vhid 5 advbase 1 advskew 100 pass secret alias";
    for (words, given) in [
        ("inet vhid 5 pass secret alias 10.0.0.50/32", "inet vhid 5 pass secret alias 10.0.0.50/32 alias"),
        // The vhid was set by hand, or rc.conf is older than the kernel's state.
        ("inet 10.0.0.50/32", live),
        ("", live),
    ] {
        let plan = plan_up(&hn(), &carp_guest(words)).unwrap().unwrap();
        assert_eq!(words_of(&plan, "lagg0"), [given], "{words}");
        assert_eq!(words_of(&plan, "hn0"), [live], "back with all that it had: {words}");
        assert!(!plan.to_string().contains("secret") && plan.to_string().contains("pass ***"), "{plan}");
        let adds = |step: &Step| matches!(step, Step::AddAddress { address, .. } if address.to_string() == "10.0.0.50/32");
        assert!(!plan.steps().iter().any(|planned| adds(&planned.step) || planned.undo.iter().any(adds)));
    }
}

#[test]
fn a_vhid_is_carried_over_beside_a_lease() {
    let mut facts = dhcp_guest();
    let carp = carp_guest("");
    facts.network.interfaces[0] = interface("hn0", 1, &["10.0.0.99/24", "10.0.0.50/32"]);
    let link = carp.links[&name("hn0")].clone();
    let own = facts.links.get_mut(&name("hn0")).unwrap();
    (own.vhids, own.carp) = (link.vhids.clone(), link.carp.clone());
    let plan = plan_up(&hn(), &facts).unwrap().unwrap();
    // Once more after the lease, which takes the place of the first address.
    assert_eq!(words_of(&plan, "lagg0").len(), 2);

    let mut facts = joined_guest();
    facts.network.interfaces[2].addresses.push("10.0.0.50/32".parse().unwrap());
    let lagg = facts.links.get_mut(&name("lagg0")).unwrap();
    (lagg.vhids, lagg.carp) = (link.vhids, link.carp);
    let plan = plan_down(&hn(), &facts).unwrap();
    assert_eq!((words_of(&plan, "hn0").len(), words_of(&plan, "lagg0").len()), (1, 1));
}

#[test]
fn the_first_alias_is_given_again_after_the_lease() {
    let mut facts = dhcp_guest();
    facts.rc_conf = rc_conf(&[
        ("ifconfig_hn0", "DHCP"),
        ("ifconfig_hn0_alias0", "inet 10.0.0.77/32"),
        ("ifconfig_hn0_alias1", "inet 10.0.0.78/32"),
    ]);
    let wanted = [
        "configure lagg0 with inet 10.0.0.77/32 alias",
        "configure lagg0 with inet 10.0.0.78/32 alias",
        "get a DHCP lease on lagg0",
        "configure lagg0 with inet 10.0.0.77/32 alias",
    ];
    assert_eq!(given(up(&facts), "lagg0"), wanted);
}

#[test]
fn an_interface_with_others_stacked_on_it_is_left_alone() {
    let member =
        |bridge: &[&str]| Link { members: bridge.iter().map(|m| name(m)).collect(), ..Link::default() };
    for (link, message) in [
        (
            member(&["tap0", "hn0"]),
            "hn0 is a member of over0, which would lose its network with hn0 in a lagg",
        ),
        (member(&["mce0"]), "mce0 is a member of over0, which would lose its network with mce0 in a lagg"),
        (
            Link { vlan_parent: Some(name("hn0")), ..Link::default() },
            "hn0 carries over0, which would receive nothing with hn0 in a lagg",
        ),
    ] {
        let mut facts = static_guest();
        facts.links.insert(name("over0"), link.clone());
        assert_eq!(plan_up(&hn(), &facts).unwrap_err().to_string(), message);
        // Once they are joined, an interface stacked on the port is the administrator's decision.
        let mut facts = joined_guest();
        facts.links.insert(name("over0"), link);
        assert!(plan_up(&hn(), &facts).unwrap().unwrap().is_empty());
    }
    let facts = Facts { hooks: 2, ..static_guest() };
    assert_eq!(plan_up(&hn(), &facts), Err(PlanError::InNetgraph(name("hn0"))));
}

#[test]
fn a_lagg_of_bases_script_is_adopted() {
    let mut facts = static_guest();
    facts.network.interfaces.push(interface("lagg0", 3, &[]));
    let mut link = own(&["hn0"]);
    link.groups = vec!["lagg".into()];
    facts.links.insert(name("lagg0"), link);
    let steps = up(&facts);
    assert_eq!(steps[2..4], ["adopt lagg0", "add port mce0 to lagg0"]);
    assert_eq!(steps.iter().filter(|step| step.starts_with("configure lagg0")).count(), 3);
}

#[test]
fn renamed_interface_keeps_the_lagg_of_its_device() {
    let mut facts = static_guest();
    facts.network.interfaces[0].name = name("eth0");
    facts.network.default_routes.iter_mut().for_each(|route| route.interface = name("eth0"));
    let link = facts.links.remove(&name("hn0")).unwrap();
    facts.links.insert(name("eth0"), link);
    facts.rc_conf = evaluated::text("ifconfig_eth0=\"inet 10.0.0.5/24\"\n", &["eth0", "lagg0"]).unwrap();
    let renamed = hn().with_interface(name("eth0"));
    let plan = plan_up(&renamed, &facts).unwrap().unwrap().to_string();
    assert!(plan.contains("create lagg0 with failover over eth0 mce0\n"), "{plan}");
    assert!(plan.contains("configure lagg0 with inet 10.0.0.5/24\n") && !plan.contains("hn0"), "{plan}");
}

#[test]
fn differences_are_named_and_corrected() {
    let before = carp_guest("");
    assert_eq!(differences(&hn(), &before, &before), [""; 0]);
    assert!(plan_restore(&hn(), &before, &before).is_empty());
    let mut now = before.clone();
    now.network.interfaces[0].addresses.retain(|held| held.address.is_ipv4() && held.prefix == 24);
    now.network.interfaces[0].addresses.push("10.9.9.9/24".parse().unwrap());
    now.network.interfaces.push(interface("lagg0", 3, &[]));
    now.network.default_routes.remove(0);
    now.network.dhcp_clients.push(name("hn0"));
    now.links.get_mut(&name("hn0")).unwrap().ipv6.disabled = true;
    let wanted =
        ["lagg0 exists", "the IPv6 flags of hn0", "the DHCP client of hn0", "address 10.0.0.5/24 of hn0"];
    let found = differences(&hn(), &before, &now);
    assert_eq!(found[..4], wanted, "{found:?}");
    assert!(found.contains(&"address 10.0.0.50/32 vhid 5 of hn0".to_owned()), "{found:?}");
    let steps: Vec<String> =
        plan_restore(&hn(), &before, &now).to_string().lines().map(str::to_owned).collect();
    for step in [
        "destroy lagg0",
        "enable IPv6 on hn0",
        "stop dhclient on hn0",
        "add fd00::5/64 to hn0",
        "add 10.0.1.5/32 to hn0",
        "configure hn0 with inet 10.0.0.50/32 vhid 5 advbase 1 advskew 100 pass *** alias",
        "set the default route to 10.0.0.1 through hn0",
    ] {
        assert!(steps.contains(&step.to_owned()), "{step}: {steps:?}");
    }
}

#[test]
fn an_interface_comes_up_before_its_routes_and_goes_down_last() {
    let mut up = static_guest();
    up.network.static_routes = vec![StaticRoute {
        destination: "10.20.0.0/16".parse().unwrap(),
        gateway: "10.0.0.254".parse().unwrap(),
        interface: name("hn0"),
    }];
    let mut down = up.clone();
    down.network.interfaces[0].up = false;
    down.network.interfaces[0].addresses.push("10.9.9.9/24".parse().unwrap());
    // The kernel drops the routes of an interface that goes down.
    (down.network.default_routes, down.network.static_routes) = (Vec::new(), Vec::new());
    let steps = |before, now| plan_restore(&hn(), before, now).to_string();
    assert_eq!(
        steps(&up, &down),
        "bring hn0 up\nremove 10.9.9.9/24 from hn0\nset the default route to 10.0.0.1 through hn0\n\
         set the default route to fd00::1 through hn0\nset the route to 10.20.0.0/16 by 10.0.0.254 through hn0\n"
    );
    assert_eq!(steps(&down, &up), "add 10.9.9.9/24 to hn0\nbring hn0 down\n");
}

#[test]
fn a_lease_stays_when_its_client_is_started_again() {
    let mut before = dhcp_guest();
    before.links.get_mut(&name("hn0")).unwrap().ipv6 =
        Ipv6Options { accept_rtadv: true, auto_linklocal: true, ..Ipv6Options::default() };
    let mut now = before.clone();
    now.network.dhcp_clients.clear();
    now.network.interfaces[0].addresses.push("10.9.9.9/24".parse().unwrap());
    now.links.get_mut(&name("hn0")).unwrap().ipv6.accept_rtadv = false;
    // dhclient(8) ends when its address is removed, and until then the guest would have none.
    assert_eq!(
        plan_restore(&hn(), &before, &now).to_string(),
        "enable IPv6 and autoconfiguration on hn0\nsolicit routers on hn0\nremove 10.9.9.9/24 from hn0\n\
         start dhclient on hn0\n"
    );
}
