//! Kills the daemon at every system call of a change and of a start, and makes every system call fail in each
//! way that the system allows. Each record is old or new, acknowledged changes are kept, and a refused change
//! has no effect.
//!
//! `make faults` tries all cases; the test suite tries a sample.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hvsim::session::kvp::{Session, Setup};
use hvsim::syscalls::{Begin, Case, Report, Strike, Watch, cases, stopped, watch_start};
use hvsim::testing::{Options, eventually, program};

const DAEMON: &str = "hv_kvp_daemon";
const POOL: u8 = 0;
/// The test suite tries one case of this many.
const STRIDE: usize = 5;

type Contents = BTreeMap<String, String>;

/// A change by the host. `None` deletes.
#[derive(Debug, Clone, Copy)]
struct Change(&'static str, Option<&'static str>);

const CHANGES: [Change; 4] = [
    Change("new", Some("a key that is not there")),
    Change("b", Some("another value, longer than the one before")),
    Change("a", None),
    Change("e", None),
];

fn base() -> Contents {
    ["a", "b", "c", "d", "e"].map(|key| (key.to_owned(), format!("value of {key}"))).into()
}

/// A session with a device file. `None` where that is impossible; the reason is printed.
fn session() -> Option<Session> {
    let timeout = Some(Duration::from_secs(20));
    let setup = Setup { machine: Options { timeout, ..Options::default() }, ..Setup::default() };
    let session = Session::start(&setup);
    if let Some(reason) = session.without_device() {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(session)
}

fn contents(session: &mut Session) -> Contents {
    let (items, _) = session.host().enumerate(POOL).unwrap();
    let count = items.len();
    let contents: Contents = items.into_iter().map(|item| (item.key, item.value)).collect();
    assert_eq!(contents.len(), count, "no key twice");
    contents
}

/// Restores the pool that every case begins with.
fn reset(session: &mut Session) {
    let (now, base) = (contents(session), base());
    for key in now.keys().filter(|key| !base.contains_key(*key)) {
        assert!(session.host().delete(POOL, key).unwrap().is_ok());
    }
    for (key, value) in base.iter().filter(|(key, value)| now.get(*key) != Some(value)) {
        assert!(session.host().set(POOL, key, value).unwrap().is_ok());
    }
}

/// Sends a change to a daemon under observation.
fn change(session: &mut Session, change: Change, case: Option<Case>) -> (Option<bool>, Report) {
    session.ask_observed(case, move |host| match change {
        Change(key, Some(value)) => host.set(POOL, key, value),
        Change(key, None) => host.delete(POOL, key),
    })
}

/// Checks the pool after a change with this result.
fn check(now: &Contents, Change(key, value): Change, outcome: Option<bool>, what: &str) {
    let (mut now, mut wanted) = (now.clone(), base());
    let (is, was) = (now.remove(key), wanted.remove(key));
    let is_new = is.as_deref() == value;
    match outcome {
        Some(true) => assert!(is_new, "{what}: acknowledged, but {key} is {is:?}, {now:?}"),
        Some(false) => assert_eq!(is, was, "{what}: refused, but {key} was changed"),
        None => assert!(is_new || is == was, "{what}: {key} is {is:?}"),
    }
    assert_eq!(now, wanted, "{what}: the other records");
}

fn restart(session: &mut Session) {
    session.daemon().unwrap().signal(nix::sys::signal::Signal::SIGKILL);
    session.daemon().unwrap().wait();
    session.start_daemon();
}

fn describe(case: &Case, about: &impl std::fmt::Debug) -> String {
    format!("{about:?}, {case:?}")
}

#[test]
fn every_system_call_of_a_change_may_fail() {
    let Some(mut session) = session() else { return };
    let mut tried = 0;
    for about in CHANGES {
        reset(&mut session);
        let (outcome, dry) = change(&mut session, about, None);
        assert_eq!(outcome, Some(true));
        for case in cases(&dry.calls, STRIDE) {
            reset(&mut session);
            let (outcome, report) = change(&mut session, about, Some(case.clone()));
            let what = describe(&case, &about);
            if report.ended || session.gives_up(&case) {
                session.daemon().unwrap().wait();
                session.start_daemon();
                check(&contents(&mut session), about, None, &what);
            } else {
                assert!(!report.struck || case.strike != Strike::Kill, "{what}");
                check(&contents(&mut session), about, outcome, &what);
                restart(&mut session);
                check(&contents(&mut session), about, outcome, &what);
            }
            // Where the device itself failed, the kernel and the daemon may have seen different results.
            session.take_violations();
            tried += usize::from(report.struck);
        }
    }
    eprintln!("{tried} cases: nothing was lost, torn, doubled or invented");
}

#[test]
fn a_set_makes_no_needless_system_call() {
    // There the system calls are those of the stand-in for FreeBSD's libc.
    if hvsim::testing::freebsd_root().is_some() {
        return;
    }
    const MOST: [(&str, i64, usize); 7] = [
        ("request, old record", libc::SYS_pread64, 2),
        ("journal, new record, answer", libc::SYS_pwrite64, 3),
        ("journal", libc::SYS_fdatasync, 1),
        ("path of the pool", libc::SYS_statx, 1),
        ("was the file changed, our own change", libc::SYS_read, 2),
        ("lock and unlock", libc::SYS_fcntl, 2),
        ("lock and unlock, the other kind", libc::SYS_flock, 2),
    ];
    let Some(mut session) = session() else { return };
    reset(&mut session);
    // The daemon may also do what it does once a second.
    let sets: Vec<Report> = ["1", "2", "3", "4", "5"]
        .map(|value| change(&mut session, Change("b", Some(value)), None))
        .map(|(outcome, report)| (outcome == Some(true)).then_some(report).unwrap())
        .into();
    for (what, number, most) in MOST {
        let count = |report: &Report| report.calls.iter().filter(|call| call.number == number).count();
        assert_eq!(sets.iter().map(count).min(), Some(most), "{what}");
    }
}

/// Leaves a daemon's change in the journal, and its record half old and half new, as a power cut may.
fn leave_a_journal(session: &mut Session) {
    let before = loop {
        reset(session);
        let before = std::fs::read(session.pool_file(POOL)).unwrap();
        if !kill_after_a_change(session) {
            break before;
        }
        session.start_daemon();
    };
    let mut torn = std::fs::read(session.pool_file(POOL)).unwrap();
    let at = (0..torn.len()).find(|at| torn[*at] != before[*at]).unwrap();
    // Disks write whole sectors.
    let sector = (at / 512 + 1) * 512;
    torn[sector..].copy_from_slice(&before[sector..]);
    std::fs::write(session.pool_file(POOL), torn).unwrap();
}

/// Kills the daemon after it has acknowledged a change. Says whether it has settled the pools before: then the
/// change is no longer in the journal.
fn kill_after_a_change(session: &mut Session) -> bool {
    let pid = session.daemon().unwrap().pid();
    let watch = Watch::begin(pid, Begin::Now, None).unwrap();
    assert!(session.host().set(POOL, "c", &"x".repeat(900)).unwrap().is_ok());
    session.daemon().unwrap().signal(nix::sys::signal::Signal::SIGKILL);
    let report = watch.wait().unwrap();
    session.daemon().unwrap().wait();
    // The journal itself is synchronised once for the change.
    let synchronises = |number: i64| [libc::SYS_fdatasync, libc::SYS_fsync].contains(&number);
    report.calls.iter().filter(|call| synchronises(call.number)).count() > 1
}

#[test]
fn every_system_call_of_a_recovery_may_fail() {
    let Some(mut session) = session() else { return };
    let mut wanted = base();
    wanted.insert("c".into(), "x".repeat(900));
    leave_a_journal(&mut session);
    let dry = start_under_watch(&mut session, None);
    let mut tried = 0;
    session.start_daemon();
    assert_eq!(contents(&mut session), wanted);
    for case in cases(&dry.calls, STRIDE * 3) {
        leave_a_journal(&mut session);
        let report = start_under_watch(&mut session, Some(case.clone()));
        session.start_daemon();
        let what = describe(&case, &"start");
        assert_eq!(contents(&mut session), wanted, "{what}");
        session.take_violations();
        tried += usize::from(report.struck);
    }
    eprintln!("{tried} cases: what had been acknowledged was there after each");
}

/// Starts a second daemon after the first was killed, and ends it when it has registered or died.
fn start_under_watch(session: &mut Session, case: Option<Case>) -> Report {
    let config = session.path("hyperv.toml");
    eventually("the end of the daemon before", || session.host().statistics().unwrap().opener == 0);
    let machine = session.machine().unwrap();
    let mut command = machine.command(program(DAEMON));
    command.args([Path::new("-n"), Path::new("-f"), &config]);
    let mut process = machine.spawn_command(stopped(&command));
    let watch = watch_start(process.pid(), Begin::Program(DAEMON), case).unwrap();
    while !watch.is_over() && !session.host().statistics().unwrap().registered {
        thread::sleep(Duration::from_millis(1));
    }
    if watch.is_over() {
        let report = watch.wait().unwrap();
        process.wait();
        return report;
    }
    let report = watch.end().unwrap();
    process.signal(nix::sys::signal::Signal::SIGKILL);
    process.wait();
    report
}
