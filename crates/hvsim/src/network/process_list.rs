//! The running processes of a simulated guest. Each has registered itself below the guest's directory; this
//! module reads the entries.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hv_core::sys::freebsd_abi::{CTL_KERN, KERN_PROC, KERN_PROC_ARGS};
use hv_core::sys::system_facts::FactsSource;

/// One process of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its process id.
    pub pid: u32,
    /// The process id of its parent.
    pub parent: u32,
    /// The name of its program.
    pub program: String,
    /// Its arguments, each followed by a NUL.
    pub arguments: Vec<u8>,
}

/// The running processes.
#[must_use]
pub fn all(guest: &Path) -> Vec<Known> {
    let files = fs::read_dir(guest.join("network/procs")).into_iter().flatten().flatten();
    let pids = files.filter_map(|file| file.file_name().to_str()?.parse::<u32>().ok());
    let mut known: Vec<Known> = pids.filter(|pid| lives(*pid)).filter_map(|pid| read(guest, pid)).collect();
    known.sort_by_key(|known| known.pid);
    known
}

/// Whether a process exists and is no zombie. Arguments do not tell on Linux: a process that was just started has
/// none until execve(2) is through, and would be missing in the facts until they are written again.
fn lives(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(") ").next().unwrap_or_default().starts_with(['Z', 'X']),
        Err(_) => FactsSource::System.process_arguments(pid).is_ok_and(|words| !words.is_empty()),
    }
}

fn read(guest: &Path, pid: u32) -> Option<Known> {
    let bytes = fs::read(guest.join(format!("network/procs/{pid}"))).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let heading = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (parent, program) = heading.split_once(' ')?;
    let arguments = bytes[end + 1..].to_vec();
    Some(Known { pid, parent: parent.parse().ok()?, program: program.to_owned(), arguments })
}

/// The facts file `procs`, and the lines for the file `sysctl`.
pub(super) fn facts(guest: &Path) -> (String, String) {
    let (mut procs, mut sysctl) = (String::new(), String::new());
    for known in all(guest) {
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
