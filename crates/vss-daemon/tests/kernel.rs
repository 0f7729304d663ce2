//! Backups under the harsher rules of the kernel, with the real program: mappings, umounts, file systems in
//! files, exits.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::Duration;

use hvsim::session::vss::{Session, Setup};
use hvsim::testing::{PATIENCE, eventually, program};
use hvsim::vss::{Operation, Outcome, Side};
use nix::sys::signal::Signal;

use Operation::{Check, Freeze, Thaw};

const TWO: &str = "ufs / /dev/da0 local 1 7\nufs /data /dev/da1 local 2 7\n";
const SQLITE: &str =
    "proc 812 sqlite3 uid=770\nmap /data/x.db-shm on=/data\nmap /lib/libc.so.7 on=/ ro private max=rwx\n";

/// A guest with device files. `None` if the test is skipped; the reason is printed.
fn start(setup: &Setup) -> Option<Session> {
    Session::start_on_device(setup).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn guest(mounts: &str) -> Option<Session> {
    start(&Setup { mounts: mounts.into(), ..Setup::default() })
}

fn outcome(session: &mut Session, operation: Operation) -> Outcome {
    session.host().vss_ask(operation).unwrap().outcome
}

fn suspended(session: &mut Session) -> Vec<String> {
    session.host().vss_suspended().unwrap()
}

fn lost_pages(session: &mut Session) -> u64 {
    session.host().vss_statistics().unwrap().lost_pages
}

/// contract B19, B21
#[test]
fn mount_with_a_mapped_writer_is_flushed_and_loses_nothing() {
    let Some(mut session) = guest(TWO) else { return };
    session.set_fact("procs", SQLITE);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(lost_pages(&mut session), 0);
    // When the program has ended, its mount is suspended again, after a sync that saves what the program
    // stored.
    session.set_fact("procs", "");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(lost_pages(&mut session), 0);
}

/// contract B19
#[test]
fn a_rule_that_accepts_loss_gets_the_loss_logged() {
    let setup =
        Setup { mounts: TWO.into(), settings: "mapped-writers = \"suspend\"".into(), ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    session.set_fact("procs", SQLITE);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(lost_pages(&mut session), 1);
    let violations = session.host().take_violations().unwrap();
    assert!(violations.iter().all(|text| text.contains("dropped what was stored")), "{violations:?}");
    session.daemon().wait_output("sqlite3");
}

/// contract B20
#[test]
fn the_sync_saves_a_file_whose_mapping_is_gone() {
    let Some(mut session) = guest(TWO) else { return };
    session.set_fact("cache", "dirty /data/x on=/data\n");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(lost_pages(&mut session), 0);
    assert_eq!(session.syncs(), ["sync"]);
}

/// contract B20
#[test]
fn the_sync_writes_buffers_before_writers_would_sleep() {
    let Some(mut session) = guest(TWO) else { return };
    session.set_fact("cache", "flush / 60\nflush /data 120\n");
    session.host().vss_play_writes().unwrap();
    for _ in 0..3 {
        assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
    }
    let statistics = session.host().vss_statistics().unwrap();
    assert_eq!((statistics.suspended, statistics.flushed_in_suspensions), (6, 0));
}

/// contract B17
#[test]
fn an_umount_during_the_freeze_continues_after_the_thaw() {
    let Some(mut session) = guest(TWO) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert!(!session.host().vss_unmount("/data").unwrap());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(suspended(&mut session), [""; 0]);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

/// contract B17, B23
#[test]
fn the_daemons_end_thaws_while_an_umount_sleeps() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGABRT] {
        let Some(mut session) = guest(TWO) else { return };
        assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
        assert!(!session.host().vss_unmount("/data").unwrap());
        session.daemon().signal(signal);
        session.daemon().exit_code();
        assert!(session.host().vss_wait_thawed(PATIENCE).unwrap(), "{signal}");
        assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
        session.start_daemon();
        assert_eq!(outcome(&mut session, Thaw), Outcome::Failure, "{signal}");
        assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok(), "{signal}");
    }
}

/// contract B17
#[test]
fn the_watchdog_thaws_while_an_umount_sleeps() {
    let setup = Setup { mounts: TWO.into(), settings: "watchdog-ms = 100".into(), ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    // It may arrive just after the watchdog.
    session.host().vss_unmount("/data").unwrap();
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// contract B23
#[test]
fn standard_input_from_a_file_does_not_block_the_exit() {
    for input in ["input", "vss.d"] {
        let Some(mut session) = guest(TWO) else { return };
        session.daemon().signal(Signal::SIGTERM);
        session.daemon().exit_code();
        assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
        std::fs::write(session.path("input"), "something\n").unwrap();
        let mut command = session.machine().command(program("hv_vss_daemon"));
        command.arg("-n").arg("-f").arg(session.path("hyperv.toml"));
        command.stdin(File::open(session.path(input)).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = Killed(command.spawn().unwrap());
        assert!(session.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
        assert_eq!(outcome(&mut session, Freeze), Outcome::Success, "{input}");
        daemon.0.kill().unwrap();
        daemon.0.wait().unwrap();
        assert!(session.host().vss_wait_thawed(PATIENCE).unwrap(), "{input}");
    }
}

/// contract B23: what the simulator does with a daemon that ignores the rule.
#[test]
fn a_killed_daemon_with_an_open_file_stays_frozen() {
    let Some(mut session) = guest(TWO) else { return };
    session.daemon().signal(Signal::SIGTERM);
    session.daemon().exit_code();
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
    std::fs::write(session.path("input"), "something\n").unwrap();
    let mut command = session.machine().command(program("hvsim-null-vss-daemon"));
    let devices = session.machine().device_dir();
    command
        .arg(devices.join("hv_fsvss_dev"))
        .arg("0")
        .arg(devices.join("ufssuspend"))
        .arg(session.path("facts"));
    command.stdin(File::open(session.path("input")).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Killed(command.spawn().unwrap());
    assert!(session.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
    eventually("the end of the descriptors", || {
        session.host().vss_statistics().unwrap().open_suspenders == 0
    });
    assert_eq!(suspended(&mut session), ["/", "/data"]);
    let violations = session.host().take_violations().unwrap();
    assert!(violations.iter().any(|text| text.contains("never thaws: descriptor 0")), "{violations:?}");
}

/// contract B18
#[test]
fn holder_of_an_image_file_is_suspended_or_flushed() {
    let xml = |file: &str| {
        format!(
            "kern.geom.confxml=<mesh><class id=\"0x1\"><name>MD</name><geom id=\"0x2\"><class ref=\"0x1\"/><name>md0</name><rank>1</rank><config></config>\
             <provider id=\"0x3\"><geom ref=\"0x2\"/><mode>r1w1e2</mode><name>md0</name><mediasize>67108864</mediasize><sectorsize>512</sectorsize>\
             <config><unit>0</unit><sectorsize>512</sectorsize><fwsectors>0</fwsectors><fwheads>0</fwheads><length>67108864</length><compression>off</compression>\
             <access>read-write</access><type>vnode</type><file>{file}</file><label></label></config></provider></geom></class></mesh>\n"
        )
    };
    let mounts = "ufs / /dev/da0 local 1 7\nufs /vm /dev/da1 local 2 7\nufs /data /dev/md0 local 3 7\n";
    let Some(mut session) = guest(mounts) else { return };
    session.set_fact("md", "md0 /vm/disk.img\n");
    session.set_fact("sysctl", &xml("/vm/disk.img"));
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session).last().unwrap(), "/vm");
    assert!(!session.host().vss_unmount("/data").unwrap());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);

    session.set_mounts(mounts);
    session.set_fact("md", "md0 /disk.img\n");
    session.set_fact("sysctl", &xml("/disk.img"));
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert!(!suspended(&mut session).contains(&"/".to_owned()));
    assert!(!session.host().vss_unmount("/data").unwrap());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(suspended(&mut session), [""; 0]);
}

/// contract B24
#[test]
fn a_busy_mount_fails_the_freeze_and_all_resumes() {
    let Some(mut session) = guest(TWO) else { return };
    session.set_fact("cache", "busy /data\n");
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(suspended(&mut session), [""; 0]);
    session.set_fact("cache", "");
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

/// contract B25
#[test]
fn a_thaw_after_a_restart_fails() {
    let Some(mut session) = guest(TWO) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    session.daemon().signal(Signal::SIGKILL);
    session.daemon().exit_code();
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    session.start_daemon();
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
}
