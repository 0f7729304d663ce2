//! One change of a pool file, by way of the journal.

use super::journal::{Change, ENTRY_SIZE, Entry, SLOTS, Scene, Step};
use super::record::Image;
use super::storage::{FileId, Moment, Storage};
use super::{PoolError, Pools, failed, position};
use crate::kvp::PoolId;

/// How long after the time in its entry a change is in the file at the latest, in nanoseconds, unless it is
/// synchronised before it is acknowledged. A file that was changed later was changed by another program.
pub(super) const GRACE: Moment = 250_000_000;

impl<S: Storage> Pools<S> {
    /// Makes a change, all or nothing. `old` is the record that it overwrites.
    pub(super) fn apply(
        &mut self,
        pool: PoolId,
        step: Step,
        old_len: u64,
        new_len: u64,
        old: Option<&Image>,
    ) -> Result<(), PoolError> {
        // One page stays free for the entry that retires the others, and for that of a recovery.
        if self.journal.sequence - self.journal.base >= u64::from(SLOTS) - 1 {
            self.synchronise()?;
        }
        let scene = self.scene(pool);
        let entry = self.entry(Some(Change { pool, step, old_len, new_len, scene }));
        let made = self.write_entry(FileId::Journal, pool, &entry).and_then(|()| match &entry.change {
            Some(change) => self.make(change).inspect_err(|_| self.unmake(change, old)),
            None => Ok(()),
        });
        if let Err(error) = made {
            self.withdraw_entry();
            return Err(error);
        }
        self.journal.sequence += 1;
        self.state_mut(pool).dirty = true;
        self.state_mut(pool).overtaken = false;
        self.state_mut(pool).time = scene.time;
        self.state_mut(pool).index.size = new_len;
        self.note_own_change(pool);
        if self.storage.now().saturating_sub(scene.time) > GRACE {
            // The file's time of change can be later than a recovery takes for ours. The change is made all
            // the same.
            let settled = self.settle();
            settled.unwrap_or_else(|error| log::warn!("pool files are not up to date yet: {error}"));
        }
        Ok(())
    }

    /// What a recovery recognises the file by.
    pub(super) fn scene(&self, pool: PoolId) -> Scene {
        let state = self.state(pool);
        Scene {
            inode: state.inode.map_or(0, |(_, inode)| inode),
            boot: self.storage.boot().unwrap_or(0),
            time: state.time.max(self.storage.now()),
        }
    }

    /// The next entry.
    pub(super) fn entry(&self, change: Option<Change>) -> Entry {
        Entry { sequence: self.journal.sequence, base: self.journal.base, resumed: 0, change }
    }

    fn make(&mut self, change: &Change) -> Result<(), PoolError> {
        let file = FileId::Pool(change.pool);
        if let Step::Write(write, _) = &change.step {
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
        if let (Step::Write(write, _), Some(old)) = (&change.step, old) {
            let _ = self.storage.write_at(file, position(write.record), old);
        }
        let _ = self.storage.set_len(file, change.old_len);
    }

    /// Keeps a change of our own, made under the lock, from being taken for another program's.
    pub(super) fn note_own_change(&mut self, pool: PoolId) {
        let watched = self.storage.take_changed(pool).is_some();
        let index = &mut self.state_mut(pool).index;
        index.certain = index.certain && watched;
    }

    /// Writes and synchronises an entry. `pool` is for the error.
    pub(super) fn write_entry(
        &mut self,
        journal: FileId,
        pool: PoolId,
        entry: &Entry,
    ) -> Result<(), PoolError> {
        let written = self.storage.write_at(journal, Entry::offset(entry.sequence), &entry.encode());
        written.map_err(failed(pool, "write the journal"))?;
        self.storage.sync(journal).map_err(failed(pool, "synchronise the journal"))
    }

    /// Makes sure that an entry whose change was refused is not made good later.
    pub(super) fn withdraw_entry(&mut self) {
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

    /// Says in the journal that all entries are done with.
    pub(super) fn retire(&mut self) -> Result<(), PoolError> {
        let entry = Entry { base: self.journal.sequence, ..self.entry(None) };
        self.write_entry(FileId::Journal, PoolId::External, &entry)?;
        self.journal.sequence += 1;
        self.journal.base = self.journal.sequence;
        Ok(())
    }
}
