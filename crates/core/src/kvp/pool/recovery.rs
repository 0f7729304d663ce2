//! The recovery after a crash: completes or repeats the changes of the journals, where the pool files may
//! lack them. It never changes a record that another program has written since.
//!
//! After a kill without a reboot, everything that was written is in the files, on disk or not. Only the
//! newest change can be incomplete, and it was not acknowledged. It is completed if it left a mixture;
//! nothing else is touched. After a power cut every live change is made again, if no other program has
//! changed the file since the last of them. Otherwise only mixtures are completed. So a later change of
//! another program stays, even one that restored earlier contents.

use std::io;
use std::time::Duration;

use super::apply::GRACE;
use super::journal::{
    Change, ENTRY_SIZE, Entry, RING_BYTES, RecordRecovery, Recovery, SLOTS, Step, digest, live,
};
use super::record::RECORD_BYTES;
use super::storage::{FileId, LockKind, Stamp, Storage};
use super::{Journal, PoolError, Pools, failed, position};
use crate::kvp::PoolId;

impl<S: Storage> Pools<S> {
    /// Claims the journal and recovers its changes and those of the other journal. The journal is created if
    /// `create` is set. The call is repeated before each change until it succeeds.
    pub(super) fn recover(&mut self, create: bool) -> Result<(), PoolError> {
        if self.journal.recovered && (self.journal.open || !create) {
            return Ok(());
        }
        self.recover_other()?;
        self.journal = Journal::default();
        let entries = match self.storage.open(FileId::Journal, create) {
            Ok(_) => {
                self.claim_journal()?;
                self.read_journal(FileId::Journal)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => Vec::new(),
            Err(error) => return Err(failed(PoolId::External, "open the journal")(error)),
        };
        self.replay(FileId::Journal, entries)
    }

    /// Claims the open journal. The claim lasts until the journal is closed.
    fn claim_journal(&mut self) -> Result<(), PoolError> {
        let claimed = self.storage.claim(FileId::Journal, self.wait_left);
        match claimed.map_err(failed(PoolId::External, "lock the journal")) {
            Ok(true) => {
                self.journal.open = true;
                Ok(())
            }
            claimed => {
                self.storage.close(FileId::Journal);
                claimed.and(Err(PoolError::JournalInUse))
            }
        }
    }

    /// Recovers the changes of the other kind of process, unless such a process runs.
    fn recover_other(&mut self) -> Result<(), PoolError> {
        match self.storage.open(FileId::OtherJournal, false) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(PoolId::External, "open the journal")(error)),
        }
        let claimed = self.storage.claim(FileId::OtherJournal, Duration::ZERO);
        let result = match claimed.map_err(failed(PoolId::External, "lock the journal")) {
            Ok(true) => self
                .read_journal(FileId::OtherJournal)
                .and_then(|entries| self.replay(FileId::OtherJournal, entries)),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.storage.close(FileId::OtherJournal);
        result
    }

    /// All valid entries of a journal.
    fn read_journal(&mut self, journal: FileId) -> Result<Vec<Entry>, PoolError> {
        let mut entries = Vec::new();
        let mut bytes = [0; ENTRY_SIZE];
        let mut used = false;
        // Pages are used in this order for the first time, so a journal without a second entry has only the
        // first.
        for sequence in 1..=u64::from(SLOTS) {
            let read = self.storage.read_at(journal, Entry::offset(sequence), &mut bytes);
            if read.map_err(failed(PoolId::External, "read the journal"))? == ENTRY_SIZE {
                used |= bytes != [0; ENTRY_SIZE];
                entries.extend(Entry::decode(&bytes));
            }
            if sequence > 1 && !used {
                break;
            }
        }
        Ok(entries)
    }

    /// Performs the changes of a journal and retires its entries.
    fn replay(&mut self, journal: FileId, mut entries: Vec<Entry>) -> Result<(), PoolError> {
        let base = entries.iter().map(|entry| entry.base).max().unwrap_or(1);
        let next = |entries: &[Entry]| {
            entries.iter().map(|entry| entry.sequence.saturating_add(1)).max().unwrap_or(1).max(base)
        };
        if live(&entries).iter().any(|entry| entry.change.is_some()) {
            if let Some(note) = self.note_of_resumption(next(&entries), base, &entries)? {
                self.write_entry(journal, PoolId::External, &note)?;
                entries.push(note);
            }
            self.recover_pools(journal, &entries)?;
            let sequence = next(&entries);
            let retiring = Entry { sequence, base: sequence, resumed: 0, change: None };
            self.write_entry(journal, PoolId::External, &retiring)?;
            entries.push(retiring);
            let trimmed = self.storage.set_len(journal, RING_BYTES);
            trimmed.map_err(failed(PoolId::External, "shorten the journal"))?;
        }
        if journal == FileId::Journal {
            let next = next(&entries);
            self.journal = Journal { recovered: true, sequence: next, base: next, ..self.journal };
        }
        Ok(())
    }

    fn recover_pools(&mut self, journal: FileId, entries: &[Entry]) -> Result<(), PoolError> {
        for pool in PoolId::ALL {
            if let Some(recovery) = Recovery::of(pool, entries) {
                self.recover_pool(journal, pool, &recovery)?;
                let synchronised = self.storage.sync(FileId::Pool(pool));
                synchronised.map_err(failed(pool, "synchronise the file"))?;
                self.state_mut(pool).dirty = false;
            }
        }
        Ok(())
    }

    /// The entry by which the next recovery, if this one is interrupted, recognises our writes.
    fn note_of_resumption(
        &self,
        sequence: u64,
        base: u64,
        entries: &[Entry],
    ) -> Result<Option<Entry>, PoolError> {
        let mut resumed = 0;
        for pool in PoolId::ALL {
            if let Some(recovery) = Recovery::of(pool, entries).filter(|recovery| !recovery.resumed) {
                let stamp = self.storage.stamp(pool).map_err(failed(pool, "examine the file"))?;
                if stamp.is_some_and(|stamp| self.is_as_we_left_it(&recovery, &stamp)) {
                    resumed |= 1 << pool.number();
                }
            }
        }
        Ok((resumed != 0).then_some(Entry { sequence, base, resumed, change: None }))
    }

    /// Whether all live changes are made again.
    fn is_as_we_left_it(&self, recovery: &Recovery, stamp: &Stamp) -> bool {
        let scene = &recovery.last.scene;
        let same_run = self.storage.boot().is_some_and(|boot| boot == scene.boot);
        let untouched = !same_run && stamp.modified <= scene.time.saturating_add(GRACE);
        stamp.inode.1 == scene.inode && (recovery.resumed || untouched)
    }

    fn recover_pool(&mut self, journal: FileId, pool: PoolId, recovery: &Recovery) -> Result<(), PoolError> {
        self.lock(pool, LockKind::Exclusive)?;
        let result = self.recover_locked(journal, pool, recovery);
        self.state_mut(pool).index.certain = false;
        self.storage.unlock(pool);
        result
    }

    fn recover_locked(
        &mut self,
        journal: FileId,
        pool: PoolId,
        recovery: &Recovery,
    ) -> Result<(), PoolError> {
        let stamp = self.storage.stamp(pool).map_err(failed(pool, "examine the file"))?;
        // If the file was moved away after the lock was taken, the error makes the next attempt lock the
        // right one.
        let Some(stamp) = stamp.filter(|stamp| self.state(pool).inode == Some(stamp.inode)) else {
            return Err(PoolError::Locked { pool });
        };
        match &recovery.last.step {
            _ if stamp.inode.1 != recovery.last.scene.inode => {
                log::warn!("changes not recovered pool={pool}: the file is another one now");
                Ok(())
            }
            Step::Rewrite(rewrite) => self.recover_rewrite(journal, &recovery.last, rewrite, stamp.size),
            _ => self.recover_records(pool, recovery, &stamp),
        }
    }

    fn recover_records(&mut self, pool: PoolId, recovery: &Recovery, stamp: &Stamp) -> Result<(), PoolError> {
        let again = self.is_as_we_left_it(recovery, stamp);
        let final_len = recovery.last.new_len;
        let whole = stamp.size / RECORD_BYTES;
        let mut ours = recovery.expects_len(stamp.size);
        let (inside, behind): (Vec<_>, Vec<_>) =
            recovery.records.iter().partition(|record| u64::from(record.record) < whole);
        for record in inside {
            let found = self.load_padded(pool, record.record)?;
            if !record.expects(&found) {
                // Another program wrote here after us: its record and the size stay.
                ours = false;
            } else if found != record.image
                && position(record.record) < final_len
                && (again || !record.is_whole(&found))
            {
                self.put(pool, record)?;
            }
        }
        if !again || !ours {
            return if recovery.is_newest { self.finish_move(pool, &recovery.last) } else { Ok(()) };
        }
        for record in behind.into_iter().filter(|record| position(record.record) < final_len) {
            self.put(pool, record)?;
        }
        let size = self.size(pool)?;
        let end = |len: u64| u32::try_from(len / RECORD_BYTES).unwrap_or(u32::MAX);
        for record in end(final_len)..end(size) {
            if !recovery.expects_tail(record, &self.load_padded(pool, record)?) {
                return Ok(());
            }
        }
        if size != final_len { self.cut(pool, final_len) } else { Ok(()) }
    }

    /// Cuts off the last record, if an interrupted change has already moved it.
    fn finish_move(&mut self, pool: PoolId, change: &Change) -> Result<(), PoolError> {
        let Step::Write(write, Some(cut)) = &change.step else { return Ok(()) };
        let last = u32::try_from(change.new_len / RECORD_BYTES).unwrap_or(u32::MAX);
        if self.size(pool)? == change.old_len
            && self.load_padded(pool, write.record)? == write.new
            && digest(&self.load_padded(pool, last)?) == *cut
        {
            return self.cut(pool, change.new_len);
        }
        Ok(())
    }

    fn cut(&mut self, pool: PoolId, len: u64) -> Result<(), PoolError> {
        let cut = self.storage.set_len(FileId::Pool(pool), len);
        cut.map_err(failed(pool, "shorten the file"))
    }

    fn put(&mut self, pool: PoolId, record: &RecordRecovery) -> Result<(), PoolError> {
        let written = self.storage.write_at(FileId::Pool(pool), position(record.record), &record.image);
        written.map_err(failed(pool, "write a record"))
    }
}
