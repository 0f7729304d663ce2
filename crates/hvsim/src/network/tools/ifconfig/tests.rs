//! Tests of the ifconfig(8) of the simulated guest. Each compares output, exit status and state after a call.
//! None starts a process.

use super::*;
use crate::network::guest::mac_of;

fn guest() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let mut state = State::default();
    state.add_hn(0);
    state.add_hn(1);
    root.create(&state).unwrap();
    (directory, root)
}

fn ifconfig(root: &Root, line: &str) -> Outcome {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    run(root, &words).unwrap()
}

fn ok(root: &Root, line: &str) -> String {
    let outcome = ifconfig(root, line);
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{line}");
    outcome.out
}

fn fails(root: &Root, line: &str, message: &str) {
    let outcome = ifconfig(root, line);
    assert_eq!(
        (outcome.status, outcome.err.as_str()),
        (1, format!("ifconfig: {message}\n").as_str()),
        "{line}"
    );
}

// contract V14
#[test]
fn a_family_is_accepted_only_directly_after_create() {
    let (_directory, root) = guest();
    ok(&root, "lagg0 create inet6 no_dad description ours laggproto failover laggport hn0 laggport hn1 up");
    let state = root.read().unwrap();
    let lagg = &state.interfaces["lagg0"];
    assert!(lagg.nd6.no_dad && lagg.up);
    assert_eq!(lagg.lagg.as_ref().unwrap().ports, ["hn0", "hn1"]);
    assert_eq!(state.interfaces["hn1"].mac, lagg.mac);
    fails(&root, "lagg0 description x inet6 fd00::1/64", "inet6: bad value");
    fails(&root, "hn0 inet 10.0.0.1/24 10.0.0.2/24", "10.0.0.2/24: bad value");
}

#[test]
fn a_generic_create_prints_the_name() {
    let (_directory, root) = guest();
    assert_eq!(ok(&root, "lagg create"), "lagg0\n");
    assert_eq!(ok(&root, "lagg7 create"), "");
    fails(&root, "lagg7 create", "interface lagg7 already exists");
    fails(&root, "nosuch0 create", "SIOCIFCREATE2 (nosuch0): Invalid argument");
    ok(&root, "lagg7 destroy");
    fails(&root, "lagg7", "interface lagg7 does not exist");
    fails(&root, "hn0 destroy", "SIOCIFDESTROY: Invalid argument");
}

#[test]
fn a_refused_port_is_reported_and_other_words_apply() {
    let (_directory, root) = guest();
    ok(&root, "lagg0 create laggport hn0");
    ok(&root, "lagg1 create");
    let outcome = ifconfig(&root, "lagg1 laggport hn0 laggport nosuch0 description still");
    assert_eq!(outcome.status, 1);
    assert_eq!(
        outcome.err,
        "ifconfig: lagg1 hn0: SIOCSLAGGPORT: Device busy\n\
         ifconfig: lagg1 nosuch0: SIOCSLAGGPORT: Invalid argument\n"
    );
    assert_eq!(root.read().unwrap().interfaces["lagg1"].description, "still");
    // A port of this lagg is no error.
    ok(&root, "lagg0 laggport hn0");
    fails(&root, "lagg0 -laggport hn1", "SIOCSLAGGDELPORT: No such file or directory");
    fails(&root, "lagg0 laggproto magic", "Invalid aggregation protocol: magic");
}

#[test]
fn addresses_are_added_replaced_and_removed() {
    let (_directory, root) = guest();
    ok(&root, "hn0 inet 10.0.0.1/24");
    ok(&root, "hn0 inet 10.0.0.2/24");
    ok(&root, "hn0 inet 10.0.0.3 netmask 0xffffffff alias");
    ok(&root, "hn0 inet6 fd00::1 prefixlen 64");
    ok(&root, "hn0 inet6 fd00::2/64");
    let held: Vec<String> = root.read().unwrap().interfaces["hn0"]
        .addresses
        .iter()
        .map(|held| format!("{}/{}", held.ip, held.prefix))
        .collect();
    assert_eq!(held, ["10.0.0.2/24", "10.0.0.3/32", "fd00::1/64", "fd00::2/64"]);
    fails(&root, "hn0 inet 10.0.0.9 -alias", "ioctl (SIOCDIFADDR): Can't assign requested address");
    let warned = ifconfig(&root, "hn0 inet 172.16.0.1 alias");
    assert!(warned.status == 0 && warned.err.contains("without mask"));
}

// contract V13
#[test]
fn removing_an_alias_without_address_succeeds_since_14() {
    let (_directory, root) = guest();
    ok(&root, "hn0 inet 10.0.0.1/24");
    ok(&root, "hn0 -alias");
    ok(&root, "hn0 -alias");
    root.change(|state| state.release = 13).unwrap();
    fails(&root, "hn0 -alias", "ioctl (SIOCDIFADDR): Can't assign requested address");
}

#[test]
fn flags_of_neighbour_discovery_need_their_family() {
    let (_directory, root) = guest();
    let outcome = ifconfig(&root, "hn0 no_dad");
    assert!(outcome.status == 0 && !outcome.err.is_empty());
    assert!(!root.read().unwrap().interfaces["hn0"].nd6.no_dad);
    ok(&root, "hn0 inet6 -ifdisabled accept_rtadv");
    let state = root.read().unwrap();
    // The kernel gives an enabled interface its link-local address.
    assert_eq!(state.interfaces["hn0"].addresses[0].ip.to_string(), "fe80::215:5dff:fe01:200");
    assert!(state.interfaces["hn0"].nd6.accept_rtadv);
}

#[test]
fn ports_have_the_mtu_of_their_lagg() {
    let (_directory, root) = guest();
    root.change(|state| state.interfaces.get_mut("hn1").unwrap().mtu = 4000).unwrap();
    ok(&root, "lagg0 create laggport hn0 laggport hn1");
    assert_eq!(root.read().unwrap().interfaces["hn1"].mtu, 1500);
    ok(&root, "lagg0 mtu 9000");
    assert_eq!(root.read().unwrap().interfaces["hn0"].mtu, 9000);
    fails(&root, "hn0 mtu 1400", "ioctl SIOCSIFMTU (set mtu): Invalid argument");
    ok(&root, "lagg0 destroy");
    fails(&root, "hn0 mtu 90000", "ioctl SIOCSIFMTU (set mtu): Invalid argument");
}

#[test]
fn output_differs_by_release() {
    let (_directory, root) = guest();
    ok(&root, "hn0 inet 10.0.0.1/24");
    let newer = ok(&root, "hn0");
    assert!(newer.starts_with(
        "hn0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n"
    ));
    assert!(newer.contains("\n\tinet 10.0.0.1 netmask 0xffffff00 broadcast 10.0.0.255\n"));
    assert!(newer.ends_with("\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>\n"));
    root.change(|state| state.release = 13).unwrap();
    assert!(
        ok(&root, "hn0")
            .starts_with("hn0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n")
    );
    assert_eq!(ok(&root, "-l"), "lo0 hn0 hn1\n");
    assert!(ok(&root, "").contains("hn1: flags="));
}

// contract V15
#[test]
fn a_default_route_goes_with_its_address() {
    let (_directory, root) = guest();
    ok(&root, "hn0 inet 10.0.0.1/24");
    ok(&root, "hn0 inet 10.0.0.2/24 alias");
    root.change(|state| state.add_route("10.0.0.254".parse().unwrap(), None)).unwrap().unwrap();
    ok(&root, "hn0 inet 10.0.0.2 -alias");
    assert_eq!(root.read().unwrap().routes.len(), 1);
    ok(&root, "hn0 inet 10.0.0.2/24 alias");
    ok(&root, "hn0 inet 10.0.0.1 -alias");
    assert!(root.read().unwrap().routes.is_empty(), "though the other one reaches the gateway");
}

#[test]
fn vf_that_comes_up_takes_the_data_path_once() {
    let (_directory, root) = guest();
    root.change(|state| state.attach_vf("mce0", "hn0")).unwrap();
    assert_eq!(root.read().unwrap().interfaces["mce0"].mac, Some(mac_of(0).to_string()));
    ok(&root, "mce0 up");
    ok(&root, "mce0 up");
    let events = root.read().unwrap().events;
    let ups = events.iter().filter(|event| event.ends_with("subsystem=hn0 type=VF_UP")).count();
    assert_eq!(ups, 1, "{events:?}");
    assert!(!root.read().unwrap().interfaces["hn0"].carrier);
    ok(&root, "mce0 down");
    assert!(root.read().unwrap().events.last().unwrap().ends_with("type=VF_DOWN"));
}

#[test]
fn new_ipv6_address_is_tentative_and_then_used_or_duplicated() {
    let (_directory, root) = guest();
    let prepare = |state: &mut State| {
        state.tentative_looks = 2;
        state.taken.push("fd00::2".parse().unwrap());
    };
    root.change(prepare).unwrap();
    ok(&root, "hn0 inet6 -ifdisabled -auto_linklocal");
    ok(&root, "hn0 inet6 fd00::1/64 alias");
    ok(&root, "hn0 inet6 fd00::2/64 alias");
    for _ in 0..2 {
        let shown = ok(&root, "hn0");
        assert!(shown.contains("\tinet6 fd00::1 prefixlen 64 tentative\n"), "{shown}");
        assert!(shown.contains("\tinet6 fd00::2 prefixlen 64 tentative\n"), "{shown}");
    }
    let shown = ok(&root, "");
    assert!(shown.contains("\tinet6 fd00::1 prefixlen 64\n"), "{shown}");
    assert!(shown.contains("\tinet6 fd00::2 prefixlen 64 duplicated\n"), "{shown}");
    // With NO_DAD there is no check for duplicates.
    ok(&root, "hn1 inet6 no_dad");
    ok(&root, "hn1 inet6 fd00::2/64 alias");
    assert!(!ok(&root, "hn1").contains("tentative"));
}

#[test]
fn flags_of_an_ipv6_address_are_shown_in_their_order() {
    let (_directory, root) = guest();
    let mut address = Address { autoconf: true, ..Address::new("fd00::1", 64) };
    (address.flags.deprecated, address.flags.temporary) = (true, true);
    let add = |state: &mut State| state.interfaces.get_mut("hn0").unwrap().addresses.push(address);
    root.change(add).unwrap();
    assert!(ok(&root, "hn0").contains("\tinet6 fd00::1 prefixlen 64 deprecated autoconf temporary\n"));
}

#[test]
fn carp_needs_a_vhid_and_shows_its_key_on_request() {
    let (_directory, root) = guest();
    fails(&root, "hn0 inet 10.0.0.50/32 alias pass secret", "passwd requires vhid");
    ok(&root, "hn0 inet vhid 5 advskew 100 pass secret alias 10.0.0.50/32");
    assert!(!ok(&root, "hn0").contains("secret"));
    assert!(ok(&root, "-k hn0").contains("\tcarp: MASTER vhid 5 advbase 1 advskew 100 key \"secret\"\n"));
}
