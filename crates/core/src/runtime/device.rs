//! Why a daemon cannot have its device, which lets one opener in at a time.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the device cannot be had.
#[derive(Debug)]
pub enum OpenError {
    /// It does not exist: this is no guest of Hyper-V, or its driver is not there yet.
    Missing {
        /// The device.
        path: PathBuf,
        /// What the host offers through it.
        service: &'static str,
    },
    /// Another process has it.
    Taken {
        /// The device.
        path: PathBuf,
        /// What kind of daemon that process is.
        daemon: &'static str,
    },
    /// Anything else.
    Refused(PathBuf, io::Error),
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

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path, service } => {
                write!(f, "{} does not exist: no Hyper-V {service} here, nothing to do", path.display())
            }
            Self::Taken { path, daemon } => {
                write!(f, "{} is in use: another {daemon} daemon is running", path.display())
            }
            Self::Refused(path, _) => write!(f, "cannot open {}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_, source) => Some(source),
            Self::Missing { .. } | Self::Taken { .. } => None,
        }
    }
}
