//! The processes of a simulated guest that matter for its network: DHCP clients and the scripts of rc(8).
//!
//! Each is a real process, and `GUEST/network/procs/PID` says what it is for as long as it lives. The facts
//! files `procs` and `sysctl` tell programs of the guest about them, as kern.proc does.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process;

use hv_core::sys::freebsd_abi::{CTL_KERN, KERN_PROC, KERN_PROC_ARGS};
use hv_core::sys::system_facts::FactsSource;

use super::state::Root;

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

/// One process as the guest knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub pid: u32,
    /// That of its parent.
    pub parent: u32,
    /// The name of its program.
    pub program: String,
    /// Its arguments, each followed by a NUL.
    pub arguments: Vec<u8>,
}

/// The processes that live.
#[must_use]
pub fn all(root: &Root) -> Vec<Known> {
    let files = fs::read_dir(root.path("network/procs")).into_iter().flatten().flatten();
    let pids = files.filter_map(|file| file.file_name().to_str()?.parse::<u32>().ok());
    let lives = |pid: &u32| FactsSource::System.process_arguments(*pid).is_ok_and(|words| !words.is_empty());
    let mut known: Vec<Known> = pids.filter(lives).filter_map(|pid| read(root, pid)).collect();
    known.sort_by_key(|known| known.pid);
    known
}

fn read(root: &Root, pid: u32) -> Option<Known> {
    let bytes = fs::read(root.path(&format!("network/procs/{pid}"))).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let heading = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (parent, program) = heading.split_once(' ')?;
    let arguments = bytes[end + 1..].to_vec();
    Some(Known { pid, parent: parent.parse().ok()?, program: program.to_owned(), arguments })
}

/// The facts file `procs` and what belongs into `sysctl`.
pub(super) fn facts(root: &Root) -> (String, String) {
    let (mut procs, mut sysctl) = (String::new(), String::new());
    for known in all(root) {
        // Writing to a String cannot fail.
        let _ = writeln!(procs, "proc {} {} ppid={}", known.pid, known.program, known.parent);
        let _ = write!(sysctl, "{CTL_KERN}.{KERN_PROC}.{KERN_PROC_ARGS}.{}:hex=", known.pid);
        for byte in &known.arguments {
            let _ = write!(sysctl, "{byte:02x}");
        }
        sysctl.push('\n');
    }
    (procs, sysctl)
}
