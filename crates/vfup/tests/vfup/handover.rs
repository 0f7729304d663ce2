//! The hand-over: plans, failures and configuration, with the real program on a simulated network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::guests::{
    LOOKS, STATIC, carp_guest, dhcp_guest, guest_of_base, ifconfig, left_to, left_to_hn, picture,
    renamed_guest, routed_guest, static_guest, static_routes,
};
use crate::support::{Scratch, text};
use hvsim::network::State;
use hvsim::network::faults::{Action, Fault};
use hvsim::network::guest::static_rc_conf;
use hvsim::network::state::Advertisement;
use hvsim::testing::{eventually, freebsd_root};

// contract V10
#[test]
fn a_static_guest_keeps_its_network_on_the_lagg() {
    // Contract V10, V14.
    let scratch = static_guest();
    assert_eq!(scratch.succeed(&["hn0"]), "");
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert_eq!(scratch.addresses("hn0"), [""; 0]);
    assert_eq!(scratch.ports("lagg0"), ["hn0", "mce0"]);
    assert_eq!(scratch.routes(), ["10.0.0.1 lagg0", "fd00::1 lagg0"]);
    let state = scratch.state();
    let lagg = &state.interfaces["lagg0"];
    assert!(lagg.nd6.no_dad && lagg.up && !lagg.nd6.disabled);
    assert_eq!(lagg.lagg.as_ref().unwrap().protocol, "failover");
    assert_eq!(lagg.mtu, 1500);
    for member in ["hn0", "mce0"] {
        let member = &state.interfaces[member];
        assert!(member.nd6.disabled && !member.nd6.accept_rtadv && member.addresses.is_empty());
        assert_eq!(member.mtu, lagg.mtu);
    }
}

#[test]
fn units_one_and_ten_do_not_mix() {
    let mut state = State::default();
    let mut rc_conf = String::new();
    for unit in [0, 1, 10] {
        state.add_static_hn(unit);
        state.attach_vf(&format!("mce{unit}"), &format!("hn{unit}"));
        state.interface_up(&format!("mce{unit}"));
        rc_conf += &static_rc_conf(unit);
    }
    let scratch = Scratch::new(&state, &rc_conf);
    for unit in [10, 1] {
        scratch.succeed(&[&format!("hn{unit}")]);
        assert_eq!(scratch.ports(&format!("lagg{unit}")), [format!("hn{unit}"), format!("mce{unit}")]);
        assert_eq!(scratch.addresses(&format!("lagg{unit}")).len(), 3);
    }
    assert_eq!(scratch.addresses("hn0"), STATIC);
    assert!(!scratch.state().interfaces.contains_key("lagg0"));
}

// contract V11
#[test]
fn repeated_event_changes_nothing() {
    let scratch = static_guest();
    scratch.succeed(&["hn0"]);
    let before = scratch.state();
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.state(), before);
    assert_eq!(scratch.spawns(), LOOKS);
}

#[test]
fn the_printed_plan_is_the_one_that_runs() {
    let scratch = static_guest();
    let socket = std::os::unix::net::UnixDatagram::bind(scratch.path("var/run/log")).unwrap();
    let before = scratch.state();
    let plan = scratch.succeed(&["-n", "hn0"]);
    assert_eq!(scratch.state(), before);
    assert!(plan.contains("hn0: create lagg0 with failover over hn0 mce0\n"), "{plan}");
    assert_eq!(scratch.spawns(), LOOKS[..2]);
    scratch.succeed(&["hn0"]);
    socket.set_nonblocking(true).unwrap();
    let mut logged = String::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = socket.recv(&mut buffer) {
        let line = text(&buffer[..count]);
        // NOTICE: stock syslog.conf keeps it.
        assert!(line.starts_with("<13>"), "{line}");
        logged += line.split_once(" - - ").unwrap().1;
        logged.push('\n');
    }
    assert_eq!(logged, plan);
}

#[test]
fn dhcp_client_moves_to_the_lagg() {
    let scratch = dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n");
    assert_eq!(scratch.clients(), ["hn0"]);
    assert_eq!(scratch.succeed(&["hn0"]), "hn0: the lease is waited for in the background\n");
    scratch.await_lease("lagg0");
    assert_eq!(scratch.clients(), ["lagg0"]);
    assert_eq!(scratch.addresses("hn0"), [""; 0]);
    assert_eq!(scratch.routes(), ["10.9.0.1 lagg0"]);
}

// contract V28
#[test]
fn an_alias_survives_the_lease_in_both_directions() {
    let both = ["10.9.0.50/16", "10.9.0.77/32"];
    for value in ["SYNCDHCP", "DHCP"] {
        let alias = "ifconfig_hn0_alias0=\"inet 10.9.0.77/32\"\n";
        let scratch = dhcp_guest(&format!("ifconfig_hn0=\"{value}\"\n{alias}"));
        ifconfig(&scratch, "hn0 inet 10.9.0.77/32 alias");
        for (arguments, interface) in [(&["hn0"][..], "lagg0"), (&["-d", "hn0"], "hn0")] {
            scratch.succeed(arguments);
            eventually("the end of the run", || {
                !scratch.processes().iter().any(|line| line.contains("hyperv_vfup"))
            });
            assert_eq!(scratch.addresses(interface), both, "{value}, {arguments:?}");
            assert_eq!(scratch.clients(), [interface]);
        }
    }
}

#[test]
fn lease_of_plain_dhcp_is_not_waited_for() {
    for value in ["DHCP", "NOSYNCDHCP mtu 1500"] {
        let scratch = dhcp_guest(&format!("ifconfig_hn0=\"{value}\"\nsynchronous_dhclient=NO\n"));
        scratch.succeed(&["hn0"]);
        assert!(scratch.spawns().contains(&"dhclient -b lagg0".to_owned()));
        scratch.await_lease("lagg0");
    }
}

// contract V12
#[test]
fn a_client_with_an_old_pid_file_is_stopped() {
    let scratch = dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n");
    fs::rename(scratch.path("var/run/dhclient/dhclient.hn0.pid"), scratch.path("var/run/dhclient.hn0.pid"))
        .unwrap();
    // A stale file at the new path has the id of a process that is no dhclient: this one.
    fs::write(scratch.path("var/run/dhclient/dhclient.hn0.pid"), std::process::id().to_string()).unwrap();
    scratch.succeed(&["hn0"]);
    eventually("the client of the lagg", || scratch.clients() == ["lagg0"]);
}

#[test]
fn autoconfiguration_moves_to_the_lagg() {
    let mut state = State::default();
    state.add_static_hn(0);
    state.routes.clear();
    state.advertisement =
        Some(Advertisement { prefix: "fd11::".parse().unwrap(), router: "fe80::1".parse().unwrap() });
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let rc_conf = "ifconfig_hn0=\"inet 10.0.0.5/24\"\nifconfig_hn0_ipv6=\"inet6 accept_rtadv\"\n";
    let scratch = Scratch::new(&state, rc_conf);
    scratch.succeed(&["hn0"]);
    eventually("the router's answer", || scratch.routes() == ["fe80::1 lagg0"]);
    let mut all = STATIC.to_vec();
    all.push("fd11::215:5dff:fe01:200/64");
    assert_eq!(scratch.addresses("lagg0"), all);
    assert!(scratch.state().interfaces["lagg0"].nd6.accept_rtadv);
}

// contract V16
#[test]
fn every_file_of_rc_conf_is_read() {
    let scratch = static_guest();
    scratch.guest.set_rc_conf("ifconfig_hn0=\"inet 10.0.0.99/24\"\n").unwrap();
    fs::write(scratch.path("etc/rc.conf.local"), "ifconfig_hn0=\"inet 10.0.0.5/24\"\n").unwrap();
    fs::write(scratch.path("etc/rc.conf.d/network"), "ifconfig_hn0_aliases=\"inet 10.0.0.6/32\"\n").unwrap();
    fs::create_dir(scratch.path("usr/local/etc/rc.conf.d/netif")).unwrap();
    let nested = scratch.path("usr/local/etc/rc.conf.d/netif/x");
    fs::write(nested, "echo noise; last=7; ipv4_addrs_hn0=\"10.0.0.$last-8/32\"\n").unwrap();
    scratch.succeed(&["hn0"]);
    let all = ["10.0.0.5/24", "10.0.0.6/32", "10.0.0.7/32", "10.0.0.8/32", "10.1.0.5/32", "fd00::5/64"];
    assert_eq!(scratch.addresses("lagg0"), all);
}

#[test]
fn values_of_the_lagg_have_priority() {
    let scratch = static_guest();
    scratch.guest.set_rc_conf(&(static_rc_conf(0) + "ifconfig_lagg0=\"inet 10.0.0.200/24\"\n")).unwrap();
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), ["10.0.0.200/24"]);
}

#[test]
fn the_default_leaves_no_second_client() {
    let scratch = dhcp_guest("ifconfig_DEFAULT=\"SYNCDHCP\"\n");
    scratch
        .guest
        .root()
        .change(|state| {
            state.dhcp.as_mut().unwrap().leases.insert("00:15:5d:01:02:77".into(), "10.9.0.77".into());
            state.interfaces.get_mut("mce0").unwrap().mac = Some("00:15:5d:01:02:77".into());
        })
        .unwrap();
    scratch.start_client("mce0");
    scratch.succeed(&["hn0"]);
    eventually("the client of the lagg", || scratch.clients() == ["lagg0"]);
    assert_eq!(scratch.addresses("mce0"), [""; 0]);
}

#[test]
fn larger_mtu_of_the_vf_is_matched_first() {
    let scratch = static_guest();
    scratch.guest.root().change(|state| state.interfaces.get_mut("mce0").unwrap().mtu = 9000).unwrap();
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.state().interfaces["mce0"].mtu, 1500);
}

// contract V9
#[test]
fn a_vf_that_is_gone_is_no_error() {
    let scratch = static_guest();
    scratch.guest.take_vf("mce0").unwrap();
    let before = scratch.state();
    assert_eq!(scratch.succeed(&["hn0"]), "hn0: VF was detached\n");
    assert_eq!(scratch.state(), before);
    assert_eq!(scratch.spawns(), [""; 0]);
}

#[test]
fn transparent_mode_is_left_to_the_kernel() {
    let scratch = static_guest();
    scratch.guest.root().change(|state| state.transparent = Some(1)).unwrap();
    let before = scratch.state();
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.state(), before);
}

#[test]
fn a_vf_with_a_new_name_replaces_the_old_port() {
    // Contract V11.
    let scratch = static_guest();
    scratch.succeed(&["hn0"]);
    scratch.guest.take_vf("mce0").unwrap();
    assert_eq!(scratch.ports("lagg0"), ["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    scratch.guest.give_vf("mce1", "hn0").unwrap();
    scratch.guest.switch_vf("mce1", true).unwrap();
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.ports("lagg0"), ["hn0", "mce1"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert_eq!(
        scratch.spawns(),
        ["ifconfig -k hn0", "ifconfig -k mce1", "ifconfig -k -a -g lagg", "ifconfig lagg0 laggport mce1"]
    );
}

#[test]
fn a_lagg_of_the_administrator_is_never_changed() {
    let scratch = static_guest();
    ifconfig(&scratch, "lagg0 create up");
    let before = picture(&scratch);
    let message = "hyperv_vfup: hn0: lagg0 exists and was not made by hyperv_vfup, so it is left alone\n";
    let output = scratch.run(&["-d", "hn0"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), message.to_owned()));
    assert_eq!(picture(&scratch), before);
    let output = scratch.run(&["hn0"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), format!("{message}{}\n", left_to("hn0")))
    );
    assert_eq!(picture(&scratch), left_to_hn(before));
}

#[test]
fn a_lagg_of_the_base_system_is_adopted() {
    let scratch = guest_of_base();
    assert!(scratch.succeed(&["-n", "hn0"]).contains("hn0: adopt lagg0\nhn0: add port mce0 to lagg0\n"));
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert_eq!(scratch.addresses("hn0"), [""; 0]);
    assert_eq!(scratch.ports("lagg0"), ["hn0", "mce0"]);
    assert_eq!(scratch.state().interfaces["lagg0"].groups, ["lagg", "hyperv"]);
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.spawns(), LOOKS, "nothing is left to do");
}

#[test]
fn addresses_in_no_file_are_carried_over() {
    let scratch = static_guest();
    scratch.guest.set_rc_conf("").unwrap();
    let before = picture(&scratch);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert_eq!(scratch.routes(), ["10.0.0.1 lagg0", "fd00::1 lagg0"]);
    scratch.succeed(&["-d", "hn0"]);
    assert_eq!(picture(&scratch), left_to_hn(before));
}

#[test]
fn a_client_in_no_file_is_carried_over() {
    let scratch = dhcp_guest("");
    scratch.succeed(&["hn0"]);
    scratch.await_lease("lagg0");
    assert_eq!(scratch.clients(), ["lagg0"]);
    scratch.succeed(&["-d", "hn0"]);
    scratch.await_lease("hn0");
    assert_eq!(scratch.clients(), ["hn0"]);
}

#[test]
fn down_gives_hn_back_what_it_had() {
    let scratch = static_guest();
    let before = picture(&scratch);
    scratch.succeed(&["hn0"]);
    scratch.succeed(&["-d", "hn0"]);
    // The VF stays without IPv6, as at first, and is brought down, so that hn0 has the traffic.
    assert_eq!(picture(&scratch), left_to_hn(before));
    scratch.inject(&[]);
    scratch.succeed(&["-d", "hn0"]);
    assert_eq!(scratch.spawns(), LOOKS[..2]);
    // And joined again, without bringing the VF up by hand.
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert!(scratch.state().interfaces["mce0"].up);
}

#[test]
fn down_gives_the_dhcp_client_back() {
    let scratch = dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n");
    scratch.succeed(&["hn0"]);
    scratch.await_lease("lagg0");
    scratch.succeed(&["-d", "hn0"]);
    scratch.await_lease("hn0");
    assert_eq!(scratch.clients(), ["hn0"]);
    assert_eq!(scratch.routes(), ["10.9.0.1 hn0"]);
    assert!(!scratch.state().interfaces.contains_key("lagg0"));
}

#[test]
fn static_routes_lead_through_the_lagg_and_back() {
    let scratch = routed_guest();
    scratch.succeed(&["hn0"]);
    assert_eq!(static_routes(&scratch), ["10.20.0.0/16 10.0.0.254 lagg0", "fd20::/32 fd00::fe lagg0"]);
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.spawns(), LOOKS);
    scratch.succeed(&["-d", "hn0"]);
    assert_eq!(static_routes(&scratch), ["10.20.0.0/16 10.0.0.254 hn0", "fd20::/32 fd00::fe hn0"]);
}

#[test]
fn a_program_that_hangs_is_killed_and_all_is_undone() {
    for action in [Action::Hang, Action::HangLate] {
        for call in [2, 5] {
            let scratch = static_guest();
            let config = fs::read_to_string(scratch.guest.config()).unwrap();
            let config = config.replace("[network]\n", "[network]\ncommand-limit-ms = 500\n");
            fs::write(scratch.guest.config(), config).unwrap();
            let before = picture(&scratch);
            scratch.inject(&[Fault { tool: "*".into(), call, action }]);
            let output = scratch.run(&["hn0"]);
            assert_eq!(output.status.code(), Some(1));
            assert!(text(&output.stderr).contains("did not end within 500ms"), "{}", text(&output.stderr));
            assert_eq!(picture(&scratch), left_to_hn(before));
            assert_eq!(scratch.processes(), [""; 0]);
        }
    }
}

#[test]
fn a_failure_after_the_work_is_accepted_or_undone() {
    let calls = 11;
    for call in 2..=calls {
        let scratch = static_guest();
        let before = picture(&scratch);
        scratch.inject(&[Fault { tool: "*".into(), call, action: Action::FailLate }]);
        match scratch.run(&["hn0"]).status.code() {
            Some(0) => assert_eq!(scratch.addresses("lagg0"), STATIC, "call {call}"),
            code => assert_eq!((code, picture(&scratch)), (Some(1), left_to_hn(before)), "call {call}"),
        }
    }
}

#[test]
fn a_failed_undo_is_reported() {
    let scratch = static_guest();
    // The call that adds an address to the lagg fails, the one that destroys the lagg, and all later reads.
    let fault = |call| Fault { tool: "*".into(), call, action: Action::Fail };
    let faults: Vec<Fault> = [8, 12].into_iter().chain(16..500).map(fault).collect();
    scratch.inject(&faults);
    let output = scratch.run(&["hn0"]);
    let spawns = scratch.spawns();
    let named = spawns.get(11).is_some_and(|spawn| spawn == "ifconfig lagg0 destroy");
    assert!(named, "{spawns:#?}");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("; then could not destroy lagg0 (ifconfig: injected fault)"), "{stderr}");
    assert!(stderr.contains("; not as it was: the network could not be read"), "{stderr}");
    assert!(stderr.contains("cannot leave the network to it: "), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    // hn0 has its network nevertheless, and the next event completes the lagg.
    assert_eq!(scratch.addresses("hn0"), STATIC);
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
}

#[test]
fn output_of_every_release_is_parsed() {
    for release in [13, 14, 15] {
        let scratch = static_guest();
        scratch.guest.root().change(|state| state.release = release).unwrap();
        scratch.succeed(&["hn0"]);
        assert_eq!(scratch.addresses("lagg0"), STATIC);
        scratch.inject(&[]);
        scratch.succeed(&["hn0"]);
        assert_eq!(scratch.spawns(), LOOKS);
    }
}

#[test]
fn a_killed_taking_apart_is_completed_by_the_next() {
    for call in 2..=8 {
        let scratch = static_guest();
        scratch.succeed(&["hn0"]);
        scratch.inject(&[Fault { tool: "*".into(), call, action: Action::HangLate }]);
        let mut run = scratch.vfup().args(["-d", "hn0"]).spawn().unwrap();
        eventually("the call", || scratch.spawns().len() == usize::try_from(call).unwrap());
        run.kill().unwrap();
        run.wait().unwrap();
        scratch.kill_processes();
        scratch.inject(&[]);
        scratch.succeed(&["-d", "hn0"]);
        assert_eq!(scratch.addresses("hn0"), STATIC, "call {call}");
        assert_eq!(scratch.routes(), ["10.0.0.1 hn0", "fd00::1 hn0"], "call {call}");
        assert!(!scratch.state().interfaces.contains_key("lagg0"));
    }
}

#[test]
fn a_killed_run_is_completed_by_the_next() {
    for call in 2..=11 {
        let scratch = static_guest();
        scratch.inject(&[Fault { tool: "*".into(), call, action: Action::HangLate }]);
        let mut run = scratch.vfup().arg("hn0").spawn().unwrap();
        eventually("the call", || scratch.spawns().len() == usize::try_from(call).unwrap());
        run.kill().unwrap();
        run.wait().unwrap();
        scratch.kill_processes();
        scratch.inject(&[]);
        scratch.succeed(&["hn0"]);
        assert_eq!(scratch.addresses("lagg0"), STATIC, "call {call}");
        assert_eq!(scratch.routes().len(), 2, "call {call}");
        assert_eq!(scratch.addresses("hn0"), [""; 0], "call {call}");
    }
}

#[test]
fn a_second_event_waits_for_the_first() {
    let scratch = static_guest();
    scratch.inject(&[Fault { tool: "*".into(), call: 2, action: Action::Delay(Duration::from_millis(300)) }]);
    let first = scratch.vfup().arg("hn0").spawn().unwrap();
    eventually("the first run at work", || scratch.spawns().len() == 2);
    let second = scratch.vfup().arg("hn0").spawn().unwrap();
    for run in [first, second] {
        assert!(run.wait_with_output().unwrap().status.success());
    }
    assert_eq!(scratch.spawns().last().map(String::as_str), Some(LOOKS[2]));
    assert_eq!(scratch.addresses("lagg0"), STATIC);
}

#[test]
fn an_event_that_waits_too_long_gives_up() {
    let scratch = static_guest();
    let config = fs::read_to_string(scratch.guest.config()).unwrap();
    fs::write(scratch.guest.config(), config + "lock-wait-ms = 50\n").unwrap();
    scratch.inject(&[Fault { tool: "*".into(), call: 2, action: Action::Delay(Duration::from_secs(2)) }]);
    let mut first = scratch.vfup().arg("hn0").spawn().unwrap();
    eventually("the first run at work", || scratch.spawns().len() == 2);
    let output = scratch.run(&["hn0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another change of the interface was still at work"));
    assert!(first.wait().unwrap().success());
}

// contract V8
#[test]
fn a_script_of_the_administrator_runs_instead() {
    let scratch = static_guest();
    let script = scratch.path("usr/libexec/hyperv/hyperv_vfup.hn0");
    for (content, mode, status) in [
        ("#!/bin/sh\necho \"ran with $#\"\nexit 7\n", 0o755, 7),
        // A shell runs a script without its first line.
        ("echo \"ran with $#\"\nexit 3\n", 0o755, 3),
    ] {
        fs::write(&script, content).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
        let output = scratch.run(&["hn0"]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(status), "ran with 0\n"));
    }
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["hn0"][..], &["-n", "hn0"]] {
        let output = scratch.run(arguments);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(126), ""));
        let complaint = text(&output.stderr);
        assert!(
            complaint
                .lines()
                .next()
                .unwrap()
                .ends_with("hyperv_vfup.hn0 is not executable, nothing was joined"),
            "{complaint}"
        );
    }
    assert_eq!(scratch.spawns(), ["ifconfig -k mce0", "ifconfig mce0 down"], "nobody joins anything");
    // It is for hn0 only, and there is no other adapter.
    assert_eq!(scratch.run(&["hn1"]).status.code(), Some(1));
}

#[test]
fn a_value_with_shell_code_leaves_the_network_to_hn() {
    let scratch = static_guest();
    let mark = scratch.path("ran");
    let value = format!("ifconfig_hn0='inet 10.0.0.5/24; : > {}'\n", mark.display());
    scratch.guest.set_rc_conf(&value).unwrap();
    let before = picture(&scratch);
    let output = scratch.run(&["hn0"]);
    assert!(!mark.exists(), "nothing that stands in a value is run");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ifconfig_hn0"), "{}", text(&output.stderr));
    assert_eq!(picture(&scratch), left_to_hn(before));
}

#[test]
fn a_broken_rc_conf_leaves_the_network_to_hn() {
    let scratch = static_guest();
    scratch.guest.set_rc_conf("ifconfig_hn0=\"inet 10.0.0.5/24\n").unwrap();
    let output = scratch.run(&["hn0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read rc.conf"), "{}", text(&output.stderr));
    assert_eq!(scratch.spawns(), ["ifconfig -k mce0", "ifconfig mce0 down"]);
}

#[test]
fn malformed_names_get_the_usage() {
    let scratch = static_guest();
    let before = scratch.state();
    let long = "h".repeat(300);
    for name in ["hn0; reboot", "../x", "", "hn0\n", "$(reboot)", "0hn", &long] {
        let output = scratch.run(&[name]);
        assert_eq!(output.status.code(), Some(64), "{name:?}");
        assert!(text(&output.stderr).contains("usage: hyperv_vfup"), "{name:?}");
    }
    assert_eq!(scratch.run(&[]).status.code(), Some(64));
    assert_eq!(scratch.spawns(), [""; 0]);
    assert_eq!(scratch.state(), before);
}

#[test]
fn a_failed_join_leaves_the_network_to_hn() {
    for (words, code) in [
        // Names that are not of hn(4), and malformed command lines.
        (&["hn7"][..], 1),
        (&["lagg0"], 1),
        (&["hn0", "hn1"], 64),
        (&["-x", "hn0"], 64),
    ] {
        let scratch = static_guest();
        let before = picture(&scratch);
        let output = scratch.run(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        if words.contains(&"hn0") {
            assert!(stderr.contains(&left_to("hn0")), "{words:?}: {stderr}");
            assert_eq!(picture(&scratch), left_to_hn(before), "{words:?}");
        } else {
            assert!(stderr.contains("there is no such network adapter"), "{words:?}: {stderr}");
            assert_eq!(picture(&scratch), before, "its VF is nobody's");
        }
    }
    // A look and taking apart leave the VF alone.
    for words in [&["-xn", "hn0"][..], &["-d", "hn0", "hn1"]] {
        let scratch = static_guest();
        let before = picture(&scratch);
        assert_eq!(scratch.run(words).status.code(), Some(64));
        assert_eq!(picture(&scratch), before, "{words:?}");
    }
}

// contract V25
#[test]
fn interfaces_stacked_on_hn_prevent_joining() {
    let bridged: &[&str] = &["bridge0 create", "bridge0 addm hn0"];
    let vlan: &[&str] = &["vlan5 create", "vlan5 vlan 5 vlandev hn0"];
    for (commands, message) in [
        (bridged, "hn0 is a member of bridge0, which would lose its network with hn0 in a lagg"),
        (vlan, "hn0 carries vlan5, which would receive nothing with hn0 in a lagg"),
        (&[], "hn0 is used by netgraph (PPPoE or the like), which would receive nothing with it in a lagg"),
    ] {
        let scratch = static_guest();
        commands.iter().for_each(|command| ifconfig(&scratch, command));
        if commands.is_empty() {
            let hook = |state: &mut State| {
                state.interfaces.get_mut("hn0").unwrap().hooks = 2;
                state.sysctls.insert("net.graph.abi_version".to_owned(), "12".to_owned());
            };
            scratch.guest.root().change(hook).unwrap();
        }
        let before = picture(&scratch);
        let output = scratch.run(&["hn0"]);
        let wanted = format!("hyperv_vfup: hn0: {message}\n{}\n", left_to("hn0"));
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), wanted));
        assert_eq!(picture(&scratch), left_to_hn(before));
    }
}

#[test]
fn addresses_keep_their_vhid_in_both_directions() {
    let scratch = carp_guest();
    let before = picture(&scratch);
    let plan = scratch.succeed(&["-n", "hn0"]);
    assert!(plan.contains("pass ***") && !plan.contains("secret"), "{plan}");
    scratch.succeed(&["hn0"]);
    let carp = |name: &str| scratch.state().interfaces[name].carp.clone();
    assert_eq!(carp("lagg0"), before.network.interfaces["hn0"].carp);
    assert_eq!(carp("hn0"), []);
    scratch.succeed(&["-d", "hn0"]);
    assert_eq!(picture(&scratch), left_to_hn(before));
}

// contract V24
#[test]
fn a_renamed_interface_is_joined_by_either_name() {
    for name in ["eth0", "hn0"] {
        let scratch = renamed_guest();
        let before = picture(&scratch);
        scratch.succeed(&[name]);
        assert_eq!(scratch.ports("lagg0"), ["eth0", "mce0"]);
        assert_eq!(scratch.addresses("lagg0"), STATIC);
        assert!(scratch.path("var/run/hyperv.hn0.lock").exists(), "the lock is that of the device");
        scratch.succeed(&["-d", name]);
        assert_eq!(picture(&scratch), left_to_hn(before));
    }
}

#[test]
fn words_for_one_interface_are_not_carried_over() {
    let scratch = static_guest();
    let words =
        "ifconfig_hn0=\"inet 10.0.0.5/24 description uplink group wan\"\nifconfig_hn0_descr=\"wan port\"\n";
    scratch.guest.set_rc_conf(words).unwrap();
    scratch.succeed(&["hn0"]);
    ifconfig(&scratch, "lagg0 description mine");
    let lagg = scratch.state().interfaces["lagg0"].clone();
    assert_eq!(
        (lagg.description.as_str(), lagg.groups.as_slice()),
        ("mine", &["lagg".into(), "hyperv".into()][..])
    );
    // The description is the administrator's, and has no meaning for the next run.
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.spawns(), LOOKS);
}

#[test]
fn hundreds_of_other_interfaces_are_not_read() {
    let scratch = static_guest();
    // The root directory of FreeBSD's executables on Linux knows 64 interfaces.
    let count = if freebsd_root().is_some() { 50 } else { 300 };
    let add = |state: &mut State| {
        for number in (0..300).take(count) {
            state.attach(&format!("tap{number}"), hvsim::network::guest::mac_of(200));
        }
    };
    scratch.guest.root().change(add).unwrap();
    scratch.inject(&[]);
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), STATIC);
    assert_eq!(scratch.spawns()[..2], LOOKS[..2]);
}

#[test]
fn closed_standard_streams_do_not_end_the_program() {
    let scratch = static_guest();
    scratch.inject(&[Fault { tool: "ifconfig".into(), call: 5, action: Action::Fail }]);
    let before = picture(&scratch);
    // A pipe without a reader: writing to it fails.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = scratch.vfup();
    command.arg("hn0").stdout(writer.try_clone().unwrap()).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(1));
    assert_eq!(picture(&scratch), left_to_hn(before));
}

// contract V1
#[test]
fn devd_does_not_wait_for_a_lease() {
    let scratch = dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n");
    let server = scratch.state().dhcp;
    scratch.guest.root().change(|state| state.dhcp = None).unwrap();
    // No server answers, and devd(8) continues nevertheless.
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.ports("lagg0"), ["hn0", "mce0"]);
    eventually("the client of lagg0", || scratch.clients() == ["lagg0"]);
    // The next event waits for the process in the background, which has the lock.
    scratch.guest.root().change(|state| state.dhcp = server).unwrap();
    scratch.succeed(&["hn0"]);
    assert_eq!(scratch.addresses("lagg0"), ["10.9.0.50/16"]);
    assert_eq!(scratch.clients(), ["lagg0"]);
}
