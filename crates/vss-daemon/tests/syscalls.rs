//! Kills the daemon at every system call of a backup, and makes every system call fail in each way that the
//! system allows. Nothing stays frozen, a backup that succeeded was frozen all the time, and the next backup
//! is good.
//!
//! `make faults` tries all cases; the test suite tries a sample.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::thread;
use std::time::Duration;

use hv_core::vss::KERNEL_LIMIT;
use hvsim::session::vss::{Session, Setup};
use hvsim::syscalls::{Begin, Case, Report, Strike, Watch, cases};
use hvsim::testing::{PATIENCE, look_for};
use hvsim::vss::backup::Backup;
use hvsim::vss::{Operation, Outcome, Side};

use Operation::{Freeze, Thaw};

/// The test suite tries one case of this many.
const STRIDE: usize = 37;

/// The host's results of a freeze and a thaw.
type Heard = (Outcome, Outcome);

/// A guest with device files. `None` if the test is skipped; the reason is printed.
fn start(setup: &Setup) -> Option<Session> {
    Session::start_on_device(setup).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

/// A freeze and a thaw by a daemon under observation.
fn backup(session: &mut Session, case: Option<Case>) -> (Heard, Report) {
    // How long the host waits for a daemon that dies in the middle.
    let timeout = if case.is_some() { Duration::from_secs(1) } else { KERNEL_LIMIT };
    session.host().vss_set_timeout(timeout).unwrap();
    let watch = Watch::begin(session.daemon().pid(), Begin::Now, case).unwrap();
    let freeze = session.host().vss_ask(Freeze).unwrap().outcome;
    let suspended = session.host().vss_suspended().unwrap();
    assert!(freeze != Outcome::Failure || suspended.is_empty(), "a freeze failed and left {suspended:?}");
    let thaw = session.host().vss_ask(Thaw).unwrap().outcome;
    session.host().vss_set_timeout(KERNEL_LIMIT).unwrap();
    let report = if watch.is_over() { watch.wait().unwrap() } else { watch.end().unwrap() };
    ((freeze, thaw), report)
}

/// Whether the daemon has ended, or will end because its device failed.
fn has_ended(session: &mut Session, case: &Case, report: &Report) -> bool {
    let device = case.call.is_on(Side::FileSystem.node()) || case.call.number == 7 || case.call.number == 271;
    report.ended || (device && ends_soon(session))
}

fn ends_soon(session: &mut Session) -> bool {
    for _ in 0..100 {
        if session.daemon().is_gone() {
            return true;
        }
        thread::sleep(Duration::from_millis(3));
    }
    false
}

#[test]
fn every_system_call_may_fail_and_nothing_stays_frozen() {
    let Some(mut session) = start(&Setup::default()) else { return };
    let (heard, dry) = backup(&mut session, None);
    assert_eq!(heard, (Outcome::Success, Outcome::Success));
    let (mut tried, mut good) = (0, 0);
    for case in cases(&dry.calls, STRIDE) {
        let ((freeze, thaw), report) = backup(&mut session, Some(case.clone()));
        let what = format!("{case:?}: {freeze:?}, {thaw:?}");
        assert!(session.host().vss_wait_thawed(PATIENCE).unwrap(), "{what}: frozen for ever");
        if thaw == Outcome::Success {
            assert_eq!(freeze, Outcome::Success, "{what}: a void backup is no good one");
        }
        if has_ended(&mut session, &case, &report) {
            session.daemon().exit_code();
            session.start_daemon();
        } else {
            assert!(!report.struck || case.strike != Strike::Kill, "{what}");
        }
        assert!(session.host().vss_wait_thawed(PATIENCE).unwrap(), "{what}: frozen for ever");
        // Where the device itself failed, the kernel and the daemon may have seen different results.
        session.host().take_violations().unwrap();
        // A freeze may go on until its deadline: the daemon does not learn that the kernel gave up.
        let next = || Some(session.host().vss_backup(Duration::ZERO).unwrap()).filter(Backup::is_ok);
        assert!(look_for(PATIENCE, next).is_some(), "{what}: no backup afterwards");
        tried += usize::from(report.struck);
        good += usize::from((freeze, thaw) == (Outcome::Success, Outcome::Success));
    }
    eprintln!(
        "{tried} cases, {good} of them good backups: nothing stayed frozen, no void backup was called good"
    );
}
