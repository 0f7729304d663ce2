//! The program is killed at every system call of a hand-over, and every system call fails in every way in
//! which the system lets it fail. What is said to be done is done, what failed was taken back, and the next
//! event makes the whole of it.
//!
//! `make faults` tries all cases, the test suite some of them.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::process::{Output, Stdio};

use hvsim::syscalls::{Case, Report, Strike, cases_from, stopped, watch_start};
use hvsim::testing::{PATIENCE, await_one_of, eventually};
use nix::unistd::Pid;

use crate::guests::{Picture, carp_guest, left_to_hn, picture, routed_guest};
use crate::support::{Scratch, text};

const PROGRAM: &str = "hyperv_vfup";
/// The first file that is touched, and the last one.
const LOCK: &str = "hyperv.hn0.lock";
/// Every so many cases one is tried where not all are.
const STRIDE: usize = 223;

fn run(scratch: &Scratch, arguments: &[&str], case: Option<Case>) -> (Output, Report) {
    let mut command = scratch.vfup();
    command.args(arguments);
    let mut command = stopped(&command);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let report = watch_start(pid, PROGRAM, case).unwrap().wait().unwrap();
    (child.wait_with_output().unwrap(), report)
}

/// The pictures of a guest before and after, and what is told where a run fails.
struct Story {
    after: Picture,
    failed: Picture,
}

fn try_each(make: impl Fn() -> Scratch, arguments: &[&str]) {
    let scratch = make();
    let before = picture(&scratch);
    let joins = !arguments.contains(&"-d");
    let (output, dry) = run(&scratch, arguments, None);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let after = picture(&scratch);
    assert_ne!(after, before);
    let story = Story { after, failed: if joins { left_to_hn(before) } else { before } };
    let on_lock = |call: &hvsim::syscalls::Call| call.is_on(LOCK);
    // That of the lock's own opening is the one before.
    let first = dry.calls.iter().position(on_lock).unwrap() - 1;
    let mut tried = 0;
    for case in cases_from(&dry.calls, first, STRIDE) {
        let scratch = make();
        let (output, report) = run(&scratch, arguments, Some(case.clone()));
        let what = format!("{arguments:?}, {case:?}: {}", text(&output.stderr));
        check(&scratch, &story, &output, &case, &what);
        // The same event once more.
        scratch.succeed(arguments);
        expect(&scratch, &story.after, &what);
        assert_eq!(std::fs::read_to_string(scratch.path("var/run").join(LOCK)).unwrap(), "", "{what}");
        tried += usize::from(report.struck);
    }
    eprintln!("{tried} cases of {arguments:?}: done or taken back, and nothing was left half-done");
}

fn check(scratch: &Scratch, story: &Story, output: &Output, case: &Case, what: &str) {
    match output.status.code() {
        Some(0) => expect(scratch, &story.after, what),
        Some(1) => expect(scratch, &story.failed, what),
        // What a killed program had started goes on to its end.
        None if case.strike == Strike::Kill => {
            eventually("the end of its children", || scratch.processes().is_empty());
        }
        _ => panic!("{:?}: {what}", output.status),
    }
}

fn expect(scratch: &Scratch, expected: &Picture, what: &str) {
    await_one_of(PATIENCE, &[expected], || what.to_owned(), || picture(scratch));
}

#[test]
fn every_system_call_of_a_hand_over_may_fail() {
    try_each(routed_guest, &["hn0"]);
}

#[test]
fn every_system_call_of_a_vhid_hand_over_may_fail() {
    try_each(carp_guest, &["hn0"]);
}

#[test]
fn every_system_call_of_taking_apart_may_fail() {
    let joined = || {
        let scratch = routed_guest();
        scratch.succeed(&["hn0"]);
        scratch
    };
    try_each(joined, &["-d", "hn0"]);
}
