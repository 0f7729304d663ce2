//! Guests for the tests of hyperv_vfup, and pictures of their state. It contains no test.

use std::fs;

use crate::support::Scratch;
use hvsim::network::State;
use hvsim::network::guest::static_rc_conf;
use hvsim::network::state::{Address, Advertisement, Carp, Route, StaticRoute};

pub(crate) fn static_guest() -> Scratch {
    let mut state = State::default();
    state.add_static_hn(0);
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    Scratch::new(&state, &static_rc_conf(0))
}

/// The static guest with a route to another network for each family.
pub(crate) fn routed_guest() -> Scratch {
    let scratch = static_guest();
    for (destination, gateway) in [("10.20.0.0/16", "10.0.0.254"), ("fd20::/32", "fd00::fe")] {
        let by = Route { gateway: gateway.parse().unwrap(), interface: "hn0".to_owned() };
        let route = StaticRoute { destination: destination.to_owned(), by };
        scratch.guest.root().change(|state| state.static_routes.push(route)).unwrap();
    }
    scratch
}

pub(crate) fn static_routes(scratch: &Scratch) -> Vec<String> {
    let mut all: Vec<String> = scratch
        .state()
        .static_routes
        .iter()
        .map(|route| format!("{} {} {}", route.destination, route.by.gateway, route.by.interface))
        .collect();
    all.sort();
    all
}

pub(crate) fn dhcp_guest(rc_conf: &str) -> Scratch {
    let mut state = State::default();
    state.add_hn(0);
    state.add_dhcp_server();
    state.attach_vf("mce0", "hn0");
    let scratch = Scratch::new(&state, rc_conf);
    scratch.start_client("hn0");
    scratch.guest.switch_vf("mce0", true).unwrap();
    scratch
}

pub(crate) const STATIC: [&str; 3] = ["10.0.0.5/24", "10.1.0.5/32", "fd00::5/64"];

/// hn0 with one family only.
pub(crate) fn guest_of_one_family(ipv4: bool) -> Scratch {
    let mut state = State::default();
    state.add_static_hn(0);
    let hn0 = state.interfaces.get_mut("hn0").unwrap();
    hn0.addresses.retain(|held| held.ip.is_ipv4() == ipv4);
    hn0.nd6.disabled = ipv4;
    state.routes.retain(|route| route.gateway.is_ipv4() == ipv4);
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let rc_conf: String = static_rc_conf(0)
        .lines()
        .filter(|line| line.contains("ipv6") != ipv4)
        .map(|line| format!("{line}\n"))
        .collect();
    Scratch::new(&state, &rc_conf)
}

/// hn0 with an address, a default route and another IPv6 route, all from a router.
pub(crate) fn autoconfiguring_guest() -> Scratch {
    let mut state = State::default();
    state.add_static_hn(0);
    state.routes.retain(|route| route.gateway.is_ipv4());
    state.advertisement =
        Some(Advertisement { prefix: "fd11::".parse().unwrap(), router: "fe80::1".parse().unwrap() });
    let hn0 = state.interfaces.get_mut("hn0").unwrap();
    hn0.nd6.accept_rtadv = true;
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let rc_conf = "ifconfig_hn0=\"inet 10.0.0.5/24\"\nifconfig_hn0_ipv6=\"inet6 accept_rtadv\"\n";
    let scratch = Scratch::new(&state, rc_conf);
    assert!(std::process::Command::new(scratch.path("sbin/rtsol")).arg("hn0").status().unwrap().success());
    scratch
}

/// hn0 with 10.0.0.50 under vhid 5.
pub(crate) fn carp_guest() -> Scratch {
    let scratch = static_guest();
    let alias = "ifconfig_hn0_alias1=\"inet vhid 5 advskew 100 pass secret alias 10.0.0.50/32\"\n";
    scratch.guest.set_rc_conf(&(static_rc_conf(0) + alias)).unwrap();
    let carp = Carp {
        vhid: 5,
        advbase: 1,
        advskew: 100,
        key: "secret".to_owned(),
        addresses: vec!["10.0.0.50".parse().unwrap()],
    };
    let give = |state: &mut State| {
        let hn0 = state.interfaces.get_mut("hn0").unwrap();
        hn0.addresses.push(Address::new("10.0.0.50", 32));
        hn0.carp.push(carp.clone());
    };
    scratch.guest.root().change(give).unwrap();
    scratch
}

/// The static guest with its interface renamed to eth0.
pub(crate) fn renamed_guest() -> Scratch {
    let scratch = static_guest();
    scratch.guest.set_rc_conf(&static_rc_conf(0).replace("_hn0", "_eth0")).unwrap();
    ifconfig(&scratch, "hn0 name eth0");
    scratch
}

/// The static guest with the lagg that base's script leaves half-way.
pub(crate) fn guest_of_base() -> Scratch {
    let scratch = static_guest();
    scratch.guest.root().change(|state| state.routes.retain(|route| route.gateway.is_ipv4())).unwrap();
    ifconfig(&scratch, "lagg0 create inet6 -ifdisabled laggproto failover laggport hn0 up");
    for command in ["hn0 inet6 ifdisabled", "hn0 inet 10.0.0.5 -alias", "lagg0 inet 10.0.0.5/24"] {
        ifconfig(&scratch, command);
    }
    scratch
}

pub(crate) fn ifconfig(scratch: &Scratch, arguments: &str) {
    let output = std::process::Command::new(scratch.path("sbin/ifconfig"))
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ifconfig {arguments}");
}

/// The state that a failed run must leave unchanged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    /// All interfaces with their addresses and flags, and all routes.
    pub(crate) network: State,
    pub(crate) clients: Vec<String>,
    files: Vec<String>,
}

/// A picture without the order of routes, and of addresses of different families.
pub(crate) fn picture(scratch: &Scratch) -> Picture {
    let mut network = scratch.network();
    for interface in network.interfaces.values_mut() {
        interface.addresses.sort_by_key(|address| address.ip);
    }
    network.routes.sort_by_key(|route| (route.gateway, route.interface.clone()));
    network.static_routes.sort_by_key(|route| (route.destination.clone(), route.by.interface.clone()));
    let files = ["etc/resolv.conf", "etc/rc.conf"];
    let files = files.map(|file| fs::read_to_string(scratch.path(file)).unwrap_or_default()).into();
    Picture { network, clients: scratch.clients(), files }
}

/// The state after a failed hand-over: with the VF down the kernel delivers to hn0 again.
pub(crate) fn left_to_hn(mut picture: Picture) -> Picture {
    let network = &mut picture.network;
    network.interfaces.get_mut("mce0").unwrap().up = false;
    for name in ["hn0", "eth0"] {
        if let Some(hn) = network.interfaces.get_mut(name) {
            hn.carrier = true;
        }
    }
    picture
}

/// The second line of a failed hand-over of `name`.
pub(crate) fn left_to(name: &str) -> String {
    format!(
        "hyperv_vfup: {name}: mce0 is down now, so that {name} has the network; \"hyperv_vfup {name}\" tries again"
    )
}

/// The calls of a run on a joined guest, until it finds that there is nothing to do.
pub(crate) const LOOKS: [&str; 3] = ["ifconfig -k hn0", "ifconfig -k mce0", "ifconfig -k -a -g lagg"];
