//! Translates errors of opening a device into reasons for an administrator. The device allows one opener;
//! this module opens nothing itself.

use std::io;
use std::path::{Path, PathBuf};

/// Why the device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not exist: this is not a guest of Hyper-V, or the driver is not attached yet.
    #[error("{path} does not exist: no Hyper-V {service} here, nothing to do")]
    Missing {
        /// The device.
        path: PathBuf,
        /// The host's service behind it.
        service: &'static str,
    },
    /// Another process has it open.
    #[error("{path} is in use: another {daemon} daemon is running")]
    Taken {
        /// The device.
        path: PathBuf,
        /// What kind of daemon that process is.
        daemon: &'static str,
    },
    /// Another error.
    #[error("cannot open {0}")]
    Refused(PathBuf, #[source] io::Error),
}

impl OpenError {
    /// The meaning of an error of open(2). `service` is the host's service behind the device.
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
