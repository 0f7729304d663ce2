//! Ends the DHCP clients of an interface, and waits for all of their processes. It never touches addresses or
//! routes.
//!
//! dhclient(8) consists of several processes and handles no signal (sbin/dhclient/dhclient.c). After SIGTERM
//! its addresses, routes and name servers stay, and its privileged process ends only after the script that it
//! runs. Until then an address can still be set. So only the worker gets a signal, and all processes are
//! waited for.

use std::fs;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ApplyError;
use crate::net::processes::{AtWork, ClientProcess, Part};
use crate::net::{InterfaceName, dhclient};
use crate::sys::clock;
use crate::sys::network::NetworkSource;

/// How long they may take to end before they are killed, and how often that is checked.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// What is done about clients that are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// SIGTERM to workers that have not got one.
    Ask,
    /// SIGKILL to all.
    Kill,
    GiveUp,
}

/// What is done about clients that are still there after `elapsed`. `last` is what was done before. Clients that
/// were asked are killed before they are given up, also where the time passed without a look at them. Without
/// any time none is touched.
fn measure(elapsed: Duration, patience: Duration, last: Option<Measure>) -> Measure {
    match last {
        _ if elapsed < patience => Measure::Ask,
        Some(Measure::Ask) => Measure::Kill,
        _ if elapsed >= 2 * patience => Measure::GiveUp,
        _ => Measure::Kill,
    }
}

/// Ends every dhclient(8) of the interface within twice `patience`. After half of the time they are killed.
pub(super) fn stop(
    source: &NetworkSource,
    interface: &InterfaceName,
    patience: Duration,
) -> Result<(), ApplyError> {
    let begin = clock::monotonic();
    let mut asked: Vec<u32> = Vec::new();
    let mut last = None;
    loop {
        let all = processes(source, interface);
        let Some(first) = all.first() else { return Ok(()) };
        let now = measure(clock::monotonic().saturating_sub(begin), patience, last);
        match now {
            Measure::GiveUp => {
                return Err(ApplyError::Client { pid: first.pid, source: io::ErrorKind::TimedOut.into() });
            }
            Measure::Kill => all.iter().try_for_each(|client| signal(client.pid, Signal::SIGKILL))?,
            Measure::Ask => {
                // Another client may have been started meanwhile.
                for worker in all.iter().filter(|client| client.part == Part::Worker) {
                    if !asked.contains(&worker.pid) {
                        asked.push(worker.pid);
                        signal(worker.pid, Signal::SIGTERM)?;
                    }
                }
            }
        }
        last = Some(now);
        std::thread::sleep(PAUSE);
    }
}

/// The processes by the list of processes, or by a pid file if there is no list.
fn processes(source: &NetworkSource, interface: &InterfaceName) -> Vec<ClientProcess> {
    let listed = source.facts.network_processes().unwrap_or_default();
    let mut all: Vec<ClientProcess> =
        AtWork::on(std::slice::from_ref(interface), &listed).dhclient_of(interface).collect();
    let files = source.dhclient_directories.iter().map(|d| d.join(format!("dhclient.{interface}.pid")));
    for pid in files.filter_map(|file| dhclient::parse_pid(&fs::read(file).ok()?)) {
        let serves =
            || source.facts.process_arguments(pid).is_ok_and(|words| dhclient::serves(&words, interface));
        if !all.iter().any(|known| known.pid == pid) && serves() {
            all.push(ClientProcess { pid, part: Part::Worker });
        }
    }
    all
}

/// Sends a signal. A process that has ended needs none.
fn signal(pid: u32, signal: Signal) -> Result<(), ApplyError> {
    let number = i32::try_from(pid).unwrap_or(i32::MAX);
    match kill(Pid::from_raw(number), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(ApplyError::Client { pid, source: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::tests::Bench;

    /// A process with the title of a client. It ends at the end of its input at the latest.
    struct Client(Child);

    impl Client {
        fn start(title: &str, first: &str) -> Self {
            let mut command = Command::new("/bin/sh");
            let command = command.arg0(title).args(["-c", &format!("{first}; echo ready; read line")]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut ready = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
            assert_eq!(ready, "ready\n");
            Self(child)
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }

        fn still_runs(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }

        fn signal(mut self) -> Option<i32> {
            self.0.wait().unwrap().signal()
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn hn0() -> InterfaceName {
        "hn0".parse().unwrap()
    }

    fn bench() -> Bench {
        Bench::new("hn0 link 00:15:5d:01:02:03 up index=2\n")
    }

    /// A guest whose list of processes has this client.
    fn listed(title: &str, first: &str) -> (Bench, Client) {
        let (bench, client) = (bench(), Client::start(title, first));
        bench.write("facts/procs", &format!("proc {} dhclient\n", client.pid()));
        (bench, client)
    }

    #[test]
    fn a_listed_client_ends_by_sigterm_and_is_waited_for() {
        let (bench, client) = listed("dhclient: hn0", ":");
        stop(&bench.source(), &hn0(), LONG).unwrap();
        assert_eq!(processes(&bench.source(), &hn0()), []);
        assert_eq!(client.signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_client_in_a_pid_file_alone_is_ended_too() {
        let (bench, client) = (bench(), Client::start("dhclient: hn0", ":"));
        bench.write("pids/dhclient.hn0.pid", &format!("{}\n", client.pid()));
        stop(&bench.source(), &hn0(), LONG).unwrap();
        assert_eq!(client.signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_client_that_ignores_sigterm_is_killed() {
        let (bench, client) = listed("dhclient: hn0", "trap '' TERM");
        stop(&bench.source(), &hn0(), Duration::from_secs(1)).unwrap();
        assert_eq!(client.signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn other_processes_are_left_alone_whatever_a_pid_file_says() {
        let (bench, mut other) = listed("dhclient: hn1", ":");
        for text in [other.pid().to_string(), "0".into(), "-1".into(), "4294967295".into(), "x".into()] {
            bench.write("pids/dhclient.hn0.pid", &text);
            stop(&bench.source(), &hn0(), LONG).unwrap();
            assert!(other.still_runs(), "{text}");
        }
    }

    #[test]
    fn a_client_that_never_ends_is_named() {
        // It is still listed after its end.
        let (bench, client) = listed("dhclient: hn0", ":");
        let pid = client.pid();
        bench.write("facts/sysctl", &format!("1.14.7.{pid}:str=dhclient: hn0\n"));
        let error = stop(&bench.source(), &hn0(), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot end dhclient with process id {pid}"));
        // A process that has ended is no error of its own.
        drop(client);
        signal(u32::MAX, Signal::SIGTERM).unwrap();
    }

    #[test]
    fn clients_that_were_asked_are_killed_before_they_are_given_up() {
        use Measure::{Ask, GiveUp, Kill};
        let after = |milliseconds, last| {
            measure(Duration::from_millis(milliseconds), Duration::from_millis(100), last)
        };
        for (elapsed, last, now) in [
            (0, None, Ask),
            (99, Some(Ask), Ask),
            (100, Some(Ask), Kill),
            (199, Some(Kill), Kill),
            (200, Some(Kill), GiveUp),
            // The machine stood still meanwhile.
            (5000, Some(Ask), Kill),
            (150, None, Kill),
            (200, None, GiveUp),
        ] {
            assert_eq!(after(elapsed, last), now, "{elapsed} {last:?}");
        }
    }

    #[test]
    fn without_any_time_no_client_is_touched() {
        let (bench, mut client) = listed("dhclient: hn0", ":");
        stop(&bench.source(), &hn0(), Duration::ZERO).unwrap_err();
        assert!(client.still_runs());
    }

    #[test]
    fn the_privileged_process_is_not_asked_to_end() {
        let (bench, privileged) = listed("dhclient: hn0 [priv]", ":");
        stop(&bench.source(), &hn0(), Duration::from_secs(1)).unwrap();
        assert_eq!(privileged.signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn the_step_that_stops_clients_ends_them() {
        let (bench, client) = listed("dhclient: hn0", ":");
        let mut port = super::super::NetworkPort::new(bench.settings(), bench.source(), "hn0");
        crate::plan::Port::perform(&mut port, &super::super::NetworkStep::StopDhcp { interface: hn0() })
            .unwrap();
        assert_eq!(client.signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_listed_client_with_a_pid_file_counts_once() {
        let (bench, client) = listed("dhclient: hn0", ":");
        let pid = client.pid();
        bench.write("pids/dhclient.hn0.pid", &pid.to_string());
        assert_eq!(processes(&bench.source(), &hn0()), [ClientProcess { pid, part: Part::Worker }]);
    }
}
