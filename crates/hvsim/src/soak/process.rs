//! Samples of a daemon's process: memory, descriptors, threads and children. It compares two of them and
//! judges no answer.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program;
use crate::session::kvp::Session;

const DAEMON: &str = "hv_kvp_daemon";

/// A sample of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    memory_kib: u64,
    descriptors: usize,
    threads: u64,
    children: usize,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors", self.memory_kib, self.descriptors)
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
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: number("Threads:")?,
            children: children.split_whitespace().count(),
        })
    }

    /// The differences that must not be.
    pub(super) fn judge(&self, first: &Self, growth_kib: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.memory_kib > first.memory_kib + growth_kib {
            wrong.push(format!("memory grew from {} to {} KiB", first.memory_kib, self.memory_kib));
        }
        if self.descriptors > first.descriptors {
            wrong.push(format!("descriptors grew from {} to {}", first.descriptors, self.descriptors));
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

pub(super) fn sample_of(session: &Session) -> Option<Sample> {
    Sample::of(daemon(session)?)
}
