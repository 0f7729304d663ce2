//! The list of processes by /proc. Linux has no jails, so every process is in jail 0.

use std::fs;
use std::io;

use crate::sys::process_records::Entry;

/// All processes, except those that have ended before they were read.
pub(in crate::sys) fn all() -> io::Result<Vec<Entry>> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(entry).collect())
}

/// Parses `PID (PROGRAM) STATE PARENT …`, where the program may contain any character. `None` for a process
/// that has ended.
fn entry(pid: u32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (before, behind) = stat.rsplit_once(") ")?;
    let program = before.split_once('(')?.1.to_owned();
    let parent = behind.split(' ').nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, jail: 0, program })
}
