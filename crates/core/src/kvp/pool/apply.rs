//! Makes one change of a pool file, by way of the journal: writes the entry, then the record. It takes the
//! lock for granted, and puts back what a failed change has written.

use super::journal::{Change, ENTRY_SIZE, Entry, SLOTS, Scene, Step};
use super::record::Image;
use super::storage::{FileId, Moment, Storage};
use super::{PoolError, Pools, failed, position};
use crate::kvp::PoolId;

/// How long a change may take to reach the file after the time in its entry, in nanoseconds. A change that is
/// synchronised before it is acknowledged may take longer. A file with a later time of change was changed by
/// another program.
pub(super) const GRACE: Moment = 250_000_000;

impl<S: Storage> Pools<S> {
    /// Makes a change completely or not at all. `old` is the record that it overwrites.
    pub(super) fn apply(
        &mut self,
        pool: PoolId,
        step: Step,
        old_len: u64,
        new_len: u64,
        old: Option<&Image>,
    ) -> Result<(), PoolError> {
        // One page stays free for the entry that retires the others, and for an entry of a recovery.
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
            self.withdraw_entry(pool);
            return Err(error);
        }
        self.journal.sequence += 1;
        self.state_mut(pool).dirty = true;
        self.state_mut(pool).overtaken = false;
        self.state_mut(pool).time = scene.time;
        self.state_mut(pool).index.size = new_len;
        self.note_own_change(pool);
        self.settle_beyond_grace(pool, scene.time);
        Ok(())
    }

    /// A recovery tells our changes from foreign ones by the file's time. Where the clock makes that
    /// impossible, the entry is settled at once. An error of that does not undo the change.
    fn settle_beyond_grace(&mut self, pool: PoolId, time: Moment) {
        let now = self.storage.now();
        // Later than a recovery accepts for our change, or earlier by a clock that was set back: then a later
        // foreign change would look older than ours.
        if now.abs_diff(time) <= GRACE.unsigned_abs() {
            return;
        }
        match self.settle() {
            Ok(()) => self.state_mut(pool).time = now,
            Err(error) => log::warn!("pool files are not up to date yet: {error}"),
        }
    }

    /// The properties by which a recovery recognises the file.
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

    /// Restores what a failed change may have overwritten. Errors are ignored: the entry is still in the
    /// journal.
    fn unmake(&mut self, change: &Change, old: Option<&Image>) {
        let file = FileId::Pool(change.pool);
        if let (Step::Write(write, _), Some(old)) = (&change.step, old) {
            let _ = self.storage.write_at(file, position(write.record), old);
        }
        let _ = self.storage.set_len(file, change.old_len);
    }

    /// Marks a change as our own. It is called under the lock, so that the index does not take the change for
    /// one of another program.
    pub(super) fn note_own_change(&mut self, pool: PoolId) {
        let watched = self.storage.take_changed(pool).is_some();
        let now = self.storage.now();
        let state = self.state_mut(pool);
        state.index.certain = state.index.certain && watched;
        // The file has this time now; one that is set back must not make it look foreign.
        state.time = state.time.max(now);
    }

    /// Writes and synchronises an entry. `pool` is the pool that an error names.
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

    /// Overwrites an entry whose change failed, so that no recovery completes it. The old bytes reach the
    /// disk first: a power cut must not bring the refused change back, and without the entry a recovery would
    /// not complete a torn one.
    pub(super) fn withdraw_entry(&mut self, pool: PoolId) {
        // The changes before stay in the journal, so the file stays dirty for them.
        self.state_mut(pool).dirty |= self.storage.sync(FileId::Pool(pool)).is_err();
        self.state_mut(pool).time = self.state(pool).time.max(self.storage.now());
        let offset = Entry::offset(self.journal.sequence);
        let _ = self.storage.write_at(FileId::Journal, offset, &[0; ENTRY_SIZE]);
        let _ = self.storage.sync(FileId::Journal);
    }

    /// Synchronises all changed pool files. The next entry retires the entries before it.
    pub(super) fn synchronise(&mut self) -> Result<(), PoolError> {
        for pool in PoolId::ALL {
            if self.state(pool).dirty {
                self.storage.sync(FileId::Pool(pool)).map_err(failed(pool, "synchronise the file"))?;
            }
        }
        // All or none: a clean file with live entries would not be synchronised again before the next change.
        for pool in PoolId::ALL {
            self.state_mut(pool).dirty = false;
        }
        self.journal.base = self.journal.sequence;
        Ok(())
    }

    /// Writes an entry that retires all others, after [`Self::synchronise`].
    pub(super) fn retire(&mut self) -> Result<(), PoolError> {
        self.write_entry(FileId::Journal, PoolId::External, &self.entry(None))?;
        self.journal.sequence += 1;
        self.journal.base = self.journal.sequence;
        Ok(())
    }
}
