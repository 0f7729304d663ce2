//! The system calls of Linux, the platform of development and tests. The modules have the same names and
//! signatures as those of `sys/freebsd`.

pub(super) mod confine;
pub(super) mod interfaces;
pub(super) mod mounts;
pub(super) mod private_socket;
pub(super) mod process_list;
pub(super) mod processes;
pub(super) mod route_socket;
pub(super) mod routes;
pub(super) mod system;
pub(super) mod watch;
