//! An injection in each kind of guest, with a program that fails at each step. After a failure the whole
//! state is that from before the injection.

use std::process::Command;

use hvsim::kvp::IpInfo;
use hvsim::network::faults::Action;
use hvsim::network::guest::static_rc_conf;
use hvsim::network::state::{Address, Carp, State};

use crate::faults::spoil_each_call;
use crate::support::*;

pub(crate) fn ifconfig(scene: &Scene, arguments: &str) {
    let program = scene.path("guest/sbin/ifconfig");
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ifconfig {arguments}");
}

/// hn0 with one family only.
fn one_family(ipv4: bool) -> Scene {
    let mut state = static_state();
    let hn0 = state.interfaces.get_mut("hn0").unwrap();
    hn0.addresses.retain(|held| held.ip.is_ipv4() == ipv4);
    hn0.nd6.disabled = ipv4;
    state.routes.retain(|route| route.gateway.is_ipv4() == ipv4);
    let all = static_rc_conf(0);
    let lines = all.lines().filter(|line| line.contains("ipv6") != ipv4);
    Scene::new(state, &lines.map(|line| format!("{line}\n")).collect::<String>())
}

/// The addresses are hn0's, although it is a member of a bridge that has one too.
fn bridged() -> Scene {
    let scene = Scene::new(static_state(), &static_rc_conf(0));
    for command in ["bridge0 create", "bridge0 addm hn0 up", "bridge0 inet 10.5.0.1/24 alias"] {
        ifconfig(&scene, command);
    }
    scene
}

fn renamed() -> Scene {
    let scene = Scene::new(static_state(), &static_rc_conf(0).replace("_hn0", "_eth0"));
    ifconfig(&scene, "hn0 name eth0");
    scene
}

/// hn0 with 10.0.0.50 under vhid 5, which is not the host's.
fn with_a_vhid() -> Scene {
    let mut state = static_state();
    let hn0 = state.interfaces.get_mut("hn0").unwrap();
    hn0.addresses.push(Address::new("10.0.0.50", 32));
    hn0.carp.push(Carp {
        vhid: 5,
        advbase: 1,
        advskew: 100,
        key: "secret".to_owned(),
        addresses: vec!["10.0.0.50".parse().unwrap()],
    });
    let alias = "ifconfig_hn0_alias1=\"inet vhid 5 advskew 100 pass secret alias 10.0.0.50/32\"\n";
    Scene::new(state, &(static_rc_conf(0) + alias))
}

/// hn0 and its VF in lagg0, which has the addresses.
fn joined() -> Scene {
    let mut state = static_state();
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    // hyperv_vfattach would start a program two seconds later, in the middle of an injection.
    state.events.retain(|event| event.contains("HYPERV_NIC_VF"));
    let scene = Scene::new(state, &static_rc_conf(0));
    scene.session.guest().run_devd().unwrap();
    assert!(scene.state().interfaces["lagg0"].addresses.len() > 2);
    scene
}

fn to_static() -> IpInfo {
    info("hn0", &["10.1.1.5/24", "10.1.2.5/24", "fd01::5/64"], "10.1.1.1;fd01::1", "10.1.1.2")
}

/// Every step of a static injection and of one of DHCP. Returns how many programs both start.
fn fail_at_every_step(make: impl Fn() -> Scene) -> usize {
    let with_server = || {
        let scene = make();
        scene.session.guest().root().change(State::add_dhcp_server).unwrap();
        scene
    };
    let (calls, forgiven) = spoil_each_call(&make, &to_static(), Action::Fail);
    assert_eq!(forgiven, 0, "of {calls}");
    let (more, forgiven) = spoil_each_call(with_server, &dhcp("hn0"), Action::Fail);
    assert_eq!(forgiven, 0, "of {more}");
    calls + more
}

#[test]
fn guest_with_ipv4_alone() {
    assert!(fail_at_every_step(|| one_family(true)) >= 16);
}

#[test]
fn guest_with_ipv6_alone() {
    assert!(fail_at_every_step(|| one_family(false)) >= 14);
}

#[test]
fn guest_with_a_bridge() {
    assert!(fail_at_every_step(bridged) >= 20);
}

#[test]
fn guest_with_a_renamed_interface() {
    assert!(fail_at_every_step(renamed) >= 20);
}

#[test]
fn guest_with_an_address_of_carp() {
    assert!(fail_at_every_step(with_a_vhid) >= 20);
}

/// dhclient-script(8) sets its lease without "alias": the first IPv4 address goes, and its vhid with it.
#[test]
fn an_address_of_carp_survives_the_lease() {
    let mut scene = with_a_vhid();
    scene.session.guest().root().change(State::add_dhcp_server).unwrap();
    scene.succeed(dhcp("hn0"));
    eventually("the lease beside 10.0.0.50 under its vhid", || {
        let state = scene.state();
        let hn0 = &state.interfaces["hn0"];
        let held = |ip: &str| hn0.addresses.iter().any(|address| address.ip.to_string() == ip);
        let carp = hn0.carp.iter().map(|carp| (carp.vhid, carp.advskew, carp.key.as_str()));
        held("10.9.0.50") && held("10.0.0.50") && carp.eq([(5, 100, "secret")])
    });
    assert!(!scene.log().contains("secret"), "{}", scene.log());
}

#[test]
fn guest_whose_addresses_are_on_the_lagg() {
    assert!(fail_at_every_step(joined) >= 20);
}

#[test]
fn bridge_with_the_addresses_is_not_configured() {
    let mut scene = Scene::new(State { routes: Vec::new(), ..static_state() }, "");
    for address in ["inet 10.1.0.5", "inet 10.0.0.5", "inet6 fd00::5"] {
        ifconfig(&scene, &format!("hn0 {address} -alias"));
    }
    for command in ["bridge0 create", "bridge0 addm hn0 up", "bridge0 inet 10.0.0.5/24 alias"] {
        ifconfig(&scene, command);
    }
    let before = scene.world();
    assert_eq!(scene.set(to_static()).code, E_FAIL);
    assert_eq!(scene.set(dhcp("hn0")).code, E_FAIL);
    assert_eq!(scene.world(), before);
}

#[test]
fn injection_refuses_duplicated_addresses_and_waits_for_tentative_ones() {
    for taken in [false, true] {
        let mut state = static_state();
        state.tentative_looks = 1;
        if taken {
            state.taken.push("fd01::5".parse().unwrap());
        }
        let mut scene = Scene::new(state, &static_rc_conf(0));
        let before = scene.world();
        scene.plan_faults(&[]);
        if !taken {
            scene.succeed(to_static());
            // Before the change, while the address is tentative, and after that.
            let looks = scene.spawns().iter().filter(|spawn| *spawn == "ifconfig -k -a").count();
            assert_eq!(looks, 3, "{:?}", scene.spawns());
            continue;
        }
        assert_eq!(scene.set(to_static()).code, E_FAIL);
        scene.await_world(&before, "an address that another node has");
        if scene.session.without_device().is_none() {
            let line = "cannot bring hn0 to rest, everything was taken back: \
                        fd01::5 is in use by another node of the network";
            assert!(scene.log().contains(line), "{}", scene.log());
        }
    }
}

#[test]
fn temporary_addresses_are_not_reported_and_advertised_ones_stay() {
    let mut state = static_state();
    let advertised = |ip: &str| Address { autoconf: true, ..Address::new(ip, 64) };
    let (mut temporary, mut deprecated) = (advertised("fd02::9"), advertised("fd03::5"));
    (temporary.flags.temporary, deprecated.flags.deprecated) = (true, true);
    let mut duplicated = Address::new("fd04::5", 64);
    duplicated.flags.duplicated = true;
    let hn0 = state.interfaces.get_mut("hn0").unwrap();
    hn0.addresses.extend([temporary, deprecated, duplicated]);
    let mut scene = Scene::new(state, &static_rc_conf(0));
    let seen = scene.seen(0);
    assert!(seen.contains("fd03::5") && !seen.contains("fd02::9") && !seen.contains("fd04::5"), "{seen}");
    scene.succeed(to_static());
    let held: Vec<String> = scene.state().interfaces["hn0"]
        .addresses
        .iter()
        .filter(|address| address.ip.is_ipv6() && !address.is_link_local())
        .map(|address| address.ip.to_string())
        .collect();
    assert_eq!(held, ["fd02::9", "fd03::5", "fd01::5"]);
}
