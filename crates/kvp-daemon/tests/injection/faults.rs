//! Injections that fail: nothing is left behind, and the host gets its answer in time. Programs fail or hang
//! at each call.

use std::time::Duration;

use hvsim::kvp::IpInfo;
use hvsim::network::faults::{Action, Fault};
use hvsim::network::guest::static_rc_conf;
use hvsim::network::state::{Route, State, StaticRoute};
use nix::sys::signal::Signal;

use crate::support::*;

fn fault(tool: &str, call: u32, action: Action) -> Fault {
    Fault { tool: tool.into(), call, action }
}

fn request() -> IpInfo {
    info("hn0", &["10.1.1.5/24", "10.1.2.5/24", "fd01::5/64"], "10.1.1.1;fd01::1", "10.1.1.2")
}

/// The host's view of [`static_scene`].
const REQUESTED: &str = "10.1.1.5 255.255.255.0;10.1.2.5 255.255.255.0;fd01::5 /64 | 10.1.1.1;fd01::1 | \
                         192.0.2.1;10.1.1.2 | static";

fn static_scene() -> Scene {
    let mut state = static_state();
    state.name_servers.insert("hn0.hyperv".into(), "nameserver 10.0.0.9\n".into());
    state.name_servers.insert("em0".into(), "nameserver 192.0.2.1\n".into());
    Scene::new(state, &format!("# first\n{}last=1", static_rc_conf(0)))
}

/// The host gives hn0 another address of its IPv4 network, and another IPv6 network.
fn routed_scene() -> Scene {
    let mut state = static_state();
    for (destination, gateway) in [("10.20.0.0/16", "10.0.0.254"), ("fd20::/32", "fd00::fe")] {
        let by = Route { gateway: gateway.parse().unwrap(), interface: "hn0".to_owned() };
        state.static_routes.push(StaticRoute { destination: destination.to_owned(), by });
    }
    Scene::new(state, &static_rc_conf(0))
}

#[test]
fn reachable_static_routes_stay_and_return_after_a_failure() {
    let request = || info("hn0", &["10.0.0.7/24", "fd01::5/64"], "10.0.0.1;fd01::1", "");
    let mut scene = routed_scene();
    scene.succeed(request());
    let left: Vec<String> =
        scene.state().static_routes.iter().map(|route| route.destination.clone()).collect();
    assert_eq!(left, ["10.20.0.0/16"]);
    let (calls, forgiven) = spoil_each_call(routed_scene, &request(), Action::Fail);
    assert!(calls >= 9 && forgiven == 0, "{calls} {forgiven}");
}

/// Makes each call fail in turn, until an injection needs fewer calls. Returns the number of calls, and how
/// many of them may fail without consequence.
pub(crate) fn spoil_each_call(new: impl Fn() -> Scene, request: &IpInfo, action: Action) -> (usize, usize) {
    let mut scene = new();
    let mut before = scene.world();
    let mut forgiven = 0;
    for call in 1..200 {
        scene.plan_faults(&[fault("*", call, action)]);
        let answer = scene.set(request.clone());
        let calls = scene.spawns().len();
        scene.plan_faults(&[]);
        if !answer.is_ok() {
            assert_eq!(answer.code, E_FAIL, "call {call}");
            scene.await_world(&before, &format!("a fault at call {call}"));
            continue;
        }
        if calls < usize::try_from(call).unwrap() {
            return (calls, forgiven);
        }
        forgiven += 1;
        scene = new();
        before = scene.world();
    }
    panic!("no injection needs so many calls");
}

#[test]
fn a_failure_at_any_step_restores_the_former_state() {
    // ifconfig and resolvconf for the facts, three removals, three additions, two routes, the name servers,
    // and the facts again.
    assert_eq!(spoil_each_call(static_scene, &request(), Action::Fail), (13, 0));
}

#[test]
fn a_failure_after_the_work_is_accepted_or_undone() {
    let (calls, forgiven) = spoil_each_call(static_scene, &request(), Action::FailLate);
    assert!(calls == 13 && forgiven >= 5, "{calls} {forgiven}");
}

#[test]
fn a_failure_of_dhcp_restores_the_former_state() {
    // Facts, three removals and one of a route, the name servers, dhclient, facts.
    assert_eq!(spoil_each_call(static_scene, &dhcp("hn0"), Action::Fail), (10, 0));
}

#[test]
fn a_lease_returns_after_a_failure_at_any_step() {
    let leased = || Scene::leased("ifconfig_hn0=DHCP\n");
    let (calls, forgiven) = spoil_each_call(leased, &request(), Action::Fail);
    assert!(calls >= 8 && forgiven == 0, "{calls} {forgiven}");
}

#[test]
fn a_program_that_hangs_is_killed_in_time() {
    let mut scene = static_scene();
    let before = scene.world();
    for (tool, call, action) in [
        ("ifconfig", 1, Action::Hang),
        ("ifconfig", 2, Action::HangLate),
        ("ifconfig", 6, Action::Hang),
        ("route", 1, Action::HangLate),
        ("resolvconf", 1, Action::Hang),
        ("resolvconf", 2, Action::HangLate),
    ] {
        scene.plan_faults(&[fault(tool, call, action)]);
        assert_eq!(scene.set(request()).code, E_FAIL, "{tool} {call}");
        scene.plan_faults(&[]);
        scene.await_world(&before, &format!("{tool} {call} {action:?}"));
    }
}

#[test]
fn slow_programs_do_not_delay_the_answer() {
    for delay in [300, 700, 5000] {
        let mut scene = static_scene();
        let before = scene.world();
        let delay = Action::Delay(Duration::from_millis(delay));
        let faults: Vec<Fault> = (1..60).map(|call| fault("*", call, delay)).collect();
        scene.plan_faults(&faults);
        assert_eq!(scene.set(request()).code, E_FAIL);
        scene.plan_faults(&[]);
        // The part of the undo that was not finished in time follows after the answer.
        scene.await_world(&before, "slow programs");
        assert!(scene.session.host().set(0, "still", "alive").unwrap().is_ok());
    }
}

#[test]
fn a_hanging_undo_leaves_time_for_the_rest() {
    let mut scene = static_scene();
    let before = scene.world().unordered();
    // The fifth ifconfig is the first addition. The sixth takes back the removal before it.
    scene.plan_faults(&[fault("ifconfig", 4, Action::Hang), fault("ifconfig", 5, Action::Hang)]);
    assert_eq!(scene.set(request()).code, E_FAIL);
    scene.plan_faults(&[]);
    eventually("the state before", || scene.world().unordered() == before);
}

/// Every ifconfig from the given call on hangs.
fn hang_from(call: u32) -> Vec<Fault> {
    (call..400).map(|call| fault("ifconfig", call, Action::Hang)).collect()
}

#[test]
fn pending_undo_does_not_delay_later_answers() {
    let mut state = static_state();
    state.add_static_hn(1);
    let mut scene = Scene::new(state, &format!("{}{}", static_rc_conf(0), static_rc_conf(1)));
    let before = scene.world().unordered();
    for adapter in ["hn0", "hn1", "hn0"] {
        // The facts can be read, and every other program fails.
        scene.plan_faults(&hang_from(2));
        assert_eq!(scene.set(info(adapter, &["10.1.1.5/24"], "10.1.1.1", "")).code, E_FAIL);
        scene.plan_faults(&hang_from(1));
        let asked = std::time::Instant::now();
        assert!(scene.session.host().set(0, "key", "value").unwrap().is_ok());
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    scene.plan_faults(&[]);
    eventually("the state before", || scene.world().unordered() == before);
}

/// A scene whose daemon is a process that can be ended. `None` without a device file.
fn scene_with_process() -> Option<Scene> {
    let scene = static_scene();
    match scene.session.without_device() {
        Some(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
        None => Some(scene),
    }
}

/// Ends the daemon by a signal while an injection hangs after its removals, and starts it again when all
/// programs work.
fn interrupt(scene: &mut Scene, signal: Signal) {
    scene.plan_faults(&hang_from(4));
    let mut host = scene.session.another_host();
    let asked = std::thread::spawn(move || host.set_ip_info(request()));
    eventually("the removals", || {
        scene.state().interfaces["hn0"].addresses.iter().all(|address| address.ip.is_ipv6())
    });
    scene.session.daemon().unwrap().signal(signal);
    assert!(scene.session.daemon().unwrap().wait_for(Duration::from_secs(20)).is_some());
    assert!(!asked.join().unwrap().unwrap().is_ok());
    scene.plan_faults(&[]);
    scene.session.start_daemon();
}

fn mark(scene: &Scene) -> String {
    std::fs::read_to_string(scene.path("guest/var/run/hyperv.hn0.lock")).unwrap()
}

#[test]
fn the_next_daemon_completes_an_interrupted_injection() {
    let Some(mut scene) = scene_with_process() else { return };
    let before = scene.world().unordered();
    interrupt(&mut scene, Signal::SIGTERM);
    eventually("the state before", || scene.world().unordered() == before);
    eventually("the mark to go", || mark(&scene).is_empty());
}

#[test]
fn a_killed_injection_ends_as_rc_conf_says() {
    let Some(mut scene) = scene_with_process() else { return };
    let rc_conf = scene.rc_conf();
    interrupt(&mut scene, Signal::SIGKILL);
    // The new rc.conf is written before other changes, so the next daemon completes the host's configuration.
    assert_ne!(scene.rc_conf(), rc_conf);
    eventually("what rc.conf says", || scene.seen(0) == REQUESTED);
    eventually("the mark to go", || mark(&scene).is_empty());
    let log = scene.log();
    assert!(log.contains("it is made what rc.conf says") && !log.contains("undo: "), "{log}");
    scene.succeed(request());
}

#[test]
fn an_unwritable_file_restores_the_former_state() {
    // A directory at the path of the new file makes root fail, too.
    for blocked in ["guest/etc/.rc.conf.hv_kvp_daemon", "var/hyperv/injection/.hn0.toml.hv_kvp_daemon"] {
        let mut scene = static_scene();
        std::fs::create_dir_all(scene.path(blocked)).unwrap();
        let before = scene.world();
        assert_eq!(scene.set(request()).code, E_FAIL, "{blocked}");
        assert_eq!(scene.world(), before, "{blocked}");
        std::fs::remove_dir(scene.path(blocked)).unwrap();
        scene.succeed(request());
    }
}

#[test]
fn an_rc_conf_with_another_outcome_is_taken_back() {
    for (name, text, cause) in [
        ("guest/etc/rc.conf.d/network", "ifconfig_hn0=\"DHCP\"\n", "at the next boot dhclient would serve"),
        ("guest/etc/rc.conf.local", "defaultrouter=\"10.9.9.9\"\n", "would be \"10.9.9.9\""),
        ("guest/etc/rc.conf.local", "if then broken\n", "cannot read rc.conf: sh: "),
    ] {
        let mut scene = static_scene();
        std::fs::write(scene.path(name), text).unwrap();
        let before = scene.world();
        assert_eq!(scene.set(request()).code, E_FAIL, "{text}");
        assert_eq!(scene.world(), before, "{text}");
        if scene.session.without_device().is_none() {
            let log = scene.log();
            let line = log.lines().find(|line| line.contains("network not configured")).unwrap();
            let step = "cannot check what the next boot makes of hn0, everything was taken back: ";
            assert!(line.contains(step) && line.contains(cause), "{line}");
        }
    }
}

#[test]
fn malformed_requests_change_nothing() {
    let mut scene = static_scene();
    let before = scene.world();
    scene.plan_faults(&[]);
    let good = request();
    let cases: Vec<(IpInfo, u32)> = vec![
        (IpInfo { addresses: "$(reboot);10.1.1.6;fd00::5".into(), ..good.clone() }, INVALIDARG),
        (IpInfo { masks: "255.255.255.0\n;255.0.0.0;64".into(), ..good.clone() }, INVALIDARG),
        (IpInfo { gateways: "10.1.1.1;`id`".into(), ..good.clone() }, INVALIDARG),
        (IpInfo { name_servers: "10.1.1.2\"; reboot #".into(), ..good.clone() }, INVALIDARG),
        (IpInfo { family: 0x81, ..good.clone() }, INVALIDARG),
        (IpInfo { addresses: "a".repeat(1023), ..good.clone() }, INVALIDARG),
        (IpInfo { adapter: "{12345678-0000-0000-0000-000000000000}".into(), ..good.clone() }, GUID_NOTFOUND),
        (IpInfo { adapter: "hn0;id".into(), ..good.clone() }, GUID_NOTFOUND),
        (IpInfo { adapter: "lo0".into(), ..good.clone() }, GUID_NOTFOUND),
    ];
    for (request, code) in cases {
        assert_eq!(scene.set(request.clone()).code, code, "{request:?}");
    }
    assert_eq!(scene.spawns(), [""; 0], "no program is started for them");
    for adapter in ["hn1", "hn00", "lagg0"] {
        assert_eq!(scene.set(IpInfo { adapter: adapter.into(), ..good.clone() }).code, GUID_NOTFOUND);
    }
    assert_eq!(scene.world(), before);
}

#[test]
fn several_interrupted_interfaces_are_completed_while_requests_are_answered() {
    let mut state = State::default();
    let units = [0, 1, 2];
    units.into_iter().for_each(|unit| state.add_static_hn(unit));
    let mut scene = Scene::new(state, &units.map(static_rc_conf).concat());
    if let Some(reason) = scene.session.without_device() {
        return eprintln!("skipped: {reason}");
    }
    let before = scene.world().unordered();
    scene.session.daemon().unwrap().signal(Signal::SIGKILL);
    assert!(scene.session.daemon().unwrap().wait_for(IN_TIME).is_some());
    let lock = |unit: u8| scene.path(&format!("guest/var/run/hyperv.hn{unit}.lock"));
    let locks = units.map(lock);
    for (unit, lock) in units.iter().zip(&locks) {
        std::fs::write(lock, "at work 1\n").unwrap();
        let take = |state: &mut State| {
            state
                .interfaces
                .get_mut(&format!("hn{unit}"))
                .unwrap()
                .addresses
                .retain(|held| held.ip.is_ipv6());
        };
        scene.session.guest().root().change(take).unwrap();
    }
    scene.session.guest().root().change(|state| state.routes.retain(|r| r.gateway.is_ipv6())).unwrap();
    let delay = Action::Delay(Duration::from_millis(150));
    scene.plan_faults(&(1..200).map(|call| fault("*", call, delay)).collect::<Vec<_>>());
    scene.session.start_daemon();
    let mut answers = 0;
    eventually("the marks to go", || {
        let asked = std::time::Instant::now();
        assert!(scene.session.host().set(0, "key", "value").unwrap().is_ok());
        assert!(asked.elapsed() < IN_TIME, "{:?}", asked.elapsed());
        answers += 1;
        locks.iter().all(|lock| std::fs::read(lock).unwrap().is_empty())
    });
    assert!(answers > 3, "requests are answered in between: {answers}");
    scene.plan_faults(&[]);
    eventually("what rc.conf says", || scene.world().unordered() == before);
}

/// The children of this process, those that it has not asked about yet included.
fn children_of(parent: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let child = |stat: String| {
        let (head, rest) = stat.rsplit_once(") ")?;
        (rest.split(' ').nth(1)? == parent.to_string()).then(|| head.split(' ').next()?.parse().ok())?
    };
    stats.filter_map(child).collect()
}

#[test]
fn a_program_that_ends_when_nobody_waits_for_it_leaves_no_zombie() {
    let mut state = static_state();
    state.add_dhcp_server();
    let mut scene = Scene::new(state, &static_rc_conf(0));
    if let Some(reason) = scene.session.without_device() {
        return eprintln!("skipped: {reason}");
    }
    let daemon = scene.session.daemon().unwrap().pid().as_raw();
    // What has started the client does not end by itself, and the daemon starts nothing any more.
    scene.plan_faults(&[fault("dhclient", 1, Action::HangLate)]);
    scene.succeed(dhcp("hn0"));
    eventually("the lease", || {
        scene.state().interfaces["hn0"].addresses.iter().any(|held| held.ip.to_string() == "10.9.0.50")
    });
    let is_starter = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("/dhclient"))
    };
    let starter = children_of(daemon).into_iter().find(is_starter).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(starter), Signal::SIGKILL).unwrap();
    eventually("its end", || !children_of(daemon).contains(&starter));
}
