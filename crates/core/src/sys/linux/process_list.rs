//! The list of processes: /proc.

use std::fs;
use std::io;

use crate::sys::process_list::Entry;

/// Every process.
pub(in crate::sys) fn all() -> io::Result<Vec<Entry>> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(entry).collect())
}

/// `PID (PROGRAM) STATE PARENT …`; the program may hold anything. `None` for one that has ended.
fn entry(pid: u32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (before, behind) = stat.rsplit_once(") ")?;
    let program = before.split_once('(')?.1.to_owned();
    let parent = behind.split(' ').nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, program })
}
