//! One change of an interface of hn(4) at a time, whichever program makes it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HnInterface;
use crate::sys::clock;
use crate::sys::file_lock::try_lock;

const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// The lock file cannot be opened or locked.
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another run holds it.
    Busy {
        /// How long was waited.
        waited: Duration,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "cannot lock {}", path.display()),
            Self::Busy { waited } => {
                write!(f, "another hyperv_vfup was still at work after {} s", waited.as_secs())
            }
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Busy { .. } => None,
        }
    }
}

/// Waits at most `patience` for the lock of `hn`. It is lifted when the file is dropped. The file stays: whoever removed
/// it would let a third run in beside the second.
///
/// # Errors
/// See [`LockError`].
pub fn take(directory: &Path, hn: &HnInterface, patience: Duration) -> Result<File, LockError> {
    let path = directory.join(format!("hyperv_vfup.{hn}.lock"));
    let error = |source| LockError::File { path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(error)?;
    let deadline = clock::monotonic().saturating_add(patience);
    while !try_lock(&file, true).map_err(error)? {
        if clock::monotonic() >= deadline {
            return Err(LockError::Busy { waited: patience });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(file)
}
