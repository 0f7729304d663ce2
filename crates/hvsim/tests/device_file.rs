//! The device as a file: what a program sees through open, poll, pread and pwrite, and what is left when
//! processes die. It needs FUSE and namespaces, and is skipped with the reason where they cannot be used, see
//! `hvsim::testing`.

#![expect(clippy::unwrap_used, reason = "the functions that tests call are tests, too")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hvsim::kvp::layout::{STATUS_CONT, STATUS_FAIL, STATUS_NOT_SUPPORTED};
use hvsim::kvp::{HostAnswer, HostRequest, HostValue};
use hvsim::testing::{Machine, Options, PATIENCE, program};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

macro_rules! machine_or_skip {
    ($options:expr) => {
        match Machine::start_with(&$options) {
            Ok(machine) => machine,
            Err(reason) => return eprintln!("skipped: {reason}"),
        }
    };
    () => {
        machine_or_skip!(Options::default())
    };
}

fn quick() -> Options {
    Options { timeout: Some(Duration::from_millis(100)), ..Options::default() }
}

/// A running `hvsim-device-probe` in the machine.
struct Probe {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    device: PathBuf,
}

impl Probe {
    fn start(machine: &Machine) -> Self {
        let mut command = machine.command(program("hvsim-device-probe"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output, device: machine.kvp_device() }
    }

    fn registered(machine: &Machine) -> Self {
        let mut probe = Self::start(machine);
        assert_eq!(probe.open(), "ok");
        assert_eq!(probe.call("register"), "7430");
        probe
    }

    fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn receive(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn call(&mut self, line: &str) -> String {
        self.send(line);
        self.receive()
    }

    fn open(&mut self) -> String {
        let line = format!("open {}", self.device.display());
        self.call(&line)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request from another thread. Its answer arrives through the channel.
fn ask(machine: &Machine, request: HostRequest) -> mpsc::Receiver<HostAnswer> {
    let mut client = machine.client();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(client.ask(request).unwrap());
    });
    receiver
}

fn get(key: &str) -> HostRequest {
    HostRequest::Get { pool: 3, key: key.to_owned() }
}

const POLL: &str = "poll 30000";

#[test]
fn request_reaches_the_program_and_its_answer_the_host() {
    let machine = machine_or_skip!();
    let mut probe = Probe::registered(&machine);
    let answer = ask(&machine, get("key"));
    assert_eq!(probe.call(POLL), "POLLIN");
    assert_eq!(probe.call("pread 7430 0"), "7430 [00, 03]");
    assert_eq!(probe.call("poll 0"), "POLLIN", "until the answer");
    assert_eq!(probe.call(&format!("answer {STATUS_CONT}")), "7430");
    assert_eq!(probe.call("poll 0"), "nothing");
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap().code, STATUS_CONT);
}

#[test]
fn sleeping_poll_is_woken_by_a_request() {
    let machine = machine_or_skip!();
    let mut probe = Probe::registered(&machine);
    probe.send(POLL);
    let answer = ask(&machine, get("key"));
    assert_eq!(probe.receive(), "POLLIN");
    probe.call("pread 7430 0");
    probe.call("answer 0");
    assert!(answer.recv_timeout(PATIENCE).unwrap().is_ok());
}

#[test]
fn null_daemon_serves_every_operation() {
    let mut machine = machine_or_skip!();
    let device = machine.kvp_device();
    let _daemon = machine.spawn(program("hvsim-null-daemon"), [&device]);
    machine.wait_registered();
    let host = machine.host();
    assert!(host.get(0, "a").unwrap().is_ok());
    assert!(host.set(0, "a", "b").unwrap().is_ok());
    assert!(host.set_value(0, "a", HostValue::Qword(7)).unwrap().is_ok());
    assert!(host.delete(0, "a").unwrap().is_ok());
    assert!(host.enumerate_index(0, 5).unwrap().is_ok());
    assert_eq!(host.ip_info("00:15:5D:00:00:01").unwrap().ip.unwrap().adapter, "00:15:5D:00:00:01");
    assert!(host.raw(77, 0, vec![]).unwrap().is_ok(), "EINVAL comes after the answer");
    let latencies = host.ask_many(vec![get("a")], 100).unwrap();
    assert_eq!((latencies.nanoseconds.len(), latencies.failed), (100, 0));
    assert!(host.statistics().unwrap().most_polls_without_progress < 10);
}

#[test]
fn the_device_has_one_opener_at_a_time() {
    let machine = machine_or_skip!();
    let (mut first, mut second) = (Probe::start(&machine), Probe::start(&machine));
    assert_eq!(first.open(), "ok");
    assert_eq!(second.open(), "EBUSY");
    assert_eq!(first.call("close"), "ok");
    assert_eq!(second.open(), "ok");
}

#[test]
fn reading_and_writing_before_registration_fail() {
    let mut machine = machine_or_skip!();
    let mut probe = Probe::start(&machine);
    assert_eq!(probe.open(), "ok");
    assert_eq!(probe.call("pread 7430 0"), "EPERM");
    assert_eq!(probe.call("pwrite 7430 0 3"), "EINVAL");
    assert_eq!(probe.call("pwrite 100 0 4"), "EINVAL");
    assert_eq!(machine.take_violations().len(), 3);
}

#[test]
fn plain_reads_run_into_the_file_offset() {
    let mut machine = machine_or_skip!(quick());
    let mut probe = Probe::registered(&machine);
    for expected in ["7430 [00, 03]", "1 [00]", "0 []"] {
        let answer = ask(&machine, get("key"));
        assert_eq!(probe.call(POLL), "POLLIN");
        assert_eq!(probe.call("read 7430"), expected);
        assert_eq!(probe.call("pwrite 7430 0 0"), "7430");
        answer.recv_timeout(PATIENCE).unwrap();
    }
    let violations = machine.take_violations();
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations.iter().all(|violation| violation.contains("file offset")), "{violations:?}");
}

#[test]
fn read_larger_than_a_message_is_recorded() {
    let mut machine = machine_or_skip!(quick());
    let mut probe = Probe::registered(&machine);
    let answer = ask(&machine, get("key"));
    assert_eq!(probe.call(POLL), "POLLIN");
    assert_eq!(probe.call("pread 8192 0"), "7431 [00, 03]");
    answer.recv_timeout(PATIENCE).unwrap();
    assert!(machine.take_violations()[0].contains("read with 8192 bytes"));
}

#[test]
fn second_read_blocks_and_is_recorded() {
    let mut machine = machine_or_skip!(quick());
    let mut probe = Probe::registered(&machine);
    let answer = ask(&machine, get("key"));
    assert_eq!(probe.call(POLL), "POLLIN");
    probe.call("pread 7430 0");
    probe.send("pread 7430 0");
    assert!(answer.recv_timeout(PATIENCE).unwrap().timed_out);
    // The read came first: it is recorded when this is answered, or soon after.
    let end = std::time::Instant::now() + PATIENCE;
    let mut violations = machine.take_violations();
    while violations.is_empty() && std::time::Instant::now() < end {
        std::thread::yield_now();
        violations = machine.take_violations();
    }
    assert_eq!(violations, ["hv_kvp_dev: read the same request a second time: that blocks for ever"]);
    // Nothing wakes the probe, not even SIGKILL, as on FreeBSD. Only the end of the machine does.
    drop(machine);
}

#[test]
fn a_request_waits_for_a_daemon_and_times_out() {
    let machine = machine_or_skip!(quick());
    let answer = ask(&machine, get("key"));
    let mut probe = Probe::registered(&machine);
    let answer = answer.recv_timeout(PATIENCE).unwrap();
    assert_eq!((answer.code, answer.timed_out), (STATUS_FAIL, true));
    assert_eq!(probe.call("poll 0"), "POLLIN", "the answer is still owed");
    probe.call("pread 7430 0");
    assert_eq!(probe.call("answer 0"), "7430", "and dropped");
    assert_eq!(probe.call("poll 0"), "nothing");
}

#[test]
fn answer_to_an_unknown_operation_fails_with_einval() {
    let machine = machine_or_skip!();
    let mut probe = Probe::registered(&machine);
    let answer = ask(&machine, HostRequest::Raw { opcode: 99, pool: 0, body: vec![] });
    assert_eq!(probe.call(POLL), "POLLIN");
    assert_eq!(probe.call("pread 7430 0"), "7430 [63, 00]");
    assert_eq!(probe.call(&format!("answer {STATUS_NOT_SUPPORTED}")), "EINVAL");
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap().code, STATUS_NOT_SUPPORTED);
}

#[test]
fn a_killed_daemons_token_gives_stale_bytes() {
    let mut machine = machine_or_skip!(quick());
    let mut first = Probe::registered(&machine);
    let answer = ask(&machine, get("key"));
    assert_eq!(first.call(POLL), "POLLIN");
    drop(first);
    assert!(answer.recv_timeout(PATIENCE).unwrap().timed_out);
    let mut second = Probe::registered(&machine);
    assert_eq!(second.call("poll 0"), "nothing");
    assert_eq!(second.call("pread 7430 0"), "7430 [04, 00]", "its own registration");
    assert!(machine.take_violations()[0].contains("stale bytes"));
}

#[test]
fn killed_daemon_is_replaced() {
    let mut machine = machine_or_skip!();
    for _ in 0..3 {
        let device = machine.kvp_device();
        let mut daemon = machine.spawn(program("hvsim-null-daemon"), [&device]);
        machine.wait_registered();
        assert!(machine.host().get(0, "a").unwrap().is_ok());
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
    }
}

#[test]
fn detach_kills_the_daemon_and_removes_the_node() {
    let mut machine = machine_or_skip!();
    let device = machine.kvp_device();
    let mut daemon = machine.spawn(program("hvsim-null-daemon"), [&device]);
    machine.wait_registered();
    machine.host().detach().unwrap();
    assert_eq!(daemon.wait().signal(), Some(9));
    let mut probe = Probe::start(&machine);
    assert_eq!(probe.open(), "ENOENT");
    assert!(machine.host().get(0, "a").unwrap().detached);
    machine.host().attach().unwrap();
    assert_eq!(probe.open(), "ok");
}

#[test]
fn detach_kills_a_sleeping_poller() {
    let mut machine = machine_or_skip!();
    let mut probe = Probe::registered(&machine);
    assert_eq!(i32::try_from(machine.host().statistics().unwrap().opener), Ok(probe.pid().as_raw()));
    probe.send(POLL);
    machine.host().detach().unwrap();
    assert_eq!(probe.receive(), "", "its output has ended");
    assert_eq!(probe.child.wait().unwrap().signal(), Some(9));
}

#[test]
fn nothing_is_mounted_outside() {
    let machine = machine_or_skip!();
    let marker = machine.device_dir();
    let seen = |path: &str| std::fs::read_to_string(path).unwrap().contains(marker.to_str().unwrap());
    assert!(!seen("/proc/self/mounts"), "the test itself is outside");
    assert!(!machine.kvp_device().exists());
    let mut probe = Probe::registered(&machine);
    assert!(machine.processes().contains(&probe.pid()));
    drop(machine);
    assert_eq!(probe.child.wait().unwrap().signal(), Some(9), "programs of the machine end with it");
    assert!(!marker.exists());
}

#[test]
fn violations_fail_the_test() {
    let machine = machine_or_skip!();
    let mut probe = Probe::start(&machine);
    probe.open();
    probe.call("pread 7430 0");
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(machine))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("read before it was registered"), "{text}");
}

#[test]
fn command_line_plays_the_host() {
    let mut machine = machine_or_skip!();
    let device = machine.kvp_device();
    let _daemon = machine.spawn(program("hvsim-null-daemon"), [&device]);
    machine.wait_registered();
    let dir = machine.dir();
    let run = |words: &[&str]| {
        let output = Command::new(program("hvsim"))
            .args(["host", "--dir", dir.to_str().unwrap()])
            .args(words)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&["kvp", "set", "0", "key", "7", "--type", "u32"]), (0, "OK\n".to_owned()));
    assert_eq!(run(&["kvp", "get", "0", "key"]).0, 0);
    assert_eq!(run(&["kvp", "get", "0", "key", "--expect", "S_CONT"]).0, 1);
    let (code, json) = run(&["--json", "kvp", "ip-info", "00:15:5D:00:00:01"]);
    assert_eq!(code, 0);
    let answer: HostAnswer = serde_json::from_str(&json).unwrap();
    assert_eq!(answer.ip.unwrap().adapter, "00:15:5D:00:00:01");
    assert_eq!(run(&["violations"]), (0, String::new()));
    for wrong in [
        &["kvp", "get", "0"][..],
        &["kvp", "get", "300", "key"],
        &["kvp", "set", "0", "key", "x", "--type", "u32"],
        &["kvp", "raw", "1", "0", "abc"],
        &["--expect", "WRONG", "kvp", "get", "0", "key"],
        &["--unknown"],
        &[],
    ] {
        assert_eq!(run(wrong).0, 64, "{wrong:?}");
    }
}
