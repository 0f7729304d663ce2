//! The operating system: FreeBSD and Linux behind one signature each. It reads and acts; it decides nothing.
//!
//! It is the only module with `unsafe`, and the only one that knows for which system it is compiled.
//! `sys/freebsd` and `sys/linux` have the same submodules with the same signatures, and this file chooses
//! between them. Pure readers of FreeBSD's kernel records are beside them, so that they are tested
//! everywhere.
#![expect(unsafe_code, reason = "system calls without a safe wrapper are made here and nowhere else")]

pub mod clock;
pub mod confine;
pub mod console;
#[cfg(target_os = "freebsd")]
pub mod cuse;
pub mod descriptor;
pub mod file_lock;
pub mod file_place;
pub mod file_watch;
pub mod flush;
pub mod freebsd_abi;
mod ifaddrs;
pub mod memory;
pub mod mount_table;
pub mod network;
pub mod private_socket;
pub mod process;
mod process_list;
pub mod process_records;
pub mod processes;
pub mod route_records;
pub mod route_socket;
pub mod signals;
mod simulated;
pub mod socket_address;
pub mod sysctl_value;
pub mod system_facts;
pub mod vss_device;

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "freebsd")]
use freebsd as os;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;
