//! One change of a pool file, by way of the journal.

use super::index::Certainty;
use super::journal::{Change, ENTRY_SIZE, Entry, SLOTS};
use super::record::Image;
use super::storage::{FileId, Storage};
use super::{PoolError, Pools, failed, position};
use crate::kvp::PoolId;

impl<S: Storage> Pools<S> {
    /// Makes a change, all or nothing. `old` is the record that it overwrites.
    pub(super) fn apply(&mut self, change: &Change, old: Option<&Image>) -> Result<(), PoolError> {
        let pool = change.pool;
        if self.journal.sequence - self.journal.base >= u64::from(SLOTS) {
            self.synchronise()?;
        }
        let entry =
            Entry { sequence: self.journal.sequence, base: self.journal.base, change: Some(change.clone()) };
        if let Err(error) = self.write_entry(pool, &entry) {
            self.withdraw_entry();
            return Err(error);
        }
        if let Err(error) = self.make(change) {
            self.unmake(change, old);
            self.withdraw_entry();
            return Err(error);
        }
        self.journal.sequence += 1;
        self.state_mut(pool).dirty = true;
        self.state_mut(pool).index.size = change.new_len;
        self.note_own_change(pool);
        Ok(())
    }

    fn make(&mut self, change: &Change) -> Result<(), PoolError> {
        let file = FileId::Pool(change.pool);
        if let Some(write) = &change.write {
            let written = self.storage.write_at(file, position(write.record), &write.new);
            written.map_err(failed(change.pool, "write a record"))?;
        }
        if change.new_len < change.old_len {
            let cut = self.storage.set_len(file, change.new_len);
            cut.map_err(failed(change.pool, "shorten the file"))?;
        }
        Ok(())
    }

    /// Puts back what a failed change may have touched, as far as the disk lets it.
    fn unmake(&mut self, change: &Change, old: Option<&Image>) {
        let file = FileId::Pool(change.pool);
        if let (Some(write), Some(old)) = (&change.write, old) {
            let _ = self.storage.write_at(file, position(write.record), old);
        }
        let _ = self.storage.set_len(file, change.old_len);
    }

    /// Keeps a change of our own, made under the lock, from being taken for another program's, or another program's
    /// next one from being taken for ours.
    ///
    /// Where the system tells of changes, it has told of ours. Elsewhere the file is given a time of change that no
    /// later change by another program can give it: the present in full precision and never a whole microsecond, while
    /// kernels stamp with the last tick or whole microseconds.
    fn note_own_change(&mut self, pool: PoolId) {
        if self.storage.take_changed(pool).is_some() {
            self.state_mut(pool).index.certainty = Certainty::Watched;
            return;
        }
        let (seconds, nanoseconds) = self.storage.now();
        let moment = (seconds, if nanoseconds % 1000 == 0 { nanoseconds + 1 } else { nanoseconds });
        let stamped = self.storage.set_modified(pool, moment).is_ok();
        let stamp = self.storage.stamp_open(pool).ok();
        let marked = stamped && stamp.is_some_and(|stamp| stamp.modified == moment);
        let index = &mut self.state_mut(pool).index;
        index.stamp = stamp;
        index.certainty = if marked { Certainty::OwnMark } else { Certainty::None };
    }

    pub(super) fn write_entry(&mut self, pool: PoolId, entry: &Entry) -> Result<(), PoolError> {
        if !self.journal.open {
            self.storage.open(FileId::Journal, true).map_err(failed(pool, "create the journal"))?;
            self.journal.open = true;
        }
        let written = self.storage.write_at(FileId::Journal, Entry::offset(entry.sequence), &entry.encode());
        written.map_err(failed(pool, "write the journal"))?;
        self.storage.sync(FileId::Journal).map_err(failed(pool, "synchronise the journal"))
    }

    /// Makes sure that an entry whose change was refused is not made good later.
    fn withdraw_entry(&mut self) {
        let offset = Entry::offset(self.journal.sequence);
        let _ = self.storage.write_at(FileId::Journal, offset, &[0; ENTRY_SIZE]);
        let _ = self.storage.sync(FileId::Journal);
    }

    /// Brings all changes home; the next entry will say that those before it are done with.
    pub(super) fn synchronise(&mut self) -> Result<(), PoolError> {
        for pool in PoolId::ALL {
            if self.state(pool).dirty {
                self.storage.sync(FileId::Pool(pool)).map_err(failed(pool, "synchronise the file"))?;
                self.state_mut(pool).dirty = false;
            }
        }
        self.journal.base = self.journal.sequence;
        Ok(())
    }
}
