//! The program is killed at every system call of a hand-over, and every system call fails in every way in
//! which the system lets it fail. What is said to be done is done, what failed was taken back, and the next
//! event makes the whole of it.
//!
//! `make faults` tries all cases, the test suite some of them.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::process::{Output, Stdio};

use hvsim::syscalls::{Begin, Call, Case, Report, Strike, cases, cases_from, stopped, watch_start};
use hvsim::testing::{PATIENCE, await_one_of, eventually};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::guests::{Picture, carp_guest, dhcp_guest, left_to_hn, picture, routed_guest};
use crate::support::{Scratch, text};

const PROGRAM: &str = "hyperv_vfup";
/// The first file that is touched, and the last one.
const LOCK: &str = "hyperv.hn0.lock";
/// Every so many cases one is tried where not all are.
const STRIDE: usize = 223;

fn run(scratch: &Scratch, arguments: &[&str], case: Option<Case>) -> (Output, Report) {
    run_from(scratch, arguments, Begin::Program(PROGRAM), case)
}

fn run_from(scratch: &Scratch, arguments: &[&str], from: Begin, case: Option<Case>) -> (Output, Report) {
    let mut command = scratch.vfup();
    command.args(arguments);
    let mut command = stopped(&command);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let report = watch_start(pid, from, case).unwrap().wait().unwrap();
    (child.wait_with_output().unwrap(), report)
}

/// The pictures of a guest before and after, and what is told where a run fails.
struct Story {
    after: Picture,
    failed: Picture,
}

fn try_each(make: impl Fn() -> Scratch, arguments: &[&str]) {
    let on_lock = |call: &Call| call.is_on(LOCK);
    // That of the lock's own opening is the one before.
    try_from(make, arguments, |calls| cases_from(calls, calls.iter().position(on_lock).unwrap() - 1, STRIDE));
}

fn try_from(make: impl Fn() -> Scratch, arguments: &[&str], choose: impl Fn(&[Call]) -> Vec<Case>) {
    let scratch = make();
    let before = picture(&scratch);
    let joins = !arguments.contains(&"-d");
    let (output, dry) = run(&scratch, arguments, None);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let after = picture(&scratch);
    assert_ne!(after, before);
    let story = Story { after, failed: if joins { left_to_hn(before) } else { before } };
    let mut tried = 0;
    for case in choose(&dry.calls) {
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

/// What was done is not called failed because a look at it failed once.
#[test]
fn a_look_at_a_hand_over_that_is_done_may_fail_once() {
    try_from(routed_guest, &["hn0"], |calls| {
        let done = calls
            .iter()
            .rposition(|call| call.is_on(LOCK) && call.number == nix::libc::SYS_ftruncate)
            .unwrap();
        let mut cases = cases_from(calls, done + 1, 1);
        cases.retain(|case| case.strike == Strike::Error(Errno::EMFILE));
        assert!(!cases.is_empty(), "{calls:?}");
        cases
    });
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

/// Whether a run of the program is at work, in the foreground or in the background.
fn is_at_work(scratch: &Scratch) -> bool {
    scratch.processes().iter().any(|line| line.contains(PROGRAM))
}

#[test]
fn every_system_call_of_a_waiting_child_may_fail() {
    let make = || dhcp_guest("ifconfig_hn0=\"SYNCDHCP\"\n");
    let scratch = make();
    let failed = left_to_hn(picture(&scratch));
    let (output, dry) = run_from(&scratch, &["hn0"], Begin::Background, None);
    assert!(output.status.success() && dry.ended && !dry.calls.is_empty(), "{}", text(&output.stderr));
    let after = picture(&scratch);
    assert_ne!(after, failed);
    let lock = |scratch: &Scratch| std::fs::read_to_string(scratch.path("var/run").join(LOCK)).unwrap();
    let (mut tried, mut undone) = (0, 0);
    for case in cases(&dry.calls, STRIDE) {
        let scratch = make();
        let (output, report) = run_from(&scratch, &["hn0"], Begin::Background, Some(case.clone()));
        let what = format!("{case:?}, {:?}: {}", output.status, text(&output.stderr));
        if report.struck && case.strike == Strike::Kill {
            eventually("the end of what it had started", || !is_at_work(&scratch));
        } else {
            let expected = || what.clone();
            await_one_of(PATIENCE, &[&after, &failed], expected, || picture(&scratch));
            undone += usize::from(picture(&scratch) == failed);
        }
        // The same event once more, which may go to the background, too.
        scratch.succeed(&["hn0"]);
        expect(&scratch, &after, &what);
        eventually("the end of the next run", || !is_at_work(&scratch));
        assert_eq!(lock(&scratch), "", "{what}");
        tried += usize::from(report.struck);
    }
    eprintln!("{tried} cases, {undone} taken back: the wait for a lease left nothing half-done");
}
