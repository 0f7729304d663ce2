//! The host reads back what it set, at once and after a reboot. Network, rc.conf and name servers are
//! compared.

use std::fs;

use hvsim::network::guest::{mac_of, static_rc_conf};
use hvsim::network::state::State;
use hvsim::testing::freebsd_root;

use crate::support::*;

#[test]
fn hundreds_of_other_interfaces_are_no_obstacle() {
    let mut state = static_state();
    // The root directory of FreeBSD's executables on Linux knows 64 interfaces.
    let count = if freebsd_root().is_some() { 50 } else { 300 };
    for number in 0..count {
        state.attach(&format!("tap{number}"), mac_of(200));
    }
    let mut scene = Scene::new(state, &static_rc_conf(0));
    scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
    assert_eq!(scene.seen(0), "10.1.1.5 255.255.255.0 | 10.1.1.1 |  | static");
}

// contract K38
#[test]
fn addresses_survive_a_reboot() {
    let many: Vec<String> =
        (1..=8).flat_map(|n| [format!("10.1.{n}.5/24"), format!("fd00:{n}::5/64")]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let many_seen: Vec<String> = (1..=8)
        .map(|n| format!("10.1.{n}.5 255.255.255.0"))
        .chain((1..=8).map(|n| format!("fd00:{n}::5 /64")))
        .collect();
    let many_seen =
        format!("{} | 10.1.1.1;fe80::1 | 10.1.1.2;fd00:1::53;10.1.1.3 | static", many_seen.join(";"));
    let cases: &[(&str, &[&str], &str, &str, &str)] = &[
        (
            "IPv4",
            &["10.1.1.5/24"],
            "10.1.1.1",
            "10.1.1.2",
            "10.1.1.5 255.255.255.0 | 10.1.1.1 | 10.1.1.2 | static",
        ),
        ("IPv6", &["fd01::5/64"], "fd01::1", "fd01::53", "fd01::5 /64 | fd01::1 | fd01::53 | static"),
        (
            "mixed",
            &["fd01::5/48", "10.1.1.5/20", "10.1.1.6/32"],
            "fe80::1;10.1.0.1",
            "",
            "10.1.1.5 255.255.240.0;10.1.1.6 255.255.255.255;fd01::5 /48 | 10.1.0.1;fe80::1 |  | static",
        ),
        ("16 addresses", &many, "10.1.1.1;fe80::1", "10.1.1.2;fd00:1::53;10.1.1.3", &many_seen),
        (
            "several gateways",
            &["10.1.1.5/24", "fd01::5/64"],
            "10.1.1.1;10.1.1.2;fd01::1;fe80::2",
            "10.1.1.9",
            "10.1.1.5 255.255.255.0;fd01::5 /64 | 10.1.1.1;10.1.1.2;fd01::1;fe80::2 | 10.1.1.9 | static",
        ),
    ];
    for (what, addresses, gateways, servers, wanted) in cases {
        let mut scene = Scene::new(State { routes: Vec::new(), ..static_state() }, &static_rc_conf(0));
        scene.succeed(info("hn0", addresses, gateways, servers));
        assert_eq!(scene.seen(0), *wanted, "{what}\n{}", scene.log());
        let before: Vec<String> = addresses_of(&scene.state(), "hn0");
        scene.reboot();
        assert_eq!(addresses_of(&scene.state(), "hn0"), before, "{what} after a reboot\n{}", scene.rc_conf());
        if scene.session.without_device().is_none() {
            eventually("the name servers after a reboot", || scene.seen(0) == *wanted);
        }
    }
}

/// The addresses of an interface and all default routes, sorted.
fn addresses_of(state: &State, name: &str) -> Vec<String> {
    let held = state.interfaces[name].addresses.iter().filter(|address| !address.is_link_local());
    let mut texts: Vec<String> = held.map(|address| format!("{}/{}", address.ip, address.prefix)).collect();
    texts.extend(state.routes.iter().map(|route| format!("{} {}", route.gateway, route.interface)));
    texts.sort();
    texts
}

#[test]
fn static_addresses_become_dhcp_and_return() {
    let mut state = static_state();
    state.add_dhcp_server();
    let mut scene = Scene::new(state, &static_rc_conf(0));
    scene.succeed(dhcp("hn0"));
    assert!(scene.get(0).dhcp);
    eventually("the lease", || addresses_of(&scene.state(), "hn0") == ["10.9.0.1 hn0", "10.9.0.50/16"]);
    assert_eq!(scene.rc_conf(), "ifconfig_hn0=\"DHCP\"\n");
    eventually("the log line", || {
        scene.session.without_device().is_some()
            || scene.log().contains("hn0: DHCP lease address=10.9.0.50/16")
    });

    scene.succeed(info("hn0", &["10.0.0.5/24", "fd00::5/64"], "10.0.0.1", "10.0.0.2"));
    assert_eq!(scene.clients(), [""; 0]);
    let wanted = "10.0.0.5 255.255.255.0;fd00::5 /64 | 10.0.0.1 | 10.0.0.2 | static";
    assert_eq!(scene.seen(0), wanted);
    scene.reboot();
    assert_eq!(addresses_of(&scene.state(), "hn0"), ["10.0.0.1 hn0", "10.0.0.5/24", "fd00::5/64"]);

    scene.succeed(dhcp("hn0"));
    eventually("the lease", || addresses_of(&scene.state(), "hn0") == ["10.9.0.1 hn0", "10.9.0.50/16"]);
    assert_eq!(scene.state().name_servers.len(), 0);
    scene.reboot();
    eventually("the lease after a reboot", || scene.seen(0).starts_with("10.9.0.50 255.255.0.0 | 10.9.0.1"));
}

#[test]
fn the_answer_to_dhcp_does_not_wait_for_a_lease() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    scene.succeed(dhcp("hn0"));
    assert!(scene.get(0).dhcp);
    assert_eq!(addresses_of(&scene.state(), "hn0"), [""; 0]);
    // Other requests are served meanwhile. When a server appears, the lease is taken.
    assert!(scene.session.host().set(0, "key", "value").unwrap().is_ok());
    scene.session.guest().root().change(State::add_dhcp_server).unwrap();
    eventually("the lease", || scene.seen(0).starts_with("10.9.0.50 "));
}

#[test]
fn programs_get_normalised_addresses() {
    let mut scene = Scene::new(State { routes: Vec::new(), ..static_state() }, &static_rc_conf(0));
    scene.plan_faults(&[]);
    scene.succeed(hvsim::kvp::IpInfo {
        addresses: " 10.1.1.5;FD01:0:00::5\t;".into(),
        masks: "255.255.0.0 ;/064;".into(),
        gateways: "\tFE80::00:1 ".into(),
        name_servers: "FD01::0053;".into(),
        family: 3,
        adapter: "hn0".into(),
        dhcp: false,
    });
    let wanted = [
        "ifconfig -k -a",
        "resolvconf -l",
        "ifconfig hn0 inet 10.1.0.5 -alias",
        "ifconfig hn0 inet 10.0.0.5 -alias",
        "ifconfig hn0 inet 10.1.1.5/16 alias",
        "ifconfig hn0 inet6 fd00::5 -alias",
        "ifconfig hn0 inet6 fd01::5/64 alias",
        "route -n add -inet6 default fe80::1%hn0",
        "resolvconf -a hn0.hyperv",
        "ifconfig -k -a",
        "resolvconf -l",
    ];
    assert_eq!(scene.spawns(), wanted);
}

#[test]
fn interfaces_one_and_ten_are_not_confused() {
    let mut state = State::default();
    let mut rc_conf = String::new();
    for unit in [1, 10] {
        state.add_static_hn(unit);
        rc_conf += &static_rc_conf(unit);
    }
    state.name_servers.insert("hn1.hyperv".into(), "nameserver 10.77.0.1\n".into());
    let mut scene = Scene::new(state, &rc_conf);
    scene.session.guest().root().change(|state| state.add_dhcp_server()).unwrap();
    let client = scene.path("guest/sbin/dhclient");
    assert!(std::process::Command::new(client).arg("hn1").output().unwrap().status.success());
    let (before, one) = (scene.rc_conf(), scene.state().interfaces["hn1"].clone());
    scene.succeed(info("hn10", &["10.1.1.5/24", "10.1.1.6/24", "fd01::5/64"], "", "10.1.1.2"));
    let state = scene.state();
    assert_eq!(state.interfaces["hn1"].nd6, one.nd6);
    assert_eq!(state.interfaces["hn1"].addresses, one.addresses);
    assert_eq!(scene.clients(), ["dhclient: hn1", "dhclient: hn1 [priv]"]);
    assert_eq!(state.name_servers["hn1.hyperv"], "nameserver 10.77.0.1\n");
    let of_one = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("ifconfig_hn1=") || line.starts_with("ifconfig_hn1_"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(of_one(&scene.rc_conf()), of_one(&before));
    assert!(scene.seen(10).starts_with("10.1.1.5 255.255.255.0;10.1.1.6 255.255.255.0;fd01::5 /64 |"));
    scene.succeed(info("hn1", &["10.2.2.5/24"], "", ""));
    assert!(scene.seen(10).starts_with("10.1.1.5 255.255.255.0;10.1.1.6 255.255.255.0;fd01::5 /64 |"));
}

#[test]
fn name_servers_of_other_interfaces_stay() {
    let mut state = static_state();
    state.name_servers.insert("em0".into(), "nameserver 192.0.2.1\n".into());
    let mut scene = Scene::new(state, &static_rc_conf(0));
    scene.succeed(info("hn0", &["10.1.1.5/24", "fd01::5/64"], "", "10.1.1.2;fe80::53"));
    let text = fs::read_to_string(scene.path("guest/etc/resolv.conf")).unwrap();
    for line in ["nameserver 192.0.2.1\n", "nameserver 10.1.1.2\n", "nameserver fe80::53%hn0\n"] {
        assert!(text.contains(line), "{text}");
    }
    scene.succeed(info("hn0", &["10.1.1.5/24"], "", ""));
    let text = fs::read_to_string(scene.path("guest/etc/resolv.conf")).unwrap();
    assert!(text.contains("192.0.2.1") && !text.contains("10.1.1.2"), "{text}");
}

#[test]
fn a_lagg_gets_the_addresses_and_hn_the_record() {
    let mut state = static_state();
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let mut scene = Scene::new(state, &static_rc_conf(0));
    scene.session.guest().run_devd().unwrap();
    assert!(scene.state().interfaces.contains_key("lagg0"));
    for name in ["hn0", "lagg0"] {
        let address = format!("10.1.1.{}/24", name.len());
        scene.succeed(info(name, &[&address, "fd01::5/64"], "10.1.1.1;fe80::1", "10.1.1.2"));
        let state = scene.state();
        let wanted = ["10.1.1.1 lagg0", address.as_str(), "fd01::5/64", "fe80::1 lagg0"];
        assert_eq!(addresses_of(&state, "lagg0"), wanted);
        assert!(state.interfaces["hn0"].addresses.is_empty());
        assert!(scene.rc_conf().contains(&format!("ifconfig_hn0=\"inet {address}\"")));
        assert!(!scene.rc_conf().contains("lagg0"), "{}", scene.rc_conf());
    }
    assert!(scene.seen(0).ends_with("10.1.1.1;fe80::1 | 10.1.1.2 | static"));
}

#[test]
fn other_lines_of_rc_conf_stay_byte_for_byte() {
    let rc_conf = "# mine\nhostname=\"x\"  \n\nifconfig_hn0='SYNCDHCP mtu 9000'\t# keep\nifconfig_hn0_alias3=\"inet 10.8.8.8/32\"\n\
                   defaultrouter=10.8.8.1 # old\nif true; then\n  sshd_enable=YES\nfi\nlast=\"1\"";
    let mut scene = Scene::new(static_state(), rc_conf);
    scene.succeed(info("hn0", &["10.1.1.5/24", "10.1.1.6/24"], "10.1.1.1", ""));
    let wanted = "# mine\nhostname=\"x\"  \n\nifconfig_hn0='inet 10.1.1.5/24 mtu 9000'\t# keep\n\
                  defaultrouter=\"10.1.1.1\" # old\nif true; then\n  sshd_enable=YES\nfi\nlast=\"1\"\n\
                  ifconfig_hn0_alias0=\"inet 10.1.1.6/24\"\n";
    assert_eq!(scene.rc_conf(), wanted);
    scene.succeed(info("hn0", &["10.1.1.5/24"], "", ""));
    assert!(!scene.rc_conf().contains("alias") && !scene.rc_conf().contains("defaultrouter"));
}

#[test]
fn the_same_request_again_changes_nothing() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    let request = info("hn0", &["10.1.1.5/24", "fd01::5/64"], "10.1.1.1", "10.1.1.2");
    scene.succeed(request.clone());
    let before = scene.world();
    scene.plan_faults(&[]);
    scene.succeed(request);
    assert_eq!(scene.world(), before);
    assert_eq!(scene.spawns(), ["ifconfig -k -a", "resolvconf -l"]);
}
