//! The daemon as a process: options, instances, signals, log lines, and all ways to end.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hvsim::attacker::Victim;
use hvsim::session::vss::{Daemon, Session, Setup};
use hvsim::testing::{PATIENCE, command, eventually, freebsd_root, look_for, outside, program};
use hvsim::vss::{Operation, Outcome, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use Operation::{Check, Freeze, Thaw};

const ROOT: &str = "ufs / /dev/da0 local 1 7\n";

/// A guest with device files. `None` if the test is skipped; the reason is printed.
fn start(setup: &Setup) -> Option<Session> {
    Session::start_on_device(setup).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn outcome(session: &mut Session, operation: Operation) -> Outcome {
    session.host().vss_ask(operation).unwrap().outcome
}

fn suspended(session: &mut Session) -> Vec<String> {
    session.host().vss_suspended().unwrap()
}

/// Ends the session's own daemon, so that another one can open the device.
fn end_daemon(session: &mut Session) {
    session.daemon().signal(Signal::SIGTERM);
    session.daemon().exit_code();
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
}

fn run(arguments: &[&str]) -> Output {
    command("hv_vss_daemon", &std::env::temp_dir()).args(arguments).output().unwrap()
}

fn code_and_text(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code().unwrap(), text.concat())
}

#[test]
fn wrong_command_lines_end_with_64_and_the_usage() {
    for arguments in [&["-x"][..], &["stray"], &["-f"], &["-c", "stray"]] {
        let (code, text) = code_and_text(&run(arguments));
        assert_eq!(code, 64, "{arguments:?}");
        assert!(text.contains("usage: hv_vss_daemon [-cdnt] [-f file]"), "{text}");
    }
    assert_eq!(code_and_text(&run(&["-h"])).0, 0);
    let (code, text) = code_and_text(&run(&["-V"]));
    assert_eq!((code, text.as_str()), (0, concat!("hv_vss_daemon ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn a_configuration_is_checked_and_a_wrong_one_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hyperv.toml");
    let file = path.to_str().unwrap();
    let device = directory.path().join("device");
    fs::write(&path, format!("[vss]\nwatchdog-ms = 5\ndevice = {device:?}\n")).unwrap();
    let (code, text) = code_and_text(&run(&["-t", "-f", file]));
    assert!(code == 0 && text.contains("is absent") && !text.contains("no error"), "{text}");
    fs::write(&device, "").unwrap();
    assert_eq!(code_and_text(&run(&["-t", "-f", file])), (0, format!("{file}: no error\n")));
    fs::write(&path, "[vss]\nwatchdog = 5\n").unwrap();
    for arguments in [&["-t", "-f", file][..], &["-n", "-f", file], &["-c", "-f", file]] {
        let (code, text) = code_and_text(&run(arguments));
        assert_eq!(code, 78, "{arguments:?}");
        assert!(text.contains("hyperv.toml:2:1: unknown field `watchdog`"), "{text}");
    }
}

#[test]
fn a_missing_device_ends_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hyperv.toml");
    fs::write(&path, "[vss]\ndevice = \"/nonexistent/hv_fsvss_dev\"\n").unwrap();
    for arguments in [&["-f", path.to_str().unwrap()][..], &["-n", "-f", path.to_str().unwrap()]] {
        let (code, text) = code_and_text(&run(arguments));
        assert_eq!(code, 69, "{text}");
        let said = "hv_fsvss_dev does not exist: no Hyper-V live backup here";
        assert_eq!(text.matches(said).count(), 1, "{text}");
    }
}

#[test]
fn a_dry_check_needs_no_device_and_shows_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hyperv.toml");
    let mounts = directory.path().join("mounts");
    let zpool = directory.path().join("zpool");
    fs::write(&zpool, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&zpool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!(
        "[facts]\ndir = {:?}\n[vss]\nhook-dir = \"/nonexistent\"\nzpool = {zpool:?}\n",
        directory.path()
    );
    fs::write(&path, text).unwrap();
    fs::write(&mounts, format!("{ROOT}zfs /tank tank local 2 7\nnullfs /jail /tank local 3 7\nufs /db /dev/zvol/tank/db local 4 7\n")).unwrap();
    let arguments = ["-c", "-f", path.to_str().unwrap()];
    let wanted = "\
MOUNT  TYPE    ACTION   WHY
/      ufs     suspend  writes to it stop during the freeze
/tank  zfs     sync     always consistent on disk
/jail  nullfs  ignore   it shows a part of /tank
/db    ufs     suspend  writes to it stop during the freeze, but it is on a zvol: in the backup as after a power cut

a backup can be made
";
    assert_eq!(code_and_text(&run(&arguments)), (0, wanted.to_owned()));
    fs::write(&mounts, format!("{ROOT}ext2fs /linux /dev/da1 local 2 7\n")).unwrap();
    let (code, text) = code_and_text(&run(&arguments));
    assert_eq!(code, 1);
    assert!(
        text.ends_with(
            "no backup can be made: /linux (ext2fs): a file system of this type cannot be frozen\n"
        ),
        "{text}"
    );
    fs::write(&mounts, "nonsense\n").unwrap();
    let (code, text) = code_and_text(&run(&arguments));
    assert_eq!(code, 71);
    assert!(text.contains("cannot read the mount table: \"nonsense\" is no line"), "{text}");
}

#[test]
fn second_instance_ends_with_69_and_leaves_the_first_alone() {
    let Some(mut session) = start(&Setup::default()) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    let mut command = session.machine().command(program("hv_vss_daemon"));
    command.arg("-n").arg("-f").arg(session.path("hyperv.toml"));
    let mut second = Daemon::spawn(command);
    assert_eq!(second.exit_code(), 69);
    assert!(second.output().contains("another backup daemon is running"), "{}", second.output());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
}

// contract B13, S2
#[test]
fn it_becomes_a_daemon_with_one_thread_and_no_terminal() {
    let Some(mut session) = start(&Setup { options: Vec::new(), ..Setup::default() }) else { return };
    assert_eq!(session.daemon().exit_code(), 0);
    let pid = session.host().vss_statistics().unwrap().opener;
    assert_ne!(i64::from(pid), i64::from(session.daemon().pid().as_raw()));
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    assert_eq!(fs::read_to_string(proc("comm")).unwrap(), "hv_vss_daemon\n");
    assert_eq!(fs::read_dir(proc("task")).unwrap().count(), 1);
    for descriptor in 0..3 {
        let target = fs::read_link(proc(&format!("fd/{descriptor}"))).unwrap();
        assert_eq!(target, outside("/dev/null"));
    }
    assert_eq!(fs::read_link(proc("cwd")).unwrap(), outside("/"));
    let limits = fs::read_to_string(proc("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

// contract B16
#[test]
fn log_lines_of_a_freeze_are_sent_after_the_thaw() {
    // With the file system that has /dev/null.
    let mounts = format!("{ROOT}devfs /dev devfs local 3 7\n");
    let Some(mut session) = start(&Setup { options: vec!["-d"], mounts, ..Setup::default() }) else {
        return;
    };
    let socket = UnixDatagram::bind(session.path("log")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let lines = || -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut next = || {
            socket.recv(&mut buffer).ok().map(|size| String::from_utf8_lossy(&buffer[..size]).into_owned())
        };
        std::iter::from_fn(&mut next).collect()
    };
    // The daemon started before syslogd. It tries to connect again from time to time, and with its next line.
    kill_opener(&mut session, Signal::SIGHUP);
    let until = Instant::now() + PATIENCE;
    let mut started = Vec::new();
    while !started.iter().any(|line: &String| line.contains("configuration read again")) {
        assert!(Instant::now() < until, "{started:?}");
        started.extend(lines());
    }
    assert!(
        started.iter().any(|line| line.contains(" HV_VSS ") && line.contains("started version=")),
        "{started:?}"
    );
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    let before: Vec<String> = lines();
    assert!(
        before.iter().all(|line| !line.contains("frozen") && !line.contains("answer op=freeze")),
        "{before:?}"
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert!(lines().is_empty());
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    let mut after = Vec::new();
    while !after.iter().any(|line: &String| line.contains("thawed after=")) {
        assert!(Instant::now() < until, "{after:?}");
        after.extend(lines());
    }
    // At least priority notice: the stock syslog.conf keeps nothing below it.
    let line = |text: &str| after.iter().find(|line| line.contains(text)).unwrap().clone();
    let (frozen, thawed) = (line("frozen took="), line("thawed after="));
    assert!(frozen.starts_with("<13>1 ") && frozen.contains("mounts=1 order=/"), "{frozen}");
    let time = |line: &str| line.split(' ').nth(1).unwrap()[11..26].to_owned();
    assert!(seconds(&time(&thawed)) - seconds(&time(&frozen)) >= 0.2, "{frozen}\n{thawed}");
}

/// `02:38:53.000001` in seconds.
fn seconds(time: &str) -> f64 {
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

fn kill_opener(session: &mut Session, signal: Signal) {
    let pid = session.host().vss_statistics().unwrap().opener;
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

#[test]
fn a_signal_thaws_runs_the_hooks_and_ends_the_daemon() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let script = "echo \"$1\" >>\"$CALLS\"".to_owned();
        let setup = Setup { mounts: ROOT.into(), hooks: vec![("10-db", script)], ..Setup::default() };
        let Some(mut session) = start(&setup) else { return };
        assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
        session.daemon().signal(signal);
        assert_eq!(session.daemon().exit_code(), 0);
        assert_eq!(suspended(&mut session), [""; 0]);
        assert_eq!(session.calls(), ["freeze", "abort"]);
        let output = session.daemon().output();
        assert!(output.contains("the backup is void") && output.contains("stopped by a signal"), "{output}");
        assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
        assert_eq!(outcome(&mut session, Thaw), Outcome::DaemonGone);
    }
}

#[test]
fn a_signal_during_a_hook_fails_the_freeze_at_once() {
    let script = "echo \"$1\" >>\"$CALLS\"\n[ $1 = freeze ] && exec sleep 1000\nexit 0".to_owned();
    let setup = Setup { mounts: ROOT.into(), hooks: vec![("10-db", script)], ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    let mut other = session.machine().client();
    let freeze = std::thread::spawn(move || other.vss_ask(Freeze).unwrap());
    assert_eq!(session.wait_calls(1), ["freeze"]);
    session.daemon().signal(Signal::SIGTERM);
    assert_eq!(session.daemon().exit_code(), 0);
    assert_eq!(session.calls(), ["freeze", "abort"]);
    let answer = freeze.join().unwrap();
    assert_eq!(answer.outcome, Outcome::Failure);
    assert!(answer.nanoseconds < 4_000_000_000, "{answer:?}");
}

#[test]
fn stop_from_the_terminal_does_not_keep_the_guest_frozen() {
    // A shell cannot trap a signal that it was started with ignored.
    let script =
        "trap 'echo \"$1\" stopped >>\"$CALLS\"' TSTP TTIN TTOU\nkill -TSTP $$\nkill -TTIN $$\nkill -TTOU $$";
    let setup = Setup { mounts: ROOT.into(), hooks: vec![("10-db", script.to_owned())], ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    end_daemon(&mut session);
    let mut command = session.machine().command(program("hv_vss_daemon"));
    // A process group with a parent outside is not orphaned, so a stop signal has its effect.
    command.arg("-n").arg("-f").arg(session.path("hyperv.toml")).process_group(0);
    let daemon = Daemon::spawn(command);
    assert!(session.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        daemon.signal(signal);
    }
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    // The programs that it starts can be stopped as usual.
    assert_eq!(
        session.wait_calls(6),
        ["freeze stopped"; 3].into_iter().chain(["thaw stopped"; 3]).collect::<Vec<_>>()
    );
}

#[test]
fn held_log_lines_are_written_after_an_unexpected_end() {
    if freebsd_root().is_some() {
        return;
    }
    let Some(mut session) = start(&Setup { mounts: ROOT.into(), ..Setup::default() }) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    // poll(2) refuses more descriptors than a process may have open, so the wait fails.
    let pid = session.daemon().pid().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--nofile=0"]).status().unwrap().success());
    session.daemon().signal(Signal::SIGHUP);
    assert_eq!(session.daemon().exit_code(), 71);
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    let output = session.daemon().output();
    assert!(output.contains("frozen took=") && output.contains("cannot wait for the device"), "{output}");
}

#[test]
fn a_killed_daemon_leaves_nothing_frozen() {
    let Some(mut session) = start(&Setup::default()) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    assert_eq!(suspended(&mut session).len(), 2);
    session.daemon().signal(Signal::SIGKILL);
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    assert_eq!(session.daemon().exit_code(), -9);
    assert!(session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
    assert_eq!(outcome(&mut session, Thaw), Outcome::DaemonGone);
    session.start_daemon();
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

#[test]
fn a_device_that_goes_away_kills_the_daemon_and_thaws() {
    let Some(mut session) = start(&Setup::default()) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    session.host().vss_detach().unwrap();
    assert!(session.host().vss_wait_thawed(PATIENCE).unwrap());
    assert_eq!(session.daemon().exit_code(), -9);
    session.host().vss_attach().unwrap();
    session.start_daemon();
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

#[test]
fn output_into_a_file_that_would_be_frozen_vetoes() {
    let Some(mut session) = start(&Setup { mounts: ROOT.into(), ..Setup::default() }) else { return };
    // Standard output is a file, as when the administrator redirects it.
    end_daemon(&mut session);
    let config = session.path("hyperv.toml");
    let arguments = ["-n".as_ref(), "-f".as_ref(), config.as_os_str()];
    let mut daemon = session.machine().spawn(program("hv_vss_daemon"), arguments);
    assert!(session.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    let sentence = "/ (ufs): this daemon itself holds descriptor 1 of /";
    for prefix in ["no backup can be made: ", "check refused: ", "freeze failed, nothing is frozen: "] {
        let said = || daemon.output().contains(&format!("{prefix}{sentence}")).then_some(());
        assert!(look_for(PATIENCE, said).is_some(), "{}", daemon.output());
    }
    // The kernel was not asked to suspend.
    let timeline = session.host().vss_timeline(true).unwrap();
    assert!(!timeline.iter().any(|entry| entry.happening.describe().contains("could not suspend")));
    assert!(daemon.is_running());
}

#[test]
fn descriptors_left_open_by_the_parent_are_closed() {
    let Some(mut session) = start(&Setup { mounts: ROOT.into(), ..Setup::default() }) else { return };
    end_daemon(&mut session);
    let daemon = session.machine().command(program("hv_vss_daemon"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec 5>\"$0\" 6>>\"$0\"; exec \"$@\""]).arg(session.path("left-open"));
    command
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .args(["-n", "-f"])
        .arg(session.path("hyperv.toml"));
    let _daemon = Daemon::spawn(command);
    assert!(session.host().vss_wait_open(Side::FileSystem, PATIENCE).unwrap());
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

#[test]
fn new_configuration_takes_effect_but_a_wrong_one_is_refused() {
    let Some(mut session) = start(&Setup { mounts: ROOT.into(), ..Setup::default() }) else { return };
    let path = session.path("hyperv.toml");
    let text = fs::read_to_string(&path).unwrap();
    let with = |more: &str| fs::write(&path, format!("{text}\n{more}\n")).unwrap();
    with("[[vss.mounts]]\ntype = \"ufs\"\naction = \"veto\"");
    session.daemon().signal(Signal::SIGHUP);
    session.daemon().wait_output("configuration read again");
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    with("[[vss.mounts]]\ntype = \"ufs\"\naction = \"thaw\"");
    session.daemon().signal(Signal::SIGHUP);
    session.daemon().wait_output("configuration not changed: ");
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    with("");
    session.daemon().signal(Signal::SIGHUP);
    eventually("the old configuration", || outcome(&mut session, Check) == Outcome::Success);
}

#[test]
fn a_new_configuration_waits_for_the_thaw() {
    let Some(mut session) = start(&Setup { mounts: ROOT.into(), ..Setup::default() }) else { return };
    assert_eq!(outcome(&mut session, Freeze), Outcome::Success);
    session.daemon().signal(Signal::SIGHUP);
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert!(!session.daemon().output().contains("configuration read again"));
    assert_eq!(outcome(&mut session, Thaw), Outcome::Success);
    session.daemon().wait_output("configuration read again");
}

#[test]
fn hooks_that_others_could_have_written_veto() {
    let setup = Setup {
        mounts: ROOT.into(),
        hooks: vec![("10-db", "echo \"$1\" >>\"$CALLS\"".into())],
        ..Setup::default()
    };
    let Some(mut session) = start(&setup) else { return };
    let hook = session.path("vss.d/10-db");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o775)).unwrap();
    assert_eq!(outcome(&mut session, Check), Outcome::Failure);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    assert_eq!(session.calls(), [""; 0]);
    session.daemon().wait_output("10-db: others than its owner can write it");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
}

/// The first hook exchanges the second one, which is waiting for its turn.
#[test]
fn hooks_that_are_exchanged_before_their_turn_are_not_run() {
    let mut exchanges = vec![
        ("mv 20-b 20-b.bak; ln -s \"$CALLS.evil\" 20-b", "it is a symbolic link"),
        ("mv 20-b 20-b.bak; mkfifo -m 755 20-b", "it is not a regular file"),
        ("chmod 757 20-b", "others than its owner can write it"),
        ("chmod 775 .", "others than its owner can write it"),
        ("cd ..; mv vss.d old; ln -s old vss.d", "it is a symbolic link"),
        ("chmod 757 ..", "above it: others than its owner can write it"),
        ("rm 20-b", "is gone"),
    ];
    if nix::unistd::geteuid().is_root() {
        exchanges.push(("cp \"$CALLS.evil\" 20-b; chown 65534 20-b", "it is not owned by root"));
    }
    for (exchange, reason) in exchanges {
        let first =
            format!("echo a \"$1\" >>\"$CALLS\"; [ $1 = freeze ] || exit 0; cd \"${{0%/*}}\"; {exchange}");
        let second = "echo b \"$1\" >>\"$CALLS\"".to_owned();
        let hooks = vec![("10-a", first), ("20-b", second)];
        let setup = Setup { mounts: ROOT.into(), hooks, ..Setup::default() };
        let Some(mut session) = start(&setup) else { return };
        let evil = session.path("calls.evil");
        fs::copy(session.path("vss.d/20-b"), &evil).unwrap();
        assert_eq!(outcome(&mut session, Freeze), Outcome::Failure, "{exchange}");
        session.daemon().wait_output(reason);
        assert!(
            session.calls().iter().all(|call| call.starts_with("a ")),
            "{exchange}: {:?}",
            session.calls()
        );
        assert_eq!(suspended(&mut session), [""; 0], "{exchange}");
    }
}

/// The directory's name is exchanged without a pause by somebody who can write the directory above.
#[test]
fn a_hook_directory_that_others_could_exchange_runs_nothing() {
    let setup = Setup {
        mounts: ROOT.into(),
        hooks: vec![("10-db", "echo \"$1\" >>\"$CALLS\"".into())],
        ..Setup::default()
    };
    let Some(mut session) = start(&setup) else { return };
    let mode = |session: &Session, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(session.path(""), mode).unwrap();
    };
    mode(&session, 0o757);
    let victim = Victim::beside(&session.path(""));
    victim.attacked(&[session.path("vss.d")], || {
        for _ in 0..20 {
            // Without the directory there are no hooks, which is what an administrator may want.
            session.host().vss_backup(Duration::ZERO).unwrap();
        }
    });
    assert_eq!(session.calls(), [""; 0]);
    assert_eq!(outcome(&mut session, Freeze), Outcome::Failure);
    session.daemon().wait_output("above it: others than its owner can write it");
    mode(&session, 0o700);
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
    assert_eq!(session.wait_calls(2), ["freeze", "thaw"]);
}

#[test]
fn output_of_hooks_is_logged() {
    let setup = Setup {
        mounts: ROOT.into(),
        hooks: vec![("10-db", "echo \"$1 is done\"; echo careful >&2".into())],
        ..Setup::default()
    };
    let Some(mut session) = start(&setup) else { return };
    assert!(session.host().vss_backup(Duration::ZERO).unwrap().is_ok());
    for text in ["freeze is done", "thaw is done", "careful"] {
        session.daemon().wait_output(&format!(": {text}"));
    }
}
