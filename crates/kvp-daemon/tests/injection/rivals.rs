//! Injections while rc(8), devd(8) and dhclient(8) work on the same interface. They are real processes of the
//! stand-ins.
//!
//! A rival begins while the k-th program that the daemon starts waits at a gate. The gate opens when the
//! rival has begun to change something, or has ended, so the order does not depend on a clock. Changes after
//! an answer are corrected within the minute in which the daemon watches the network.

use std::process::{Child, Command, Stdio};

use hvsim::network::Guest;
use hvsim::network::faults::{self, Action, Fault};
use hvsim::network::guest::static_rc_conf;
use hvsim::testing::PATIENCE;

use crate::support::*;

const HOST_STATIC: &str = "10.1.1.5 255.255.255.0;fd01::5 /64 | 10.1.1.1;fd01::1 | 10.1.1.2 | static";

/// Another program that changes hn0.
#[derive(Debug, Clone, Copy)]
enum Rival {
    /// A command line below the guest's root.
    Command(&'static str),
    /// The link of hn0 comes up, and devd(8) runs the actions of its rules.
    Link,
    /// A VF arrives and is up at once, so that devd(8) runs hyperv_vfup.
    Vf,
}

/// The rivals of rc(8), which its scripts for cards, devd(8) and the administrator start.
const NETIF: Rival = Rival::Command("usr/sbin/service netif restart hn0");
const DHCLIENT: Rival = Rival::Command("usr/sbin/service dhclient restart hn0");

impl Rival {
    /// Runs the rival to its end.
    fn work(self, root: &std::path::Path) {
        let guest = Guest::open(root).unwrap();
        match self {
            Self::Command(line) => {
                let mut words = line.split(' ');
                let mut command = Command::new(root.join(words.next().unwrap()));
                command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().unwrap();
            }
            Self::Link => {
                let event = "!system=IFNET subsystem=hn0 type=LINK_UP".to_owned();
                guest.root().change(|state| state.events.push(event)).unwrap();
                guest.run_devd().unwrap();
            }
            Self::Vf => {
                guest.give_vf("mce0", "hn0").unwrap();
                guest.switch_vf("mce0", true).unwrap();
                guest.run_devd().unwrap();
            }
        }
    }
}

fn start(scene: &Scene, rival: &str) -> Child {
    let mut words = rival.split(' ');
    let program = scene.path(&format!("guest/{}", words.next().unwrap()));
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn request() -> hvsim::kvp::IpInfo {
    info("hn0", &["10.1.1.5/24", "fd01::5/64"], "10.1.1.1;fd01::1", "10.1.1.2")
}

/// The daemon's k-th program waits at the gate until the rival has begun.
fn inject_beside(scene: &mut Scene, call: u32, rival: Rival, request: hvsim::kvp::IpInfo) -> bool {
    let root = scene.session.guest().root().clone();
    faults::close_gate(&root).unwrap();
    scene.plan_faults(&[Fault { tool: "*".into(), call, action: Action::Gate }]);
    let mut host = scene.session.another_host();
    let asked = std::thread::spawn(move || host.set_ip_info(request).unwrap());
    let reached = hvsim::testing::look_for(IN_TIME, || {
        let calls = scene.spawns().len();
        (asked.is_finished() || calls >= usize::try_from(call).unwrap()).then_some(())
    });
    assert!(reached.is_some());
    let (before, place) = (scene.spawns().len(), root.directory().to_owned());
    let work = std::thread::spawn(move || rival.work(&place));
    // hyperv_vfup waits for the lock of the injection, and starts no program.
    let is_at_work =
        || (matches!(rival, Rival::Vf) || work.is_finished() || scene.spawns().len() > before).then_some(());
    assert!(hvsim::testing::look_for(PATIENCE, is_at_work).is_some());
    faults::open_gate(&root).unwrap();
    let answer = asked.join().unwrap();
    work.join().unwrap();
    assert!(!answer.timed_out, "{}", scene.log());
    answer.is_ok()
}

/// A static injection into a guest with a lease, at each of `calls`. Returns whether the daemon waited for
/// the rival.
fn inject_static_beside(rival: Rival, calls: impl Iterator<Item = u32>) -> bool {
    let mut waited = false;
    for call in calls {
        let mut scene = Scene::leased("ifconfig_hn0=\"SYNCDHCP\"\n");
        let answered_ok = inject_beside(&mut scene, call, rival, request());
        waited |= scene.log().contains("is at work on it and waited for");
        if !answered_ok {
            eventually("the lease again", || scene.seen(0).starts_with("10.9.0.50 "));
            assert_eq!(scene.rc_conf(), "ifconfig_hn0=\"SYNCDHCP\"\n", "{rival:?} {call}");
            continue;
        }
        let right = || (scene.seen(0) == HOST_STATIC && scene.clients().is_empty()).then_some(());
        let found = hvsim::testing::look_for(PATIENCE, right);
        let (seen, clients) = (scene.seen(0), scene.clients());
        assert!(found.is_some(), "{rival:?} {call}: {seen} {clients:?}\n{}", scene.log());
    }
    waited
}

/// An injection of DHCP into a guest with static addresses, at each of `calls`.
fn inject_dhcp_beside(rival: Rival, calls: impl Iterator<Item = u32>) {
    for call in calls {
        let mut state = static_state();
        state.add_dhcp_server();
        let mut scene = Scene::new(state, &static_rc_conf(0));
        let answered_ok = inject_beside(&mut scene, call, rival, dhcp("hn0"));
        let wanted = if answered_ok {
            "10.9.0.50 255.255.0.0 | 10.9.0.1 |  | dhcp"
        } else {
            "10.0.0.5 255.255.255.0;10.1.0.5 255.255.255.255;fd00::5 /64 | 10.0.0.1;fd00::1 |  | static"
        };
        let found = hvsim::testing::look_for(PATIENCE, || (scene.seen(0) == wanted).then_some(()));
        let seen = scene.seen(0);
        assert!(found.is_some(), "{rival:?} {call} {answered_ok}: {seen}\n{}", scene.log());
    }
}

// Together the offsets of the rivals cover the whole injection: 28 in a static one, 22 in one of DHCP.

// contract V22
#[test]
fn a_static_injection_beside_netif_with_the_old_lease() {
    let waited = inject_static_beside(NETIF, (1..15).step_by(2));
    let without_log = Scene::new(static_state(), "").session.without_device().is_some();
    assert!(waited || without_log, "the rival was never seen before an answer");
}

#[test]
fn a_static_injection_beside_a_start_of_the_client() {
    inject_static_beside(DHCLIENT, (2..15).step_by(4));
    inject_static_beside(Rival::Command("usr/sbin/service dhclient start hn0"), (4..15).step_by(4));
}

#[test]
fn a_static_injection_beside_a_link_event_and_a_card() {
    inject_static_beside(Rival::Link, (1..15).step_by(4));
    inject_static_beside(Rival::Command("etc/pccard_ether hn0 start"), (3..15).step_by(4));
}

#[test]
fn a_static_injection_beside_an_arriving_vf() {
    inject_static_beside(Rival::Vf, (2..15).step_by(2));
}

#[test]
fn a_dhcp_injection_beside_netif_with_the_old_addresses() {
    inject_dhcp_beside(NETIF, (1..12).step_by(2));
}

#[test]
fn a_dhcp_injection_beside_a_start_of_the_client() {
    inject_dhcp_beside(DHCLIENT, (2..12).step_by(4));
    inject_dhcp_beside(Rival::Command("usr/sbin/service dhclient start hn0"), (4..12).step_by(4));
}

#[test]
fn a_dhcp_injection_beside_a_link_event_and_a_card() {
    inject_dhcp_beside(Rival::Link, (1..12).step_by(4));
    inject_dhcp_beside(Rival::Command("etc/pccard_ether hn0 start"), (3..12).step_by(4));
}

#[test]
fn a_dhcp_injection_beside_an_arriving_vf() {
    inject_dhcp_beside(Rival::Vf, (2..12).step_by(2));
}

/// `service netif restart hn0` that has stopped the client already and continues until its standard input
/// ends. rc.d/dhclient refuses to start the client, because rc.conf was the host's at that moment.
fn restart_that_starts_no_client(scene: &Scene) -> Child {
    let script = r#""$0/sbin/hvsim-process" begin $$ "$0/etc/rc.d/netif" restart hn0; read -r _
        "$0/sbin/hvsim-process" end $$"#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(scene.path("guest")).stdin(Stdio::piped());
    let child = command.spawn().unwrap();
    let list = scene.path("guest/network/procs").join(child.id().to_string());
    eventually("the script in the list of processes", || list.exists());
    child
}

// contract V22
#[test]
fn a_failed_injection_restores_the_client() {
    let mut scene = Scene::new(dhcp_state(), "ifconfig_hn0=\"SYNCDHCP\"\n");
    let mut rival = restart_that_starts_no_client(&scene);
    assert_eq!(scene.set(request()).code, E_FAIL, "{}", scene.log());
    assert_eq!(scene.rc_conf(), "ifconfig_hn0=\"SYNCDHCP\"\n");
    drop(rival.stdin.take());
    rival.wait().unwrap();
    eventually("the lease", || scene.seen(0).starts_with("10.9.0.50 "));
}

// contract V23
#[test]
fn a_route_dropped_after_the_answer_is_restored() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    scene.succeed(request());
    assert!(start(&scene, "usr/sbin/service netif restart hn0").wait().unwrap().success());
    eventually("the host's network", || scene.seen(0) == HOST_STATIC);
    if scene.session.without_device().is_none() {
        eventually("the log line", || {
            scene.log().contains("has changed what the host configured, it is put right")
        });
    }
}

#[test]
fn rc_conf_edited_after_the_answer_has_priority() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    scene.succeed(request());
    std::fs::write(scene.path("guest/etc/rc.conf"), "ifconfig_hn0=\"inet 10.3.3.5/24\"\n").unwrap();
    assert!(start(&scene, "usr/sbin/service netif restart hn0").wait().unwrap().success());
    if scene.session.without_device().is_none() {
        eventually("the log line", || scene.log().contains("rc.conf was changed since; it is left alone"));
    }
    let held: Vec<String> = scene.state().interfaces["hn0"]
        .addresses
        .iter()
        .filter(|address| address.ip.is_ipv4())
        .map(|address| address.ip.to_string())
        .collect();
    assert_eq!(held, ["10.3.3.5"]);
}

// contract V20, V21
#[test]
fn a_client_that_gave_up_without_a_link_is_restarted() {
    let mut state = static_state();
    state.add_dhcp_server();
    state.interfaces.get_mut("hn0").unwrap().carrier = false;
    let mut scene = Scene::new(state, &static_rc_conf(0));
    // Instead of 11.5 seconds.
    std::fs::write(scene.path("guest/network/dhclient-link-wait"), "50").unwrap();
    scene.succeed(dhcp("hn0"));
    if scene.session.without_device().is_none() {
        eventually("the log line", || {
            scene.log().contains("dhclient ended without a lease, it is started again")
        });
    }
    let link = |state: &mut hvsim::network::State| state.interfaces.get_mut("hn0").unwrap().carrier = true;
    scene.session.guest().root().change(link).unwrap();
    eventually("the lease", || scene.seen(0) == "10.9.0.50 255.255.0.0 | 10.9.0.1 |  | dhcp");
}

// contract V24
#[test]
fn a_renamed_interface_is_configured_under_its_name() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0).replace("_hn0", "_eth0"));
    let rename =
        Command::new(scene.path("guest/sbin/ifconfig")).args(["hn0", "name", "eth0"]).output().unwrap();
    assert!(rename.status.success());
    scene.succeed(request());
    assert_eq!(scene.seen(0), HOST_STATIC);
    assert!(scene.rc_conf().contains("ifconfig_eth0=\"inet 10.1.1.5/24\""), "{}", scene.rc_conf());
    assert!(!scene.rc_conf().contains("ifconfig_hn0"), "{}", scene.rc_conf());
}

#[test]
fn without_resolvconf_addresses_are_set_and_logged() {
    let mut scene = Scene::new(static_state(), &static_rc_conf(0));
    std::fs::remove_file(scene.path("guest/sbin/resolvconf")).unwrap();
    std::fs::remove_file(scene.path("guest/sbin/rtsol")).unwrap();
    scene.succeed(request());
    assert!(scene.seen(0).starts_with("10.1.1.5 255.255.255.0;fd01::5 /64 | 10.1.1.1;fd01::1 |"));
    if scene.session.without_device().is_none() {
        let line = "the host's name servers were not taken: there is no resolvconf";
        assert!(scene.log().contains(line), "{}", scene.log());
    }
}
