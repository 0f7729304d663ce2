//! The operating system: FreeBSD and Linux behind one signature each.
//!
//! The only module with `unsafe`, and the only one that knows which system it is compiled for.
#![expect(unsafe_code, reason = "system calls without a safe wrapper are made here and nowhere else")]

pub mod clock;
pub mod file_lock;
pub mod process;
pub mod signals;
