//! Samples of a daemon's process: memory, descriptors, threads and children. It compares two of them and
//! judges no answer.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program;
use crate::session::kvp::Session;
use crate::testing::{PATIENCE, look_for};

const DAEMON: &str = "hv_kvp_daemon";

/// A sample of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    memory_kib: u64,
    /// What each descriptor refers to, except sockets that come and go, see [`descriptors`].
    descriptors: Vec<String>,
    threads: u64,
    children: usize,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors", self.memory_kib, self.descriptors.len())
    }
}

impl Sample {
    /// Takes a sample. `None` if the process has ended.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Some(Self {
            memory_kib: number("VmRSS:")?,
            descriptors: descriptors(pid)?,
            threads: number("Threads:")?,
            children: children.split_whitespace().count(),
        })
    }

    /// Waits until the process has no children, as long as a test waits for anything, and takes a sample.
    /// Programs that a daemon starts after its answer need a moment.
    pub(super) fn at_rest(pid: Pid) -> Option<Self> {
        look_for(PATIENCE, || Self::of(pid).filter(|sample| sample.children == 0)).or_else(|| Self::of(pid))
    }

    /// The differences that must not be.
    pub(super) fn judge(&self, first: &Self, growth_kib: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.memory_kib > first.memory_kib + growth_kib {
            wrong.push(format!("memory grew from {} to {} KiB", first.memory_kib, self.memory_kib));
        }
        let (before, now) = (first.descriptors.len(), self.descriptors.len());
        if now > before {
            let all = self.descriptors.join(", ");
            wrong.push(format!("descriptors grew from {before} to {now}: {all}"));
        }
        if self.threads != 1 {
            wrong.push(format!("{} threads", self.threads));
        }
        if self.children > 0 {
            wrong.push(format!("{} processes left behind", self.children));
        }
        wrong
    }
}

/// What the descriptors of a process refer to. Left out are Unix datagram sockets: a daemon has one while it
/// is connected to syslogd, and one in place of a routing socket for a minute after an injection.
fn descriptors(pid: Pid) -> Option<Vec<String>> {
    let sockets = datagram_sockets(&fs::read_to_string(format!("/proc/{pid}/net/unix")).ok()?);
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    let mut names: Vec<String> = targets.map(|target| target.display().to_string()).collect();
    names.retain(|name| !sockets.contains(name));
    names.sort();
    Some(names)
}

/// The Unix datagram sockets in a table of Linux's `/proc/net/unix`, as links of descriptors name them.
fn datagram_sockets(table: &str) -> Vec<String> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, _, _, _, "0002", _, inode, ..] => Some(format!("socket:[{inode}]")),
            _ => None,
        }
    };
    table.lines().filter_map(socket).collect()
}

/// Replaces the session's own daemon by a detached one, as devd starts it, with its log in syslog.
pub(super) fn detach(session: &mut Session) -> Result<(), String> {
    let config = session.path("hyperv.toml");
    let daemon = session.daemon().ok_or("no daemon")?;
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let machine = session.machine().ok_or("no machine")?;
    let mut start = machine.spawn(program(DAEMON), [Path::new("-f"), &config]);
    match start.exit_code() {
        0 => Ok(()),
        code => Err(format!("{DAEMON} ended with {code}: {}", start.output())),
    }
}

/// The detached daemon.
fn daemon(session: &Session) -> Option<Pid> {
    let named = |pid: &Pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == DAEMON && kill(*pid, None).is_ok()
    };
    session.machine()?.processes().into_iter().find(named)
}

/// A sample of the detached daemon while it works.
pub(super) fn sample_of(session: &Session) -> Option<Sample> {
    Sample::of(daemon(session)?)
}

/// A sample of the detached daemon when the programs that it started have ended.
pub(super) fn last_sample_of(session: &Session) -> Option<Sample> {
    Sample::at_rest(daemon(session)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(descriptors: &[&str]) -> Sample {
        let descriptors = descriptors.iter().map(|name| (*name).to_owned()).collect();
        Sample { memory_kib: 5000, descriptors, threads: 1, children: 0 }
    }

    #[test]
    fn growth_is_reported_with_what_grew() {
        let first = sample(&["/dev/null"]);
        assert_eq!(first.judge(&first, 0), [""; 0]);
        let last = Sample { memory_kib: 5513, threads: 2, children: 1, ..sample(&["/a", "socket:[7]"]) };
        let wrong = [
            "memory grew from 5000 to 5513 KiB",
            "descriptors grew from 1 to 2: /a, socket:[7]",
            "2 threads",
            "1 processes left behind",
        ];
        assert_eq!(last.judge(&first, 512), wrong);
    }

    #[test]
    fn only_datagram_sockets_are_the_log_connection() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000: 00000002 00000000 00010000 0001 01 37 /run/a.sock\n\
                     0000: 00000002 00000000 00000000 0002 01 38\n\
                     0000: 00000003 00000000 00000000 0002 01 39 /run/log\n";
        assert_eq!(datagram_sockets(table), ["socket:[38]", "socket:[39]"]);
    }

    #[test]
    fn a_process_is_sampled_without_its_log_connection() {
        let own = || Sample::of(Pid::this()).unwrap().descriptors;
        let log = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&log))).unwrap();
        assert!(!own().contains(&link.display().to_string()));
    }
}
