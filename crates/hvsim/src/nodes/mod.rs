//! The devices as files that the guest's programs open. It chooses the implementation for the platform.
//!
//! On Linux they are files of a FUSE file system in a private mount namespace, so any number of machines can
//! exist at the same time. On FreeBSD they have their real names in `/dev`, by cuse(3): one machine at a
//! time, run by root.

#[cfg(any(target_os = "freebsd", test))]
mod cuse;
#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "linux")]
mod fuse;
#[cfg(target_os = "linux")]
mod linux;

use std::sync::Arc;

use crate::device::DeviceFile;
use crate::station::Station;

#[cfg(target_os = "freebsd")]
pub(crate) use freebsd::Place;
#[cfg(target_os = "freebsd")]
pub use freebsd::PlaceError;
#[cfg(target_os = "linux")]
pub(crate) use linux::Place;
#[cfg(target_os = "linux")]
pub use linux::PlaceError;

/// A device that the guest and the host side share.
pub type SharedDevice = Arc<Station<dyn DeviceFile>>;
