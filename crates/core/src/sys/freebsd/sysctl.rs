//! sysctl(3), by number and by name.

use std::ffi::{CString, c_int, c_void};
use std::{io, ptr};

use crate::sys::freebsd_abi as abi;

/// Larger values are refused: no table that this crate asks for comes near it.
const LIMIT: usize = 32 << 20;

/// The value of the sysctl with these numbers; `guess` is the room that should do.
///
/// One system call where the guess does. A table may grow between asking for its size and fetching it,
/// so each new try has twice the room.
///
/// # Errors
/// What sysctl(3) gives; `ENOMEM` also for a value beyond 32 MiB.
pub(super) fn read(name: &[c_int], guess: usize) -> io::Result<Vec<u8>> {
    read_with(guess, |buffer, length| {
        let count = u32::try_from(name.len()).unwrap_or(0);
        // SAFETY: `name` has `count` numbers; `buffer` has `*length` bytes of room for the old value, and
        // there is no new value.
        unsafe { libc::sysctl(name.as_ptr(), count, buffer, length, ptr::null(), 0) }
    })
}

/// The value of the sysctl of this name, as [`read`]; `None` if the kernel has no such sysctl.
///
/// # Errors
/// As [`read`].
pub(super) fn read_by_name(name: &str) -> io::Result<Option<Vec<u8>>> {
    let name = CString::new(name)?;
    let value = read_with(256, |buffer, length| {
        // SAFETY: `name` ends in NUL; `buffer` has `*length` bytes of room for the old value, and there is
        // no new value.
        unsafe { libc::sysctlbyname(name.as_ptr(), buffer, length, ptr::null(), 0) }
    });
    match value {
        Err(error) if error.raw_os_error() == Some(abi::ENOENT) => Ok(None),
        value => value.map(Some),
    }
}

/// Calls `fetch` with more and more room until the value fits.
fn read_with(guess: usize, fetch: impl Fn(*mut c_void, &mut usize) -> c_int) -> io::Result<Vec<u8>> {
    let mut room = guess;
    loop {
        let mut value = vec![0_u8; room];
        let mut length = room;
        if fetch(value.as_mut_ptr().cast(), &mut length) == 0 {
            value.truncate(length);
            return Ok(value);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(abi::ENOMEM) || room >= LIMIT {
            return Err(error);
        }
        room = (room * 2).max(needed(&fetch)).min(LIMIT);
    }
}

/// How much the kernel wants now, which is only a hint; 0 if it does not say.
fn needed(fetch: &impl Fn(*mut c_void, &mut usize) -> c_int) -> usize {
    let mut length = 0;
    if fetch(ptr::null_mut(), &mut length) == 0 { length } else { 0 }
}

/// A string sysctl's bytes up to the first NUL, without what `trim` takes from the end.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
}

/// A number sysctl's bytes: int or long.
pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b, c, d] => Some(i64::from(i32::from_ne_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_ne_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}
