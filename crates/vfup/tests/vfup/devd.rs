//! The default of FreeBSD's cloud images, in which the stock rules of devd(8) act on every interface. The
//! rules of the suite must keep them from the VF.

use crate::support::Scratch;
use hvsim::network::State;
use hvsim::network::guest::SHIPPED_RULES;

const CLOUD: &str = "ifconfig_DEFAULT=\"SYNCDHCP accept_rtadv\"\n";

fn cloud_guest(rules: &str) -> Scratch {
    let mut state = State::default();
    state.add_hn(0);
    state.add_dhcp_server();
    let scratch = Scratch::with_rules(&state, CLOUD, rules);
    scratch.start_client("hn0");
    scratch
}

/// Hands the next waiting event to devd(8). Returns the command that it ran.
fn next(scratch: &Scratch) -> Option<String> {
    scratch.guest.handle_event().unwrap().map(|command| command.unwrap_or_default())
}

fn arrival(scratch: &Scratch) {
    scratch.guest.give_vf("mce0", "hn0").unwrap();
    // ATTACH and IFATTACH. The VF is left alone until its delay is over.
    let attach = next(scratch).unwrap();
    assert!(attach.contains("pccard_ether"), "{attach}");
    assert!(!scratch.state().interfaces["mce0"].up, "hyperv_vf_delay is honoured");
    scratch.guest.settle("mce0").unwrap();
    scratch.await_lease("lagg0");
    scratch.guest.run_devd().unwrap();
}

fn assert_one_client(scratch: &Scratch) {
    assert_eq!(scratch.clients(), ["lagg0"]);
    assert_eq!(scratch.ports("lagg0").len(), 1 + scratch.state().vfs.len());
    for name in ["hn0", "mce0"] {
        assert_eq!(scratch.addresses(name), [""; 0], "{name}");
    }
}

// contract V19
#[test]
fn cloud_guest_has_one_client_through_coming_and_going() {
    // Contract V18, V19.
    let scratch = cloud_guest(SHIPPED_RULES);
    arrival(&scratch);
    assert_one_client(&scratch);
    scratch.guest.take_vf("mce0").unwrap();
    // hn0 has a carrier again, and the stock rule starts a client for it.
    let commands = scratch.guest.run_devd().unwrap();
    assert!(commands.iter().any(|command| command.contains("dhclient quietstart $i")), "{commands:?}");
    assert_one_client(&scratch);
    arrival(&scratch);
    assert_one_client(&scratch);
}

// contract V2, V18
#[test]
fn stock_rules_alone_configure_the_vf_at_once() {
    // The reason for the suite's rules: without them the simulated FreeBSD behaves like the real one.
    let (without, _) = SHIPPED_RULES.split_once("# A VF never gets").unwrap();
    let scratch = cloud_guest(without);
    scratch.guest.give_vf("mce0", "hn0").unwrap();
    next(&scratch);
    assert!(scratch.state().interfaces["mce0"].up);
    assert_eq!(scratch.clients(), ["hn0", "mce0"]);
}

#[test]
fn other_interfaces_are_configured_as_usual() {
    let scratch = cloud_guest(SHIPPED_RULES);
    let attach = |state: &mut State| {
        state.attach("em0", hvsim::network::guest::mac_of(3));
    };
    scratch.guest.root().change(attach).unwrap();
    scratch.guest.run_devd().unwrap();
    assert_eq!(scratch.clients(), ["em0", "hn0"]);
    // In transparent mode a VF is an ordinary interface, which the kernel handles.
    let scratch = cloud_guest(SHIPPED_RULES);
    scratch.guest.root().change(|state| state.transparent = Some(1)).unwrap();
    scratch.guest.give_vf("mce0", "hn0").unwrap();
    next(&scratch);
    assert!(scratch.state().interfaces["mce0"].up);
}
