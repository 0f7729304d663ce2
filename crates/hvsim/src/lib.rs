//! The simulated Hyper-V host: the guest's device files on Linux, and a host that talks through them.

pub mod device;
pub mod kvp;
pub mod station;
