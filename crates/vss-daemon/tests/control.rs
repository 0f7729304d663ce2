//! The control socket and the history of the backup daemon. Backups run on the device files, or the tests are
//! skipped.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hv_core::report::{Backup, Verdict, VssReport};
use hvsim::session::vss::{Session, Setup};
use hvsim::testing::{PATIENCE, look_for};
use hvsim::vss::{Call, Fault, Operation, Outcome, Side};
use nix::sys::signal::Signal;

use Operation::{Freeze, Thaw};

const HOOK: &str = "echo \"$1\" >>\"$CALLS\"";

fn start() -> Option<Session> {
    let setup = Setup { hooks: vec![("10-db", HOOK.into())], ..Setup::default() };
    match Session::start_on_device(&setup) {
        Ok(session) => Some(session),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn report(session: &Session) -> VssReport {
    // The daemon opens its device a moment before it creates its socket.
    let path = session.path("hv_vss_daemon.sock");
    let mut stream = look_for(PATIENCE, || UnixStream::connect(&path).ok()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn history(session: &Session) -> Vec<Backup> {
    let text = fs::read_to_string(session.path("backups")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The report after the end of the last hook.
fn after_backup(session: &Session, count: usize) -> VssReport {
    look_for(PATIENCE, || (history(session).len() == count).then_some(())).unwrap();
    report(session)
}

#[test]
fn freeze_is_reported_while_frozen_and_recorded_after_the_thaw() {
    let Some(mut session) = start() else { return };
    assert_eq!(report(&session).frozen, [""; 0]);
    assert_eq!(session.host().vss_ask(Freeze).unwrap().outcome, Outcome::Success);
    let during = report(&session);
    let suspended = session.host().vss_suspended().unwrap();
    assert_eq!(during.frozen, suspended);
    assert!(during.frozen_since.is_some() && history(&session).is_empty());
    assert_eq!(session.host().vss_ask(Thaw).unwrap().outcome, Outcome::Success);
    let after = after_backup(&session, 1);
    assert_eq!((after.frozen.len(), after.frozen_since), (0, None));
    let backup = after.last_backup.unwrap();
    assert_eq!(history(&session), std::slice::from_ref(&backup));
    assert_eq!(backup.verdict, Verdict::Good);
    assert!(backup.frozen_for.unwrap() > 0 && backup.answered_in > 0);
    let mounts: Vec<&str> = backup.mounts.iter().map(|mount| mount.mount.as_str()).collect();
    assert_eq!(mounts, suspended);
    let hooks: Vec<&str> = backup.hooks.iter().map(|hook| hook.phase.as_str()).collect();
    assert_eq!(hooks, ["freeze", "thaw"]);
    assert_eq!(after.requests.counts["freeze"], 1);
}

#[test]
fn a_failed_or_void_backup_is_recorded_with_its_reason() {
    let Some(mut session) = start() else { return };
    session.host().vss_inject(Fault { call: Call::Suspend, after: 1, errno: 16, delay: 0 }).unwrap();
    assert_eq!(session.host().vss_ask(Freeze).unwrap().outcome, Outcome::Failure);
    let failed = after_backup(&session, 1).last_backup.unwrap();
    assert_eq!(failed.verdict, Verdict::Failed);
    assert!(failed.reason.unwrap().contains("suspended already"));
    assert_eq!(session.host().vss_ask(Freeze).unwrap().outcome, Outcome::Success);
    session.daemon().signal(Signal::SIGTERM);
    assert_eq!(session.daemon().exit_code(), 0);
    // The socket was removed after the thaw.
    assert!(!session.path("hv_vss_daemon.sock").exists());
    let void = history(&session).pop().unwrap();
    assert_eq!(void.verdict, Verdict::Void);
    assert!(void.reason.unwrap().contains("asked to stop"));
}

#[test]
fn the_next_daemon_replaces_the_socket_of_a_killed_one() {
    let Some(mut session) = start() else { return };
    assert_eq!(session.host().vss_ask(Freeze).unwrap().outcome, Outcome::Success);
    session.daemon().signal(Signal::SIGKILL);
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    session.daemon().exit_code();
    UnixStream::connect(session.path("hv_vss_daemon.sock")).unwrap_err();
    // Until the kernel has noticed the end of the daemon, it waits for an answer.
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
    session.host().vss_ask(Thaw).unwrap();
    session.start_daemon();
    let deadline = Duration::ZERO;
    assert!(session.host().vss_backup(deadline).unwrap().is_ok());
    assert_eq!(after_backup(&session, 1).requests.counts["freeze"], 1);
}
