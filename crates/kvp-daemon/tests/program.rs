//! The daemon as a program: its command line, its life as a daemon, and its state after crashes and on a full
//! disk.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use hvsim::kvp::IpInfo;
use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{Options, PATIENCE, command, eventually, next_line, outside, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DAEMON: &str = "hv_kvp_daemon";
const E_FAIL: u32 = 0x8000_4005;

fn run(arguments: &[&str]) -> Output {
    command(DAEMON, &std::env::temp_dir()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A session with a device file. `None` where that is impossible; the reason is printed.
fn on_device(setup: &Setup) -> Option<Session> {
    let session = Session::start(setup);
    if let Some(reason) = session.without_device() {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(session)
}

fn status_line(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned()
}

/// The processes with the daemon's name.
fn daemons(session: &Session) -> Vec<Pid> {
    let processes = session.machine().unwrap().processes();
    processes.into_iter().filter(|pid| status_line(*pid, "Name:") == "hv_kvp_daemon").collect()
}

/// A kernel and a daemon that wait as long as a loaded machine may need to release a lock.
fn patient() -> Setup {
    let timeout = Some(Duration::from_secs(20));
    Setup {
        machine: Options { timeout, ..Options::default() },
        kvp_settings: "lock-wait-ms = 4000".to_owned(),
        ..Setup::default()
    }
}

/// Ends the daemon of the session by SIGTERM.
fn stop(session: &mut Session) {
    let daemon = session.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_code(), 0);
}

/// Starts the daemon as devd(8) does, but with its configuration. Returns the exit code and output of the
/// command.
fn start_detached(session: &Session) -> (i32, String) {
    let config = session.path("hyperv.toml");
    let machine = session.machine().unwrap();
    let mut process = machine.spawn(program(DAEMON), [Path::new("-f"), &config]);
    (process.exit_code(), process.output())
}

// contract S3
#[test]
fn help_and_version_say_what_they_should() {
    let help = run(&["-h"]);
    assert!(help.status.success());
    for option in ["-d ", "-n ", "-f file", "-t ", "-h ", "-V "] {
        assert!(text(&help.stdout).contains(&format!("\n  {option}")), "{option}");
    }
    let version = run(&["-V"]);
    assert_eq!(text(&version.stdout), format!("hv_kvp_daemon {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_usage_and_exit_64() {
    for arguments in [&["-x"][..], &["stray"], &["-n", "stray"], &["-f"], &["--debug"], &["-dz"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let message = text(&output.stderr);
        assert!(message.starts_with("hv_kvp_daemon: ") && message.contains("\nusage: "), "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_configuration_is_checked_first() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("x.toml");
    let path = config.to_str().unwrap();
    let device = dir.path().join("device");
    fs::write(&config, format!("[kvp]\nmax-records = 10\ndevice = {device:?}\n")).unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let absent = run(&["-t", "-f", path]);
    let said = text(&absent.stdout);
    assert!(absent.status.success() && said.contains("is absent") && !said.contains("no error"), "{said}");
    File::create(&device).unwrap();
    let good = run(&["-t", "-f", path]);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), format!("{path}: no error\n")));

    fs::write(&config, "[kvp]\nmax-record = 10\n").unwrap();
    for arguments in [&["-t", "-f", path][..], &["-f", path], &["-n", "-f", path]] {
        let bad = run(arguments);
        assert_eq!(bad.status.code(), Some(78));
        let message = text(&bad.stderr);
        assert!(message.starts_with(&format!("hv_kvp_daemon: {path}:2:1: unknown field")), "{message}");
    }
    fs::write(&config, "").unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run(&["-t", "-f", path]).status.code(), Some(78));
    assert_eq!(run(&["-t", "-f", "/nonexistent"]).status.code(), Some(78));
}

#[test]
fn the_check_names_programs_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("x.toml");
    let there = "ifconfig = \"/bin/sh\"\nroute = \"/bin/sh\"\ndhclient = \"/bin/sh\"\nrc-subr = \"/bin/sh\"\n\
                 network-subr = \"/bin/sh\"\n";
    let lines = "resolvconf = \"/nonexistent/resolvconf\"\nrtsol = \"/nonexistent/rtsol\"\n";
    fs::write(&config, format!("[kvp]\ndevice = {:?}\n[network]\n{there}{lines}", dir.path())).unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let output = run(&["-t", "-f", config.to_str().unwrap()]);
    let wanted = "/nonexistent/resolvconf is missing: name servers of the host are not taken\n\
                  /nonexistent/rtsol is missing: routers are not asked to advertise\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), wanted));
}

#[test]
fn a_missing_device_ends_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("x.toml");
    let (device, pools) = (dir.path().join("hv_kvp_dev"), dir.path().join("pool"));
    fs::write(&config, format!("[kvp]\ndevice = {device:?}\npool-dir = {pools:?}\n")).unwrap();
    for mode in [&[][..], &["-n"]] {
        let output = command(DAEMON, dir.path()).args(mode).arg("-f").arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(69));
        let message = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(message.matches("hv_kvp_dev does not exist").count(), 1, "{message}");
        assert!(!pools.exists(), "nothing else may be touched");
    }
}

#[test]
fn errors_in_foreign_tables_are_warnings_except_for_the_check() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    stop(&mut session);
    let path = session.path("hyperv.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}[vss]\nnewer = 5\n[backup]\nx = 1\n")).unwrap();
    assert_eq!(start_detached(&session).0, 0);
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    let lines = session.log_lines();
    for said in ["unknown field `newer`", "unknown field `backup`"] {
        assert!(lines.iter().any(|line| line.starts_with("<12>1 ") && line.contains(said)), "{lines:?}");
    }
    let check = run(&["-t", "-f", path.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(78));
    let pid = daemons(&session).pop().unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    eventually("the end of the daemon", || daemons(&session).is_empty());
}

/// No process reads the standard error of devd's children.
#[test]
fn a_configuration_error_is_logged_at_the_default_place() {
    // In a root directory for FreeBSD's programs the default place is another one.
    if hvsim::testing::freebsd_root().is_some() {
        return;
    }
    let Some(session) = on_device(&Setup::default()) else { return };
    let run_dir = session.path("run");
    fs::create_dir(&run_dir).unwrap();
    let machine = session.machine().unwrap();
    let mount = machine.command("mount").arg("--bind").arg(&run_dir).arg("/run").output().unwrap();
    assert!(mount.status.success(), "{}", text(&mount.stderr));
    let syslogd = UnixDatagram::bind(run_dir.join("log")).unwrap();
    syslogd.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = session.path("hyperv.toml");
    fs::write(&path, "[kvp]\nmax-recrods = 5\n").unwrap();
    let (code, message) = start_detached(&session);
    assert_eq!(code, 78);
    assert!(message.contains("unknown field `max-recrods`"), "{message}");
    let line = next_line(&syslogd);
    // Facility user, priority error.
    assert!(line.starts_with("<11>1 ") && line.contains(" HV_KVP "), "{line}");
    assert!(line.contains("hyperv.toml:2:1: unknown field `max-recrods`"), "{line}");
}

#[test]
fn sighup_keeps_the_completed_host_name() {
    let sysctl = "kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE\nkern.hostname=web1\nhw.machine=amd64\n";
    let setup = Setup {
        facts: vec![("sysctl", sysctl.to_owned())],
        getent: Some("#!/bin/sh\necho '10.0.0.5 web1.example.org'\n".to_owned()),
        ..Setup::default()
    };
    let Some(mut session) = on_device(&setup) else { return };
    let name = |session: &mut Session| {
        let answer = session.host().get(2, "FullyQualifiedDomainName").unwrap();
        answer.value().unwrap().to_owned()
    };
    eventually("the domain", || name(&mut session) == "web1.example.org");
    // From now on no lookup completes the name.
    let path = session.path("hyperv.toml");
    let config = fs::read_to_string(&path).unwrap();
    let line = config.lines().find(|line| line.starts_with("getent")).unwrap();
    fs::write(&path, config.replace(line, "getent = \"/nonexistent\"")).unwrap();
    session.daemon().unwrap().signal(Signal::SIGHUP);
    let read =
        |session: &mut Session| session.daemon().unwrap().output().contains("configuration read again");
    eventually("the configuration", || read(&mut session));
    for _ in 0..3 {
        assert_eq!(name(&mut session), "web1.example.org");
    }
}

// contract S1, S2
#[test]
fn a_detached_daemon_has_one_thread_and_its_own_session() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    stop(&mut session);
    assert_eq!(start_detached(&session), (0, String::new()));
    // The command has returned, so the daemon serves.
    assert!(session.host().statistics().unwrap().registered);
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    let found = daemons(&session);
    assert_eq!(found.len(), 1);
    let pid = found[0];
    assert_eq!(status_line(pid, "Threads:"), "1");
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid);
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), outside("/"));
    for descriptor in 0..3 {
        assert_eq!(link(&format!("fd/{descriptor}")), outside("/dev/null"));
    }
    let lines = session.log_lines();
    // Facility user and priority NOTICE: the stock syslog.conf stores nothing below it.
    assert!(lines[0].starts_with("<13>1 ") && lines[0].contains(" HV_KVP "), "{lines:?}");
    assert!(lines[0].contains("started version="), "{lines:?}");
    kill(pid, Signal::SIGTERM).unwrap();
    eventually("the end of the daemon", || daemons(&session).is_empty());
    assert!(session.log_lines().iter().any(|line| line.ends_with("stopped by a signal")));
}

#[test]
fn a_second_instance_leaves_the_first_alone() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    let (code, message) = start_detached(&session);
    assert_eq!(code, 69);
    assert!(message.contains("is in use: another key-value daemon is running"), "{message}");
    assert_eq!(daemons(&session).len(), 1);
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    assert_eq!(session.host().statistics().unwrap().registrations, 1);
}

#[test]
fn a_signal_ends_it_after_the_answer_under_way() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some(mut session) = on_device(&patient()) else { return };
        assert!(session.host().set(0, "k", "before").unwrap().is_ok());
        let file = File::open(session.pool_file(0)).unwrap();
        file.lock().unwrap();
        let mut host = session.another_host();
        let waiting = std::thread::spawn(move || host.set(0, "k", "after").unwrap());
        eventually("the request", || session.host().statistics().unwrap().reads == 2);
        session.daemon().unwrap().signal(signal);
        file.unlock().unwrap();
        assert!(waiting.join().unwrap().is_ok());
        assert_eq!(session.daemon().unwrap().exit_code(), 0);
        session.start_daemon();
        assert_eq!(session.host().get(0, "k").unwrap().value(), Some("after"));
    }
}

#[test]
fn sighup_reads_the_configuration_again() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    let path = session.path("hyperv.toml");
    let config = fs::read_to_string(&path).unwrap();
    let reload = |session: &mut Session, config: &str, said: &str| {
        fs::write(&path, config).unwrap();
        let before = session.daemon().unwrap().output().matches(said).count();
        session.daemon().unwrap().signal(Signal::SIGHUP);
        eventually(said, || session.daemon().unwrap().output().matches(said).count() > before);
    };
    reload(&mut session, &format!("{config}max-records = 1\n"), "configuration read again");
    assert!(session.host().set(0, "a", "1").unwrap().is_ok());
    assert_eq!(session.host().set(0, "b", "1").unwrap().code, E_FAIL);
    reload(&mut session, "nonsense", "configuration not changed");
    assert_eq!(session.host().set(0, "b", "1").unwrap().code, E_FAIL);
    reload(&mut session, &config, "configuration read again");
    assert!(session.host().set(0, "b", "1").unwrap().is_ok());
}

#[test]
fn a_detached_device_ends_the_daemon() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    session.host().detach().unwrap();
    // As on FreeBSD, the driver kills the process that has its device open.
    assert!(!session.daemon().unwrap().wait().success());
    session.host().attach().unwrap();
    session.start_daemon();
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
}

#[test]
fn a_kill_at_any_instant_loses_no_acknowledged_change() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..25_u32 {
        let mut host = session.another_host();
        let setting = std::thread::spawn(move || {
            let (mut done, mut under_way) = (Vec::new(), None);
            for step in 0.. {
                let (key, value) = (format!("k{}", step % 11), format!("{round}.{step}").repeat(100));
                under_way = Some((key.clone(), value.clone()));
                if host.set(0, &key, &value).map_or(true, |answer| !answer.is_ok()) {
                    break;
                }
                done.push((key, value));
            }
            (done, under_way)
        });
        let reads = session.host().statistics().unwrap().reads;
        eventually("some requests", || {
            session.host().statistics().unwrap().reads > reads + u64::from(round % 7)
        });
        // At any moment of the daemon's work.
        session.daemon().unwrap().signal(Signal::SIGKILL);
        session.daemon().unwrap().wait();
        session.host().detach().unwrap();
        let (done, under_way) = setting.join().unwrap();
        acknowledged.extend(done);
        session.host().attach().unwrap();
        session.start_daemon();
        let (items, _) = session.host().enumerate(0).unwrap();
        let count = items.len();
        let mut found: BTreeMap<String, String> =
            items.into_iter().map(|item| (item.key, item.value)).collect();
        assert_eq!(found.len(), count, "no key twice");
        let (key, value) = under_way.unwrap();
        let now = found.get(&key).cloned();
        assert!(now == acknowledged.get(&key).cloned() || now.as_ref() == Some(&value), "{key}: {now:?}");
        acknowledged.remove(&key);
        let rest = now.and_then(|now| found.insert(key.clone(), now));
        let mut without = found.clone();
        without.remove(&key);
        assert_eq!(without, acknowledged, "round {round}");
        acknowledged.extend(rest.map(|rest| (key, rest)));
    }
}

#[test]
fn a_full_disk_only_fails_requests() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    stop(&mut session);
    let dir = session.pool_dir();
    let machine = session.machine().unwrap();
    let mount = |arguments: &[&str]| {
        let mut command = machine.command("mount");
        let output = command.args(arguments).arg(&dir).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    mount(&["-t", "tmpfs", "-o", "size=320k,mode=700", "tmpfs"]);
    session.start_daemon();
    let mut kept = 0;
    let refused = loop {
        let answer = session.host().set(0, &format!("key{kept}"), "value").unwrap();
        if !answer.is_ok() {
            break answer;
        }
        kept += 1;
        assert!(kept < 1000, "the disk is never full");
    };
    assert_eq!((refused.code, refused.timed_out), (E_FAIL, false));
    assert!(kept > 5);
    for round in 0..3 {
        assert_eq!(session.host().enumerate(0).unwrap().0.len(), kept, "round {round}");
        assert_eq!(session.host().set(0, "one more", "value").unwrap().code, E_FAIL);
        // Changes that need no space still work.
        assert!(session.host().set(0, "key0", &format!("{round}")).unwrap().is_ok());
        assert_eq!(session.host().get(0, "key0").unwrap().value(), Some(format!("{round}").as_str()));
    }
    assert!(session.host().delete(0, "key1").unwrap().is_ok());
    assert!(session.host().set(0, "one more", "value").unwrap().is_ok());
    stop(&mut session);
    session.start_daemon();
    assert_eq!(session.host().enumerate(0).unwrap().0.len(), kept);
    stop(&mut session);
}

// contract S4
#[test]
fn the_directory_at_the_path_is_used_after_a_mount() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    assert!(session.host().set(0, "k", "below").unwrap().is_ok());
    let dir = session.pool_dir();
    let mut mount = session.machine().unwrap().command("mount");
    let output = mount.args(["-t", "tmpfs", "-o", "mode=700", "tmpfs"]).arg(&dir).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // A change of the host never goes to the directory below, where no program sees it.
    assert!(session.host().set(0, "other", "above").unwrap().is_ok());
    assert_eq!(session.host().enumerate(0).unwrap().0.len(), 1);
    // A read finds the other directory, too.
    let mut unmount = session.machine().unwrap().command("umount");
    assert!(unmount.arg("-l").arg(&dir).output().unwrap().status.success());
    eventually("the directory below", || session.host().get(0, "k").unwrap().value() == Some("below"));
}

#[test]
fn a_shared_pool_directory_is_refused_and_logged() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    stop(&mut session);
    let dir = session.pool_dir();
    fs::write(dir.join("something else"), "").unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    session.start_daemon();
    assert_eq!(session.host().set(0, "k", "v").unwrap().code, E_FAIL);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(session.host().enumerate(2).unwrap().0.len() == 10, "everything else is served");
    let output = session.daemon().unwrap().output();
    assert!(output.contains("is shared with other files"), "{output}");
    // The remedy in the log line.
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
}

#[test]
fn a_torn_record_is_cut_off_and_logged() {
    let torn = vec![b'#'; 2560 + 700];
    let setup = Setup { pools: vec![(1, torn)], ..Setup::default() };
    let Some(mut session) = on_device(&setup) else { return };
    assert_eq!(fs::metadata(session.pool_file(1)).unwrap().len(), 2560);
    let output = session.daemon().unwrap().output();
    assert!(output.contains("torn record cut off pool=1 bytes=700"), "{output}");
}

#[test]
fn a_foreign_change_after_a_kill_is_not_undone() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    assert!(session.host().set(1, "k", "before").unwrap().is_ok());
    let before = fs::read(session.pool_file(1)).unwrap();
    assert!(session.host().set(1, "k", "after").unwrap().is_ok());
    assert!(session.host().set(1, "new", "1").unwrap().is_ok());
    session.daemon().unwrap().signal(Signal::SIGKILL);
    session.daemon().unwrap().wait();
    session.host().detach().unwrap();
    fs::write(session.pool_file(1), &before).unwrap();
    session.host().attach().unwrap();
    session.start_daemon();
    assert_eq!(session.host().get(1, "k").unwrap().value(), Some("before"));
    assert_eq!(fs::read(session.pool_file(1)).unwrap(), before);
}

#[test]
fn a_pool_of_20_gib_is_refused_in_time() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    File::options().write(true).open(session.pool_file(1)).unwrap().set_len(20 << 30).unwrap();
    for index in 0..20 {
        let answer = session.host().enumerate_index(1, index).unwrap();
        assert_eq!((answer.code, answer.timed_out), (E_FAIL, false));
    }
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    let output = session.daemon().unwrap().output();
    assert_eq!(output.matches("is too large").count(), 1, "{output}");
    stop(&mut session);
}

#[test]
fn a_repeated_reason_is_only_counted() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    for round in 0..50 {
        session.host().get(9, &format!("{round}")).unwrap();
        session.host().ip_info(&format!("no adapter {round}")).unwrap();
    }
    session.host().set(0, "", "v").unwrap();
    let output = session.daemon().unwrap().output();
    for (said, times) in [("no such pool", 1), ("no adapter", 1), ("the key is empty", 1)] {
        let warnings = output.lines().filter(|line| line.contains(" warning: ") && line.contains(said));
        assert_eq!(warnings.count(), times, "{output}");
    }
    // A failed injection is logged each time, because an administrator waits for the address.
    for round in 0..7 {
        let info = IpInfo { adapter: format!("{{GUID-{round}}}"), ..IpInfo::default() };
        assert!(!session.host().set_ip_info(info).unwrap().is_ok());
    }
    assert_eq!(session.daemon().unwrap().output().matches("network not configured").count(), 7);
}

#[test]
fn log_lines_reach_a_syslogd_that_starts_later() {
    let Some(mut session) = on_device(&Setup::default()) else { return };
    stop(&mut session);
    let path = session.path("log");
    fs::remove_file(&path).unwrap();
    assert_eq!(start_detached(&session).0, 0);
    let syslogd = UnixDatagram::bind(&path).unwrap();
    syslogd.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(next_line(&syslogd).contains("started version="));
    // The host's text cannot forge a line.
    session.host().get(0, &"k\nforged: line\u{1b}[2J".repeat(3)).unwrap();
    session.host().ip_info("a\nforged: line").unwrap();
    let line = next_line(&syslogd);
    assert!(line.starts_with("<12>1 ") && line.contains("a\\nforged"), "{line}");
    let Some(pid) = daemons(&session).pop() else { panic!("no daemon") };
    kill(pid, Signal::SIGTERM).unwrap();
    eventually("the end of the daemon", || daemons(&session).is_empty());
}
