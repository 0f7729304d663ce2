//! Many events at once, in random order. At the end each hn must have one correct lagg.

use std::sync::Mutex;

use crate::support::{Scratch, text};
use hvsim::network::State;
use hvsim::network::guest::static_rc_conf;
use hvsim::testing::{command, eventually};

const UNITS: [u8; 3] = [0, 1, 10];

/// hn0 and hn10 static, hn1 with DHCP, all with a VF that is up.
fn guest() -> Scratch {
    let mut state = State::default();
    state.add_static_hn(0);
    state.add_hn(1);
    state.add_static_hn(10);
    state.add_dhcp_server();
    for unit in UNITS {
        state.attach_vf(&format!("mce{unit}"), &format!("hn{unit}"));
    }
    let rc_conf = static_rc_conf(0) + &static_rc_conf(10) + "ifconfig_hn1=\"SYNCDHCP\"\n";
    let scratch = Scratch::new(&state, &rc_conf);
    scratch.start_client("hn1");
    // Only now: while its VF has the traffic, hn1 has no link.
    let up = |state: &mut State| UNITS.into_iter().for_each(|unit| state.interface_up(&format!("mce{unit}")));
    scratch.guest.root().change(up).unwrap();
    scratch
}

/// A permutation chosen by a number, so that a failure can be repeated.
fn shuffled(mut events: Vec<Vec<String>>, seed: u64) -> Vec<Vec<String>> {
    let mut random = seed | 1;
    for place in (1..events.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let other = random % (place as u64 + 1);
        events.swap(place, usize::try_from(other).unwrap());
    }
    events
}

fn words(line: String) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn parallel_events_end_with_one_lagg_for_each_hn() {
    let scratch = guest();
    let seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    println!("seed {seed}");
    let mut events = Vec::new();
    for round in 0..11 {
        for unit in UNITS {
            events.push(words(format!("hyperv_vfattach mce{unit} 0")));
            events.push(words(format!("hyperv_vfup hn{unit}")));
            events.push(words(format!("hyperv_vfup{} hn{unit}", if round % 3 == 0 { "" } else { " -d" })));
        }
    }
    events.push(words("hyperv_vfup hn0".to_owned()));
    assert_eq!(events.len(), 100);
    let queue = Mutex::new(shuffled(events, seed));
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                loop {
                    let Some(event) = queue.lock().unwrap().pop() else { break };
                    let mut command = command(&event[0], &scratch.path(""));
                    command.arg("-f").arg(scratch.guest.config()).args(&event[1..]);
                    let output = command.output().unwrap();
                    assert!(output.status.success(), "{event:?}: {}", text(&output.stderr));
                }
            });
        }
    });
    // The last event decides. Of 100 in random order it is unknown, so one more is added.
    let last: Vec<_> = UNITS.map(|unit| scratch.vfup().arg(format!("hn{unit}")).spawn().unwrap()).into();
    for mut run in last {
        assert!(run.wait().unwrap().success());
    }
    // Processes that wait for two seconds before they bring a VF up.
    eventually("the end of all processes", || {
        let is_client = |line: &String| line.starts_with("dhclient: ") || line.contains("/sbin/dhclient ");
        scratch.processes().iter().all(is_client)
    });
    assert_eq!(scratch.clients(), ["lagg1"]);
    let state = scratch.state();
    let laggs: Vec<&String> = state.interfaces.keys().filter(|name| name.starts_with("lagg")).collect();
    assert_eq!(laggs, ["lagg0", "lagg1", "lagg10"]);
    for unit in UNITS {
        assert_eq!(scratch.ports(&format!("lagg{unit}")), [format!("hn{unit}"), format!("mce{unit}")]);
        assert_eq!(scratch.addresses(&format!("hn{unit}")), [""; 0]);
        assert_eq!(scratch.addresses(&format!("mce{unit}")), [""; 0]);
    }
    assert_eq!(scratch.addresses("lagg0"), ["10.0.0.5/24", "10.1.0.5/32", "fd00::5/64"]);
    assert_eq!(scratch.addresses("lagg1"), ["10.9.1.50/16"]);
    assert_eq!(scratch.addresses("lagg10").len(), 3);
    assert_eq!(scratch.routes(), ["10.0.0.1 lagg0", "fd00::1 lagg0"]);
}
