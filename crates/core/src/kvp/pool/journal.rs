//! The journal: what makes a change of a pool file all or nothing.
//!
//! A pool file is changed in place, because other programs hold locks on its inode. A record crosses sectors, so a power
//! cut could leave half of a new one. Each change is therefore first written and synchronised here, in one write of one
//! page, and only then made in the pool file, which need not be synchronised before the change is acknowledged. After a
//! crash the changes are made again, but only where the file still holds what our own writes can have left: another
//! program's later change wins.
//!
//! The file is a ring of [`SLOTS`] pages. An entry is live while its sequence number is not below the newest `base`
//! found in the ring.

use super::record::{Image, RECORD_BYTES, RECORD_SIZE};
use crate::kvp::PoolId;

/// Pages in the ring.
pub(super) const SLOTS: u32 = 64;
/// Distance of two entries: a page, so that no entry shares a block with another.
pub(super) const SLOT_SIZE: usize = 4096;
/// The same as a file offset.
pub(super) const SLOT_BYTES: u64 = SLOT_SIZE as u64;
/// Bytes of an entry.
pub(super) const ENTRY_SIZE: usize = HEADER + RECORD_SIZE;

const MAGIC: [u8; 8] = *b"HVKVPJ\x00\x01";
const HEADER: usize = 104;
/// Sectors of a record: disks write them whole.
const SECTOR: usize = 512;
const PIECES: usize = RECORD_SIZE / SECTOR;

const _: () = assert!(RECORD_SIZE.is_multiple_of(SECTOR) && ENTRY_SIZE <= SLOT_SIZE);

/// Checksums of the sectors of a record.
pub(super) type Digest = [u32; PIECES];

/// A change of one pool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The pool.
    pub(super) pool: PoolId,
    /// The record that is written, and what it becomes; `None` when the file only gets shorter.
    pub(super) write: Option<Write>,
    /// What was in the last record before the file got shorter by it: a disk that lost only the new size still has it
    /// when a later change appends there.
    pub(super) cut: Option<Digest>,
    /// The file's size before.
    pub(super) old_len: u64,
    /// The file's size after.
    pub(super) new_len: u64,
}

/// The record that a change writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// Its position.
    pub(super) record: u32,
    /// What was there before, zeros where the file ended.
    pub(super) old: Digest,
    /// What will be there.
    pub(super) new: Image,
}

/// One page of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Counts up from 1 without gaps.
    pub(super) sequence: u64,
    /// All entries below this number are done with.
    pub(super) base: u64,
    /// `None` for an entry that only raises `base`.
    pub(super) change: Option<Change>,
}

/// The checksums of a record's sectors.
pub(super) fn digest(image: &Image) -> Digest {
    std::array::from_fn(|piece| crc32fast::hash(&image[piece * SECTOR..(piece + 1) * SECTOR]))
}

impl Entry {
    /// Where an entry of this number lies.
    pub(super) fn offset(sequence: u64) -> u64 {
        sequence % u64::from(SLOTS) * SLOT_BYTES
    }

    /// Its bytes, with a checksum over all of them.
    pub(super) fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(16, &self.sequence.to_le_bytes());
        put(24, &self.base.to_le_bytes());
        if let Some(change) = &self.change {
            put(12, &[1, change.pool as u8]);
            put(32, &change.old_len.to_le_bytes());
            put(40, &change.new_len.to_le_bytes());
            if let Some(cut) = &change.cut {
                put(14, &[1]);
                put(76, &digest_bytes(cut));
            }
            if let Some(write) = &change.write {
                put(12, &[2]);
                put(48, &write.record.to_le_bytes());
                put(56, &digest_bytes(&write.old));
                put(HEADER, &write.new);
            }
        }
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The entry that lies in these bytes; `None` for a page that was never written or not to its end.
    pub(super) fn decode(bytes: &[u8; ENTRY_SIZE]) -> Option<Self> {
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[12..]) != number32(bytes, 8) {
            return None;
        }
        let change = match bytes[12] {
            0 => None,
            kind => Some(Change {
                pool: PoolId::from_number(bytes[13])?,
                write: (kind == 2).then(|| decode_write(bytes)),
                cut: (bytes[14] == 1).then(|| decode_digest(bytes, 76)),
                old_len: number64(bytes, 32),
                new_len: number64(bytes, 40),
            }),
        };
        Some(Self { sequence: number64(bytes, 16), base: number64(bytes, 24), change })
    }
}

fn decode_write(bytes: &[u8; ENTRY_SIZE]) -> Write {
    let mut new = [0; RECORD_SIZE];
    new.copy_from_slice(&bytes[HEADER..]);
    Write { record: number32(bytes, 48), old: decode_digest(bytes, 56), new }
}

fn digest_bytes(digest: &Digest) -> [u8; 4 * PIECES] {
    let mut bytes = [0; 4 * PIECES];
    for (field, sum) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(digest) {
        *field = sum.to_le_bytes();
    }
    bytes
}

fn decode_digest(bytes: &[u8; ENTRY_SIZE], at: usize) -> Digest {
    std::array::from_fn(|piece| number32(bytes, at + 4 * piece))
}

fn number32(bytes: &[u8; ENTRY_SIZE], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn number64(bytes: &[u8; ENTRY_SIZE], at: usize) -> u64 {
    u64::from(number32(bytes, at)) | u64::from(number32(bytes, at + 4)) << 32
}

/// What is to be made of one pool file after a crash: the changes of its live entries taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// The sizes that our writes can have left.
    lengths: Vec<u64>,
    /// The size that the file must have.
    pub(super) final_len: u64,
    /// The records that were written, each with the states of its sectors that our writes can have left.
    pub(super) records: Vec<RecordRecovery>,
}

/// One record of a [`Recovery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordRecovery {
    /// Its position.
    pub(super) record: u32,
    /// What it must become.
    pub(super) image: Image,
    states: Vec<Digest>,
}

impl Recovery {
    /// The live changes of `pool`; `None` where there are none. The entries may come in any order.
    pub(super) fn of(pool: PoolId, entries: &[Entry]) -> Option<Self> {
        let base = entries.iter().map(|entry| entry.base).max()?;
        let mut live: Vec<(u64, &Change)> = entries
            .iter()
            .filter(|entry| entry.sequence >= base)
            .filter_map(|entry| Some((entry.sequence, entry.change.as_ref()?)))
            .filter(|(_, change)| change.pool == pool)
            .collect();
        live.sort_by_key(|(sequence, _)| *sequence);
        let mut recovery =
            Self { lengths: Vec::new(), final_len: live.last()?.1.new_len, records: Vec::new() };
        for (_, change) in &live {
            recovery.lengths.extend([change.old_len, change.new_len]);
            if let Some(write) = &change.write {
                recovery.add(write);
            }
        }
        for (_, change) in &live {
            let cut_at = change.new_len / RECORD_BYTES;
            for record in recovery.records.iter_mut().filter(|record| u64::from(record.record) == cut_at) {
                record.states.extend(change.cut);
            }
        }
        Some(recovery)
    }

    fn add(&mut self, write: &Write) {
        let new = digest(&write.new);
        if let Some(known) = self.records.iter_mut().find(|known| known.record == write.record) {
            known.image = write.new;
            known.states.extend([write.old, new]);
            return;
        }
        // A sector behind the old end of the file can be zero when only the size reached the disk.
        let zero = digest(&[0; RECORD_SIZE]);
        let states = vec![zero, write.old, new];
        self.records.push(RecordRecovery { record: write.record, image: write.new, states });
    }

    /// Whether a file of this size can be what our writes left.
    pub(super) fn expects_len(&self, len: u64) -> bool {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let shortest = self.lengths.iter().copied().min().unwrap_or(0);
        self.lengths.contains(&len) || (shortest..=longest).contains(&len)
    }
}

impl RecordRecovery {
    /// Whether each sector is in a state that our own writes, or their absence, can have left.
    pub(super) fn expects(&self, found: &Image) -> bool {
        digest(found)
            .iter()
            .enumerate()
            .all(|(piece, sum)| self.states.iter().any(|state| state[piece] == *sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, base: u64, write: Option<Write>) -> Entry {
        let cut = sequence.is_multiple_of(2).then_some([4; PIECES]);
        let change = Change { pool: PoolId::Guest, write, cut, old_len: 2560, new_len: 5120 };
        Entry { sequence, base, change: Some(change) }
    }

    fn write(record: u32, old: u8, new: u8) -> Option<Write> {
        Some(Write { record, old: digest(&[old; RECORD_SIZE]), new: [new; RECORD_SIZE] })
    }

    #[test]
    fn an_entry_survives_its_encoding() {
        for entry in [
            entry(7, 3, write(1, 2, 3)),
            entry(u64::MAX, 1, None),
            Entry { sequence: 9, base: 9, change: None },
        ] {
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn an_entry_that_was_not_written_to_its_end_is_none() {
        let whole = entry(7, 3, write(1, 2, 3)).encode();
        assert_eq!(Entry::decode(&[0; ENTRY_SIZE]), None);
        for sectors in 1..ENTRY_SIZE.div_ceil(SECTOR) {
            let mut torn = [0; ENTRY_SIZE];
            torn[..sectors * SECTOR].copy_from_slice(&whole[..sectors * SECTOR]);
            assert_eq!(Entry::decode(&torn), None, "{sectors}");
        }
    }

    #[test]
    fn entries_below_the_base_are_done_with() {
        let entries = [entry(5, 2, write(0, 0, 1)), Entry { sequence: 6, base: 6, change: None }];
        assert_eq!(Recovery::of(PoolId::Guest, &entries), None);
        assert!(Recovery::of(PoolId::Guest, &entries[..1]).is_some());
        assert_eq!(Recovery::of(PoolId::External, &entries[..1]), None);
    }

    #[test]
    fn a_mixture_of_our_own_states_is_expected_and_anything_else_is_not() {
        let entries = [entry(6, 0, write(0, 2, 3)), entry(5, 0, write(0, 1, 2))];
        let recovery = Recovery::of(PoolId::Guest, &entries).unwrap();
        let record = &recovery.records[0];
        assert_eq!(record.image, [3; RECORD_SIZE]);
        let mut found = [1; RECORD_SIZE];
        found[512..1024].fill(2);
        found[1024..1536].fill(3);
        assert!(record.expects(&found));
        found[2000] = 9;
        assert!(!record.expects(&found));
        assert!(recovery.expects_len(2560) && recovery.expects_len(3000) && !recovery.expects_len(7680));
    }
}
