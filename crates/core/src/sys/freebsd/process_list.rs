//! The list of processes by kern.proc.proc. The records are parsed by `sys/process_records`.

use std::io;

use super::sysctl;
use crate::sys::freebsd_abi as abi;
use crate::sys::process_records::{Entry, processes};

/// All processes, except the kernel's own and those that have ended.
pub(in crate::sys) fn all() -> io::Result<Vec<Entry>> {
    let bytes =
        sysctl::read(&[abi::CTL_KERN, abi::KERN_PROC, abi::KERN_PROC_PROC], 256 * abi::KINFO_PROC_SIZE)?;
    processes(&bytes).ok_or_else(|| unknown_layout("kern.proc.proc"))
}

/// The error for records of another layout than the one that this crate knows.
pub(super) fn unknown_layout(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} has records of an unknown layout"))
}
