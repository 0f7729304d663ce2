//! The daemon is killed at every system call of an injection, and every system call fails in every way in
//! which the system lets it fail. What the host was told is so, a killed one is completed or taken back by
//! the next daemon, and the same request then succeeds.
//!
//! `make faults` tries all cases, the test suite some of them.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::cell::RefCell;
use std::time::Duration;

use hvsim::kvp::IpInfo;
use hvsim::network::guest::static_rc_conf;
use hvsim::syscalls::{Call, Case, Report, Strike, cases, cases_from};
use hvsim::testing::await_one_of;
use nix::errno::Errno;

use crate::support::*;

/// Every so many cases one is tried where not all are.
const STRIDE: usize = 211;
/// The same for the few calls around an undo file.
const UNDO_STRIDE: usize = 4;
const LOCK: &str = "guest/var/run/hyperv.hn0.lock";

/// rc.conf of the administrator.
fn original() -> String {
    format!("# first\n{}last=1", static_rc_conf(0))
}

/// A guest with a device file; `None`, with a word about it, where there can be none.
fn scene() -> Option<Scene> {
    let scene = Scene::new(static_state(), &original());
    match scene.session.without_device() {
        Some(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
        None => Some(scene),
    }
}

fn request() -> IpInfo {
    info("hn0", &["10.1.1.5/24", "fd01::5/64"], "10.1.1.1;fd01::1", "10.1.1.2")
}

/// A request of a host that changed its mind.
fn second() -> IpInfo {
    info("hn0", &["10.2.1.5/24", "fd02::5/64"], "10.2.1.1;fd02::1", "10.2.1.2")
}

/// Sends a request to a daemon under observation.
fn inject(scene: &mut Scene, request: IpInfo, case: Option<Case>) -> (Option<bool>, Report) {
    scene.session.ask_observed(case, |host| host.set_ip_info(request))
}

/// The next daemon starts when what the killed one had started is at its end.
fn start_next(scene: &mut Scene) {
    scene.session.daemon().unwrap().wait();
    let tools = scene.path("guest/sbin");
    let at_work = || {
        let processes = scene.session.machine().unwrap().processes().into_iter();
        let lines = processes.filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
        let tools = tools.as_os_str().as_encoded_bytes();
        lines.into_iter().any(|line| line.windows(tools.len()).any(|part| part == tools))
    };
    eventually("the end of its children", || !at_work());
    scene.session.start_daemon();
}

/// The world is one of `allowed`, soon.
fn expect_world(scene: &mut Scene, allowed: &[&World], what: &str) {
    let seen = RefCell::new(&mut *scene);
    let log = || format!("{what}\n{}", seen.borrow_mut().log());
    await_one_of(Duration::from_secs(10), allowed, log, || seen.borrow().world());
}

/// The same, and no work is marked as half-done.
fn expect(scene: &mut Scene, allowed: &[&World], what: &str) {
    expect_world(scene, allowed, what);
    let is_marked = || !std::fs::read_to_string(scene.path(LOCK)).unwrap_or_default().is_empty();
    eventually(&format!("{what}: the mark to go"), || !is_marked());
}

/// What became of requests under a strike.
#[derive(Debug, Default)]
struct Tally {
    struck: usize,
    refused: usize,
    ended: usize,
}

/// Tries the case on a new guest: what the host was told is so, and then the same request succeeds.
fn try_case([before, after]: [&World; 2], case: &Case, tally: &mut Tally) {
    let scene = &mut scene().unwrap();
    let (answer, report) = inject(scene, request(), Some(case.clone()));
    let what = format!("{case:?}, answer {answer:?}");
    let done = answer == Some(true);
    if report.ended || scene.session.gives_up(case) {
        start_next(scene);
        expect(scene, &[before, after], &what);
        tally.ended += 1;
    } else {
        assert!(!report.struck || case.strike != Strike::Kill, "{what}");
        let allowed = [if done { after } else { before }];
        // A mark that cannot be removed stays. Who has the lock next looks at the interface once more.
        if case.call.number == libc::SYS_ftruncate && case.call.is_on("hyperv.hn0.lock") {
            expect_world(scene, &allowed, &what);
        } else {
            expect(scene, &allowed, &what);
        }
        tally.refused += usize::from(!done);
    }
    scene.succeed(request());
    expect(scene, &[after], &format!("{what}, once more"));
    // Where the device itself failed, the kernel and the daemon may have seen different ends.
    scene.session.take_violations();
    tally.struck += usize::from(report.struck);
}

#[test]
fn every_system_call_of_an_injection_may_fail() {
    let Some(mut first) = scene() else { return };
    let before = first.world();
    let (answer, dry) = inject(&mut first, request(), None);
    assert_eq!(answer, Some(true));
    let after = first.world();
    assert_ne!(before, after);
    let mut tally = Tally::default();
    for case in cases(&dry.calls, STRIDE) {
        try_case([&before, &after], &case, &mut tally);
    }
    let Tally { struck, refused, ended } = tally;
    eprintln!("{struck} cases, {refused} refused, {ended} ended: done or taken back, never half-configured");
}

/// A file that cannot be looked at is not taken for absent: with rc.conf the undo file would say that nothing
/// was set before, and without resolvconf(8) the name servers would be left out.
#[test]
fn a_file_of_an_injection_that_cannot_be_looked_at_is_not_taken_for_absent() {
    let Some(mut first) = scene() else { return };
    let before = first.world();
    let (answer, dry) = inject(&mut first, request(), None);
    assert_eq!(answer, Some(true));
    let after = first.world();
    let look = |case: &Case| {
        [libc::SYS_statx, libc::SYS_newfstatat].contains(&case.call.number)
            && case.strike == Strike::Error(Errno::EIO)
    };
    let mut tally = Tally::default();
    for case in cases_from(&dry.calls, 0, 1).into_iter().filter(look) {
        try_case([&before, &after], &case, &mut tally);
    }
    eprintln!("{tally:?}");
}

/// The calls of an injection from the first on its undo file to some after rc.conf is in its place.
fn around_the_undo_file(calls: &[Call]) -> std::ops::RangeInclusive<usize> {
    let first = calls.iter().position(|call| call.is_on(".hn0.toml.hv_kvp_daemon")).unwrap();
    let last = calls.iter().rposition(|call| call.is_on(".rc.conf.hv_kvp_daemon")).unwrap();
    first..=last + 8
}

#[test]
fn every_system_call_of_a_second_undo_file_may_be_last() {
    let Some(mut first) = scene() else { return };
    first.succeed(request());
    let before = first.world();
    let (answer, dry) = inject(&mut first, second(), None);
    assert_eq!(answer, Some(true));
    let after = first.world();
    let around = around_the_undo_file(&dry.calls);
    let all = cases_from(&dry.calls[..=*around.end()], *around.start(), UNDO_STRIDE);
    let (mut tried, mut completed) = (0, 0);
    for case in all.into_iter().filter(|case| case.strike == Strike::Kill) {
        // Taken back at once, and after the next daemon has looked.
        for next in [false, true] {
            let mut scene = scene().unwrap();
            scene.succeed(request());
            let (answer, report) = inject(&mut scene, second(), Some(case.clone()));
            let what = format!("{case:?}, answer {answer:?}, next daemon {next}");
            assert!(report.ended, "{what}");
            if next {
                start_next(&mut scene);
                expect(&mut scene, &[&before, &after], &what);
                completed += usize::from(scene.world() == after);
            }
            let output = restore(&scene, "hn0");
            let said = format!("{what}: {}", String::from_utf8_lossy(&output.stdout));
            assert!(output.status.success() && !said.contains("except"), "{said}");
            assert_eq!(scene.rc_conf(), original(), "{said}");
            tried += 1;
        }
    }
    eprintln!("{tried} kills, {completed} completed: the administrator's lines came back each time");
}
