//! What a pool needs of the place where its files lie: a port with one implementation for real files and one
//! for tests that models a page cache which loses power.

use std::io;
use std::time::Duration;

use crate::kvp::PoolId;

/// Identifies one file of the pool directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileId {
    /// A pool file.
    Pool(PoolId),
    /// The journal of this process.
    Journal,
    /// The journal of the other kind of process: the daemon's where this one is a tool, the tools' where it
    /// is the daemon.
    OtherJournal,
}

/// A moment on the file system's clock, in nanoseconds since the epoch.
pub type Moment = i64;

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Last change of the contents.
    pub modified: Moment,
}

/// What lies at a path: a [`Stamp`] without the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
}

/// Which other locks a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Only exclusive ones: for reading.
    Shared,
    /// All: for writing.
    Exclusive,
}

/// The directory of the pool files.
///
/// Every file has at most one open descriptor, because closing any descriptor of a file drops all POSIX locks
/// that the process holds on it.
pub trait Storage {
    /// Makes the directory, or sees that the one that is there can hold pools.
    ///
    /// # Errors
    /// What the system says, or why the directory is refused.
    fn prepare(&mut self) -> io::Result<()>;

    /// The stamp of what now lies at a pool's path; `None` when nothing is there.
    ///
    /// # Errors
    /// What stat(2) says.
    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>>;

    /// The same without the time, for each request: Linux gives a file whose time was asked for a finer one
    /// at its next write, and the next fdatasync(2) then takes half as long again.
    ///
    /// # Errors
    /// What stat(2) says.
    fn place(&self, pool: PoolId) -> io::Result<Option<Place>> {
        Ok(self.stamp(pool)?.map(|stamp| Place { inode: stamp.inode, size: stamp.size }))
    }

    /// The size of an open file.
    ///
    /// # Errors
    /// What fstat(2) says, or `NotConnected` for a file that is not open.
    fn size(&self, file: FileId) -> io::Result<u64>;

    /// Whether anybody, this process included, changed the open file, or what its path leads to, since this
    /// was last asked. `None` where the system cannot tell; an answer holds for changes whose calls have
    /// returned. What happens to the path alone may be told a second late.
    fn take_changed(&mut self, pool: PoolId) -> Option<bool>;

    /// Opens what lies at the path, repairs its mode, and forgets an earlier descriptor. What is missing is
    /// created with `create`: a pool file empty, the journal full of zeros. Gives device and inode.
    ///
    /// # Errors
    /// What the system says; `NotFound` for a file that is not to be created.
    fn open(&mut self, file: FileId, create: bool) -> io::Result<(u64, u64)>;

    /// Closes a file, and drops its lock.
    fn close(&mut self, file: FileId);

    /// Makes an open journal this process's until it is closed, waiting at most `wait` for another process to
    /// let it go; `false` when that did not.
    ///
    /// # Errors
    /// What fcntl(2) says.
    fn claim(&mut self, journal: FileId, wait: Duration) -> io::Result<bool>;

    /// Reads up to `buffer.len()` bytes; less only at the end of the file.
    ///
    /// # Errors
    /// What pread(2) says, or `NotConnected` for a file that is not open.
    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What pwrite(2) says; a part may have been written.
    fn write_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// What ftruncate(2) says.
    fn set_len(&mut self, file: FileId, len: u64) -> io::Result<()>;

    /// Returns when the file's contents and size will outlast a power cut.
    ///
    /// # Errors
    /// What fdatasync(2) says.
    fn sync(&mut self, file: FileId) -> io::Result<()>;

    /// Locks an open pool file against programs that lock it too, waiting at most `wait`, and gives the time
    /// that is left of it. `None` when the lock was not to be had.
    ///
    /// # Errors
    /// What fcntl(2) says.
    fn lock(&mut self, pool: PoolId, kind: LockKind, wait: Duration) -> io::Result<Option<Duration>>;

    /// Lifts a lock.
    fn unlock(&mut self, pool: PoolId);

    /// The present on the clock that stamps are taken from.
    fn now(&self) -> Moment;

    /// What tells this run of the system from all others: what was written in the same run is in the files,
    /// on disk or not. `None` where the system has no such thing.
    fn boot(&self) -> Option<u64>;
}
