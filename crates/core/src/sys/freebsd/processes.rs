//! The files that processes have mapped, by kern.proc.vmmap, and the device numbers of mounts. It judges
//! neither; `vss::scan` does.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;
use std::{fs, io, ptr, thread};

use super::mounts::id;
use super::process_list::{all, unknown_layout};
use super::sysctl;
use crate::sys::freebsd_abi as abi;
use crate::sys::process_records as records;
use crate::vss::mounts::{FsId, Mount};
use crate::vss::scan::{MappedFile, Process};

/// How often the mappings of a process are read again while it is in exec(2) (`p_candebug()` of
/// kern/kern_prot.c returns EBUSY), and the pause in between.
const EXEC_ATTEMPTS: u32 = 100;
const EXEC_PAUSE: Duration = Duration::from_millis(1);

/// See [`crate::sys::system_facts::FactsSource::mapped_files`].
pub(in crate::sys) fn mapped_files() -> io::Result<Vec<(Process, Vec<MappedFile>)>> {
    let entries = all()?;
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        let process = Process { pid: entry.pid, jail: entry.jail, program: entry.program };
        let files = files_of(process.pid).map_err(|error| {
            io::Error::new(error.kind(), format!("{} (pid {}): {error}", process.program, process.pid))
        })?;
        found.push((process, files));
    }
    Ok(found)
}

fn files_of(pid: u32) -> io::Result<Vec<MappedFile>> {
    let number = i32::try_from(pid).map_err(io::Error::other)?;
    let mut attempts = 0;
    loop {
        match sysctl::read(&[abi::CTL_KERN, abi::KERN_PROC, abi::KERN_PROC_VMMAP, number], 64 << 10) {
            Ok(bytes) => {
                return records::mapped_files(&bytes).ok_or_else(|| unknown_layout("kern.proc.vmmap"));
            }
            Err(error) => match error.raw_os_error() {
                // The process has ended meanwhile.
                Some(abi::ESRCH) => return Ok(Vec::new()),
                // When securelevel is above 0, init(8) may not be read. It has no such mappings.
                Some(abi::EPERM) if pid == 1 => return Ok(Vec::new()),
                Some(abi::EBUSY) if attempts < EXEC_ATTEMPTS => {
                    attempts += 1;
                    thread::sleep(EXEC_PAUSE);
                }
                _ => return Err(error),
            },
        }
    }
}

/// See [`crate::sys::system_facts::FactsSource::device_numbers`].
pub(in crate::sys) fn device_numbers(table: &[Mount]) -> Vec<Option<u64>> {
    table.iter().map(device_number).collect()
}

/// `st_dev` of the mount point, if the mount can be reached by it. Otherwise the number of the device that it
/// was mounted from, which `ufs_getattr()` returns as `st_dev`.
fn device_number(mount: &Mount) -> Option<u64> {
    let there = file_system_at(&mount.on) == Some(mount.id);
    let reached = there.then(|| fs::metadata(&mount.on).ok()).flatten().map(|metadata| metadata.dev());
    reached.or_else(|| {
        let device = mount.from.starts_with("/dev/").then(|| fs::metadata(&mount.from).ok()).flatten()?;
        device.file_type().is_char_device().then(|| device.rdev())
    })
}

fn file_system_at(path: &str) -> Option<FsId> {
    let path = CString::new(path).ok()?;
    let mut entry = MaybeUninit::uninit();
    // SAFETY: the path ends in NUL, and the pointer is to room for one statfs.
    if unsafe { libc::statfs(path.as_ptr(), entry.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: statfs(2) succeeded, so it filled the structure.
    Some(id(unsafe { entry.assume_init_ref() }))
}

/// `st_dev` of a file.
pub(in crate::sys) fn device_number_of(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.dev())
}

/// Sets a sysctl of type int.
pub(in crate::sys) fn set_sysctl(name: &str, value: i32) -> io::Result<()> {
    let name = CString::new(name)?;
    let value: *const i32 = &raw const value;
    // SAFETY: `name` ends in NUL, no old value is wanted, and the new one is an int that lives until the call
    // returns.
    let result = unsafe {
        libc::sysctlbyname(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), value.cast(), size_of::<i32>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of threads of this process.
pub(in crate::sys) fn own_threads() -> io::Result<u32> {
    let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let record =
        sysctl::read(&[abi::CTL_KERN, abi::KERN_PROC, abi::KERN_PROC_PID, pid], 2 * abi::KINFO_PROC_SIZE)?;
    records::threads(&record).ok_or_else(|| unknown_layout("kern.proc.pid"))
}
