//! Backups as the host sees them. They run on the device files with the real program, or in one process where
//! FUSE cannot be used.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::time::Duration;

use hvsim::session::vss::{Session, Setup};
use hvsim::testing::{PATIENCE, eventually, look_for};
use hvsim::vss::timeline::{Entry, Happening};
use hvsim::vss::{Answer, Call, Fault, Operation, Outcome, Side, VssCommand};

use Operation::{Check, Freeze, Thaw};

const ONE_HOOK: &str = "echo hook \"$(basename \"$0\")\" \"$1\" >>\"$CALLS\"";

fn start() -> Session {
    Session::start(&Setup::default())
}

fn hooks(names: &[&'static str]) -> Setup {
    Setup { hooks: names.iter().map(|name| (*name, ONE_HOOK.to_owned())).collect(), ..Setup::default() }
}

fn ufs(count: usize) -> String {
    let on = |n: usize| if n == 0 { "/".to_owned() } else { format!("/m{n}") };
    (0..count).map(|n| format!("ufs {} /dev/da{n} local {} 7\n", on(n), n + 1)).collect()
}

fn outcome(session: &mut Session, operation: Operation) -> Outcome {
    session.host().vss_ask(operation).unwrap().outcome
}

fn suspended(session: &mut Session) -> Vec<String> {
    session.host().vss_suspended().unwrap()
}

fn inject(session: &mut Session, call: Call, after: u32, errno: i32) {
    session.host().vss_inject(Fault { call, after, errno, delay: 0 }).unwrap();
}

fn happenings(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.happening.describe()).collect()
}

const EIO: i32 = 5;
const EBUSY: i32 = 16;

#[test]
fn zfs_ufs_efi_tmpfs_and_jail_are_backed_up() {
    let mut session = start();
    let backup = session.host().vss_backup(Duration::from_millis(5)).unwrap();
    assert!(backup.is_ok(), "{backup}");
    assert_eq!(
        happenings(&backup.timeline),
        [
            "host asks for check",
            "daemon reads check",
            "daemon answers check: yes",
            "host hears check: Success",
            "host asks for freeze",
            "daemon reads freeze",
            "suspended /",
            "suspended /var/db/data",
            "daemon answers freeze: yes",
            "host hears freeze: Success",
            "host asks for thaw",
            "daemon reads thaw",
            "resumed /var/db/data",
            "resumed /",
            "daemon answers thaw: yes",
            "host hears thaw: Success",
        ]
    );
    assert_eq!(session.calls(), ["zpool sync tank"]);
    assert_eq!(session.syncs(), ["sync", "sync", "fsync /boot/efi"]);
    let on: Vec<&str> = backup.suspensions.iter().map(|suspension| suspension.on.as_str()).collect();
    assert_eq!(on, ["/", "/var/db/data"]);
    let statistics = session.host().vss_statistics().unwrap();
    assert_eq!((statistics.open_suspenders, statistics.suspended, statistics.resumed), (0, 2, 2));
}

#[test]
fn a_mount_that_cannot_be_frozen_vetoes() {
    let mut session = start();
    session.set_mounts(&format!("{}ext2fs /linux /dev/da9 local 9 9\n", ufs(1)));
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    session.set_mounts(&format!("{}ext2fs /linux /dev/da9 local,rdonly 9 9\n", ufs(1)));
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
}

#[test]
fn rules_of_the_configuration_are_applied() {
    let sections = "[[vss.mounts]]\ntype = \"ext2fs\"\naction = \"sync\"\n[[vss.mounts]]\nmount-point = \"/m1\"\naction = \"ignore\"\n";
    let mut session = Session::start(&Setup {
        mounts: format!("{}ext2fs /linux /dev/da9 local 9 9\nufs /scratch/a /dev/da8 local 8 8\n", ufs(2)),
        settings: "exclude = [\"/scratch/*\"]".into(),
        sections: sections.into(),
        ..Setup::default()
    });
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/"]);
    assert_eq!(session.syncs(), ["sync", "fsync /linux"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

#[test]
fn a_failure_at_any_mount_thaws_all() {
    for count in 1..=5_u32 {
        let mounts = ufs(usize::try_from(count).unwrap());
        let mut session = Session::start(&Setup { mounts, ..Setup::default() });
        for k in 0..count {
            inject(&mut session, Call::Suspend, k, EBUSY);
            assert_eq!(outcome(&mut session, Freeze), Outcome::Failure, "{k} of {count}");
            assert_eq!(suspended(&mut session), [""; 0], "{k} of {count}");
            let timeline = session.host().vss_timeline(true).unwrap();
            let count_of =
                |what: &str| happenings(&timeline).iter().filter(|text| text.starts_with(what)).count();
            assert_eq!(count_of("suspended"), usize::try_from(k).unwrap());
            assert_eq!(count_of("resumed"), usize::try_from(k).unwrap());
            let by_close = |entry: &Entry| matches!(entry.happening, Happening::Resumed { asked: false, .. });
            assert!(!timeline.iter().any(by_close));
            assert_eq!(session.host().vss_statistics().unwrap().open_suspenders, 0);
        }
        assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
    }
}

#[test]
fn a_freeze_fails_when_the_suspender_cannot_be_opened() {
    let mut session = start();
    inject(&mut session, Call::OpenSuspender, 1, 24);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(session.host().vss_statistics().unwrap().open_suspenders, 0);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

#[test]
fn a_freeze_or_check_while_frozen_is_refused() {
    let mut session = start();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(suspended(&mut session), ["/", "/var/db/data"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(suspended(&mut session), [""; 0]);
}

#[test]
fn a_thaw_without_a_freeze_fails() {
    let mut session = start();
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
}

#[test]
fn mounts_that_change_between_check_and_freeze_are_judged_again() {
    let mut session = start();
    session.set_mounts(&ufs(1));
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
    session.set_mounts(&ufs(3));
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/m1", "/m2"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    session.set_mounts(&ufs(2));
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/", "/m1"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

#[test]
fn a_mount_that_vanishes_while_suspended_fails_nothing() {
    let mut session = start();
    inject(&mut session, Call::Suspend, 1, 2);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session), ["/"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

// contract B8
#[test]
fn a_late_freeze_is_undone_and_answered_as_failed() {
    let mut session = Session::start(&Setup { settings: "answer-limit-ms = 150".into(), ..Setup::default() });
    let delay = Fault { call: Call::Suspend, after: 1, errno: 0, delay: 200 };
    session.host().vss_inject(delay).unwrap();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(suspended(&mut session), [""; 0]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
}

#[test]
fn the_hosts_thaw_fails_after_the_watchdogs() {
    let setup = Setup { settings: "watchdog-ms = 100".into(), ..hooks(&["10-db"]) };
    let mut session = Session::start(&setup);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert!(session.host().vss_wait_thawed(Duration::from_secs(30)).unwrap());
    let calls = session.wait_calls(3);
    assert_eq!(calls.last().unwrap(), "hook 10-db abort");
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Failure);
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
}

#[test]
fn hooks_run_in_order_before_and_in_reverse_after() {
    let mut session = Session::start(&Setup { mounts: ufs(1), ..hooks(&["10-db", "20-web", "README"]) });
    let readme = session.path("vss.d/README");
    std::fs::set_permissions(readme, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
    let wanted = ["hook 10-db freeze", "hook 20-web freeze", "hook 20-web thaw", "hook 10-db thaw"];
    assert_eq!(session.wait_calls(4), wanted);
}

#[test]
fn a_failing_hook_vetoes_and_earlier_hooks_get_abort() {
    let mut setup = hooks(&["10-db", "20-web", "30-last"]);
    setup.hooks[1].1 = format!("{ONE_HOOK}\n[ $1 = freeze ] && exit 3\nexit 0");
    let mut session = Session::start(&setup);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(suspended(&mut session), [""; 0]);
    let wanted = ["hook 10-db freeze", "hook 20-web freeze", "hook 20-web abort", "hook 10-db abort"];
    assert_eq!(session.wait_calls(4), wanted);
}

#[test]
fn a_hook_that_hangs_is_killed_with_its_children() {
    // The hook's processes hold the mark files open: when no process holds them, the processes have ended.
    let scripts = [
        "[ $1 = freeze ] && exec sleep 1000",
        "[ $1 = freeze ] && { trap '' TERM INT HUP; while :; do sleep 1000; done; }",
        "[ $1 = freeze ] && { sleep 1000 & sleep 1000 & wait; }",
    ];
    for script in scripts {
        let mut session = Session::start(&Setup {
            mounts: ufs(1),
            settings: "freeze-hook-limit-ms = 200".into(),
            hooks: vec![("10-db", format!("exec 9<\"$CALLS.mark\"\n{ONE_HOOK}\n{script}\nexit 0"))],
            ..Setup::default()
        });
        let mark = session.path("calls.mark");
        std::fs::write(&mark, "").unwrap();
        assert_eq!(outcome(&mut session, Freeze), Outcome::Failure, "{script}");
        assert_eq!(session.wait_calls(2), ["hook 10-db freeze", "hook 10-db abort"], "{script}");
        assert_eq!(outcome(&mut session, Check), Outcome::Success, "{script}");
        eventually(&format!("the end of the children of {script}"), || !is_open_somewhere(&mark));
    }
}

fn is_open_somewhere(path: &std::path::Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let descriptors =
        processes.flat_map(|process| std::fs::read_dir(process.path().join("fd")).into_iter().flatten());
    descriptors.flatten().any(|link| std::fs::read_link(link.path()).is_ok_and(|target| target == path))
}

#[test]
fn a_child_that_a_hook_leaves_delays_nothing() {
    let mut session = Session::start(&Setup {
        mounts: ufs(1),
        hooks: vec![("10-db", format!("{ONE_HOOK}\n[ $1 = freeze ] && {{ sleep 5 & }}\nexit 0"))],
        ..Setup::default()
    });
    let backup = session.host().vss_backup(Duration::ZERO).unwrap();
    assert!(backup.is_ok());
    let took: u64 = backup.answers.iter().map(|answer| answer.nanoseconds).sum();
    assert!(took < 4_000_000_000, "{took} ns");
}

#[test]
fn hooks_share_the_time_for_the_answer() {
    let mut session = Session::start(&Setup {
        settings: "answer-limit-ms = 400".into(),
        hooks: vec![
            ("10-a", format!("{ONE_HOOK}\n[ $1 = freeze ] && sleep 0.3\nexit 0")),
            ("20-b", format!("{ONE_HOOK}\n[ $1 = freeze ] && sleep 1000\nexit 0")),
        ],
        ..Setup::default()
    });
    let answer = session.host().vss_ask(Freeze).unwrap();
    assert_eq!(answer.outcome, Outcome::Failure);
    assert!(answer.nanoseconds < 3_000_000_000, "{answer:?}");
    let calls = session.wait_calls(4);
    assert_eq!(calls, ["hook 10-a freeze", "hook 20-b freeze", "hook 20-b abort", "hook 10-a abort"]);
}

#[test]
fn thaw_hooks_run_after_the_answer_and_delay_a_freeze() {
    let mut session = Session::start(&Setup {
        mounts: ufs(1),
        hooks: vec![(
            "10-db",
            format!("[ $1 = thaw ] && {{ until [ -e \"$CALLS.go\" ]; do sleep 0.01; done; }}\n{ONE_HOOK}"),
        )],
        ..Setup::default()
    });
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    assert_eq!(session.calls(), ["hook 10-db freeze"]);
    // A check does not wait.
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
    std::fs::write(session.path("calls.go"), "").unwrap();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(session.calls(), ["hook 10-db freeze", "hook 10-db thaw", "hook 10-db freeze"]);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

#[test]
fn a_pool_sync_that_fails_fails_the_freeze() {
    let mut session = start();
    std::fs::write(session.path("bin/zpool"), "#!/bin/sh\necho pool is suspended >&2\nexit 1\n").unwrap();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(suspended(&mut session), [""; 0]);
}

#[test]
fn overlapping_requests_are_dropped_by_the_kernel() {
    let mut session = Session::start(&Setup {
        mounts: ufs(1),
        hooks: vec![(
            "10-db",
            format!(
                "{ONE_HOOK}\n[ $1 = freeze ] && {{ until [ -e \"$CALLS.go\" ]; do sleep 0.01; done; }}\nexit 0"
            ),
        )],
        ..Setup::default()
    });
    if session.without_device().is_some() {
        return;
    }
    let mut other = session.machine().client();
    let freeze = std::thread::spawn(move || other.vss_ask(Freeze).unwrap().outcome);
    let _ = session.wait_calls(1);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Dropped);
    assert_eq!(outcome(&mut session, Check), Outcome::Dropped);
    std::fs::write(session.path("calls.go"), "").unwrap();
    assert_eq!(freeze.join().unwrap(), Outcome::Success);
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

#[test]
fn a_request_that_timed_out_before_reading_is_ignored() {
    let mut session = Session::start(&Setup { timeout: Duration::from_nanos(1), ..Setup::default() });
    for _ in 0..20 {
        assert_eq!(outcome(&mut session, Freeze), Outcome::TimedOut);
    }
    session.host().vss_set_timeout(Duration::from_secs(15)).unwrap();
    // One of them may have been read in time and answered late.
    while !suspended(&mut session).is_empty() {
        assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    }
    assert_eq!(outcome(&mut session, Check), Outcome::Success);
}

#[test]
fn many_backups_leave_no_descriptor_behind() {
    let mut session = Session::start(&Setup { mounts: ufs(2), options: vec!["-n"], ..Setup::default() });
    let cycles = |session: &mut Session, count: usize| {
        let latencies = session.host().vss_ask_many(vec![Check, Freeze, Thaw], 3 * count).unwrap();
        assert_eq!(latencies.failed, 0);
    };
    if session.without_device().is_some() {
        return cycles(&mut session, 1_500);
    }
    cycles(&mut session, 500);
    // A check is answered after the scan that follows the last thaw.
    let quiet = |session: &mut Session| {
        assert_eq!(outcome(session, Check), Outcome::Success);
        let few = |session: &mut Session| {
            let footprint = footprint(session);
            (footprint.descriptors.len() <= 5).then_some(footprint)
        };
        look_for(PATIENCE, || few(session)).unwrap_or_else(|| panic!("{:?}", footprint(session)))
    };
    let before = quiet(&mut session);
    // The remaining backups run without the simulator's look at the daemon's files in each call, which takes
    // longer than the backup.
    session.host().vss::<()>(VssCommand::Scrutinize { on: false }).unwrap();
    cycles(&mut session, 1_000);
    let after = quiet(&mut session);
    assert_eq!(before.descriptors, after.descriptors);
    assert!(after.data_kib <= before.data_kib + 64, "{before:?} {after:?}");
    let statistics = session.host().vss_statistics().unwrap();
    assert_eq!((statistics.suspended, statistics.resumed, statistics.open_suspenders), (3_000, 3_000, 0));
    assert_eq!(statistics.watches, 500, "{statistics:?}");
}

#[derive(Debug)]
struct Footprint {
    descriptors: Vec<String>,
    data_kib: u64,
}

fn footprint(session: &mut Session) -> Footprint {
    let pid = session.daemon().pid();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut descriptors: Vec<String> =
        entries.map(|entry| std::fs::read_link(entry.path()).unwrap().display().to_string()).collect();
    descriptors.sort();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    let data_kib = data.trim().trim_end_matches(" kB").parse().unwrap();
    Footprint { descriptors, data_kib }
}

#[test]
fn an_application_daemon_is_asked_in_the_kernels_order() {
    let mut session = start();
    if session.without_device().is_some() {
        return;
    }
    let device = session.machine().device_dir().join(Side::Application.node());
    let program = hvsim::testing::program("hvsim-null-vss-daemon");
    let yes = session.machine().spawn(&program, [device.as_os_str(), "0".as_ref()]);
    assert!(session.host().vss_wait_open(Side::Application, Duration::from_secs(30)).unwrap());
    let backup = session.host().vss_backup(Duration::ZERO).unwrap();
    assert!(backup.is_ok(), "{backup}");
    let reads: Vec<String> =
        happenings(&backup.timeline).into_iter().filter(|text| text.contains(" reads ")).collect();
    assert_eq!(
        reads,
        [
            "application reads check",
            "daemon reads check",
            "application reads freeze",
            "daemon reads freeze",
            "daemon reads thaw",
            "application reads thaw",
        ]
    );
    drop(yes);
    let _no = session.machine().spawn(&program, [device.as_os_str(), "1".as_ref()]);
    assert!(session.host().vss_wait_open(Side::Application, Duration::from_secs(30)).unwrap());
    session.host().vss_timeline(true).unwrap();
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    let timeline = session.host().vss_timeline(true).unwrap();
    assert!(!happenings(&timeline).contains(&"daemon reads freeze".to_owned()));
}

#[test]
fn a_device_error_mid_freeze_thaws_and_ends_the_daemon() {
    let faults = [(Call::Write, 0), (Call::Read, 1), (Call::Poll, 0)];
    for (call, after) in faults {
        let mut session = start();
        if session.without_device().is_some() {
            return;
        }
        if call == Call::Write {
            inject(&mut session, call, after, EIO);
            let limit = Some(300);
            let ask = VssCommand::Ask { operation: Freeze, limit };
            assert!(session.host().vss::<Answer>(ask).is_err());
        } else {
            assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
            inject(&mut session, call, 0, EIO);
            let limit = Some(300);
            let ask = VssCommand::Ask { operation: Thaw, limit };
            let _ = session.host().vss::<Answer>(ask);
        }
        assert!(session.host().vss_wait_thawed(Duration::from_secs(30)).unwrap(), "{call:?}");
        assert_eq!(session.daemon().exit_code(), 69, "{call:?}");
        assert!(session.daemon().output().contains("the device is gone"), "{call:?}");
        let timeline = session.host().vss_timeline(true).unwrap();
        let by_close = |entry: &Entry| matches!(entry.happening, Happening::Resumed { asked: false, .. });
        assert!(!timeline.iter().any(by_close), "{call:?}: {}", happenings(&timeline).join("\n"));
    }
}
