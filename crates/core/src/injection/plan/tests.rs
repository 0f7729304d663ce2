//! Tests of the plan of an injection. Each gives the planner the facts of a network and compares the steps of
//! the plan. None runs a step.

use super::*;
use crate::plan::network::Lagg;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn interface(text: &str, up: bool, addresses: &[&str]) -> Interface {
    Interface {
        name: name(text),
        index: 1,
        up,
        loopback: false,
        mac: None,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// hn0 with these addresses, hn10 and em0 with others, and a default route through hn0.
fn facts(addresses: &[&str]) -> Facts {
    Facts {
        network: NetworkSnapshot {
            interfaces: vec![
                interface("hn0", true, addresses),
                interface("hn10", true, &["10.10.0.5/24"]),
                interface("em0", true, &["10.11.0.5/24"]),
            ],
            default_routes: vec![route("10.0.0.1", "hn0")],
            ..NetworkSnapshot::default()
        },
        ..Facts::default()
    }
}

fn route(gateway: &str, interface: &str) -> DefaultRoute {
    DefaultRoute { gateway: gateway.parse().unwrap(), interface: name(interface) }
}

fn add_lagg(facts: &mut Facts, lagg: &str, group: &str, ports: &[&str]) {
    facts.network.interfaces.push(interface(lagg, true, &["10.0.0.6/24"]));
    let link = Link {
        groups: vec!["lagg".into(), group.into()],
        lagg: Some(Lagg {
            protocol: "failover".into(),
            ports: ports.iter().map(|port| name(port)).collect(),
        }),
        ..Link::default()
    };
    facts.links.insert(name(lagg), link);
}

fn given(addresses: &[&str], gateways: &[&str], servers: &[&str]) -> Method {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Method::Static(StaticAddresses {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: parse(gateways),
        name_servers: parse(servers),
    })
}

fn lines(method: &Method, facts: &Facts) -> Vec<String> {
    let target = target(&hn("hn0"), facts).unwrap();
    plan_live(&target, method, facts, &Earlier::default()).to_string().lines().map(str::to_owned).collect()
}

fn undo_of(method: &Method, facts: &Facts, step: usize) -> Vec<String> {
    let target = target(&hn("hn0"), facts).unwrap();
    let plan = plan_live(&target, method, facts, &Earlier::default());
    plan.steps()[step].undo.iter().map(ToString::to_string).collect()
}

fn hn(text: &str) -> Adapter {
    text.parse().unwrap()
}

#[test]
fn a_lagg_of_ours_takes_the_place_of_its_port() {
    let mut known = facts(&[]);
    assert_eq!(target(&hn("hn0"), &known), Ok(Target { hn: name("hn0"), lagg: None }));
    assert_eq!(target(&hn("hn1"), &known), Err(NoTarget::Missing(name("hn1"))));
    add_lagg(&mut known, "lagg0", crate::hn::GROUP, &["hn0", "mce0"]);
    let wanted = Target { hn: name("hn0"), lagg: Some(name("lagg0")) };
    assert_eq!(target(&hn("hn0"), &known), Ok(wanted));
    add_lagg(&mut known, "lagg0", "mine", &["hn0", "mce0"]);
    assert_eq!(target(&hn("hn0"), &known), Err(NoTarget::PortOfForeign(name("hn0"))));
    add_lagg(&mut known, "lagg0", crate::hn::GROUP, &["em0"]);
    assert_eq!(target(&hn("hn0"), &known).unwrap().lagg, None);
}

#[test]
fn a_renamed_interface_is_the_target_of_its_device() {
    let mut known = facts(&[]);
    known.network.interfaces[0].name = name("eth0");
    let renamed = hn("hn0").with_interface(name("eth0"));
    assert_eq!(target(&renamed, &known), Ok(Target { hn: name("eth0"), lagg: None }));
}

#[test]
fn a_member_of_a_bridge_without_addresses_is_refused() {
    let mut known = facts(&["fe80::5/64"]);
    let bridge = Link { members: vec![name("hn0")], ..Link::default() };
    known.links.insert(name("bridge0"), bridge.clone());
    let error = NoTarget::BridgeMember { name: name("hn0"), bridge: name("bridge0") };
    assert_eq!(target(&hn("hn0"), &known), Err(error));
    let mut with_address = facts(&["10.0.0.5/24"]);
    with_address.links.insert(name("bridge0"), bridge);
    assert!(target(&hn("hn0"), &with_address).is_ok(), "the administrator has given it addresses of its own");
}

#[test]
fn addresses_of_carp_and_of_router_advertisements_stay() {
    let mut held = facts(&["10.0.0.5/24", "10.0.0.50/32", "fd00::5/64", "fd00::aaaa/64", "fd00::50/128"]);
    let link = Link {
        vhids: [("10.0.0.50", 5), ("fd00::50", 6)].map(|(ip, vhid)| (ip.parse().unwrap(), vhid)).into(),
        autoconf: vec!["fd00::aaaa".parse().unwrap()],
        ..Link::default()
    };
    held.links.insert(name("hn0"), link);
    let method = given(&["10.1.1.5/24", "fd01::5/64"], &[], &[]);
    let wanted = [
        "remove 10.0.0.5/24 from hn0",
        "add 10.1.1.5/24 to hn0",
        "remove fd00::5/64 from hn0",
        "add fd01::5/64 to hn0",
    ];
    assert_eq!(lines(&method, &held), wanted);
    let same = given(&["10.0.0.5/24", "10.0.0.50/32", "fd00::5/64"], &[], &[]);
    assert_eq!(lines(&same, &held), [""; 0], "what is there already is not the host's to give");
    let back = held.method(&Target { hn: name("hn0"), lagg: None });
    let Method::Static(back) = back else { panic!("no client serves it") };
    assert_eq!(back.addresses.len(), 2);
    assert_eq!(back.gateways, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    held.network.default_routes = vec![route("10.11.0.1", "em0")];
    let Method::Static(back) = held.method(&Target { hn: name("hn0"), lagg: None }) else { panic!() };
    assert_eq!(back.gateways, [] as [IpAddr; 0], "the route of another interface");
}

#[test]
fn addresses_become_exactly_those_given() {
    let held = facts(&["10.0.0.5/24", "fe80::5/64", "10.0.0.6/32", "fd00::5/64"]);
    let method = given(&["10.0.0.5/24", "10.1.1.5/24", "fd00::6/64"], &[], &[]);
    let wanted = [
        "remove 10.0.0.6/32 from hn0",
        "add 10.1.1.5/24 to hn0",
        "set the default route to 10.0.0.1 through hn0",
        "remove fd00::5/64 from hn0",
        "add fd00::6/64 to hn0",
    ];
    assert_eq!(lines(&method, &held), wanted);
    assert_eq!(
        undo_of(&method, &held, 0),
        ["add 10.0.0.6/32 to hn0", "set the default route to 10.0.0.1 through hn0"]
    );
}

#[test]
fn a_correct_network_needs_no_step() {
    let mut held = facts(&["10.0.0.5/24", "fe80::5/64", "fd00::5/64"]);
    let label = ResolvLabel::of_host(&name("hn0"));
    held.name_servers.push((label, "nameserver 10.0.0.2\nnameserver fe80::1%hn0\n".into()));
    let method = given(&["10.0.0.5/24", "fd00::5/64", "fe80::5/64"], &["10.0.0.1"], &["10.0.0.2", "fe80::1"]);
    assert_eq!(lines(&method, &held), [""; 0]);
}

#[test]
fn a_client_is_stopped_before_its_addresses_are_removed() {
    let mut held = facts(&["10.0.0.5/24"]);
    held.network.dhcp_clients = vec![name("hn0")];
    held.name_servers.push((ResolvLabel::of_dhclient(&name("hn0")), "nameserver 10.0.0.9\n".into()));
    let method = given(&["10.0.0.5/24"], &["10.0.0.1"], &["10.0.0.2"]);
    let wanted = [
        "stop dhclient on hn0",
        "set the name servers of hn0.hyperv to 10.0.0.2",
        "drop the name servers of hn0",
    ];
    assert_eq!(lines(&method, &held), wanted);
    let undo =
        ["add 10.0.0.5/24 to hn0", "set the default route to 10.0.0.1 through hn0", "start dhclient on hn0"];
    assert_eq!(undo_of(&method, &held, 0), undo);
    assert_eq!(undo_of(&method, &held, 2), ["set the name servers of hn0 to 10.0.0.9"]);
}

#[test]
fn dhcp_takes_static_addresses_away_and_starts_a_client() {
    let mut held = facts(&["10.0.0.5/24", "10.0.0.6/24", "fd00::5/64"]);
    held.name_servers.push((ResolvLabel::of_host(&name("hn0")), "nameserver 10.0.0.2\n".into()));
    let wanted = [
        "remove 10.0.0.6/24 from hn0",
        "remove 10.0.0.5/24 from hn0",
        "remove fd00::5/64 from hn0",
        "drop the name servers of hn0.hyperv",
        "start dhclient on hn0",
    ];
    assert_eq!(lines(&Method::Dhcp, &held), wanted);
    held.network.dhcp_clients = vec![name("hn0")];
    assert_eq!(lines(&Method::Dhcp, &held)[0], "stop dhclient on hn0");
    let mut leased = facts(&["10.0.0.5/24"]);
    leased.network.dhcp_clients = vec![name("hn0"), name("hn10")];
    assert_eq!(lines(&Method::Dhcp, &leased), [""; 0]);
    leased.network.dhcp_clients = vec![name("hn10")];
    assert_eq!(lines(&Method::Dhcp, &leased), ["remove 10.0.0.5/24 from hn0", "start dhclient on hn0"]);
}

#[test]
fn router_advertisements_stay_without_ipv6_addresses() {
    let mut held = facts(&["10.0.0.5/24", "fe80::5/64", "2001:db8::5/64"]);
    let ipv6 = Ipv6Options { accept_rtadv: true, ..Ipv6Options::default() };
    held.links.insert(name("hn0"), Link { ipv6, ..Link::default() });
    assert_eq!(lines(&given(&["10.0.0.5/24"], &[], &[]), &held), [""; 0]);
    assert_eq!(lines(&Method::Dhcp, &held), ["remove 10.0.0.5/24 from hn0", "start dhclient on hn0"]);
    let method = given(&["10.0.0.5/24", "fd00::5/64"], &["fe80::1"], &[]);
    let wanted = [
        "enable IPv6 on hn0",
        "remove 2001:db8::5/64 from hn0",
        "add fd00::5/64 to hn0",
        "set the default route to fe80::1 through hn0",
    ];
    assert_eq!(lines(&method, &held), wanted);
    assert_eq!(undo_of(&method, &held, 0), ["enable IPv6 and autoconfiguration on hn0"]);
    // Without a gateway the advertised route stays, and is set again so that it does not expire.
    held.network.default_routes.push(route("fe80::1", "hn0"));
    for gateways in [&["fe80::1"][..], &[]] {
        assert_eq!(lines(&given(&["10.0.0.5/24", "fd00::5/64"], gateways, &[]), &held), wanted);
    }
    held.network.default_routes.pop();
    let ipv6 = Ipv6Options { disabled: true, ..Ipv6Options::default() };
    held.links.insert(name("hn0"), Link { ipv6, ..Link::default() });
    assert_eq!(undo_of(&method, &held, 0)[0], "disable IPv6 on hn0");
}

#[test]
fn only_a_gateway_replaces_the_default_route() {
    let mut held = facts(&["10.1.1.5/24"]);
    held.network.default_routes = vec![route("10.11.0.1", "em0")];
    assert_eq!(lines(&given(&["10.1.1.5/24"], &[], &[]), &held), [""; 0]);
    let method = given(&["10.1.1.5/24"], &["10.1.1.1", "10.1.1.2"], &[]);
    assert_eq!(lines(&method, &held), ["set the default route to 10.1.1.1 through hn0"]);
    let undo = [
        "remove the default route to 10.1.1.1 through hn0",
        "set the default route to 10.11.0.1 through em0",
    ];
    assert_eq!(undo_of(&method, &held, 0), undo);
}

#[test]
fn a_lagg_gets_the_addresses_and_hn_the_name_servers() {
    let mut held = facts(&[]);
    add_lagg(&mut held, "lagg0", crate::hn::GROUP, &["hn0", "mce0"]);
    let method = given(&["10.1.1.5/24"], &["10.1.1.1"], &["10.1.1.2"]);
    let wanted = [
        "remove 10.0.0.6/24 from lagg0",
        "add 10.1.1.5/24 to lagg0",
        "set the default route to 10.1.1.1 through lagg0",
        "set the name servers of hn0.hyperv to 10.1.1.2",
    ];
    assert_eq!(lines(&method, &held), wanted);
}

#[test]
fn undo_file_is_written_first_and_rc_conf_checked_last() {
    let held = facts(&["10.0.0.5/24"]);
    let content =
        |text: &str| Some(crate::injection::file::Content { bytes: text.into(), mode: 0o644, owner: None });
    let change =
        |path: &str, from: &str| FileChange { path: path.into(), from: content(from), to: content("new") };
    let same = FileChange { path: "/db/hn0.before".into(), from: None, to: None };
    let (record, rc_conf) = (change("/db/hn0.toml", ""), change("/etc/rc.conf", "old"));
    let files = Files { record, before: same, rc_conf };
    let target = target(&hn("hn0"), &held).unwrap();
    let plan = plan_files(&target, &given(&["10.1.1.5/24"], &[], &[]), &files);
    let wanted = "write /db/hn0.toml\nwrite /etc/rc.conf\ncheck what the next boot makes of hn0\n";
    assert_eq!(plan.to_string(), wanted);
}

#[test]
fn an_interface_that_is_down_is_brought_up() {
    let mut held = facts(&[]);
    held.network.interfaces[0].up = false;
    let method = given(&["10.1.1.5/24"], &[], &[]);
    assert_eq!(lines(&method, &held), ["bring hn0 up", "add 10.1.1.5/24 to hn0"]);
    assert_eq!(undo_of(&method, &held, 0), ["bring hn0 down"]);
}

/// Found by the fuzz target `plans`.
#[test]
fn a_default_route_that_stays_comes_back_after_a_failure() {
    let method = given(&["10.0.0.5/24", "10.0.1.5/24"], &["10.0.0.1"], &[]);
    let facts = facts(&["10.0.0.5/24"]);
    let steps = lines(&method, &facts);
    let step = steps.iter().position(|step| step.starts_with("set the default route")).unwrap();
    let undo = undo_of(&method, &facts, step);
    assert_eq!(
        undo.last().map(String::as_str),
        Some("set the default route to 10.0.0.1 through hn0"),
        "{undo:?}"
    );
}

fn static_route(destination: &str, gateway: &str, interface: &str) -> StaticRoute {
    StaticRoute {
        destination: destination.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        interface: name(interface),
    }
}

/// hn0 with an address of carp(4) beside these.
fn with_vhid(addresses: &[&str]) -> Facts {
    let mut held = facts(addresses);
    let vhids = [("10.0.0.50".parse().unwrap(), 5)].into();
    held.links.insert(name("hn0"), Link { vhids, ..Link::default() });
    held
}

#[test]
fn what_was_there_before_is_remembered() {
    let target = Target { hn: name("hn0"), lagg: None };
    let mut held = with_vhid(&["10.0.0.5/24", "10.0.0.50/32", "fd00::5/64"]);
    let earlier = held.earlier(&target);
    let texts = |all: &[InterfaceAddress]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&earlier.gone), ["10.0.0.5/24", "10.0.0.50/32"]);
    let shared: Vec<String> = earlier.shared.iter().map(|(held, give)| format!("{held}: {give}")).collect();
    assert_eq!(shared, ["10.0.0.50/32: configure hn0 with inet 10.0.0.50/32 vhid 5 alias"]);
    held.network.dhcp_clients = vec![name("hn0")];
    let served = held.earlier(&target);
    assert_eq!((served.gone.len(), served.shared), (0, earlier.shared), "one of them is the lease");
}

#[test]
fn each_difference_from_before_is_named() {
    let target = Target { hn: name("hn0"), lagg: None };
    let before = facts(&["10.0.0.5/24", "fd00::5/64"]);
    let changed = |change: &dyn Fn(&mut Facts)| {
        let mut now = before.clone();
        change(&mut now);
        now.compare(&before, &target)
    };
    let differs = |what: &str| Found::Differs(vec![what.to_owned()]);
    assert_eq!(changed(&|_| {}), Found::AsBefore);
    assert_eq!(changed(&|now| now.network.interfaces[0].addresses.reverse()), Found::AsBefore);
    assert_eq!(changed(&|now| now.network.interfaces[1].addresses.clear()), Found::AsBefore);
    assert_eq!(changed(&|now| now.network.interfaces[0].addresses.truncate(1)), differs("addresses"));
    assert_eq!(changed(&|now| now.network.default_routes.clear()), differs("default routes"));
    assert_eq!(changed(&|now| now.network.dhcp_clients.push(name("hn0"))), differs("the DHCP client"));
    assert_eq!(changed(&|now| now.network.dhcp_clients.push(name("hn10"))), Found::AsBefore);
    let label = ResolvLabel::of_host(&name("hn0"));
    assert_eq!(changed(&|now| now.name_servers.push((label.clone(), "x".into()))), differs("name servers"));
}

#[test]
fn one_address_of_a_served_interface_is_its_lease() {
    let mut held = with_vhid(&["10.0.0.5/24", "10.0.0.50/32", "fd00::5/64"]);
    held.network.dhcp_clients = vec![name("hn0")];
    assert_eq!(lines(&Method::Dhcp, &held), ["remove fd00::5/64 from hn0"]);
    let foreign = |interface: &str| {
        let mut held = facts(&["10.0.0.5/24"]);
        let client = Named { pid: 4, name: "dhcpcd".to_owned() };
        held.at_work.foreign_clients.push((name(interface), client));
        lines(&Method::Dhcp, &held)
    };
    assert_eq!(foreign("hn0"), [""; 0]);
    assert_eq!(foreign("hn10"), ["remove 10.0.0.5/24 from hn0", "start dhclient on hn0"]);
}

#[test]
fn addresses_of_carp_come_back_after_the_lease() {
    let target = Target { hn: name("hn0"), lagg: None };
    let before = with_vhid(&["10.0.0.50/32"]);
    let earlier = Earlier { gone: Vec::new(), ..before.earlier(&target) };
    for (held, wanted) in [
        (&["10.9.0.50/16"][..], &["configure hn0 with inet 10.0.0.50/32 vhid 5 alias"][..]),
        (&["10.9.0.50/16", "10.0.0.50/32"], &[]),
        // There is no lease yet.
        (&[], &[]),
    ] {
        let mut now = with_vhid(held);
        now.network.dhcp_clients = vec![name("hn0")];
        let plan = plan_live(&target, &Method::Dhcp, &now, &earlier);
        let steps: Vec<String> = plan.steps().iter().map(|planned| planned.step.to_string()).collect();
        assert_eq!(steps, wanted, "{held:?}");
        if let [planned] = plan.steps() {
            assert_eq!(planned.undo.len(), 1);
            assert_eq!(planned.undo[0].to_string(), "remove 10.0.0.50/32 from hn0");
        }
    }
}

#[test]
fn routes_follow_the_addresses_that_reach_their_gateways() {
    let mut held = facts(&["10.0.0.5/24", "fe80::5/64", "fd00::5/64"]);
    held.network.static_routes = vec![
        static_route("10.20.0.0/16", "10.0.0.9", "hn0"),
        static_route("10.21.0.0/16", "10.0.0.9", "em0"),
        static_route("10.22.0.0/16", "10.7.7.7", "hn0"),
        static_route("fd20::/32", "fd00::9", "hn0"),
        static_route("fd21::/32", "fe80::9", "hn0"),
    ];
    let v4 = "set the route to 10.20.0.0/16 by 10.0.0.9 through hn0";
    let v6 = "set the route to fd20::/32 by fd00::9 through hn0";
    assert_eq!(lines(&given(&["10.0.0.5/24", "fd00::5/64"], &[], &[]), &held), [""; 0]);
    // Still reached: they are set again.
    let near = given(&["10.0.0.6/24", "fd00::6/64"], &[], &[]);
    assert_eq!(
        lines(&near, &held),
        [
            "remove 10.0.0.5/24 from hn0",
            "add 10.0.0.6/24 to hn0",
            v4,
            "set the default route to 10.0.0.1 through hn0",
            "remove fd00::5/64 from hn0",
            "add fd00::6/64 to hn0",
            v6,
        ]
    );
    assert_eq!(
        undo_of(&near, &held, 0),
        ["add 10.0.0.5/24 to hn0", "set the default route to 10.0.0.1 through hn0", v4]
    );
    assert_eq!(undo_of(&near, &held, 2), ["remove the route to 10.20.0.0/16 by 10.0.0.9 through hn0"]);
    // Out of reach: those of IPv6 outlive their address, so they are removed before it.
    let lost = "remove the route to fd20::/32 by fd00::9 through hn0";
    let far = given(&["10.0.0.5/24", "fd01::5/64"], &[], &[]);
    assert_eq!(lines(&far, &held), [lost, "remove fd00::5/64 from hn0", "add fd01::5/64 to hn0"]);
    assert_eq!(undo_of(&far, &held, 0), [v6]);
    let far = given(&["10.1.1.5/24", "fd00::5/64"], &[], &[]);
    assert_eq!(lines(&far, &held), ["remove 10.0.0.5/24 from hn0", "add 10.1.1.5/24 to hn0"]);
}

#[test]
fn ipv6_default_route_out_of_reach_is_removed_or_replaced() {
    let mut held = facts(&["fd00::5/64"]);
    held.network.default_routes = vec![route("fd00::1", "hn0")];
    let moved = ["remove fd00::5/64 from hn0", "add fd01::5/64 to hn0"];
    let lost = "remove the default route to fd00::1 through hn0";
    assert_eq!(lines(&given(&["fd01::5/64"], &[], &[]), &held), [lost, moved[0], moved[1]]);
    let other = "set the default route to fd01::1 through hn0";
    assert_eq!(lines(&given(&["fd01::5/64"], &["fd01::1"], &[]), &held), [moved[0], moved[1], other]);
    let same = given(&["fd00::5/64"], &["fd00::1"], &[]);
    assert_eq!(lines(&same, &held), [""; 0], "nobody advertised it, so it does not expire");
    // A link-local gateway is reached always, so it stays as it is.
    held.network.default_routes = vec![route("fe80::1", "hn0")];
    assert_eq!(lines(&given(&["fd01::5/64"], &[], &[]), &held), moved);
    held.network.default_routes = vec![route("fd00::1", "em0")];
    assert_eq!(
        lines(&given(&["fd01::5/64"], &[], &[]), &held),
        moved,
        "it is the route of another interface"
    );
}

#[test]
fn an_address_that_is_only_added_takes_no_route_away() {
    let mut held = facts(&["fd00::aaaa/64"]);
    let autoconf = vec!["fd00::aaaa".parse().unwrap()];
    held.links.insert(name("hn0"), Link { autoconf, ..Link::default() });
    held.network.static_routes = vec![static_route("fd20::/32", "fd00::9", "hn0")];
    held.network.default_routes = vec![route("fd00::1", "hn0")];
    assert_eq!(lines(&given(&["fd01::5/64"], &[], &[]), &held), ["add fd01::5/64 to hn0"]);
}

#[test]
fn default_route_is_set_again_after_an_address_went() {
    let held = facts(&["10.0.0.5/24", "10.0.0.6/24"]);
    let wanted = ["remove 10.0.0.6/24 from hn0", "set the default route to 10.0.0.1 through hn0"];
    assert_eq!(lines(&given(&["10.0.0.5/24"], &["10.0.0.1"], &[]), &held), wanted);
}

#[test]
fn the_default_route_of_another_interface_comes_back() {
    let mut held = facts(&["10.1.1.5/24"]);
    held.network.default_routes = vec![route("10.11.0.1", "em0")];
    let method = given(&["10.1.1.6/24"], &["10.1.1.1"], &[]);
    let undo = [
        "remove the default route to 10.1.1.1 through hn0",
        "set the default route to 10.11.0.1 through em0",
    ];
    assert_eq!(undo_of(&method, &held, 2), undo);
    // One of its own is set again with the address that reaches it.
    held.network.default_routes = vec![route("10.1.1.9", "hn0")];
    assert_eq!(undo_of(&method, &held, 2), undo[..1]);
}
