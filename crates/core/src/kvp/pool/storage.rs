//! The trait through which pools reach their files. It has one implementation for real files, and one for
//! tests that simulates a page cache and power cuts. It knows nothing about records.

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
    /// The journal of the other kind of process: for a tool the daemon's, for the daemon the tools'.
    OtherJournal,
}

/// A moment on the file system's clock, in nanoseconds since the epoch.
pub type Moment = i64;

/// Properties of a file that are known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Last change of the contents.
    pub modified: Moment,
}

/// A [`Stamp`] without the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
}

/// Which locks of other programs a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Exclusive ones: for reading.
    Shared,
    /// All: for writing.
    Exclusive,
}

/// The directory of the pool files.
///
/// Every file has at most one open descriptor, because closing any descriptor of a file drops all POSIX locks
/// of the process on it.
pub trait Storage {
    /// Creates the directory, or checks that the existing one can be used.
    ///
    /// # Errors
    /// The error of the system, or why the directory is refused.
    fn prepare(&mut self) -> io::Result<()>;

    /// The stamp of the file at a pool's path. `None` if there is none.
    ///
    /// # Errors
    /// The error of stat(2).
    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>>;

    /// The same without the time, for each request. Linux gives a file whose time was read a finer time at
    /// its next write, and then fdatasync(2) takes half as long again.
    ///
    /// # Errors
    /// The error of stat(2).
    fn place(&self, pool: PoolId) -> io::Result<Option<Place>> {
        Ok(self.stamp(pool)?.map(|stamp| Place { inode: stamp.inode, size: stamp.size }))
    }

    /// The size of an open file.
    ///
    /// # Errors
    /// The error of fstat(2), or `NotConnected` if the file is not open.
    fn size(&self, file: FileId) -> io::Result<u64>;

    /// Whether any process, this one included, has changed the open file or its path since the last call.
    /// `None` if the system cannot tell. The result covers changes whose system calls have returned. A change
    /// of the path alone may be reported up to a second late.
    fn take_changed(&mut self, pool: PoolId) -> Option<bool>;

    /// Opens the file at the path, repairs its mode, and drops the former descriptor. With `create` a missing
    /// file is created: a pool file empty, the journal full of zeros. Returns device and inode.
    ///
    /// # Errors
    /// The error of the system. `NotFound` if the file is missing and not to be created.
    fn open(&mut self, file: FileId, create: bool) -> io::Result<(u64, u64)>;

    /// Closes a file, and drops its lock.
    fn close(&mut self, file: FileId);

    /// Claims an open journal for this process until it is closed. Waits at most `wait` for another process
    /// to release it, and returns `false` if that does not happen.
    ///
    /// # Errors
    /// The error of fcntl(2).
    fn claim(&mut self, journal: FileId, wait: Duration) -> io::Result<bool>;

    /// Reads up to `buffer.len()` bytes. It reads less only at the end of the file.
    ///
    /// # Errors
    /// The error of pread(2), or `NotConnected` if the file is not open.
    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The error of pwrite(2). A part may have been written.
    fn write_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// The error of ftruncate(2).
    fn set_len(&mut self, file: FileId, len: u64) -> io::Result<()>;

    /// Returns when the file's contents and size are safe against a power cut.
    ///
    /// # Errors
    /// The error of fdatasync(2).
    fn sync(&mut self, file: FileId) -> io::Result<()>;

    /// Locks an open pool file against programs that lock it, too. Waits at most `wait` and returns the time
    /// that is left. `None` if the lock was not available in time.
    ///
    /// # Errors
    /// The error of fcntl(2).
    fn lock(&mut self, pool: PoolId, kind: LockKind, wait: Duration) -> io::Result<Option<Duration>>;

    /// Releases a lock.
    fn unlock(&mut self, pool: PoolId);

    /// The current time on the clock that stamps files.
    fn now(&self) -> Moment;

    /// Identifies this boot of the system: data written during the same boot is in the files, on disk or not.
    /// `None` if the system has no identifier.
    fn boot(&self) -> Option<u64>;
}
