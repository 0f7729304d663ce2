//! What the daemon examines before and after a freeze, and how it reacts: programs, devices, pools, hooks.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hvsim::session::vss::{Daemon, Session, Setup};
use hvsim::testing::{PATIENCE, eventually, freebsd_root, look_for, program};
use hvsim::vss::{Operation, Outcome, Side};
use nix::sys::signal::Signal;

use Operation::{Check, Freeze, Thaw};

const TWO: &str = "ufs / /dev/da0 local 1 7\nufs /data /dev/da1 local 2 7\n";
const SQLITE: &str = "proc 812 sqlite3 jid=3\nmap /data/x.db-shm on=/data\n";

/// A guest with device files. `None` if the test is skipped; the reason is printed.
fn start(setup: &Setup) -> Option<Session> {
    Session::start_on_device(setup).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn with_settings(mounts: &str, settings: &str) -> Option<Session> {
    start(&Setup { mounts: mounts.into(), settings: settings.into(), ..Setup::default() })
}

fn outcome(session: &mut Session, operation: Operation) -> Outcome {
    session.host().vss_ask(operation).unwrap().outcome
}

fn suspended(session: &mut Session) -> Vec<String> {
    session.host().vss_suspended().unwrap()
}

fn backup_is_good(session: &mut Session) -> bool {
    session.host().vss_backup(Duration::ZERO).unwrap().is_ok()
}

/// contract B19
#[test]
fn mapped_writers_veto_under_the_policy_refuse() {
    let Some(mut session) = with_settings(TWO, "mapped-writers = \"refuse\"") else { return };
    session.set_fact("procs", SQLITE);
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    let named =
        "/data (ufs): programs store into it through memory: sqlite3 (pid 812, jail 3) maps /data/x.db-shm";
    session.daemon().wait_output(&format!("check refused: {named}"));
    session.daemon().wait_output(&format!("freeze failed, nothing is frozen: {named}"));
    session.set_fact("procs", "");
    assert!(backup_is_good(&mut session));
}

/// contract B19
#[test]
fn a_rule_that_suspends_applies_to_its_mount_only() {
    let setup = Setup {
        mounts: TWO.into(),
        sections: "[[vss.mounts]]\nmount-point = \"/data\"\naction = \"suspend\"\n".into(),
        ..Setup::default()
    };
    let Some(mut session) = start(&setup) else { return };
    session.set_fact("procs", "proc 812 sqlite3\nmap /data/x on=/data ro\nproc 9 other\nmap /y on=/\n");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

/// contract B19
#[test]
fn a_mapping_made_during_the_freeze_is_logged_as_damage() {
    let Some(mut session) = with_settings(TWO, "") else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    session.set_fact("procs", SQLITE);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    session.daemon().wait_output(
        "error: damage possible: sqlite3 (pid 812, jail 3) maps /data/x.db-shm and may have lost what it stored there, \
         because /data was suspended",
    );
    // The simulated kernel counts the violations that it reports to the daemon, too.
    let _ = session.host().take_violations().unwrap();
}

#[test]
fn a_slow_scan_flushes_all_mounts_and_logs_why() {
    let Some(mut session) = with_settings(TWO, "scan-limit-ms = 60") else { return };
    session.set_fact("procs", "proc 5 nfsclient slow=60000\n");
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), [""; 0]);
    assert_eq!(session.syncs(), ["sync"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    session
        .daemon()
        .wait_output("it is not known which programs store into it through memory: it took longer than");
    session.set_fact("procs", "");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

/// contract B20
#[test]
fn a_sync_that_hangs_fails_only_flushed_mounts() {
    if freebsd_root().is_some() {
        // The simulated sync(2) cannot hang without device files.
        return;
    }
    let Some(mut session) = with_settings(TWO, "sync-limit-ms = 150") else { return };
    session.set_fact("sync-takes", "60000");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    session.daemon().wait_output("not all was brought to disk before the freeze: it took longer than");
    session.set_mounts(&format!("{TWO}msdosfs /boot/efi /dev/gpt/efiboot0 local 3 7\n"));
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    session.daemon().wait_output("/boot/efi cannot be brought to disk: it took longer than");
    session.set_fact("sync-takes", "0");
    assert!(backup_is_good(&mut session));
}

#[test]
fn an_efi_partition_is_recognised_by_its_type() {
    let mounts = format!("{TWO}msdosfs /esp /dev/da0p1 local 3 7\n");
    let Some(mut session) = with_settings(&mounts, "") else { return };
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    let xml = "<mesh><class id=\"1\"><name>PART</name><geom id=\"2\"><class ref=\"1\"/><name>da0</name><provider id=\"3\">\
               <mode>r1w1e1</mode><name>da0p1</name><config><type>efi</type></config></provider></geom></class></mesh>";
    session.set_fact("sysctl", &format!("kern.geom.confxml:str={xml}\n"));
    assert!(backup_is_good(&mut session));
    assert_eq!(session.syncs().last().unwrap(), "fsync /esp");
}

#[test]
fn a_suspended_pool_is_refused_before_zpool_hangs() {
    let mounts = "zfs /tank tank local 1 7\n";
    let Some(mut session) = with_settings(mounts, "") else { return };
    fs::write(session.path("calls.pools"), "tank\t1G\tSUSPENDED\t-\n").unwrap();
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    session.daemon().wait_output("nothing is frozen: pool tank is SUSPENDED and takes no writes");
    assert_eq!(session.calls(), [""; 0]);
}

#[test]
fn a_zpool_that_hangs_is_refused_within_its_limit() {
    let Some(mut session) = with_settings("zfs /tank tank local 1 7\n", "zpool-limit-ms = 100") else {
        return;
    };
    fs::write(session.path("bin/zpool"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    let answer = session.host().vss_ask(Check).unwrap();
    assert_eq!(answer.outcome, Outcome::Failure);
    assert!(answer.nanoseconds < 4_000_000_000, "{answer:?}");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    session.daemon().wait_output("did not end within 100ms and was killed");
    for _ in 0..8 {
        assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    }
    // No process is left, zombies included.
    let pid = session.host().vss_statistics().unwrap().opener;
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    eventually("the end of what was killed", || children().trim().is_empty());
}

#[test]
fn a_hook_that_kills_the_daemon_leaves_nothing_frozen() {
    let script = "echo \"$1\" >>\"$CALLS\"\n[ -e \"$CALLS.harmless\" ] || kill -KILL $PPID".to_owned();
    let timeout = Duration::from_secs(3);
    let setup = Setup { mounts: TWO.into(), hooks: vec![("10-db", script)], timeout, ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    assert_ne!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(session.daemon().exit_code(), -9);
    assert_eq!(suspended(&mut session), [""; 0]);
    fs::write(session.path("calls.harmless"), "").unwrap();
    session.start_daemon();
    assert!(backup_is_good(&mut session));
}

#[test]
fn processes_of_hooks_are_killed_after_an_aborted_backup() {
    let script = "[ $1 = freeze ] && { sleep 1000 9<\"$CALLS.mark\" >/dev/null 2>&1 & }\necho \"$1\" >>\"$CALLS\"\n\
                  [ -e \"$CALLS.fail\" ] && [ $1 = freeze ] && exit 3\nexit 0";
    let setup = Setup { mounts: TWO.into(), hooks: vec![("10-db", script.to_owned())], ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    let mark = session.path("calls.mark");
    fs::write(&mark, "").unwrap();
    // After a good backup it goes on: it may be a database session that a hook keeps for the thaw.
    assert!(backup_is_good(&mut session));
    assert_eq!(session.wait_calls(2), ["freeze", "thaw"]);
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
    assert_eq!(holders(&mark), 1);
    fs::write(session.path("calls.fail"), "").unwrap();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(session.wait_calls(4)[2..], ["freeze", "abort"]);
    eventually("the end of what the failed hook left", || holders(&mark) == 1);
    kill_holders(&mark);
}

fn holders(path: &std::path::Path) -> usize {
    processes_with(path).len()
}

fn processes_with(path: &std::path::Path) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt;
    // Compared by number, because a process with another root has another path of the same file.
    let number = |path: &std::path::Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let wanted = number(path);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let has = |process: &fs::DirEntry| {
        let links = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        links.into_iter().any(|link| number(&link.path()) == wanted)
    };
    processes.filter(has).filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

fn kill_holders(path: &std::path::Path) {
    for pid in processes_with(path) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[test]
fn leftovers_in_the_hook_directory_are_listed_and_never_run() {
    let script = |name| (name, "echo \"$(basename \"$0\")\" >>\"$CALLS\"".to_owned());
    let hooks = vec![
        script("10-db"),
        script("10-db~"),
        script("10-db.bak"),
        script("10-db.sample"),
        script("#10-db#"),
    ];
    let setup = Setup { mounts: TWO.into(), hooks, ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    assert!(backup_is_good(&mut session));
    assert_eq!(session.wait_calls(2), ["10-db", "10-db"]);
    let mut command = session.machine().command(program("hv_vss_daemon"));
    command.arg("-c").arg("-f").arg(session.path("hyperv.toml"));
    let mut check = Daemon::spawn(command);
    assert_eq!(check.exit_code(), 0, "{}", check.output());
    for name in ["10-db~", "10-db.bak", "10-db.sample", "#10-db#"] {
        let line = format!("{name}: not run, by its name it is a leftover or a sample");
        assert!(check.output().contains(&line), "{}", check.output());
    }
}

#[test]
fn the_check_names_programs_that_make_a_freeze_fail() {
    let Some(session) = with_settings(TWO, "") else { return };
    session.set_fact("procs", &format!("{SQLITE}proc 900 growfs\n"));
    let mut command = session.machine().command(program("hv_vss_daemon"));
    command.arg("-c").arg("-f").arg(session.path("hyperv.toml"));
    let mut check = Daemon::spawn(command);
    assert_eq!(check.exit_code(), 0, "{}", check.output());
    for line in [
        "stores into /data through memory: sqlite3 (pid 812, jail 3) maps /data/x.db-shm",
        "a freeze may fail while growfs (pid 900) is at work",
        "a backup can be made",
    ] {
        assert!(check.output().contains(line), "{}", check.output());
    }
}

#[test]
fn lines_arrive_when_syslogd_was_full_at_the_end() {
    let setup = Setup { mounts: TWO.into(), options: vec!["-d"], ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    let socket = UnixDatagram::bind(session.path("log")).unwrap();
    let pid = session.host().vss_statistics().unwrap().opener;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    // Other programs do the same while syslogd sleeps on a frozen disk.
    let flood = UnixDatagram::unbound().unwrap();
    flood.connect(session.path("log")).unwrap();
    flood.set_nonblocking(true).unwrap();
    while flood.send(b"flood").is_ok() {}
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut lines = Vec::new();
    look_for(PATIENCE, || {
        while let Ok(size) = socket.recv(&mut buffer) {
            lines.push(String::from_utf8_lossy(&buffer[..size]).into_owned());
        }
        lines.iter().any(|line| line.contains("stopped by a signal")).then_some(())
    })
    .unwrap_or_else(|| panic!("{lines:?}"));
    for text in ["frozen took=", "thawed after="] {
        assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:?}");
    }
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
}
