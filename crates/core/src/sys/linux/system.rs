//! Facts about Linux: uname(2) and /proc. There are no sysctls of FreeBSD here.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::{fs, io};

use crate::sys::system_facts::SystemFacts;

fn uname() -> io::Result<libc::utsname> {
    let mut name = MaybeUninit::uninit();
    // SAFETY: the pointer is to a place for one utsname.
    match unsafe { libc::uname(name.as_mut_ptr()) } {
        // SAFETY: uname(2) succeeded, so it has filled the structure.
        0 => Ok(unsafe { name.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn text(field: &[libc::c_char]) -> String {
    // SAFETY: uname(2) ends each field with a NUL inside it, and the slice borrows the whole field.
    unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned()
}

/// The result of uname(2).
pub(in crate::sys) fn facts() -> io::Result<SystemFacts> {
    let name = uname()?;
    let machine = text(&name.machine);
    Ok(SystemFacts {
        os_type: text(&name.sysname),
        os_release: text(&name.release),
        os_version: text(&name.version),
        os_reldate: None,
        machine_arch: machine.clone(),
        machine,
    })
}

/// The node name of uname(2).
pub(in crate::sys) fn host_name() -> io::Result<String> {
    Ok(text(&uname()?.nodename))
}

fn unsupported<T>(name: &str) -> io::Result<T> {
    let text = format!("sysctl {name} exists only on FreeBSD");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// There are no such sysctls here.
pub(in crate::sys) fn sysctl_text(name: &str) -> io::Result<Option<String>> {
    unsupported(name)
}

/// There are no such sysctls here.
pub(in crate::sys) fn sysctl_number(name: &str) -> io::Result<Option<i64>> {
    unsupported(name)
}

/// There are no devices behind interface names here.
#[expect(clippy::unnecessary_wraps, reason = "as on FreeBSD")]
pub(in crate::sys) fn driver_name(_index: u32) -> io::Result<Option<String>> {
    Ok(None)
}

/// /proc/PID/cmdline. Empty for a process that has ended but was not collected.
pub(in crate::sys) fn process_arguments(pid: u32) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline"))
}

/// The first half of the kernel's random number for this boot.
pub(in crate::sys) fn boot_id() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok()
}
