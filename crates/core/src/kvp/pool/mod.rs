//! The pool files `.kvp_pool_0` to `.kvp_pool_4`: arrays of 2560-byte records that other programs in the guest read,
//! append to and rewrite.
//!
//! * The inode of a file never changes, because others hold `fcntl` locks on it; changes are made in place under an
//!   exclusive lock, through the one descriptor that this process has of the file.
//! * A change is acknowledged when the `journal` holds it on disk. A kill or a power cut at any instant leaves each
//!   record old or new and all others intact, once [`Pools::open`] has run again.
//! * An unchanged file is not read again: an index tells where a key is, and the file's stamp tells whether the index
//!   still holds. Changes by other programs are always seen.
//! * A failed change leaves the file as it was.
//!
//! Records are matched by their whole key. Of several records with one key the first counts; a change of that key
//! removes the others. Records without a key are skipped. A partial record at the end is ignored, and overwritten by
//! the next one that is appended.

mod apply;
#[cfg(any(test, feature = "testing"))]
pub mod disk;
pub mod files;
mod index;
mod journal;
mod record;
mod recovery;
pub mod storage;

use std::io;
use std::time::Duration;

use self::index::{Builder, Certainty, Index, is_settled};
use self::journal::{Change, Entry, Write, digest};
use self::record::{Image, RECORD_BYTES, RECORD_SIZE, image, key_of, normalised, value_of};
use self::storage::{FileId, LockKind, Stamp, Storage};
use super::{KvpKey, KvpValue, PoolId};

/// Records that are read at once when an index is made.
const CHUNK_RECORDS: usize = 6;

/// What the configuration says about pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most records of a pool that a new key is added to.
    pub max_records: u32,
    /// How long a request waits for locks of other programs, all of them together.
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
        /// What was tried.
        doing: &'static str,
        /// What the system said.
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
}

/// Names an operation for [`PoolError::Io`].
fn failed(pool: PoolId, doing: &'static str) -> impl FnOnce(io::Error) -> PoolError {
    move |source| PoolError::Io { pool, doing, source }
}

/// A record that was found.
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

/// What is known of one pool file.
#[derive(Debug, Default)]
struct Pool {
    /// Device and inode of the open descriptor.
    inode: Option<(u64, u64)>,
    index: Index,
    /// Written since it was last synchronised.
    dirty: bool,
}

/// Where the journal stands.
#[derive(Debug)]
struct Journal {
    open: bool,
    /// Read, and made good, since the start.
    recovered: bool,
    /// The number of the next entry.
    sequence: u64,
    /// Entries below it are done with.
    base: u64,
}

/// The five pools of one directory.
#[derive(Debug)]
pub struct Pools<S> {
    storage: S,
    limits: Limits,
    pools: [Pool; 5],
    journal: Journal,
    /// What the request under way may still wait for locks.
    wait_left: Duration,
}

impl<S: Storage> Pools<S> {
    /// Opens or creates all files and makes good what an earlier process left unfinished.
    ///
    /// Problems are returned beside the pools, not instead of them: what failed is tried again with each request, so a
    /// disk that is full or locked at the start costs answers, never the daemon.
    pub fn open(storage: S, limits: Limits) -> (Self, Vec<PoolError>) {
        let pools = Default::default();
        let journal = Journal { open: false, recovered: false, sequence: 1, base: 1 };
        let mut opened = Self { storage, limits, pools, journal, wait_left: limits.lock_wait };
        let mut problems: Vec<PoolError> =
            PoolId::ALL.into_iter().filter_map(|pool| opened.reopen(pool).err()).collect();
        problems.extend(opened.recover().err());
        (opened, problems)
    }

    /// Replaces the limits, for a configuration that was read again.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The first record with this key.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn get(&mut self, pool: PoolId, key: &KvpKey) -> Result<Option<Record>, PoolError> {
        self.read(pool, |pools| match pools.find(pool, key)? {
            Some((_, image)) => Ok(Some(Record::of(&image))),
            None => Ok(None),
        })
    }

    /// The item at a position of the enumeration: distinct keys in the order of the file.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn enumerate(&mut self, pool: PoolId, index: u32) -> Result<Option<Record>, PoolError> {
        self.read(pool, |pools| match pools.state(pool).index.item(index) {
            Some(record) => Ok(pools.load(pool, record)?.map(|image| Record::of(&image))),
            None => Ok(None),
        })
    }

    /// Gives a key a value, in the place of its first record or at the end. It will outlast a power cut.
    ///
    /// # Errors
    /// See [`PoolError`]; the key then has its former value, though further records of it may be gone.
    pub fn set(&mut self, pool: PoolId, key: &KvpKey, value: &KvpValue) -> Result<(), PoolError> {
        self.change(pool, |pools| {
            pools.remove_shadowed(pool, key)?;
            match pools.find(pool, key).map_err(failed(pool, "read a record"))? {
                Some((record, old)) => pools.overwrite(pool, record, &old, &image(key, value)),
                None => pools.append(pool, key, value),
            }
        })
    }

    /// Removes a key. `false` when it is not there; the file is then untouched.
    ///
    /// The last record of the file takes the place of the removed one.
    ///
    /// # Errors
    /// See [`PoolError`]; the key then has its former value, though further records of it may be gone.
    pub fn delete(&mut self, pool: PoolId, key: &KvpKey) -> Result<bool, PoolError> {
        self.change(pool, |pools| {
            pools.remove_shadowed(pool, key)?;
            match pools.find(pool, key).map_err(failed(pool, "read a record"))? {
                Some((record, _)) => pools.remove(pool, record).map(|()| true),
                None => Ok(false),
            }
        })
    }

    /// Whether [`Self::settle`] has something to do.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        !self.journal.recovered || (self.journal.open && self.journal.base != self.journal.sequence)
    }

    /// Whether what an earlier daemon left in the journal has been made good. Until then a read can find a torn record.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.journal.recovered
    }

    /// Brings all changes home into the pool files and retires their journal entries. A daemon does this when it has
    /// been idle for a moment and at its end, so that a later crash finds nothing to make good. What an earlier daemon
    /// left is made good first, without waiting for another program's lock; its entries stay until then.
    ///
    /// # Errors
    /// See [`PoolError`]; the journal then still holds the changes.
    pub fn settle(&mut self) -> Result<(), PoolError> {
        if !self.journal.recovered {
            self.wait_left = Duration::ZERO;
            return self.recover();
        }
        if !self.unsettled() {
            return Ok(());
        }
        self.synchronise()?;
        let entry = Entry { sequence: self.journal.sequence, base: self.journal.sequence, change: None };
        self.write_entry(PoolId::External, &entry)?;
        self.journal.sequence += 1;
        self.journal.base = self.journal.sequence;
        Ok(())
    }

    fn state(&self, pool: PoolId) -> &Pool {
        &self.pools[pool.number()]
    }

    fn state_mut(&mut self, pool: PoolId) -> &mut Pool {
        &mut self.pools[pool.number()]
    }

    /// Looks something up in a file that is certainly in the state that the index describes.
    fn read<T>(&mut self, pool: PoolId, look: impl Fn(&Self) -> io::Result<T>) -> Result<T, PoolError> {
        if self.state(pool).index.certainty != Certainty::None && self.state(pool).inode.is_some() {
            let found = look(self);
            // Looked at after the record was read: the file cannot have changed before that.
            if self.is_unchanged(pool).map_err(failed(pool, "examine the file"))? {
                return found.map_err(failed(pool, "read a record"));
            }
        }
        self.wait_left = self.limits.lock_wait;
        let stamp = self.lock(pool, LockKind::Shared)?;
        let found = self.refresh(pool, stamp).and_then(|_| look(self).map_err(failed(pool, "read a record")));
        self.storage.unlock(pool);
        found
    }

    /// Whether the file is the one at the path and in the state that the index describes.
    fn is_unchanged(&mut self, pool: PoolId) -> io::Result<bool> {
        if self.state(pool).index.certainty == Certainty::Watched {
            return Ok(self.is_untouched(pool));
        }
        let index = &self.state(pool).index;
        if index.certainty == Certainty::Aged {
            // Cheaper than the path, and whatever happens to the path since then shows here.
            return Ok(index.stamp == Some(self.storage.stamp_open(pool)?));
        }
        let Some(stamp) = self.storage.stamp(pool)?.filter(|stamp| index.stamp == Some(*stamp)) else {
            return Ok(false);
        };
        if is_settled(&stamp, self.storage.now()) {
            self.state_mut(pool).index.certainty = Certainty::Aged;
        }
        Ok(true)
    }

    /// Whether the system, which tells of every change of the file, has told of none.
    fn is_untouched(&mut self, pool: PoolId) -> bool {
        if self.state(pool).index.certainty != Certainty::Watched {
            return false;
        }
        let untouched = self.storage.take_changed(pool) == Some(false);
        if !untouched {
            // It is told only once.
            self.state_mut(pool).index.certainty = Certainty::None;
        }
        untouched
    }

    /// Changes a file under an exclusive lock.
    fn change<T>(
        &mut self,
        pool: PoolId,
        make: impl FnOnce(&mut Self) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        self.wait_left = self.limits.lock_wait;
        self.recover()?;
        let stamp = self.lock(pool, LockKind::Exclusive)?;
        let result = self.refresh_for_change(pool, stamp).and_then(|()| make(self));
        if result.is_err() {
            // Whatever a failure left, the next request looks for itself.
            self.state_mut(pool).index.certainty = Certainty::None;
        }
        self.storage.unlock(pool);
        result
    }

    fn refresh_for_change(&mut self, pool: PoolId, stamp: Option<Stamp>) -> Result<(), PoolError> {
        if self.refresh(pool, stamp)? && self.state(pool).dirty {
            // Another program may have changed the file after us: our entries must not be replayed over its change.
            self.synchronise()?;
        }
        Ok(())
    }

    /// Locks the file that lies at the path, opening it if it is not the one that is open, and gives its stamp; `None`
    /// for a file that is certainly untouched since it was indexed.
    fn lock(&mut self, pool: PoolId, kind: LockKind) -> Result<Option<Stamp>, PoolError> {
        for _ in 0..3 {
            if self.state(pool).inode.is_none() {
                self.reopen(pool)?;
            }
            let locked = self.storage.lock(pool, kind, self.wait_left);
            let Some(left) = locked.map_err(failed(pool, "lock the file"))? else {
                return Err(PoolError::Locked { pool });
            };
            self.wait_left = left;
            if self.is_untouched(pool) {
                return Ok(None);
            }
            let stamp = self.storage.stamp(pool).map_err(failed(pool, "examine the file"));
            match stamp {
                Ok(Some(stamp)) if self.state(pool).inode == Some(stamp.inode) => return Ok(Some(stamp)),
                Ok(_) => {
                    // Replaced by another file: a lock on the old one protects nothing.
                    self.storage.unlock(pool);
                    self.state_mut(pool).inode = None;
                }
                Err(error) => {
                    self.storage.unlock(pool);
                    return Err(error);
                }
            }
        }
        Err(PoolError::Locked { pool })
    }

    fn reopen(&mut self, pool: PoolId) -> Result<(), PoolError> {
        let inode = self.storage.open(FileId::Pool(pool), true).map_err(failed(pool, "open the file"))?;
        *self.state_mut(pool) = Pool { inode: Some(inode), ..Pool::default() };
        Ok(())
    }

    /// Makes the index describe the file, which is locked and has this stamp. `true` when it had to be made anew.
    fn refresh(&mut self, pool: PoolId, stamp: Option<Stamp>) -> Result<bool, PoolError> {
        let index = &self.state(pool).index;
        let stale = |stamp| index.certainty == Certainty::None || index.stamp != Some(stamp);
        let Some(stamp) = stamp.filter(|stamp| stale(*stamp)) else { return Ok(false) };
        self.state_mut(pool).index = Index::default();
        let index = self.build_index(pool, stamp).map_err(failed(pool, "read the records"))?;
        self.state_mut(pool).index = index;
        Ok(true)
    }

    fn build_index(&mut self, pool: PoolId, stamp: Stamp) -> io::Result<Index> {
        // Before the file is read: what is told from now on came after.
        let watched = self.storage.take_changed(pool).is_some();
        let now = self.storage.now();
        let mut builder = Builder::default();
        let mut chunk = vec![0; CHUNK_RECORDS * RECORD_SIZE];
        let mut offset = 0;
        loop {
            let size = self.storage.read_at(FileId::Pool(pool), offset, &mut chunk)?;
            for record in chunk[..size].as_chunks::<RECORD_SIZE>().0 {
                builder.push(record, |earlier| {
                    let image = self.load(pool, earlier)?;
                    Ok::<_, io::Error>(image.is_some_and(|image| key_of(&image) == key_of(record)))
                })?;
            }
            if size < chunk.len() {
                break;
            }
            offset += size as u64;
        }
        let certainty = match watched {
            true => Certainty::Watched,
            false if is_settled(&stamp, now) => Certainty::Aged,
            false => Certainty::None,
        };
        Ok(builder.finish(stamp, certainty))
    }

    /// The record at a position, if the file reaches that far.
    fn load(&self, pool: PoolId, record: u32) -> io::Result<Option<Image>> {
        let mut image = [0; RECORD_SIZE];
        let size = self.storage.read_at(FileId::Pool(pool), position(record), &mut image)?;
        Ok((size == RECORD_SIZE).then_some(image))
    }

    /// What lies where a record belongs, zeros behind the end of the file.
    fn load_padded(&self, pool: PoolId, record: u32) -> Result<Image, PoolError> {
        let mut image = [0; RECORD_SIZE];
        let read = self.storage.read_at(FileId::Pool(pool), position(record), &mut image);
        read.map_err(failed(pool, "read a record"))?;
        Ok(image)
    }

    /// The first record with this key and its position.
    fn find(&self, pool: PoolId, key: &KvpKey) -> io::Result<Option<(u32, Image)>> {
        for record in self.state(pool).index.candidates(key.as_bytes()) {
            if let Some(image) = self.load(pool, record)?
                && key_of(&image) == key.as_bytes()
            {
                return Ok(Some((record, image)));
            }
        }
        Ok(None)
    }

    /// Removes all records of a key but the first, the last of them first.
    fn remove_shadowed(&mut self, pool: PoolId, key: &KvpKey) -> Result<(), PoolError> {
        loop {
            let records: Vec<u32> = self.state(pool).index.shadowed_candidates(key.as_bytes()).collect();
            let mut doomed = None;
            for record in records.into_iter().rev() {
                let image = self.load(pool, record).map_err(failed(pool, "read a record"))?;
                if image.is_some_and(|image| key_of(&image) == key.as_bytes()) {
                    doomed = Some(record);
                    break;
                }
            }
            match doomed {
                Some(record) => self.remove(pool, record)?,
                None => return Ok(()),
            }
        }
    }

    fn append(&mut self, pool: PoolId, key: &KvpKey, value: &KvpValue) -> Result<(), PoolError> {
        let records = self.state(pool).index.records;
        if records >= self.limits.max_records {
            return Err(PoolError::Full { pool, records });
        }
        let old_len = self.state(pool).index.size;
        // A writer that died may have left a part of a record here.
        let old = self.load_padded(pool, records)?;
        let write = Some(Write { record: records, old: digest(&old), new: image(key, value) });
        let new_len = position(records) + RECORD_BYTES;
        self.apply(&Change { pool, write, cut: None, old_len, new_len }, None)?;
        self.state_mut(pool).index.appended(key.as_bytes());
        Ok(())
    }

    fn overwrite(&mut self, pool: PoolId, record: u32, old: &Image, new: &Image) -> Result<(), PoolError> {
        let len = self.state(pool).index.size;
        let write = Some(Write { record, old: digest(old), new: *new });
        self.apply(&Change { pool, write, cut: None, old_len: len, new_len: len }, Some(old))
    }

    /// Removes one record: the last one takes its place.
    fn remove(&mut self, pool: PoolId, record: u32) -> Result<(), PoolError> {
        let old_len = self.state(pool).index.size;
        let last = self.state(pool).index.records.saturating_sub(1);
        let cut_len = position(last);
        let cut = Some(digest(&self.load_padded(pool, last)?));
        if record >= last {
            self.apply(&Change { pool, write: None, cut, old_len, new_len: cut_len }, None)?;
            self.state_mut(pool).index.removed(record);
            return Ok(());
        }
        let (mut gap, mut chain) = (record, self.chain(pool, record, last)?);
        let steps = chain.len();
        while let Some((from, image)) = chain.pop() {
            let old = self.load_padded(pool, gap)?;
            let write = Some(Write { record: gap, old: digest(&old), new: normalised(&image) });
            let (cut, new_len) = if from == last { (cut, cut_len) } else { (None, old_len) };
            self.apply(&Change { pool, write, cut, old_len, new_len }, Some(&old))?;
            gap = from;
        }
        self.state_mut(pool).index.removed(record);
        if steps > 1 {
            self.refresh_after_moves(pool)?;
        }
        Ok(())
    }

    /// The records that move when `gap` is filled, the first move last: usually only the last record of the file. Where
    /// that is a further record of a key whose first one lies behind the gap, each takes its predecessor's place, so
    /// that the first one stays first.
    fn chain(&self, pool: PoolId, gap: u32, last: u32) -> Result<Vec<(u32, Image)>, PoolError> {
        let moving = self.load_padded(pool, last)?;
        let mut chain = vec![(last, moving)];
        let key = key_of(&moving);
        let index = &self.state(pool).index;
        let mut same: Vec<u32> = index.candidates(key).chain(index.shadowed_candidates(key)).collect();
        same.sort_unstable();
        for record in same.into_iter().rev().filter(|record| (gap + 1..last).contains(record)) {
            let image = self.load_padded(pool, record)?;
            if key_of(&image) == key {
                chain.push((record, image));
            }
        }
        Ok(chain)
    }

    fn refresh_after_moves(&mut self, pool: PoolId) -> Result<(), PoolError> {
        let stamp = self.storage.stamp_open(pool).map_err(failed(pool, "examine the file"))?;
        self.state_mut(pool).index.certainty = Certainty::None;
        self.refresh(pool, Some(stamp)).map(|_| ())
    }
}

/// The offset of a record.
fn position(record: u32) -> u64 {
    u64::from(record) * RECORD_BYTES
}

#[cfg(test)]
mod tests;
