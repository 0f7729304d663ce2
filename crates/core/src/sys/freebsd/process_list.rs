//! The list of processes: kern.proc.proc, records of `struct kinfo_proc` (sys/user.h).

use std::ffi::CStr;
use std::io;

use super::sysctl;
use crate::sys::process_list::Entry;

/// Every process but the kernel's own and those that have ended: until its parent collects it, the kernel
/// keeps one in the list, and its arguments, too (`proc_reap()` of sys/kern/kern_exit.c drops them).
pub(in crate::sys) fn all() -> io::Result<Vec<Entry>> {
    let size = size_of::<libc::kinfo_proc>();
    let bytes = sysctl::read(&[libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PROC], 128 * size)?;
    let all = bytes.chunks_exact(size).map(entry).collect::<Option<Vec<_>>>().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "kern.proc.proc has records of an unknown layout")
    })?;
    Ok(all.into_iter().filter(|(_, has_ended)| !has_ended).map(|(entry, _)| entry).collect())
}

/// A process, and whether it has ended.
fn entry(bytes: &[u8]) -> Option<(Entry, bool)> {
    // SAFETY: `bytes` has the size of one record, every bit pattern is a valid `kinfo_proc` of integers and
    // raw pointers, and the read needs no alignment.
    let record: libc::kinfo_proc = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
    if usize::try_from(record.ki_structsize).ok() != Some(size_of::<libc::kinfo_proc>()) {
        return None;
    }
    let name: Vec<u8> = record.ki_comm.iter().flat_map(|byte| byte.to_ne_bytes()).chain([0]).collect();
    let program = CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned();
    let number = |pid: i32| u32::try_from(pid).unwrap_or(0);
    let entry = Entry { pid: number(record.ki_pid), parent: number(record.ki_ppid), program };
    Some((entry, record.ki_stat == libc::SZOMB))
}
