//! sysctl(3), by number and by name. It returns bytes; their meaning is the callers'.

use std::ffi::{CString, c_int};
use std::{io, ptr};

use crate::sys::freebsd_abi as abi;
use crate::sys::sysctl_value::read_growing;

/// The value of the sysctl with these numbers. It takes one system call if the value fits into `guess` bytes.
///
/// # Errors
/// The error of sysctl(3).
pub(super) fn read(name: &[c_int], guess: usize) -> io::Result<Vec<u8>> {
    let count = u32::try_from(name.len()).map_err(io::Error::other)?;
    read_growing(guess, |buffer| {
        let (old, mut length) = raw(buffer);
        // SAFETY: `name` has `count` numbers; `old` is null or has `length` bytes of room, and there is no
        // new value.
        let result =
            unsafe { libc::sysctl(name.as_ptr(), count, old.cast(), &raw mut length, ptr::null(), 0) };
        outcome(result, length)
    })
}

/// The value of the sysctl with this name. `None` if the kernel has no such sysctl.
///
/// # Errors
/// The error of sysctl(3). `InvalidInput` for a name with a NUL.
pub(super) fn read_by_name(name: &str) -> io::Result<Option<Vec<u8>>> {
    let name = CString::new(name)?;
    let value = read_growing(256, |buffer| {
        let (old, mut length) = raw(buffer);
        // SAFETY: `name` ends in NUL; `old` is null or has `length` bytes of room, and there is no new
        // value.
        let result =
            unsafe { libc::sysctlbyname(name.as_ptr(), old.cast(), &raw mut length, ptr::null(), 0) };
        outcome(result, length)
    });
    match value {
        Err(error) if error.raw_os_error() == Some(abi::ENOENT) => Ok(None),
        value => value.map(Some),
    }
}

/// A buffer as sysctl(3) takes it: a null pointer asks for the size.
fn raw(buffer: Option<&mut [u8]>) -> (*mut u8, usize) {
    buffer.map_or((ptr::null_mut(), 0), |buffer| (buffer.as_mut_ptr(), buffer.len()))
}

fn outcome(result: c_int, length: usize) -> io::Result<usize> {
    if result == 0 { Ok(length) } else { Err(io::Error::last_os_error()) }
}
