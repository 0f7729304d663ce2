//! One test for each row of the table of the module. Each changes a state in memory as the row says and
//! compares it.

use super::*;
use crate::network::guest::mac_of;
use crate::network::state::Advertisement;

/// hn0 with addresses and routes, and mce0, its VF, which is up.
fn guest() -> State {
    let mut state = State::default();
    state.add_static_hn(0);
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    state.create_lagg("lagg0").unwrap();
    state.events.clear();
    state
}

fn addresses(state: &State, name: &str) -> Vec<String> {
    state.interfaces[name].addresses.iter().map(|held| held.ip.to_string()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// contract V17
#[test]
fn joining_takes_all_ipv6_even_where_it_fails() {
    let mut state = guest();
    state.interfaces.get_mut("lagg0").unwrap().lagg.as_mut().unwrap().ports.push("lo0".into());
    state.interfaces.get_mut("lagg0").unwrap().mtu = 9999;
    assert_eq!(state.add_port("lagg0", "hn0"), Err(Errno::EINVAL));
    assert_eq!(addresses(&state, "hn0"), ["10.0.0.5", "10.1.0.5"]);
    // Without a link-local address nothing is taken.
    let mut state = guest();
    state.interfaces.get_mut("hn0").unwrap().addresses.retain(|held| !held.is_link_local());
    state.add_port("lagg0", "hn0").unwrap();
    assert_eq!(addresses(&state, "hn0"), ["10.0.0.5", "10.1.0.5", "fd00::5"]);
}

// contract V17
#[test]
fn first_port_leads_and_the_link_of_later_ones_bounces() {
    let mut state = guest();
    state.interfaces.get_mut("mce0").unwrap().mac = Some(mac_of(9).to_string());
    state.interfaces.get_mut("mce0").unwrap().mtu = 9000;
    state.add_port("lagg0", "hn0").unwrap();
    assert_eq!(state.events, [""; 0]);
    state.add_port("lagg0", "mce0").unwrap();
    for name in ["lagg0", "mce0"] {
        assert_eq!(
            (state.interfaces[name].mac.clone(), state.interfaces[name].mtu),
            (Some(mac_of(0).to_string()), 1500)
        );
    }
    let bounce = ["LINK_DOWN", "LINK_UP"].map(|link| format!("!system=IFNET subsystem=mce0 type={link}"));
    assert_eq!(state.events, bounce);
    state.remove_port("lagg0", "mce0").unwrap();
    let left = &state.interfaces["mce0"];
    assert_eq!(
        (left.mac.clone(), left.mtu),
        (Some(mac_of(9).to_string()), 1500),
        "the MTU does not come back"
    );
}

#[test]
fn lagg_without_its_first_port_has_the_nexts_address() {
    let mut state = guest();
    state.interfaces.get_mut("mce0").unwrap().mac = Some(mac_of(9).to_string());
    state.add_port("lagg0", "hn0").unwrap();
    state.add_port("lagg0", "mce0").unwrap();
    state.remove_port("lagg0", "hn0").unwrap();
    assert_eq!(state.interfaces["lagg0"].mac, Some(mac_of(9).to_string()));
}

#[test]
fn ports_share_their_capabilities_until_they_leave() {
    let mut state = guest();
    state.interfaces.get_mut("mce0").unwrap().capabilities.remove("TSO4");
    let own = state.interfaces["hn0"].capabilities.clone();
    state.add_port("lagg0", "hn0").unwrap();
    state.add_port("lagg0", "mce0").unwrap();
    for name in ["lagg0", "hn0", "mce0"] {
        assert!(!state.interfaces[name].capabilities.contains("TSO4"), "{name}");
    }
    state.destroy("lagg0").unwrap();
    assert_eq!(state.interfaces["hn0"].capabilities, own);
}

#[test]
fn mtu_of_a_port_is_that_of_the_lagg() {
    let mut state = guest();
    state.add_port("lagg0", "hn0").unwrap();
    assert_eq!(state.set_mtu("hn0", 9000), Err(Errno::EINVAL));
    state.set_mtu("lagg0", 4000).unwrap();
    assert_eq!(state.interfaces["hn0"].mtu, 4000);
    state.interfaces.get_mut("mce0").unwrap().max_mtu = 1500;
    assert_eq!(state.add_port("lagg0", "mce0"), Err(Errno::EINVAL));
    assert_eq!(state.add_port("lagg0", "nosuch0"), Err(Errno::EINVAL));
}

#[test]
fn ipv4_routes_go_with_their_address_and_ipv6_routes_stay() {
    // Contract V15.
    let mut state = guest();
    state.remove_address("hn0", ip("10.0.0.5")).unwrap();
    state.remove_address("hn0", ip("fd00::5")).unwrap();
    let left: Vec<String> = state.routes.iter().map(|route| route.gateway.to_string()).collect();
    assert_eq!(left, ["fd00::1"]);
    // Until the interface goes.
    state.detach("hn0");
    assert!(state.routes.is_empty());
}

#[test]
fn routes_of_routers_go_when_ipv6_is_detached() {
    let mut state = guest();
    let router: Ipv6Addr = "fe80::1".parse().unwrap();
    state.advertisement = Some(Advertisement { prefix: "fd11::".parse().unwrap(), router });
    state.routes.push(Route { gateway: router.into(), interface: "hn0".into() });
    state.add_port("lagg0", "hn0").unwrap();
    let left: Vec<String> = state.routes.iter().map(|route| route.gateway.to_string()).collect();
    assert_eq!(left, ["10.0.0.1", "fd00::1"]);
}

// contract V26
#[test]
fn second_way_to_a_network_is_added_beside_the_first() {
    let mut state = guest();
    state.add_static_route("fd20::/32", ip("fd00::fe"), None).unwrap();
    assert_eq!(state.add_static_route("fd20::/32", ip("fd00::fe"), None), Err(Errno::EEXIST));
    state.add_static_route("fd20::/32", ip("fd00::fd"), None).unwrap();
    assert_eq!(state.static_routes.len(), 2);
    state.remove_static_route("fd20::/32", Some(ip("fd00::fd"))).unwrap();
    assert_eq!(state.static_routes.len(), 1);
    state.multipath = false;
    assert_eq!(state.add_static_route("fd20::/32", ip("fd00::fd"), None), Err(Errno::EEXIST));
}

#[test]
fn link_local_address_comes_with_up_and_with_ipv6() {
    let mut state = State::default();
    state.attach("em0", mac_of(3));
    state.set_nd6("em0", |nd6| nd6.disabled = false).unwrap();
    assert_eq!(addresses(&state, "em0"), [""; 0]);
    state.set_up("em0", true).unwrap();
    assert_eq!(addresses(&state, "em0"), ["fe80::215:5dff:fe01:203"]);
    state.remove_address("em0", ip("fe80::215:5dff:fe01:203")).unwrap();
    state.set_up("em0", true).unwrap();
    state.set_nd6("em0", |nd6| nd6.accept_rtadv = true).unwrap();
    assert_eq!(addresses(&state, "em0"), [""; 0], "neither was a change");
}

#[test]
fn vhid_goes_with_its_last_address() {
    let mut state = guest();
    let carp = Carp { vhid: 5, ..Carp::default() };
    for text in ["10.0.0.50", "10.0.0.51"] {
        state.add_address("hn0", Address::new(text, 32)).unwrap();
        state.set_vhid("hn0", ip(text), carp.clone()).unwrap();
    }
    assert_eq!(state.interfaces["hn0"].carp[0].addresses.len(), 2);
    state.remove_address("hn0", ip("10.0.0.50")).unwrap();
    assert_eq!(state.interfaces["hn0"].vhid_of(ip("10.0.0.51")), Some(5));
    state.remove_address("hn0", ip("10.0.0.51")).unwrap();
    assert_eq!(state.interfaces["hn0"].carp, []);
}

// contract V24
#[test]
fn new_name_moves_nothing_but_the_name() {
    let mut state = guest();
    state.add_port("lagg0", "hn0").unwrap();
    state.rename("hn0", "eth0").unwrap();
    assert_eq!(state.device("eth0"), "hn0");
    assert_eq!(state.interfaces["lagg0"].lagg.as_ref().unwrap().ports, ["eth0"]);
    assert_eq!(state.vfs["mce0"], "eth0");
    assert!(state.routes.iter().all(|route| route.interface == "eth0"));
    assert!(state.all_sysctls().contains(&("dev.hn.0.vf".into(), "mce0".into())));
    assert_eq!(state.rename("eth0", "mce0"), Err(Errno::EEXIST));
}

#[test]
fn hn_reports_its_link_down_while_its_vf_is_up() {
    let mut state = guest();
    assert!(!state.interfaces["hn0"].carrier);
    state.set_up("mce0", false).unwrap();
    assert!(state.interfaces["hn0"].carrier);
    let wanted = [
        "!system=IFNET subsystem=mce0 type=LINK_DOWN",
        "!system=IFNET subsystem=hn0 type=LINK_UP",
        "!system=HYPERV_NIC_VF subsystem=hn0 type=VF_DOWN",
    ];
    assert_eq!(state.events, wanted);
}
