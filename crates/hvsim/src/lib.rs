//! The simulated Hyper-V host: the guest's device files on Linux, and a host that talks through them.

pub mod bench;
pub mod cli;
pub mod client;
pub mod control;
pub mod demo;
pub mod device;
pub mod fs;
pub mod host;
pub mod in_process;
pub mod kvp;
pub mod namespace;
pub mod root;
pub mod server;
pub mod session;
pub mod station;
pub mod testing;
