//! Registers the processes of a simulated guest that matter for its network: DHCP clients and the scripts of
//! rc(8). Reading the entries is in `process_list`.
//!
//! Each is a real process with an entry `GUEST/network/procs/PID` as long as it runs. Programs of the guest
//! read about them in the facts files `procs` and `sysctl`, instead of kern.proc.

use std::fs;
use std::io;
use std::process;

use super::root::Root;

/// A registered process of the guest. Dropping this removes its entry.
#[derive(Debug)]
pub(super) struct Registered {
    root: Root,
    pid: u32,
}

impl Registered {
    /// Registers this process under a title or argument vector.
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

/// The program by which a script of rc(8) registers itself: `begin PID ARGUMENTS` and `end PID`.
pub(super) const TOOL: &str = "hvsim-process";

/// Performs a call of [`TOOL`].
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

/// Registers a process.
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

/// Removes a process. The guest may already be removed.
pub(super) fn forget(root: &Root, pid: u32) {
    let _ = fs::remove_file(root.path(&format!("network/procs/{pid}")));
    let _ = root.refresh_facts();
}
