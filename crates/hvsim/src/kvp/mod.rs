//! `/dev/hv_kvp_dev` as made by `sys/dev/hyperv/utilities/hv_kvp.c` of FreeBSD 12 to 15.
//!
//! Layout and conversions are this crate's own reading of the driver, and are deliberately not shared with
//! `hv_core`: where the two readings differ, a test fails.

mod audit;
mod convert;
pub mod device;
pub mod host;
pub mod layout;
pub mod unicode;

pub use convert::Adapter;
pub use device::{KvpDevice, Settings, Statistics};
pub use host::{HostAnswer, HostRequest, HostValue, IpInfo, Item};
