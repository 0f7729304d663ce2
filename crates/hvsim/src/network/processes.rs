//! The processes of a simulated guest that matter for its network: DHCP clients and the scripts of rc(8).
//!
//! Each is a real process, and `GUEST/network/procs/PID` says what it is for as long as it lives. The facts
//! files `procs` and `sysctl` tell programs of the guest about them, as kern.proc does.

use std::fs;
use std::io;
use std::process;

use super::root::Root;

/// A process of the guest; it is forgotten when this goes.
#[derive(Debug)]
pub(super) struct Registered {
    root: Root,
    pid: u32,
}

impl Registered {
    /// Makes this process known under a title or argument vector.
    ///
    /// # Errors
    /// The guest's files.
    pub(super) fn this(root: &Root, program: &str, arguments: &[&str]) -> io::Result<Self> {
        register(root, process::id(), parent(), program, arguments)?;
        Ok(Self { root: root.clone(), pid: process::id() })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        forget(&self.root, self.pid);
    }
}

/// What a script of rc(8) calls to be in the list of processes: `begin PID ARGUMENTS` and `end PID`.
pub(super) const TOOL: &str = "hvsim-process";

/// What [`TOOL`] does.
pub(super) fn note(root: &Root, arguments: &[String]) -> io::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["begin", pid, rest @ ..] => {
            let pid = pid.parse().map_err(io::Error::other)?;
            let vector: Vec<&str> = std::iter::once("/bin/sh").chain(rest.iter().copied()).collect();
            register(root, pid, 1, "sh", &vector)
        }
        ["end", pid] => {
            forget(root, pid.parse().map_err(io::Error::other)?);
            Ok(())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn parent() -> u32 {
    u32::try_from(nix::unistd::getppid().as_raw()).unwrap_or(1)
}

/// Makes a process known.
pub(super) fn register(
    root: &Root,
    pid: u32,
    parent: u32,
    program: &str,
    arguments: &[&str],
) -> io::Result<()> {
    let mut text = format!("{parent} {program}\n").into_bytes();
    for argument in arguments {
        text.extend(argument.as_bytes());
        text.push(0);
    }
    fs::create_dir_all(root.path("network/procs"))?;
    root.replace(&format!("network/procs/{pid}"), &text)?;
    root.refresh_facts()
}

/// Forgets a process; the guest may be gone already.
pub(super) fn forget(root: &Root, pid: u32) {
    let _ = fs::remove_file(root.path(&format!("network/procs/{pid}")));
    let _ = root.refresh_facts();
}
