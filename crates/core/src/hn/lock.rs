//! The lock under which an adapter is changed, and the memory of a change that was killed: `hyperv.hn0.lock`
//! in `lock-dir` (/var/run), named by the device. hyperv_vfup and the injection of hv_kvp_daemon share it. It
//! knows nothing about the changes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Adapter;
use crate::sys::clock;
use crate::sys::file_lock::try_lock;

const PAUSE: Duration = Duration::from_millis(20);
/// The prefix of a lock file's name. The device and `.lock` follow.
const PREFIX: &str = "hyperv.";
const SUFFIX: &str = ".lock";
/// The content of the file while a plan runs. The next start of the system empties /var/run, and resets the
/// network, too.
const MARK: &str = "at work";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened or locked.
    #[error("cannot use the lock file {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("another change of the interface was still at work after {} s", waited.as_secs())]
    Busy {
        /// How long this process waited.
        waited: Duration,
    },
}

/// The permission to change an interface. Dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// The mark that [`Self::begin`] wrote.
    mark: String,
}

impl Lock {
    /// Waits at most `patience` for the lock of `hn`. The file stays: removing it would let a third process
    /// in beside the second.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path, hn: &Adapter, patience: Duration) -> Result<Self, LockError> {
        let path = directory.join(format!("{PREFIX}{}{SUFFIX}", hn.device()));
        let error = |source| LockError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(error)?;
        let lock = Self { file, path, mark: String::new() };
        lock.wait(patience)?;
        Ok(lock)
    }

    fn wait(&self, patience: Duration) -> Result<(), LockError> {
        let deadline = clock::monotonic().saturating_add(patience);
        while !try_lock(&self.file, true).map_err(|source| self.error(source))? {
            if clock::monotonic() >= deadline {
                return Err(LockError::Busy { waited: patience });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Takes the lock over in a child of the process that has it and is about to end, because locks are not
    /// inherited. `false` if another process was quicker and has continued or done the work.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn inherit(&mut self, patience: Duration) -> Result<bool, LockError> {
        self.wait(patience)?;
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| (&self.file).take(64).read_to_string(&mut text));
        read.map_err(|source| self.error(source))?;
        Ok(text == self.mark)
    }

    /// The adapter whose lock file has this name, under the name of its device.
    #[must_use]
    pub fn interface(file_name: &str) -> Option<Adapter> {
        file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
    }

    /// Whether the last process began to work and did not finish.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn is_interrupted(&self) -> Result<bool, LockError> {
        self.file.metadata().map(|metadata| metadata.len() > 0).map_err(|source| self.error(source))
    }

    /// Marks that work begins.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn begin(&mut self) -> Result<(), LockError> {
        self.mark = format!("{MARK} {}\n", std::process::id());
        let empty = self.file.set_len(0).and_then(|()| self.file.rewind());
        let written = empty.and_then(|()| self.file.write_all(self.mark.as_bytes()));
        written.map_err(|source| self.error(source))
    }

    /// Marks that no work is left half-done.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn finish(&mut self) -> Result<(), LockError> {
        self.file.set_len(0).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> LockError {
        LockError::File { path: self.path.clone(), source }
    }
}
