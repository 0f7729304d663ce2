//! Facts about FreeBSD by sysctl(3). uname(3) is not used, because it honours environment variables such as
//! UNAME_r.

use std::ffi::c_int;
use std::io;

use super::sysctl;
use crate::sys::freebsd_abi as abi;
use crate::sys::process_records;
use crate::sys::sysctl_value;
use crate::sys::system_facts::{SystemFacts, invalid_number};

fn text(top: c_int, number: c_int) -> io::Result<String> {
    Ok(sysctl_value::text(&sysctl::read(&[top, number], 512)?))
}

/// The kernel's facts about itself.
pub(in crate::sys) fn facts() -> io::Result<SystemFacts> {
    let reldate = sysctl::read(&[abi::CTL_KERN, abi::KERN_OSRELDATE], 8)?;
    Ok(SystemFacts {
        os_type: text(abi::CTL_KERN, abi::KERN_OSTYPE)?,
        os_release: text(abi::CTL_KERN, abi::KERN_OSRELEASE)?,
        os_version: text(abi::CTL_KERN, abi::KERN_VERSION)?.replace(['\n', '\t'], " "),
        os_reldate: sysctl_value::number(&reldate).and_then(|number| u32::try_from(number).ok()),
        machine: text(abi::CTL_HW, abi::HW_MACHINE)?,
        machine_arch: text(abi::CTL_HW, abi::HW_MACHINE_ARCH)?,
    })
}

/// kern.hostname. In a jail it is the jail's.
pub(in crate::sys) fn host_name() -> io::Result<String> {
    text(abi::CTL_KERN, abi::KERN_HOSTNAME)
}

/// A string sysctl by name.
pub(in crate::sys) fn sysctl_text(name: &str) -> io::Result<Option<String>> {
    Ok(sysctl::read_by_name(name)?.map(|bytes| sysctl_value::text(&bytes)))
}

/// An int or long sysctl by name.
pub(in crate::sys) fn sysctl_number(name: &str) -> io::Result<Option<i64>> {
    let number = |bytes: Vec<u8>| sysctl_value::number(&bytes).ok_or_else(|| invalid_number(name));
    sysctl::read_by_name(name)?.map(number).transpose()
}

/// net.link.generic.ifdata.INDEX.drivername; `None` if there is no such interface.
pub(in crate::sys) fn driver_name(index: u32) -> io::Result<Option<String>> {
    let Ok(index) = c_int::try_from(index) else { return Ok(None) };
    let name =
        [abi::CTL_NET, abi::PF_LINK, abi::NETLINK_GENERIC, abi::IFMIB_IFDATA, index, abi::IFDATA_DRIVERNAME];
    match sysctl::read(&name, 64) {
        Ok(bytes) => Ok(Some(sysctl_value::text(&bytes))),
        Err(error) if error.raw_os_error() == Some(abi::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// kern.proc.args, as ps(1) shows it: a title set by setproctitle(3) replaces the arguments. ESRCH if there
/// is no such process. Empty for a process that has ended but was not collected. The kernel keeps the arguments
/// of such a process (proc_reap of sys/kern/kern_exit.c), and they would be taken for those of one that runs.
pub(in crate::sys) fn process_arguments(pid: u32) -> io::Result<Vec<u8>> {
    let pid = c_int::try_from(pid).map_err(|_| io::Error::from_raw_os_error(abi::ESRCH))?;
    let arguments = sysctl::read(&[abi::CTL_KERN, abi::KERN_PROC, abi::KERN_PROC_ARGS, pid], 1024)?;
    // Read after the arguments, so that who lives now had them.
    let record =
        sysctl::read(&[abi::CTL_KERN, abi::KERN_PROC, abi::KERN_PROC_PID, pid], 2 * abi::KINFO_PROC_SIZE)?;
    match process_records::processes(&record) {
        Some(running) if running.is_empty() => Ok(Vec::new()),
        _ => Ok(arguments),
    }
}

/// The first half of kern.boot_id, which is a random number, or kern.boottime if there is none
/// (sys/kern/kern_mib.c). The boot time changes when the clock is set.
pub(in crate::sys) fn boot_id() -> Option<u64> {
    let read = |name| sysctl::read_by_name(name).ok().flatten();
    let id = read("kern.boot_id").or_else(|| read("kern.boottime"))?;
    id.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
