//! Mappings of processes do not matter on Linux, where no process stores into a FreeBSD file system.
//! Simulated processes are in a facts directory.

use std::io;

use crate::vss::mounts::Mount;
use crate::vss::scan::{MappedFile, Process};

/// No process.
pub(in crate::sys) fn mapped_files() -> io::Result<Vec<(Process, Vec<MappedFile>)>> {
    Ok(Vec::new())
}

/// Unknown.
pub(in crate::sys) fn device_numbers(table: &[Mount]) -> Vec<Option<u64>> {
    vec![None; table.len()]
}

/// Unknown.
pub(in crate::sys) fn device_number_of(_: &str) -> Option<u64> {
    None
}

/// There are no such sysctls here.
pub(in crate::sys) fn set_sysctl(name: &str, _: i32) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("sysctl {name} exists only on FreeBSD")))
}

/// The number of threads of this process.
pub(in crate::sys) fn own_threads() -> io::Result<u32> {
    let count = std::fs::read_dir("/proc/self/task")?.count();
    u32::try_from(count).map_err(io::Error::other)
}
