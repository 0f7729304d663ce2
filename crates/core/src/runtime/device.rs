//! Why a daemon cannot have its device, which lets one opener in at a time.

use std::io;
use std::path::{Path, PathBuf};

/// Why the device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not exist: this is no guest of Hyper-V, or its driver is not there yet.
    #[error("{path} does not exist: no Hyper-V {service} here, nothing to do")]
    Missing {
        /// The device.
        path: PathBuf,
        /// What the host offers through it.
        service: &'static str,
    },
    /// Another process has it.
    #[error("{path} is in use: another {daemon} daemon is running")]
    Taken {
        /// The device.
        path: PathBuf,
        /// What kind of daemon that process is.
        daemon: &'static str,
    },
    /// Anything else.
    #[error("cannot open {0}")]
    Refused(PathBuf, #[source] io::Error),
}

impl OpenError {
    /// What open(2) of a device means that offers `service` to a daemon of this kind.
    #[must_use]
    pub fn new(path: &Path, service: &'static str, daemon: &'static str, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path, service },
            // FreeBSD's hv_kvp driver returns a negated EBUSY to a second opener.
            Some(errno) if errno.abs() == libc::EBUSY => Self::Taken { path, daemon },
            _ => Self::Refused(path, error),
        }
    }
}
