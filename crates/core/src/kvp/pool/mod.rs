//! The pool files `.kvp_pool_0` to `.kvp_pool_4`: arrays of 2560-byte records that other programs in the
//! guest read, append to and rewrite. This module finds, sets and deletes records. It reaches the files only
//! through [`Storage`], and never keeps a value in memory.
//!
//! * The inode of a file never changes, because other programs hold `fcntl` locks on it. Changes are made in
//!   place under an exclusive lock, through the only descriptor that this process has of the file.
//! * A change is acknowledged when the `journal` holds it on disk. After a kill or a power cut at any
//!   instant, the next [`Pools::open`] leaves each record old or new, and all others intact.
//! * An unchanged file is not read again: an index knows where each key is, and the system reports changes of
//!   the file. The file at the path is the valid one.
//! * A failed change leaves the file as it was.
//!
//! Records are matched by their whole key. Of several records with one key the last is valid, because other
//! programs append a report each time and mean the newest. A change of that key removes the others. Records
//! without a key are skipped. A partial record at the end, left by a writer that died, is cut off at the
//! start and before a change.
//!
//! One daemon and any number of tools may have the pools of a directory open. Each kind of process has its
//! own journal, which one process at a time can claim.
//!
//! # Glossary
//! * *record*: 2560 bytes of a file, a key and a value; an *image* is its bytes.
//! * *item*: a key with the value of its last record, as the host enumerates it.
//! * *outdated*: a record that a later record of the same key has replaced.
//! * *torn*: a partial record at the end of a file, or a record of which only some sectors were written.
//! * *entry*: one change in the journal; it is *live* until a later entry *retires* it.
//! * *settle*: synchronise all changed pool files and retire all entries, so that a crash leaves nothing to
//!   recover.
//! * *recover*: complete or repeat the live changes that an earlier process left.
//! * *scene*: inode, boot and time by which a recovery recognises that no other program has changed the file.
//! * *claim*: the lock that makes a journal one process's.
//! * *certain*: an index whose file the system watches, so that an unchanged file need not be examined.
//! * *overtaken*: a file that was read again since our last change, because another program may have changed
//!   it.
//! * *rewrite*: a change of many records, with old and new records after the ring of the journal.

mod apply;
#[cfg(any(test, feature = "testing"))]
pub mod disk;
pub mod files;
mod index;
mod journal;
mod record;
mod recovery;
mod rewrite;
pub mod storage;

use std::io;
use std::time::Duration;

use self::index::{Builder, Index};
use self::journal::{Step, Write, digest};
use self::record::{Image, RECORD_BYTES, RECORD_SIZE, image, key_of, normalised, value_of};
use self::storage::{FileId, LockKind, Moment, Place, Storage};
use super::{KvpKey, KvpValue, PoolId};

/// The most records of a file that is served: 256 MB, which can be read before the kernel's time limit.
pub const MAX_RECORDS: u32 = 100_000;
/// The same in bytes.
const MAX_BYTES: u64 = MAX_RECORDS as u64 * RECORD_BYTES;

/// Records that are read in one call when an index is built.
const CHUNK_RECORDS: usize = 6;

/// The configured limits of pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of records from which on no new key is added.
    pub max_records: u32,
    /// How long a request waits for locks of other programs, in total.
    pub lock_wait: Duration,
}

/// Why a request on a pool failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The system refused an operation on a pool file or its journal.
    #[error("cannot {doing} of pool {pool}")]
    Io {
        /// The pool.
        pool: PoolId,
        /// The operation.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// Another program held its lock for too long.
    #[error("pool {pool} is locked by another program")]
    Locked {
        /// The pool.
        pool: PoolId,
    },
    /// The pool holds as many records as the configuration allows.
    #[error("pool {pool} is full with {records} records")]
    Full {
        /// The pool.
        pool: PoolId,
        /// How many it holds.
        records: u32,
    },
    /// The file is larger than any that is served.
    #[error("pool {pool} is too large: {size} bytes, at most {MAX_BYTES} can be served")]
    TooLarge {
        /// The pool.
        pool: PoolId,
        /// Its size in bytes.
        size: u64,
    },
    /// The directory cannot be used for pools.
    #[error("the pool directory cannot be used")]
    Directory(#[source] io::Error),
    /// Another process has claimed the journal.
    #[error("another process has the journal of the pools")]
    JournalInUse,
}

/// Names an operation for [`PoolError::Io`].
fn failed(pool: PoolId, doing: &'static str) -> impl FnOnce(io::Error) -> PoolError {
    move |source| PoolError::Io { pool, doing, source }
}

/// A record as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key, as the file has it.
    pub key: Vec<u8>,
    /// Its value, as the file has it.
    pub value: Vec<u8>,
}

impl Record {
    fn of(image: &Image) -> Self {
        Self { key: key_of(image).to_vec(), value: value_of(image).to_vec() }
    }
}

/// The state of one pool file.
#[derive(Debug, Default)]
struct Pool {
    /// Device and inode of the open descriptor.
    inode: Option<(u64, u64)>,
    index: Index,
    /// Whether it was written since it was last synchronised.
    dirty: bool,
    /// Whether it was read again since our last change, because another program may have changed it.
    overtaken: bool,
    /// The latest time of change that was seen on the file or assigned to one of our changes.
    time: Moment,
}

/// The state of the journal.
#[derive(Debug, Default)]
struct Journal {
    /// Whether it is open and claimed.
    open: bool,
    /// Whether all changes of earlier processes are recovered.
    recovered: bool,
    /// The number of the next entry.
    sequence: u64,
    /// Entries with lower numbers are retired.
    base: u64,
}

/// The five pools of one directory.
#[derive(Debug)]
pub struct Pools<S> {
    storage: S,
    limits: Limits,
    pools: [Pool; 5],
    journal: Journal,
    /// How long the request under way may still wait for locks.
    wait_left: Duration,
}

impl<S: Storage> Pools<S> {
    /// Opens or creates all files, recovers changes that an earlier process left incomplete, and cuts off
    /// torn records at the ends.
    ///
    /// Errors are returned beside the pools, not instead of them. Each request tries the failed step again,
    /// so a disk that is full or locked at the start costs answers, but does not end the daemon.
    pub fn open(storage: S, limits: Limits) -> (Self, Vec<PoolError>) {
        let pools = Default::default();
        let journal = Journal::default();
        let mut opened = Self { storage, limits, pools, journal, wait_left: limits.lock_wait };
        if let Err(error) = opened.storage.prepare() {
            return (opened, vec![PoolError::Directory(error)]);
        }
        let mut problems: Vec<PoolError> =
            PoolId::ALL.into_iter().filter_map(|pool| opened.reopen(pool).err()).collect();
        problems.extend(opened.recover(false).err());
        if opened.journal.recovered {
            problems.extend(PoolId::ALL.into_iter().filter_map(|pool| opened.repair(pool).err()));
        }
        (opened, problems)
    }

    /// Replaces the limits after the configuration was read again.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The last record with this key.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn get(&mut self, pool: PoolId, key: &KvpKey) -> Result<Option<Record>, PoolError> {
        self.read(pool, |pools| match pools.find(pool, key.as_bytes())? {
            Some((_, image)) => Ok(Some(Record::of(&image))),
            None => Ok(None),
        })
    }

    /// The item at a position of the enumeration. Keys are enumerated in the order of their first records,
    /// each with the value of its last record.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn enumerate(&mut self, pool: PoolId, index: u32) -> Result<Option<Record>, PoolError> {
        self.read(pool, |pools| match pools.state(pool).index.item(index) {
            Some(record) => Ok(pools.load(pool, record)?.map(|image| Record::of(&image))),
            None => Ok(None),
        })
    }

    /// Sets the value of a key, in its last record or in a new one at the end, and removes all other records
    /// of the key. The change survives a power cut.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn set(&mut self, pool: PoolId, key: &KvpKey, value: &KvpValue) -> Result<(), PoolError> {
        self.change(pool, |pools| {
            let new = image(key, value);
            let Some((last, old)) =
                pools.find(pool, key.as_bytes()).map_err(failed(pool, "read a record"))?
            else {
                return pools.append(pool, key, &new);
            };
            match pools.outdated(pool, key.as_bytes())?[..] {
                [] => pools.overwrite(pool, last, &old, &new),
                ref outdated => pools.rewrite(pool, outdated, Some((last, &new))),
            }
        })
    }

    /// Removes all records of a key. Returns `false` if there is none; the file is then unchanged.
    ///
    /// A single record is replaced by the last record of the file.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn delete(&mut self, pool: PoolId, key: &KvpKey) -> Result<bool, PoolError> {
        self.change(pool, |pools| {
            let found = pools.find(pool, key.as_bytes()).map_err(failed(pool, "read a record"))?;
            let Some((last, old)) = found else { return Ok(false) };
            let mut records = pools.outdated(pool, key.as_bytes())?;
            if records.is_empty() {
                pools.remove(pool, last, &old)?;
            } else {
                records.push(last);
                pools.rewrite(pool, &records, None)?;
            }
            Ok(true)
        })
    }

    /// Whether [`Self::settle`] has something to do.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        !self.journal.recovered || (self.journal.open && self.journal.base != self.journal.sequence)
    }

    /// Whether the changes of earlier processes are recovered. Before that a read can find a torn record.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.journal.recovered
    }

    /// Synchronises all changed pool files and retires their journal entries. The daemon does this at its end
    /// and after a moment without requests, so that a later crash leaves nothing to recover. Changes of an
    /// earlier process are recovered first, without waiting for another program's lock; their entries stay
    /// until then.
    ///
    /// # Errors
    /// See [`PoolError`]. The journal then still has the changes.
    pub fn settle(&mut self) -> Result<(), PoolError> {
        if !self.journal.recovered {
            self.wait_left = Duration::ZERO;
            return self.recover(false);
        }
        if !self.unsettled() {
            return Ok(());
        }
        self.synchronise()?;
        self.retire()
    }

    fn state(&self, pool: PoolId) -> &Pool {
        &self.pools[pool.number()]
    }

    fn state_mut(&mut self, pool: PoolId) -> &mut Pool {
        &mut self.pools[pool.number()]
    }

    /// Looks something up while the index describes the file exactly.
    fn read<T>(&mut self, pool: PoolId, look: impl Fn(&Self) -> io::Result<T>) -> Result<T, PoolError> {
        if self.state(pool).index.certain {
            let found = look(self);
            // Asked after the record was read, so the file had not changed before the read.
            if self.is_untouched(pool) {
                return found.map_err(failed(pool, "read a record"));
            }
        }
        self.wait_left = self.limits.lock_wait;
        let place = self.lock(pool, LockKind::Shared)?;
        let found =
            self.refresh(pool, place.size).and_then(|_| look(self).map_err(failed(pool, "read a record")));
        self.storage.unlock(pool);
        found
    }

    /// Whether the system watches the file and has reported no change.
    fn is_untouched(&mut self, pool: PoolId) -> bool {
        if !self.state(pool).index.certain {
            return false;
        }
        let untouched = self.storage.take_changed(pool) == Some(false);
        // `take_changed` clears the report, so it is remembered here.
        self.state_mut(pool).index.certain = untouched;
        untouched
    }

    /// Changes a file under an exclusive lock.
    fn change<T>(
        &mut self,
        pool: PoolId,
        make: impl FnOnce(&mut Self) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        self.wait_left = self.limits.lock_wait;
        let place = self.lock_for_change(pool)?;
        let result = self.ready(pool, place.size).and_then(|()| make(self));
        self.storage.unlock(pool);
        result
    }

    /// Recovers what is left in the directory and then locks a file. The directory at the path may be another
    /// one afterwards.
    fn lock_for_change(&mut self, pool: PoolId) -> Result<Place, PoolError> {
        for _ in 0..3 {
            self.recover(true)?;
            let place = self.lock(pool, LockKind::Exclusive)?;
            if self.journal.recovered {
                return Ok(place);
            }
            self.storage.unlock(pool);
        }
        Err(PoolError::Locked { pool })
    }

    /// Prepares a locked file of this size for a change: refreshes the index and cuts off a torn record.
    fn ready(&mut self, pool: PoolId, size: u64) -> Result<(), PoolError> {
        let untouched = self.is_untouched(pool) && !self.state(pool).overtaken;
        if (!untouched || self.state(pool).index.size != size) && self.state(pool).dirty {
            // Another program changed the file between two of our changes. A recovery must not undo its
            // change.
            self.synchronise()?;
        }
        self.refresh(pool, size)?;
        self.cut_torn_record(pool, size)
    }

    /// Locks the file at the path. If that is not the open file, it is opened first.
    fn lock(&mut self, pool: PoolId, kind: LockKind) -> Result<Place, PoolError> {
        for _ in 0..3 {
            if self.state(pool).inode.is_none() {
                self.reopen(pool)?;
            }
            let locked = self.storage.lock(pool, kind, self.wait_left);
            let Some(left) = locked.map_err(failed(pool, "lock the file"))? else {
                return Err(PoolError::Locked { pool });
            };
            self.wait_left = left;
            match self.storage.place(pool).map_err(failed(pool, "examine the file")) {
                Ok(Some(place)) if self.state(pool).inode == Some(place.inode) => return Ok(place),
                Ok(_) => {
                    // The path leads to another file, perhaps in another directory. A lock on the old file
                    // protects nothing.
                    self.storage.unlock(pool);
                    self.leave();
                }
                Err(error) => {
                    self.storage.unlock(pool);
                    return Err(error);
                }
            }
        }
        Err(PoolError::Locked { pool })
    }

    /// Closes all files, because the paths may lead elsewhere now. The next request opens them again.
    fn leave(&mut self) {
        if self.journal.recovered
            && let Err(error) = self.settle()
        {
            log::warn!("changes are not in the pool files that were moved away: {error}");
        }
        for pool in PoolId::ALL {
            *self.state_mut(pool) = Pool::default();
            self.storage.close(FileId::Pool(pool));
        }
        self.storage.close(FileId::Journal);
        self.journal = Journal::default();
    }

    fn reopen(&mut self, pool: PoolId) -> Result<(), PoolError> {
        let inode = self.storage.open(FileId::Pool(pool), true).map_err(failed(pool, "open the file"))?;
        *self.state_mut(pool) = Pool { inode: Some(inode), ..Pool::default() };
        Ok(())
    }

    /// Cuts off a torn record at the end of a file. It does not wait for a lock, under which the record's
    /// writer may still work: the next change tries again.
    fn repair(&mut self, pool: PoolId) -> Result<(), PoolError> {
        if self.state(pool).inode.is_none() || self.size(pool)?.is_multiple_of(RECORD_BYTES) {
            return Ok(());
        }
        self.wait_left = Duration::ZERO;
        let place = self.lock(pool, LockKind::Exclusive)?;
        let result = self.cut_torn_record(pool, place.size);
        self.storage.unlock(pool);
        result
    }

    /// Cuts a locked file of this size after its last whole record.
    fn cut_torn_record(&mut self, pool: PoolId, size: u64) -> Result<(), PoolError> {
        let torn = size % RECORD_BYTES;
        if torn > 0 {
            let cut = self.storage.set_len(FileId::Pool(pool), size - torn);
            cut.map_err(failed(pool, "cut off the torn record at the end"))?;
            log::warn!("torn record cut off pool={pool} bytes={torn}: a writer did not finish it");
            self.state_mut(pool).dirty = true;
            self.state_mut(pool).index.size = size - torn;
            self.note_own_change(pool);
        }
        Ok(())
    }

    fn size(&self, pool: PoolId) -> Result<u64, PoolError> {
        self.storage.size(FileId::Pool(pool)).map_err(failed(pool, "examine the file"))
    }

    /// Rebuilds the index of a file, which is locked and has this size.
    fn refresh(&mut self, pool: PoolId, size: u64) -> Result<(), PoolError> {
        let index = &self.state(pool).index;
        if index.certain && index.size == size {
            return Ok(());
        }
        let stamp = self.storage.stamp(pool).map_err(failed(pool, "examine the file"))?;
        let state = self.state_mut(pool);
        state.index = Index::default();
        // A reader notes this, too: the next change must not assume that the file is as we left it.
        state.overtaken = true;
        state.time = stamp.map_or(state.time, |stamp| stamp.modified.max(state.time));
        if size >= MAX_BYTES + RECORD_BYTES {
            return Err(PoolError::TooLarge { pool, size });
        }
        let index = self.build_index(pool, size).map_err(failed(pool, "read the records"))?;
        self.state_mut(pool).index = index;
        Ok(())
    }

    fn build_index(&mut self, pool: PoolId, size: u64) -> io::Result<Index> {
        // Before the file is read: a change that is reported from now on happened after this call.
        let watched = self.storage.take_changed(pool).is_some();
        let mut builder = Builder::default();
        let mut chunk = vec![0; CHUNK_RECORDS * RECORD_SIZE];
        let mut offset = 0;
        loop {
            let read = self.storage.read_at(FileId::Pool(pool), offset, &mut chunk)?;
            for record in chunk[..read].as_chunks::<RECORD_SIZE>().0 {
                builder.push(record, |earlier| {
                    let image = self.load(pool, earlier)?;
                    Ok::<_, io::Error>(image.is_some_and(|image| key_of(&image) == key_of(record)))
                })?;
            }
            offset += read as u64;
            if read < chunk.len() || offset > MAX_BYTES {
                break;
            }
        }
        Ok(builder.finish(size, watched))
    }

    /// The record at a position. `None` after the end of the file.
    fn load(&self, pool: PoolId, record: u32) -> io::Result<Option<Image>> {
        let mut image = [0; RECORD_SIZE];
        let size = self.storage.read_at(FileId::Pool(pool), position(record), &mut image)?;
        Ok((size == RECORD_SIZE).then_some(image))
    }

    /// The bytes at a record's position, padded with zeros after the end of the file.
    fn load_padded(&self, pool: PoolId, record: u32) -> Result<Image, PoolError> {
        let mut image = [0; RECORD_SIZE];
        let read = self.storage.read_at(FileId::Pool(pool), position(record), &mut image);
        read.map_err(failed(pool, "read a record"))?;
        Ok(image)
    }

    /// The last record with this key, and its position.
    fn find(&self, pool: PoolId, key: &[u8]) -> io::Result<Option<(u32, Image)>> {
        for record in self.state(pool).index.candidates(key) {
            if let Some(image) = self.load(pool, record)?
                && key_of(&image) == key
            {
                return Ok(Some((record, image)));
            }
        }
        Ok(None)
    }

    /// The positions of all records with this key except the last.
    fn outdated(&self, pool: PoolId, key: &[u8]) -> Result<Vec<u32>, PoolError> {
        let mut records = Vec::new();
        for record in self.state(pool).index.outdated_candidates(key) {
            let image = self.load(pool, record).map_err(failed(pool, "read a record"))?;
            if image.is_some_and(|image| key_of(&image) == key) {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn append(&mut self, pool: PoolId, key: &KvpKey, new: &Image) -> Result<(), PoolError> {
        let records = self.state(pool).index.records;
        if records >= self.limits.max_records.min(MAX_RECORDS) {
            return Err(PoolError::Full { pool, records });
        }
        let write = Write { record: records, old: digest(&[0; RECORD_SIZE]), new: *new };
        let old_len = position(records);
        self.apply(pool, Step::Write(write, None), old_len, old_len + RECORD_BYTES, None)?;
        self.state_mut(pool).index.appended(key.as_bytes());
        Ok(())
    }

    fn overwrite(&mut self, pool: PoolId, record: u32, old: &Image, new: &Image) -> Result<(), PoolError> {
        let len = self.state(pool).index.size;
        let write = Write { record, old: digest(old), new: *new };
        self.apply(pool, Step::Write(write, None), len, len, Some(old))
    }

    /// Removes a record whose key has no other. The last record of the file takes its place.
    fn remove(&mut self, pool: PoolId, record: u32, old: &Image) -> Result<(), PoolError> {
        let old_len = self.state(pool).index.size;
        let last = self.state(pool).index.records.saturating_sub(1);
        let moved = self.load_padded(pool, last)?;
        let cut = digest(&moved);
        if record >= last {
            self.apply(pool, Step::Cut { last: cut }, old_len, position(last), None)?;
        } else if self.outdated(pool, key_of(&moved))?.is_empty() {
            let write = Write { record, old: digest(old), new: normalised(&moved) };
            self.apply(pool, Step::Write(write, Some(cut)), old_len, position(last), Some(old))?;
        } else {
            // The last record must not move before an outdated record of its key.
            return self.rewrite(pool, &[record], None);
        }
        self.state_mut(pool).index.removed(record);
        Ok(())
    }
}

/// The offset of a record.
fn position(record: u32) -> u64 {
    u64::from(record) * RECORD_BYTES
}

#[cfg(test)]
mod tests;
