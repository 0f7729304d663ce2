//! After a crash: making good what the journal holds and the pool files may not.

use std::io;

use super::index::Certainty;
use super::journal::{ENTRY_SIZE, Entry, RecordRecovery, Recovery, SLOTS};
use super::record::{RECORD_BYTES, key_of};
use super::storage::{FileId, LockKind, Storage};
use super::{PoolError, Pools, failed, position};
use crate::kvp::PoolId;

impl<S: Storage> Pools<S> {
    /// Reads the journal and finishes its changes, once; tried again before each change until it has worked.
    pub(super) fn recover(&mut self) -> Result<(), PoolError> {
        if self.journal.recovered {
            return Ok(());
        }
        let entries = self.read_journal().map_err(failed(PoolId::External, "read the journal"))?;
        self.journal.base = entries.iter().map(|entry| entry.base).max().unwrap_or(1);
        self.journal.sequence =
            entries.iter().map(|entry| entry.sequence + 1).max().unwrap_or(1).max(self.journal.base);
        for pool in PoolId::ALL {
            if let Some(recovery) = Recovery::of(pool, &entries) {
                self.recover_pool(pool, &recovery)?;
            }
        }
        self.journal.recovered = true;
        self.settle()
    }

    /// All entries that are whole; none where there is no journal yet.
    fn read_journal(&mut self) -> io::Result<Vec<Entry>> {
        match self.storage.open(FileId::Journal, false) {
            Ok(_) => self.journal.open = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut entries = Vec::new();
        let mut bytes = [0; ENTRY_SIZE];
        for slot in 0..SLOTS {
            let size = self.storage.read_at(FileId::Journal, Entry::offset(u64::from(slot)), &mut bytes)?;
            if size == ENTRY_SIZE {
                entries.extend(Entry::decode(&bytes));
            }
        }
        Ok(entries)
    }

    fn recover_pool(&mut self, pool: PoolId, recovery: &Recovery) -> Result<(), PoolError> {
        self.lock(pool, LockKind::Exclusive)?;
        let result = self.recover_locked(pool, recovery);
        self.state_mut(pool).index.certainty = Certainty::None;
        self.storage.unlock(pool);
        result
    }

    fn recover_locked(&mut self, pool: PoolId, recovery: &Recovery) -> Result<(), PoolError> {
        let len = self.size(pool)?;
        let whole = len / RECORD_BYTES;
        let mut ours = recovery.expects_len(len);
        let (inside, behind): (Vec<_>, Vec<_>) =
            recovery.records.iter().partition(|record| u64::from(record.record) < whole);
        for record in inside {
            let found = self.load_padded(pool, record.record)?;
            if !record.expects(&found) {
                // Another program wrote here after us: its record stays, and so does the size.
                ours = false;
            } else if found != record.image && position(record.record) < recovery.final_len {
                self.put(pool, record)?;
            }
        }
        for record in behind {
            ours = ours && !self.holds_key(pool, whole, key_of(&record.image))?;
            if ours && position(record.record) < recovery.final_len {
                self.put(pool, record)?;
            }
        }
        if ours && self.size(pool)? != recovery.final_len {
            let cut = self.storage.set_len(FileId::Pool(pool), recovery.final_len);
            cut.map_err(failed(pool, "shorten the file"))?;
        }
        self.state_mut(pool).dirty = true;
        Ok(())
    }

    fn size(&self, pool: PoolId) -> Result<u64, PoolError> {
        Ok(self.storage.stamp_open(pool).map_err(failed(pool, "examine the file"))?.size)
    }

    fn put(&mut self, pool: PoolId, record: &RecordRecovery) -> Result<(), PoolError> {
        let written = self.storage.write_at(FileId::Pool(pool), position(record.record), &record.image);
        written.map_err(failed(pool, "write a record"))
    }

    /// Whether one of the first `records` records has this key: then an appended record that is missing from its place
    /// was moved by another program, not lost.
    fn holds_key(&self, pool: PoolId, records: u64, key: &[u8]) -> Result<bool, PoolError> {
        for record in 0..u32::try_from(records).unwrap_or(u32::MAX) {
            let image = self.load(pool, record).map_err(failed(pool, "read a record"))?;
            if image.is_some_and(|image| key_of(&image) == key) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
