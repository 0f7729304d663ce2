//! Lets a program fail at each call of a hand-over: everything must be as before, and the next event must
//! succeed.

use crate::guests::{
    Picture, autoconfiguring_guest, carp_guest, dhcp_guest, guest_of_base, guest_of_one_family, left_to,
    left_to_hn, picture, renamed_guest, routed_guest, static_guest,
};
use crate::support::{Scratch, text};
use hvsim::network::faults::{Action, Fault};
use hvsim::testing::{PATIENCE, await_one_of, eventually};

/// Lets the k-th program fail for each k, in a guest that `make` creates each time, and compares the whole
/// state.
fn fail_at_every_step(make: impl Fn() -> Scratch, arguments: &[&str]) {
    let name = *arguments.last().unwrap();
    let joins = arguments.len() == 1;
    let scratch = make();
    scratch.inject(&[]);
    let leased = !scratch.clients().is_empty();
    scratch.succeed(arguments);
    if leased {
        // A background process continues.
        eventually("the client", || scratch.spawns().iter().any(|spawn| spawn.starts_with("dhclient ")));
    }
    let calls = u32::try_from(scratch.spawns().len()).unwrap();
    assert!(calls >= 4, "{:?}", scratch.spawns());
    for call in 1..=calls {
        let scratch = make();
        let before = picture(&scratch);
        let expected = if joins { left_to_hn(before) } else { before };
        scratch.inject(&[Fault { tool: "*".into(), call, action: Action::Fail }]);
        let output = scratch.run(arguments);
        let spawns = scratch.spawns();
        let injected =
            spawns.get(usize::try_from(call).unwrap() - 1).map_or("dhclient lagg0", String::as_str);
        if injected.starts_with("rtsol") {
            // It is not waited for, so its failure is not seen.
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            continue;
        }
        if injected.starts_with("route ") && output.status.success() {
            // A router's advertisement has changed the routes meanwhile, so the route was tried again.
            assert!(
                scratch.state().advertisement.is_some() && scratch.addresses("hn0").is_empty(),
                "{injected}"
            );
            continue;
        }
        if injected == "dhclient lagg0" {
            // The lease is waited for in the background.
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        } else {
            check_report(&output, name, joins, injected);
        }
        expect(&scratch, &expected, &format!("{injected}: {}", text(&output.stderr)));
        scratch.inject(&[]);
        scratch.succeed(arguments);
    }
}

fn check_report(output: &std::process::Output, name: &str, joins: bool, injected: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{injected}: {stderr}");
    assert_eq!(stderr.lines().nth(1), joins.then(|| left_to(name)).as_deref(), "{injected}: {stderr}");
    assert!(stderr.contains("injected fault"), "{injected}: {stderr}");
    let undone =
        stderr.contains(&format!("{name}: cannot ")) && stderr.contains(", everything was taken back: ");
    assert!(undone || stderr.contains("cannot read interfaces"), "{injected}: {stderr}");
}

/// Compares the state. A lease and advertised addresses take a moment to return.
fn expect(scratch: &Scratch, expected: &Picture, what: &str) {
    await_one_of(PATIENCE, &[expected], || format!("{what}\n{:#?}", scratch.spawns()), || picture(scratch));
}

fn joined(make: impl Fn() -> Scratch) -> Scratch {
    let scratch = make();
    scratch.succeed(&["hn0"]);
    scratch
}

#[test]
fn static_hand_over() {
    fail_at_every_step(static_guest, &["hn0"]);
}

#[test]
fn hand_over_of_one_family() {
    fail_at_every_step(|| guest_of_one_family(true), &["hn0"]);
    fail_at_every_step(|| guest_of_one_family(false), &["hn0"]);
}

#[test]
fn hand_over_with_static_routes() {
    fail_at_every_step(routed_guest, &["hn0"]);
}

#[test]
fn hand_over_of_a_dhcp_guest() {
    fail_at_every_step(|| dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n"), &["hn0"]);
}

#[test]
fn hand_over_of_an_autoconfiguring_guest() {
    fail_at_every_step(autoconfiguring_guest, &["hn0"]);
}

#[test]
fn hand_over_with_a_vhid() {
    fail_at_every_step(carp_guest, &["hn0"]);
}

#[test]
fn hand_over_of_a_renamed_interface() {
    fail_at_every_step(renamed_guest, &["eth0"]);
}

#[test]
fn adoption_of_the_lagg_of_base() {
    fail_at_every_step(guest_of_base, &["hn0"]);
}

#[test]
fn taking_apart() {
    fail_at_every_step(|| joined(routed_guest), &["-d", "hn0"]);
}

#[test]
fn taking_apart_with_a_vhid() {
    fail_at_every_step(|| joined(carp_guest), &["-d", "hn0"]);
}

#[test]
fn a_refused_second_port_leaves_everything_unchanged() {
    // The first port has joined by then, and joining removes all IPv6 from it.
    let scratch = static_guest();
    let refuse = |state: &mut hvsim::network::State| state.interfaces.get_mut("mce0").unwrap().max_mtu = 1400;
    scratch.guest.root().change(refuse).unwrap();
    let before = picture(&scratch);
    let output = scratch.run(&["hn0"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SIOCSLAGGPORT: Invalid argument") && stderr.contains("taken back"), "{stderr}");
    expect(&scratch, &left_to_hn(before), &stderr);
    eventually("the end of all processes", || scratch.processes().is_empty());
}
