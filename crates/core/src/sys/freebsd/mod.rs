//! The system calls of FreeBSD 13, 14 and 15. The modules have the same names and signatures as those of
//! `sys/linux`.

mod abi_check;
pub(super) mod confine;
pub(super) mod interfaces;
pub(super) mod mounts;
pub(super) mod private_socket;
pub(super) mod process_list;
pub(super) mod processes;
pub(super) mod route_socket;
pub(super) mod routes;
mod sysctl;
pub(super) mod system;
pub(super) mod watch;
