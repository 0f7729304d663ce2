//! Live backup: `/dev/hv_fsvss_dev` and `/dev/hv_appvss_dev` as made by
//! `sys/dev/hyperv/utilities/hv_snapshot.c`, and `/dev/ufssuspend` as made by `sys/ufs/ffs/ffs_suspend.c`.
//!
//! As for the key-value device, this is the crate's own reading of the drivers. Only the numbers of the calls
//! and the text of the mount table are `hv_core`'s.

pub mod backup;
pub mod control;
pub mod descriptors;
mod driver;
pub mod facts;
mod file_systems;
mod host;
#[cfg(target_os = "linux")]
pub mod in_process;
pub mod kernel;
mod machine;
mod message;
mod node;
mod process;
pub mod timeline;

pub use control::{Answer, Call, Fault, Operation, Outcome, Side, Statistics, VssCommand};
pub use driver::{KERNEL_TIMEOUT, Ticket};
pub use host::perform;
pub use machine::Settings;
pub use node::{Devices, Node};
