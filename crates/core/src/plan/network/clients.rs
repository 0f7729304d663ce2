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

/// Ends every dhclient(8) of the interface within twice `patience`. After half of the time they are killed.
pub(super) fn stop(
    source: &NetworkSource,
    interface: &InterfaceName,
    patience: Duration,
) -> Result<(), ApplyError> {
    let begin = clock::monotonic();
    let mut asked: Vec<u32> = Vec::new();
    loop {
        let all = processes(source, interface);
        let Some(first) = all.first() else { return Ok(()) };
        let elapsed = clock::monotonic().saturating_sub(begin);
        if elapsed >= 2 * patience {
            return Err(ApplyError::Client { pid: first.pid, source: io::ErrorKind::TimedOut.into() });
        }
        if elapsed >= patience {
            all.iter().try_for_each(|client| signal(client.pid, Signal::SIGKILL))?;
        } else {
            // Another client may have been started meanwhile.
            for worker in all.iter().filter(|client| client.part == Part::Worker) {
                if !asked.contains(&worker.pid) {
                    asked.push(worker.pid);
                    signal(worker.pid, Signal::SIGTERM)?;
                }
            }
        }
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
