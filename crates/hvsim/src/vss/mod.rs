//! Live backup: `/dev/hv_fsvss_dev` and `/dev/hv_appvss_dev` as `sys/dev/hyperv/utilities/hv_snapshot.c`
//! makes them, and `/dev/ufssuspend` as `sys/ufs/ffs/ffs_suspend.c` does.
//!
//! As with the key-value device, the reading of the drivers is this crate's own; only the numbers of the
//! calls and the text of the mount table are `hv_core`'s.

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
#[cfg(target_os = "linux")]
pub mod session;
pub mod timeline;

pub use control::{Answer, Call, Fault, Operation, Outcome, Side, Statistics, VssCommand};
pub use driver::Ticket;
pub use host::perform;
pub use machine::Settings;
pub use node::{Devices, Node};
