//! Tests of the other programs of the simulated guest: route(8), sysctl(8), sysrc(8) and the log of calls.
//! Each compares output, exit status and state after a call.

use super::*;
use crate::network::state::State;

fn guest() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let mut state = State::default();
    state.add_static_hn(0);
    root.create(&state).unwrap();
    (directory, root)
}

fn run(root: &Root, line: &str) -> Outcome {
    let mut words = line.split(' ').map(str::to_owned);
    let name = words.next().unwrap();
    call(root, &name, &words.collect::<Vec<_>>()).unwrap()
}

#[test]
fn route_adds_changes_and_deletes_default_routes() {
    let (_directory, root) = guest();
    let exists = run(&root, "route -n add -inet default 10.0.0.1");
    assert_eq!(exists.out, "add net default: gateway 10.0.0.1 fib 0: route already in table\n");
    assert_eq!((exists.err.as_str(), exists.status), ("route: message indicates error: File exists\n", 1));
    assert_eq!(run(&root, "route delete default 10.0.0.1").out, "delete net default: gateway 10.0.0.1\n");
    let missing = run(&root, "route delete default 10.0.0.1");
    assert_eq!(
        (missing.out.as_str(), missing.status),
        ("delete net default: gateway 10.0.0.1 fib 0: not in table\n", 1)
    );
    assert_eq!(run(&root, "route add default 10.0.0.2").status, 0);
    assert_eq!(run(&root, "route change default 10.0.0.3").status, 0);
    assert_eq!(run(&root, "route delete default").status, 0);
    assert!(run(&root, "route add default 192.0.2.1").out.ends_with(": Network is unreachable\n"));
    // GENERIC has ROUTE_MPATH: a second route is added beside the first.
    assert_eq!(run(&root, "route add -inet6 default fe80::1%hn0").status, 0);
    assert_eq!(run(&root, "route add -inet6 default fe80::1%hn0").status, 1);
    root.change(|state| state.multipath = false).unwrap();
    assert_eq!(run(&root, "route add -inet6 default fe80::2%hn0").status, 1);
    assert_eq!(run(&root, "route delete -inet6 default").status, 0);
    assert_eq!(run(&root, "route -6 add default fe80::1%hn0").status, 0);
    assert!(run(&root, "route -n get -inet6 default").out.contains("interface: hn0\n"));
    assert_eq!(run(&root, "route").status, 64);
    assert_eq!(run(&root, "route add -bogus default 10.0.0.1").status, 64);
}

#[test]
fn sysctls_of_hn_are_printed() {
    let (_directory, root) = guest();
    root.change(|state| state.attach_vf("mce0", "hn0")).unwrap();
    assert_eq!(run(&root, "sysctl -n hw.hn.vflist dev.hn.0.vf").out, "mce0\nmce0\n");
    assert_eq!(run(&root, "sysctl hw.hn.vfmap").out, "hw.hn.vfmap: mce0:hn0\n");
    let unknown = run(&root, "sysctl -n no.such");
    assert_eq!((unknown.err.as_str(), unknown.status), ("sysctl: unknown oid 'no.such'\n", 1));
    assert_eq!(run(&root, "sysctl -in no.such").status, 0);
    let quiet = run(&root, "sysctl -qn no.such");
    assert_eq!((quiet.err.as_str(), quiet.status), ("", 1));
    root.change(|state| state.transparent = None).unwrap();
    assert_eq!(run(&root, "sysctl -n hw.hn.vf_transparent").status, 1);
}

#[test]
fn an_unknown_interface_is_an_error_of_rtsol() {
    let (_directory, root) = guest();
    assert_eq!(run(&root, "rtsol hn0").status, 0);
    assert_eq!(run(&root, "rtsol hn1").status, 1);
}

#[test]
fn facts_files_follow_the_state() {
    let (directory, root) = guest();
    run(&root, "ifconfig hn0 inet 10.0.0.9/24 alias");
    let ifaddrs = std::fs::read_to_string(directory.path().join("facts/ifaddrs")).unwrap();
    assert!(ifaddrs.contains("hn0 link 00:15:5d:01:02:00 up index=2 mtu=1500 driver=hn0\n"), "{ifaddrs}");
    assert!(
        ifaddrs.contains("hn0 inet 10.0.0.9/24\n")
            && ifaddrs.contains("hn0 inet6 fe80::215:5dff:fe01:200%hn0/64\n")
    );
    let routes = std::fs::read_to_string(directory.path().join("facts/routes")).unwrap();
    assert_eq!(routes, "default 10.0.0.1 hn0\ndefault fd00::1 hn0\n");
    let sysctls = std::fs::read_to_string(directory.path().join("facts/sysctl")).unwrap();
    assert!(
        sysctls.contains("hw.hn.vf_transparent:int=0\n") && sysctls.contains("dev.hn.0.vf:str=\n"),
        "{sysctls}"
    );
}

#[test]
fn sysrc_reads_sets_and_deletes_variables() {
    let (directory, root) = guest();
    assert_eq!(run(&root, "sysrc a=1").out, "a:  -> 1\n");
    assert_eq!(run(&root, "sysrc a=2").out, "a: 1 -> 2\n");
    assert_eq!(run(&root, "sysrc -n a").out, "2\n");
    assert_eq!(std::fs::read_to_string(directory.path().join("etc/rc.conf")).unwrap(), "a=\"2\"\n");
    assert_eq!(run(&root, "sysrc -x a").status, 0);
    let unknown = run(&root, "sysrc a");
    assert_eq!((unknown.err.as_str(), unknown.status), ("sysrc: unknown variable 'a'\n", 1));
}

#[test]
fn calls_are_logged_and_a_planned_call_fails() {
    let (_directory, root) = guest();
    faults::plan_faults(&root, &["* 2 fail".parse().unwrap(), "sysctl 3 fail-late".parse().unwrap()])
        .unwrap();
    let statuses: Vec<u8> = [
        "sysctl -n hw.hn.vflist",
        "ifconfig hn0 down",
        "sysctl -n hw.hn.vflist",
        "sysctl -n hw.hn.vfmap",
        "sysctl -n hw.hn.vfmap",
    ]
    .map(|line| run(&root, line).status)
    .into();
    assert_eq!(statuses, [0, 1, 0, 1, 0]);
    assert!(root.read().unwrap().interfaces["hn0"].up);
    assert_eq!(faults::spawns(&root).unwrap().len(), 5);
}
