//! How many processes a hand-over starts, subshells included: the ids of a fresh process namespace are given in a row.

use std::process::Command;
use std::time::Instant;

use crate::support::{Scratch, text};
use hvsim::network::State;
use hvsim::network::guest::static_rc_conf;

/// Runs lines of a shell in a new process namespace. Each `up` in them runs hyperv_vfup for hn0 and gives the number of
/// processes that it started, itself included. The process that asks for the last id is the one to subtract.
fn measured(scratch: &Scratch, script: &str) -> Option<Vec<u32>> {
    let vfup = hvsim::testing::program("hyperv_vfup");
    let prelude = format!(
        "set -e\nlast() {{ exec cat /proc/sys/kernel/ns_last_pid; }}\n\
         count() {{ before=$(last); \"$@\" >&2; after=$(last); echo $((after - before - 1)); }}\n\
         up() {{ count {} -f {} hn0; }}\ndhclient() {{ {} \"$@\" >&2; }}\n",
        vfup.display(),
        scratch.guest.config().display(),
        scratch.path("sbin/dhclient").display(),
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c"])
        .arg(prelude + script)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(text(&output.stdout).lines().map(|line| line.parse().unwrap()).collect())
        }
        Ok(output) if text(&output.stderr).starts_with("unshare:") => skip(&text(&output.stderr)),
        Ok(output) => panic!("{}", text(&output.stderr)),
        Err(error) => skip(&error.to_string()),
    }
}

fn skip(reason: &str) -> Option<Vec<u32>> {
    assert!(
        std::env::var_os("HVSIM_REQUIRED").is_none_or(|value| value != "1"),
        "HVSIM_REQUIRED=1, but {reason}"
    );
    eprintln!("skipped: {reason}");
    None
}

#[test]
fn static_hand_over_starts_at_most_14_processes_and_a_repeated_one_3() {
    let mut state = State::default();
    state.add_static_hn(0);
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let scratch = Scratch::new(&state, &static_rc_conf(0));
    let started = Instant::now();
    let Some(counts) = measured(&scratch, "up; up") else { return };
    println!("static: {counts:?} processes in {:?}", started.elapsed());
    assert_eq!(scratch.addresses("lagg0").len(), 3);
    assert!(counts[0] <= 14, "{counts:?}");
    assert!(counts[1] <= 3, "{counts:?}");
}

#[test]
fn dhcp_hand_over_starts_at_most_8_processes() {
    let mut state = State::default();
    state.add_hn(0);
    state.add_dhcp_server();
    state.attach_vf("mce0", "hn0");
    state.interface_up("mce0");
    let scratch = Scratch::new(&state, "ifconfig_hn0=\"SYNCDHCP\"\n");
    let Some(counts) = measured(&scratch, "dhclient hn0; up; up") else { return };
    println!("dhcp: {counts:?} processes");
    assert!(counts[0] <= 8, "{counts:?}");
    assert!(counts[1] <= 3, "{counts:?}");
}
