//! The administrator's settings for injections: off, runtime only, a list of interfaces, or an external
//! program. The host gets its answer in each case.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hvsim::network::guest::{mac_of, static_rc_conf};
use hvsim::network::state::State;

use nix::sys::signal::Signal;

use crate::guests::ifconfig;
use crate::support::*;

fn two() -> State {
    let mut state = static_state();
    state.add_static_hn(1);
    state
}

#[test]
fn off_refuses_everything() {
    let mut scene = Scene::with_settings(two(), "", "ip-injection = \"off\"\n");
    let before = scene.world();
    assert_eq!(scene.set(info("hn0", &["10.1.1.5/24"], "", "")).code, NOT_SUPPORTED);
    assert_eq!(scene.set(dhcp("{x}")).code, NOT_SUPPORTED);
    assert_eq!(scene.world(), before);
}

#[test]
fn runtime_changes_the_network_and_no_file() {
    let mut scene = Scene::with_settings(two(), &static_rc_conf(0), "ip-injection = \"runtime\"\n");
    scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1;10.1.1.2", ""));
    assert_eq!(scene.seen(0), "10.1.1.5 255.255.255.0 | 10.1.1.1;10.1.1.2 |  | static");
    assert_eq!(scene.rc_conf(), static_rc_conf(0));
    assert!(!scene.path("var/hyperv/injection/hn0.toml").exists());
    if let Some(reason) = scene.session.without_device() {
        // A daemon in this process cannot be killed, and holds the interface to what the host said.
        return eprintln!("skipped: {reason}");
    }
    scene.reboot();
    let wanted = "10.0.0.5 255.255.255.0;10.1.0.5 255.255.255.255;fd00::5 /64";
    eventually("the old addresses", || scene.seen(0).starts_with(wanted));
}

#[test]
fn only_listed_interfaces_are_configured() {
    let mut scene = Scene::with_settings(two(), "", "ip-injection-interfaces = [\"hn1\", \"lagg7\"]\n");
    assert_eq!(scene.set(info("hn0", &["10.1.1.5/24"], "", "")).code, NOT_SUPPORTED);
    assert_eq!(scene.set(info("hn10", &["10.1.1.5/24"], "", "")).code, NOT_SUPPORTED);
    scene.succeed(info("hn1", &["10.1.1.5/24"], "", ""));
}

#[test]
fn an_interface_of_another_driver_is_not_the_hosts() {
    let mut state = two();
    state.attach("epair0a", mac_of(200));
    let mut scene = Scene::new(state, "");
    ifconfig(&scene, "epair0a name hn7");
    let before = scene.world();
    let request = || info("hn7", &["10.1.1.5/24"], "", "");
    assert_eq!(scene.set(request()).code, GUID_NOTFOUND);
    assert_eq!(scene.world(), before);
    if let Some(reason) = scene.session.without_device() {
        return eprintln!("skipped: {reason}");
    }
    let line = "hn7 is no interface of hn(4), its device is epair0a";
    assert!(scene.log().contains(line), "{}", scene.log());
    // Tests on a machine without Hyper-V need one.
    let config = scene.path("hyperv.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[facts]\n", "[facts]\nhn-by-name = true\n")).unwrap();
    scene.session.daemon().unwrap().signal(Signal::SIGHUP);
    eventually("the new configuration", || scene.set(request()).is_ok());
    let held = &scene.state().interfaces["hn7"].addresses;
    assert!(held.iter().any(|address| address.ip.to_string() == "10.1.1.5"), "{held:?}");
}

/// A scene with an external program that keeps its input and ends with `end`. The program is at a path that
/// the daemon's machine has, too.
fn appliance(rc_conf: &str, end: &str) -> Scene {
    let scene = Scene::with_settings(static_state(), rc_conf, "ip-injection-apply = \"{dir}/apply\"\n");
    let (program, log) = (scene.path("apply"), scene.path("applied"));
    let script = format!(
        "#!/bin/sh\ncat >> '{}'\necho \"$# $(env | wc -l)\" >> '{}'\n{end}\n",
        log.display(),
        log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    scene
}

#[test]
fn an_external_programs_exit_status_decides() {
    let end = "[ ! -e \"${0%/*}/fail\" ] || { echo 'no room' >&2; exit 3; }";
    let mut scene = appliance(&static_rc_conf(0), end);
    let before = scene.world();
    let request = info("hn0", &["10.1.1.5/24", "fd01::5/64"], "10.1.1.1", "10.1.1.2");
    scene.succeed(request.clone());
    let applied = fs::read_to_string(scene.path("applied")).unwrap();
    let line = applied.lines().next().unwrap();
    assert_eq!(
        line,
        "{\"version\":1,\"interface\":\"hn0\",\"lagg\":null,\"persist\":true,\"method\":\"static\",\"addresses\":[{\"address\":\
         \"10.1.1.5\",\"prefix\":24},{\"address\":\"fd01::5\",\"prefix\":64}],\"gateways\":[\"10.1.1.1\"],\
         \"name-servers\":[\"10.1.1.2\"]}"
    );
    assert!(applied.lines().nth(1).unwrap().starts_with("0 "), "no arguments");
    assert_eq!(scene.world(), before, "the daemon itself changes nothing");
    scene.succeed(dhcp("hn0"));

    fs::write(scene.path("fail"), "").unwrap();
    assert_eq!(scene.set(request.clone()).code, E_FAIL);
    assert_eq!(scene.set(info("hn5", &["10.1.1.5/24"], "", "")).code, GUID_NOTFOUND);
    let hostile = hvsim::kvp::IpInfo { addresses: "10.1.1.5;$(id)".into(), ..request };
    assert_eq!(scene.set(hostile).code, INVALIDARG);
    assert_eq!(fs::read_to_string(scene.path("applied")).unwrap().lines().count(), 6);
}

#[test]
fn an_external_program_that_hangs_is_killed_in_time() {
    let mut scene = appliance("", "sleep 1000");
    assert_eq!(scene.set(info("hn0", &["10.1.1.5/24"], "", "")).code, E_FAIL);
}

#[test]
fn an_interface_locked_by_another_program_is_left_alone() {
    let mut scene = Scene::new(two(), "");
    let file = fs::File::create(scene.path("guest/var/run/hyperv.hn0.lock")).unwrap();
    file.lock().unwrap();
    let before = scene.world();
    assert_eq!(scene.set(info("hn0", &["10.1.1.5/24"], "", "")).code, E_FAIL);
    assert_eq!(scene.world(), before);
    scene.succeed(info("hn1", &["10.1.1.5/24"], "", ""));
    file.unlock().unwrap();
    scene.succeed(info("hn0", &["10.2.1.5/24"], "", ""));
}

#[test]
fn without_a_place_for_name_servers_the_addresses_are_set_and_the_log_tells_why() {
    let request = || info("hn0", &["10.1.1.5/24"], "10.1.1.1", "10.1.1.2");
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    if let Some(reason) = scene.session.without_device() {
        return eprintln!("skipped: {reason}");
    }
    // The administrator keeps resolvconf(8) from the file.
    fs::write(scene.path("guest/etc/resolvconf.conf"), "resolvconf=NO\n").unwrap();
    scene.succeed(request());
    let path = scene.path("guest/etc/resolv.conf");
    let line = format!("the host's name servers were not taken: {} does not name them", path.display());
    assert!(scene.log().contains(&line), "{}", scene.log());
    // Nobody asks resolvconf(8) at all.
    let config = scene.path("hyperv.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[network]\n", "[network]\nname-servers = \"off\"\n")).unwrap();
    scene.reboot();
    scene.plan_faults(&[]);
    scene.succeed(request());
    assert!(scene.log().contains("were not taken: network.name-servers is off"), "{}", scene.log());
    let spawns = scene.spawns();
    assert!(!spawns.iter().any(|spawn| spawn.starts_with("resolvconf -a")), "{spawns:?}");
    assert!(scene.seen(0).starts_with("10.1.1.5 255.255.255.0 | 10.1.1.1 |"));
}

#[test]
fn name_servers_that_come_with_dhcp_are_ignored_and_the_log_tells() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    scene.session.guest().root().change(State::add_dhcp_server).unwrap();
    scene.succeed(hvsim::kvp::IpInfo { name_servers: "10.1.1.2".into(), ..dhcp("hn0") });
    assert!(!scene.state().name_servers.contains_key("hn0.hyperv"));
    if scene.session.without_device().is_none() {
        let line = "hn0: the host's name servers are ignored, those of DHCP count";
        assert!(scene.log().contains(line), "{}", scene.log());
    }
}
