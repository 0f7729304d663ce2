//! A change of many records at once: removes all outdated records of a key and keeps the order of the rest.
//! It uses the journal file as its copy, and never holds more than a chunk in memory.
//!
//! Old and new records from the first changed one on are copied behind the ring of the journal and
//! synchronised with the entry. Then the new records are copied into the pool file, which is cut and
//! synchronised before the change is acknowledged. So a recovery never finds an acknowledged rewrite; it
//! completes a mixture of old and new.

use super::journal::{Change, RING_BYTES, Rewrite, SECTOR, Step};
use super::record::{Image, RECORD_BYTES, RECORD_SIZE};
use super::storage::{FileId, Storage};
use super::{PoolError, Pools, failed, position};
use crate::kvp::PoolId;

/// Size of the chunks that are copied.
const CHUNK: usize = 24 * RECORD_SIZE;

impl<S: Storage> Pools<S> {
    /// Removes the records at these positions, which are in order, and replaces the contents of one other
    /// record. All or nothing.
    pub(super) fn rewrite(
        &mut self,
        pool: PoolId,
        removed: &[u32],
        changed: Option<(u32, &Image)>,
    ) -> Result<(), PoolError> {
        // All other entries are settled first, so that a recovery has this change only.
        self.settle()?;
        let old_len = self.state(pool).index.size;
        let first = removed.iter().copied().chain(changed.map(|(record, _)| record)).min().unwrap_or(0);
        let new_len = old_len - removed.len() as u64 * RECORD_BYTES;
        let result = self.stage(pool, first, removed, changed).and_then(|sum| {
            let step = Step::Rewrite(Rewrite { first, sum });
            let change = Change { pool, step, old_len, new_len, scene: self.scene(pool) };
            self.write_entry(FileId::Journal, pool, &self.entry(Some(change)))?;
            self.replace(pool, first, old_len, new_len)
        });
        if result.is_err() {
            self.withdraw_entry(pool);
        } else {
            self.journal.sequence += 1;
            self.journal.base = self.journal.sequence;
        }
        // Without the data after the ring the entry has no effect.
        let _ = self.storage.set_len(FileId::Journal, RING_BYTES);
        self.state_mut(pool).index.certain = false;
        result
    }

    /// Copies old and new records behind the ring. Returns the checksum of both.
    fn stage(
        &mut self,
        pool: PoolId,
        first: u32,
        removed: &[u32],
        changed: Option<(u32, &Image)>,
    ) -> Result<u32, PoolError> {
        let old_len = self.state(pool).index.size - position(first);
        self.copy(pool, (FileId::Pool(pool), position(first)), (FileId::Journal, RING_BYTES), old_len)?;
        let mut offset = RING_BYTES + old_len;
        let mut chunk = Vec::with_capacity(CHUNK);
        for record in first..self.state(pool).index.records {
            if removed.binary_search(&record).is_err() {
                match changed.filter(|(changed, _)| *changed == record) {
                    Some((_, image)) => chunk.extend_from_slice(image),
                    None => chunk.extend_from_slice(&self.load_padded(pool, record)?),
                }
            }
            if chunk.len() == CHUNK || record + 1 == self.state(pool).index.records {
                let written = self.storage.write_at(FileId::Journal, offset, &chunk);
                written.map_err(failed(pool, "write the journal"))?;
                offset += chunk.len() as u64;
                chunk.clear();
            }
        }
        self.sum(FileId::Journal, pool, offset - RING_BYTES)
    }

    /// Copies the new records into the file, or the old ones back.
    fn replace(&mut self, pool: PoolId, first: u32, old_len: u64, new_len: u64) -> Result<(), PoolError> {
        let start = position(first);
        let old = (FileId::Journal, RING_BYTES);
        let new = (FileId::Journal, RING_BYTES + old_len - start);
        let file = (FileId::Pool(pool), start);
        let made = self.copy(pool, new, file, new_len - start).and_then(|()| {
            let cut = self.storage.set_len(file.0, new_len);
            cut.map_err(failed(pool, "shorten the file"))?;
            self.storage.sync(file.0).map_err(failed(pool, "synchronise the file"))
        });
        made.inspect_err(|_| {
            let _ = self.copy(pool, old, file, old_len - start);
            let _ = self.storage.set_len(file.0, old_len);
        })
    }

    /// Completes an interrupted rewrite, if every sector of the file is old or new.
    pub(super) fn recover_rewrite(
        &mut self,
        journal: FileId,
        change: &Change,
        rewrite: &Rewrite,
        len: u64,
    ) -> Result<(), PoolError> {
        let (pool, (old, new)) = (change.pool, change.rewritten(rewrite));
        let start = position(rewrite.first);
        // If the journal was cut after the change, less is read, and the checksum is another one.
        let staged = self.sum(journal, pool, old + new)? == rewrite.sum;
        if !staged || !(change.new_len..=change.old_len).contains(&len) {
            return Ok(());
        }
        let Some(begun) = self.is_mixture(journal, pool, start, (old, new), len)? else { return Ok(()) };
        if !begun && len == change.old_len {
            // The change was not acknowledged.
            return Ok(());
        }
        self.copy(pool, (journal, RING_BYTES + old), (FileId::Pool(pool), start), new)?;
        let cut = self.storage.set_len(FileId::Pool(pool), change.new_len);
        cut.map_err(failed(pool, "shorten the file"))
    }

    /// `None` if a sector is neither old nor new. Otherwise whether a sector is new. The file is not longer
    /// than it was.
    fn is_mixture(
        &self,
        journal: FileId,
        pool: PoolId,
        start: u64,
        (old_bytes, new_bytes): (u64, u64),
        len: u64,
    ) -> Result<Option<bool>, PoolError> {
        let mut begun = false;
        let read = |file, offset: u64| {
            let mut sector = [0; SECTOR];
            self.storage.read_at(file, offset, &mut sector).map_err(failed(pool, "read the records"))?;
            Ok::<_, PoolError>(sector)
        };
        for at in (0..len.saturating_sub(start)).step_by(SECTOR) {
            let found = read(FileId::Pool(pool), start + at)?;
            let old = read(journal, RING_BYTES + at)?;
            if found == old {
                continue;
            }
            begun = true;
            let new = match at < new_bytes {
                true => read(journal, RING_BYTES + old_bytes + at)?,
                // A record that was cut off can be zero when the size did not reach the disk.
                false => [0; SECTOR],
            };
            let ours = |(byte, (old, new))| byte == old || byte == new;
            if !found.iter().zip(old.iter().zip(&new)).all(ours) {
                return Ok(None);
            }
        }
        Ok(Some(begun))
    }

    /// The checksum of the first bytes after the ring.
    fn sum(&self, journal: FileId, pool: PoolId, len: u64) -> Result<u32, PoolError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < len {
            let size = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
            let read = self.storage.read_at(journal, RING_BYTES + at, &mut chunk[..size]);
            hasher.update(&chunk[..read.map_err(failed(pool, "read the journal"))?]);
            at += size as u64;
        }
        Ok(hasher.finalize())
    }

    fn copy(
        &mut self,
        pool: PoolId,
        (from, from_offset): (FileId, u64),
        (to, to_offset): (FileId, u64),
        len: u64,
    ) -> Result<(), PoolError> {
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < len {
            let size = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
            let read = self.storage.read_at(from, from_offset + at, &mut chunk[..size]);
            let read = read.map_err(failed(pool, "read the records"))?;
            if read == 0 {
                break;
            }
            let written = self.storage.write_at(to, to_offset + at, &chunk[..read]);
            written.map_err(failed(pool, "write the records"))?;
            at += read as u64;
        }
        Ok(())
    }
}
