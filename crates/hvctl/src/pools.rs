//! The pools by their names, and reading them through the daemon's engine. Reading creates, repairs and
//! recovers nothing.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hv_core::kvp::PoolId;
use hv_core::kvp::pool::files;
use hv_core::kvp::pool::storage::{FileId, LockKind, Moment, Stamp, Storage};
use hv_core::kvp::pool::{Limits, PoolError, Pools, Record};
use hv_core::runtime::config::Kvp;
use hv_core::sys::file_watch::FileWatches;
use hv_core::sys::{clock, file_lock};

/// A pool as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool(pub(crate) PoolId);

/// The names by number.
const NAMES: [&str; 5] = ["external", "guest", "auto", "host", "host-auto"];

impl Pool {
    /// All, by number.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        PoolId::ALL.into_iter().map(Self)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES[self.0.number()]
    }

    pub(crate) fn number(self) -> usize {
        self.0.number()
    }

    /// What the pool is for.
    pub(crate) fn purpose(self) -> &'static str {
        match self.0 {
            PoolId::External => "what the host's administrator wrote",
            PoolId::Guest => "what programs of this guest tell the host",
            PoolId::Auto => "what the daemon tells of this guest",
            PoolId::AutoExternal => "what the host says of itself",
            PoolId::AutoInternal => "the host's own use",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = NAMES.iter().position(|name| *name == text).or_else(|| text.parse().ok());
        let pool = number.and_then(|number| PoolId::from_number(u8::try_from(number).ok()?));
        pool.map(Self).ok_or_else(|| "it is guest, host, auto, external, host-auto, or 0 to 4".to_owned())
    }
}

/// The pool files, opened for reading only.
#[derive(Debug)]
pub(crate) struct Reading {
    dir: PathBuf,
    pools: [Option<File>; 5],
    watches: Option<FileWatches>,
}

impl Reading {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), pools: Default::default(), watches: FileWatches::new().ok() }
    }

    pub(crate) fn path(dir: &Path, pool: PoolId) -> PathBuf {
        dir.join(format!(".kvp_pool_{pool}"))
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        match file {
            FileId::Pool(pool) => self.pools[pool.number()].as_ref(),
            FileId::Journal | FileId::OtherJournal => None,
        }
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl Storage for Reading {
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(Self::path(&self.dir, pool)) {
            Ok(metadata) => Ok(Some(Stamp {
                inode: (metadata.dev(), metadata.ino()),
                size: metadata.len(),
                modified: metadata
                    .mtime()
                    .saturating_mul(1_000_000_000)
                    .saturating_add(metadata.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn size(&self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn take_changed(&mut self, pool: PoolId) -> Option<bool> {
        let watches = self.watches.as_mut().filter(|_| self.pools[pool.number()].is_some())?;
        Some(watches.take(pool.number()))
    }

    fn open(&mut self, file: FileId, _create: bool) -> io::Result<(u64, u64)> {
        // Only writers need a journal.
        let FileId::Pool(pool) = file else { return Err(io::ErrorKind::NotFound.into()) };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(Self::path(&self.dir, pool))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if let Some(watches) = &mut self.watches
            && watches.add(pool.number(), &file, &Self::path(&self.dir, pool)).is_err()
        {
            // Without a watch each access reads the file.
            self.watches = None;
        }
        self.pools[pool.number()] = Some(file);
        Ok((metadata.dev(), metadata.ino()))
    }

    fn close(&mut self, file: FileId) {
        if let FileId::Pool(pool) = file {
            self.pools[pool.number()] = None;
        }
    }

    fn claim(&mut self, _journal: FileId, _wait: Duration) -> io::Result<bool> {
        Ok(false)
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        files::read_up_to(self.file(file)?, offset, buffer)
    }

    fn write_at(&mut self, _file: FileId, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn set_len(&mut self, _file: FileId, _len: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&mut self, _file: FileId) -> io::Result<()> {
        Err(read_only())
    }

    fn lock(&mut self, pool: PoolId, _kind: LockKind, wait: Duration) -> io::Result<Option<Duration>> {
        let file = self.file(FileId::Pool(pool))?;
        let until = clock::monotonic().saturating_add(wait);
        while !file_lock::try_lock(file, false)? {
            let left = until.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
        Ok(Some(until.saturating_sub(clock::monotonic())))
    }

    fn unlock(&mut self, pool: PoolId) {
        if let Ok(file) = self.file(FileId::Pool(pool)) {
            file_lock::unlock(file);
        }
    }

    fn now(&self) -> Moment {
        0
    }

    fn boot(&self) -> Option<u64> {
        None
    }
}

/// The configured limits of pools.
pub(crate) fn limits(kvp: &Kvp) -> Limits {
    Limits { max_records: kvp.max_records, lock_wait: kvp.lock_wait() }
}

/// How often a file that changes during a read is read again.
const READINGS: usize = 20;

/// The items of a pool as the host sees them. Empty if the file does not exist. A file that changes meanwhile
/// is read again, so that an item which was moved is not missed.
///
/// # Errors
/// See [`PoolError`].
pub(crate) fn items(kvp: &Kvp, pool: PoolId) -> Result<Vec<Record>, PoolError> {
    let path = Reading::path(&kvp.pool_dir, pool);
    let stamp = || {
        let metadata = fs::symlink_metadata(&path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    let mut before = stamp();
    let mut items = read_items(kvp, pool)?;
    for _ in 1..READINGS {
        let after = stamp();
        if after == before {
            break;
        }
        before = after;
        items = read_items(kvp, pool)?;
    }
    Ok(items)
}

fn read_items(kvp: &Kvp, pool: PoolId) -> Result<Vec<Record>, PoolError> {
    let mut storage = Reading::new(&kvp.pool_dir);
    match storage.open(FileId::Pool(pool), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PoolError::Io { pool, doing: "open the file", source }),
        Ok(_) => {}
    }
    // Errors of other pools and of the journal do not matter to a reader.
    let (mut pools, _) = Pools::open(storage, limits(kvp));
    let mut items = Vec::new();
    for index in 0.. {
        match pools.enumerate(pool, index)? {
            Some(record) => items.push(record),
            None => break,
        }
    }
    Ok(items)
}
