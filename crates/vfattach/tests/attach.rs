//! hyperv_vfattach against a simulated network: which interfaces it waits for, and what it leaves running.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hvsim::attacker::Victim;
use hvsim::network::faults;
use hvsim::network::guest::SHIPPED_RULES;
use hvsim::network::{Guest, State};
use hvsim::testing::{PATIENCE, command, eventually, outside, program, words};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

struct Scratch {
    guest: Guest,
    directory: tempfile::TempDir,
}

impl Scratch {
    fn new(change: impl FnOnce(&mut State)) -> Self {
        let mut state = State::default();
        state.add_hn(0);
        state.attach_vf("mce1", "hn0");
        change(&mut state);
        let directory = tempfile::Builder::new().prefix("hv-attach-").tempdir().unwrap();
        let tools = program("hvsim-tools");
        let guest =
            Guest::create(directory.path(), &tools, SHIPPED_RULES, tools.parent().unwrap(), &state).unwrap();
        Self { guest, directory }
    }

    fn command(&self) -> Command {
        let mut command = command("hyperv_vfattach", self.directory.path());
        command.arg("-f").arg(self.guest.config());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn is_up(&self, name: &str) -> bool {
        self.guest.root().read().unwrap().interfaces.get(name).is_some_and(|interface| interface.up)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The processes that wait for a VF of this guest.
    fn waiters(&self) -> Vec<Pid> {
        let mark = self.directory.path().display().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let waits = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("hyperv_vfattach") && line.contains(&mark)
        };
        pids.filter(waits).map(Pid::from_raw).collect()
    }

    fn spawns(&self) -> Vec<String> {
        faults::spawns(self.guest.root()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for pid in self.waiters() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

fn open_files(pid: Pid) -> Vec<PathBuf> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).collect()
}

// contract V4
#[test]
fn interfaces_that_are_no_vf_are_left_alone() {
    type Case = (&'static str, fn(&mut State));
    let cases: [Case; 5] = [
        ("mce1", |state| state.transparent = Some(1)),
        ("mce1", |state| state.has_vf_list = false),
        ("mce10", |_| {}),
        ("mce", |_| {}),
        ("hn0", |_| {}),
    ];
    for (interface, change) in cases {
        for delay in ["0", "1"] {
            let scratch = Scratch::new(change);
            scratch.succeed(&[interface, delay]);
            assert_eq!(scratch.waiters(), []);
            assert_eq!(scratch.spawns(), [""; 0], "{interface}");
        }
    }
}

// contract V4
#[test]
fn a_kernel_without_transparent_mode_has_no_vf() {
    let scratch = Scratch::new(|state| state.transparent = None);
    scratch.succeed(&["mce1", "1"]);
    assert!(scratch.is_up("mce1"));
}

// contract V1, V5
#[test]
fn delay_of_zero_leaves_one_waiting_process() {
    let scratch = Scratch::new(|_| {});
    scratch.guest.set_rc_conf("hyperv_vf_delay=60\n").unwrap();
    // The waiting process must not hold the caller's descriptors open.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fastest = (0..5)
        .map(|_| {
            let started = Instant::now();
            let mut child = scratch
                .command()
                .args(["mce1", "0"])
                .stdout(writer.try_clone().unwrap())
                .stderr(writer.try_clone().unwrap())
                .spawn()
                .unwrap();
            assert!(child.wait().unwrap().success());
            started.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest <= Duration::from_millis(50), "{fastest:?}");
    drop(writer);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
    eventually("one waiting process", || scratch.waiters().len() == 1);
    let waiter = scratch.waiters()[0];
    assert_eq!(getsid(Some(waiter)).unwrap(), waiter);
    let lock = outside(scratch.path("var/run/hyperv_vfattach.mce1.lock"));
    let is_known = |path: &PathBuf| {
        *path == outside("/dev/null") || *path == lock || path.to_string_lossy().starts_with("socket:")
    };
    // It reads rc.conf first, through pipes.
    eventually("nothing else open", || open_files(waiter).iter().all(is_known));
    assert!(!scratch.is_up("mce1"));
}

#[test]
fn descriptors_that_the_caller_leaks_are_closed() {
    let scratch = Scratch::new(|_| {});
    scratch.guest.set_rc_conf("hyperv_vf_delay=60\n").unwrap();
    let words = words("hyperv_vfattach", &[&scratch.path("")]);
    let words: Vec<String> = words.iter().map(|word| format!("'{}'", word.display())).collect();
    let config = scratch.guest.config();
    let script = format!("exec 7</etc/passwd; exec {} -f '{}' mce1 0", words.join(" "), config.display());
    assert!(Command::new("/bin/sh").arg("-c").arg(script).status().unwrap().success());
    eventually("one waiting process", || scratch.waiters().len() == 1);
    let open = open_files(scratch.waiters()[0]);
    assert!(!open.contains(&PathBuf::from("/etc/passwd")), "{open:?}");
}

#[test]
fn a_second_attach_replaces_the_first() {
    let scratch = Scratch::new(|state| state.attach_vf("mce2", "hn0"));
    scratch.guest.set_rc_conf("hyperv_vf_delay=60\n").unwrap();
    scratch.succeed(&["mce1", "0"]);
    eventually("the first", || scratch.waiters().len() == 1);
    let first = scratch.waiters()[0];
    scratch.succeed(&["mce2", "0"]);
    scratch.succeed(&["mce1", "0"]);
    eventually("the second", || {
        let waiters = scratch.waiters();
        waiters.len() == 2 && !waiters.contains(&first)
    });
}

#[test]
fn after_the_delay_the_vf_is_brought_up() {
    let scratch = Scratch::new(|_| {});
    // Less than two seconds and malformed values mean two.
    scratch.guest.set_rc_conf("hyperv_vf_delay=0\n").unwrap();
    let started = Instant::now();
    scratch.succeed(&["mce1", "0"]);
    eventually("the VF up", || scratch.is_up("mce1"));
    assert!(started.elapsed() >= Duration::from_secs(2));
    eventually("the end of the waiting process", || scratch.waiters().is_empty());
    assert_eq!(scratch.spawns(), ["ifconfig mce1 up"]);
}

// contract V6
#[test]
fn a_delay_on_the_command_line_waits_in_the_foreground() {
    let scratch = Scratch::new(|_| {});
    let started = Instant::now();
    scratch.succeed(&["mce1", "1"]);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(2), "{took:?}");
    assert!(scratch.is_up("mce1"));
}

#[test]
fn a_vf_that_is_gone_after_the_delay_is_ignored() {
    for change in
        [|state: &mut State| state.detach("mce1"), |state: &mut State| drop(state.vfs.remove("mce1"))]
    {
        let scratch = Scratch::new(|_| {});
        let mut child = scratch.command().args(["mce1", "1"]).spawn().unwrap();
        eventually("the waiting", || scratch.path("var/run/hyperv_vfattach.mce1.lock").exists());
        scratch.guest.root().change(change).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(scratch.spawns(), [""; 0]);
    }
}

#[test]
fn a_failure_of_ifconfig_is_logged_with_its_status() {
    let scratch = Scratch::new(|_| {});
    let fault = "ifconfig 1 fail".parse().unwrap();
    faults::plan_faults(scratch.guest.root(), &[fault]).unwrap();
    let output = scratch.run(&["mce1", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr, "hyperv_vfattach: mce1: ifconfig: injected fault\n");
}

// contract V7, V16
#[test]
fn the_delay_is_read_from_every_file_of_rc_conf() {
    for place in
        ["etc/rc.conf", "etc/rc.conf.local", "etc/rc.conf.d/hyperv", "usr/local/etc/rc.conf.d/network"]
    {
        let scratch = Scratch::new(|_| {});
        let socket = std::os::unix::net::UnixDatagram::bind(scratch.path("var/run/log")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        fs::write(scratch.path(place), "hyperv_vf_delay=77\n").unwrap();
        scratch.succeed(&["mce1", "0"]);
        let mut line = [0; 2048];
        let count = socket.recv(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..count]).into_owned();
        assert!(line.ends_with("mce1: bringing it up in 77 s"), "{place}: {line}");
    }
}

#[test]
fn bad_arguments_get_the_usage() {
    let scratch = Scratch::new(|_| {});
    let long = "h".repeat(300);
    for words in [
        &[][..],
        &["mce1"],
        &["mce1", "0", "1"],
        &["mce1", "x"],
        &["mce1", "-1"],
        &["mce1", ""],
        &["hn0; reboot", "0"],
        &["../x", "0"],
        &["", "0"],
        &[&long, "0"],
    ] {
        let output = scratch.run(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: hyperv_vfattach"), "{words:?}");
    }
    assert_eq!(scratch.waiters(), []);
    assert_eq!(scratch.spawns(), [""; 0]);
}

#[test]
fn an_attacker_gets_nothing_from_waiters() {
    let scratch = Scratch::new(|_| {});
    let victim = Victim::beside(scratch.directory.path());
    victim.attacked(&[scratch.path("var/run/hyperv_vfattach.mce1.lock")], || {
        for _ in 0..20 {
            // It waits and does its work, or says why not.
            scratch.run(&["mce1", "0"]);
        }
    });
    eventually("the end of all waiters", || scratch.waiters().is_empty());
    scratch.succeed(&["mce1", "0"]);
    eventually("the VF to be up", || scratch.is_up("mce1"));
}
