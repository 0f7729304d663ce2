//! The format of the journal, and what its entries mean for a pool file after a crash. It encodes, decodes
//! and judges; `apply` writes entries and `recovery` performs what they say.
//!
//! A pool file is changed in place, because other programs hold locks on its inode. A record spans several
//! sectors, so a power cut could leave half of a new one. Therefore each change is first written to the
//! journal, as one page in one write, and synchronised. Then it is made in the pool file, which need not be
//! synchronised before the change is acknowledged. A recovery makes the changes again, but only in a file
//! that no other program has changed since.
//!
//! The file is a ring of [`SLOTS`] pages. An entry is live if its sequence number is at least the newest
//! `base` in the ring. The data of a [`Rewrite`] follows the ring while one is under way.

use super::record::{Image, RECORD_BYTES, RECORD_SIZE};
use super::storage::Moment;
use super::{MAX_BYTES, position};
use crate::kvp::PoolId;

/// Pages in the ring.
pub(super) const SLOTS: u32 = 64;
/// Size of an entry's page: entries do not share blocks.
pub(super) const SLOT_SIZE: usize = 4096;
/// The same as a file offset.
pub(super) const SLOT_BYTES: u64 = SLOT_SIZE as u64;
/// The size of the ring, and of the journal when no rewrite is under way.
pub(super) const RING_BYTES: u64 = SLOT_BYTES * SLOTS as u64;
/// Bytes of an entry.
pub(super) const ENTRY_SIZE: usize = HEADER + RECORD_SIZE;

const MAGIC: [u8; 8] = *b"HVKVPJ\x00\x02";
const HEADER: usize = 136;
/// Size of a sector. Disks write sectors whole.
pub(super) const SECTOR: usize = 512;
const PIECES: usize = RECORD_SIZE / SECTOR;

/// The values of byte 12 of an entry.
const KIND_NONE: u8 = 0;
const KIND_CUT: u8 = 1;
const KIND_WRITE: u8 = 2;
const KIND_REWRITE: u8 = 3;

const _: () = assert!(RECORD_SIZE.is_multiple_of(SECTOR) && ENTRY_SIZE <= SLOT_SIZE);

/// Checksums of the sectors of a record.
pub(super) type Digest = [u32; PIECES];

/// A change of one pool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The pool.
    pub(super) pool: PoolId,
    /// What it does.
    pub(super) step: Step,
    /// The file's size before: whole records.
    pub(super) old_len: u64,
    /// The file's size after: whole records.
    pub(super) new_len: u64,
    /// The file that was changed, and when.
    pub(super) scene: Scene,
}

/// The kinds of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are one of them, or 64 after a crash")]
pub(super) enum Step {
    /// The last record is cut off.
    Cut {
        /// The checksums of that record.
        last: Digest,
    },
    /// A record is written. If the file gets shorter, the last record was moved there; its checksums are the
    /// second field.
    Write(Write, Option<Digest>),
    /// All records from one position on are replaced.
    Rewrite(Rewrite),
}

/// How a recovery recognises whether the file is as the change left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scene {
    /// The file's inode number. A device may have another number after the next boot.
    pub(super) inode: u64,
    /// Identifies the boot of the system. 0 where it has no identifier.
    pub(super) boot: u64,
    /// Not earlier than the file's last change before this one, and not earlier than the beginning of this
    /// change.
    pub(super) time: Moment,
}

/// The record that a change writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// Its position.
    pub(super) record: u32,
    /// The checksums of the former contents. Zeros after the end of the file.
    pub(super) old: Digest,
    /// The new contents.
    pub(super) new: Image,
}

/// A change of many records. After the ring follow the old records from `first` on, then the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// The first record that changes.
    pub(super) first: u32,
    /// The checksum of the data after the ring.
    pub(super) sum: u32,
}

/// One page of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Counts from 1 without gaps.
    pub(super) sequence: u64,
    /// All entries with lower numbers are retired.
    pub(super) base: u64,
    /// A bit for each pool for which a recovery has begun to make the live changes again, after it found that
    /// no other program had changed the file. The recovery's own writes must not make the next recovery
    /// believe otherwise.
    pub(super) resumed: u8,
    /// `None` for an entry that only carries `base` and `resumed`.
    pub(super) change: Option<Change>,
}

/// The checksums of a record's sectors.
pub(super) fn digest(image: &Image) -> Digest {
    std::array::from_fn(|piece| crc32fast::hash(&image[piece * SECTOR..(piece + 1) * SECTOR]))
}

impl Entry {
    /// The offset of the entry with this number.
    pub(super) fn offset(sequence: u64) -> u64 {
        sequence % u64::from(SLOTS) * SLOT_BYTES
    }

    /// The bytes of the entry, with a checksum over all of them.
    pub(super) fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(15, &[self.resumed]);
        put(16, &self.sequence.to_le_bytes());
        put(24, &self.base.to_le_bytes());
        if let Some(change) = &self.change {
            put(13, &[change.pool as u8]);
            put(32, &change.old_len.to_le_bytes());
            put(40, &change.new_len.to_le_bytes());
            put(104, &change.scene.inode.to_le_bytes());
            put(112, &change.scene.boot.to_le_bytes());
            put(120, &change.scene.time.to_le_bytes());
            let cut = match &change.step {
                Step::Cut { last } => {
                    put(12, &[KIND_CUT]);
                    Some(last)
                }
                Step::Write(write, cut) => {
                    put(12, &[KIND_WRITE]);
                    put(48, &write.record.to_le_bytes());
                    put(56, &digest_bytes(&write.old));
                    put(HEADER, &write.new);
                    cut.as_ref()
                }
                Step::Rewrite(rewrite) => {
                    put(12, &[KIND_REWRITE]);
                    put(48, &rewrite.first.to_le_bytes());
                    put(52, &rewrite.sum.to_le_bytes());
                    None
                }
            };
            if let Some(cut) = cut {
                put(14, &[1]);
                put(76, &digest_bytes(cut));
            }
        }
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The entry in these bytes. `None` for a page that was never written, was written in part, or has values
    /// that this program never writes.
    pub(super) fn decode(bytes: &[u8; ENTRY_SIZE]) -> Option<Self> {
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[12..]) != number32(bytes, 8) {
            return None;
        }
        let cut = (bytes[14] == 1).then(|| decode_digest(bytes, 76));
        let step = match bytes[12] {
            KIND_NONE => None,
            KIND_CUT => Some(Step::Cut { last: cut? }),
            KIND_WRITE => Some(Step::Write(decode_write(bytes), cut)),
            KIND_REWRITE => {
                Some(Step::Rewrite(Rewrite { first: number32(bytes, 48), sum: number32(bytes, 52) }))
            }
            _ => return None,
        };
        let change = step.map(|step| decode_change(bytes, step));
        if let Some(change) = &change {
            change.as_ref().filter(|change| change.is_plausible())?;
        }
        let (sequence, base) = (number64(bytes, 16), number64(bytes, 24));
        Some(Self { sequence, base, resumed: bytes[15], change: change.flatten() })
    }
}

impl Change {
    /// Whether the change is possible: its lengths are multiples of a record, within the limit, and fit the
    /// kind of change.
    fn is_plausible(&self) -> bool {
        let (old, new) = (self.old_len, self.new_len);
        if [old, new].iter().any(|len| !len.is_multiple_of(RECORD_BYTES) || *len > MAX_BYTES) {
            return false;
        }
        match &self.step {
            Step::Cut { .. } => old == new + RECORD_BYTES,
            Step::Write(write, None) => match old == new {
                true => position(write.record) < new,
                false => position(write.record) == old && new == old + RECORD_BYTES,
            },
            Step::Write(write, Some(_)) => old == new + RECORD_BYTES && position(write.record) < new,
            Step::Rewrite(rewrite) => new <= old && position(rewrite.first) <= new,
        }
    }

    /// How many bytes of old and of new records follow the ring for a rewrite.
    pub(super) fn rewritten(&self, rewrite: &Rewrite) -> (u64, u64) {
        let kept = position(rewrite.first);
        (self.old_len.saturating_sub(kept), self.new_len.saturating_sub(kept))
    }
}

fn decode_change(bytes: &[u8; ENTRY_SIZE], step: Step) -> Option<Change> {
    Some(Change {
        pool: PoolId::from_number(bytes[13])?,
        step,
        old_len: number64(bytes, 32),
        new_len: number64(bytes, 40),
        scene: Scene {
            inode: number64(bytes, 104),
            boot: number64(bytes, 112),
            time: number64(bytes, 120).cast_signed(),
        },
    })
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
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

fn number64(bytes: &[u8; ENTRY_SIZE], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

/// What a recovery must do with one pool file: the live changes of the file, combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// The newest change.
    pub(super) last: Change,
    /// Whether no other pool has a newer change. After a kill without a reboot only the newest change can be
    /// incomplete.
    pub(super) is_newest: bool,
    /// Whether an earlier recovery found that no other program had changed the file.
    pub(super) resumed: bool,
    /// The records that were written, each with the sector states that our writes can have left.
    pub(super) records: Vec<RecordRecovery>,
    /// The records that our changes have cut off, with their positions.
    cuts: Vec<(u64, Digest)>,
    /// The shortest and the longest file that our writes can have left.
    lengths: Option<(u64, u64)>,
}

/// One record of a [`Recovery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordRecovery {
    /// Its position in the file.
    pub(super) record: u32,
    /// Its contents after the recovery.
    pub(super) image: Image,
    states: Vec<Digest>,
}

/// The live entries, sorted by number. `entries` may be in any order.
pub(super) fn live(entries: &[Entry]) -> Vec<&Entry> {
    let base = entries.iter().map(|entry| entry.base).max().unwrap_or(0);
    let mut live: Vec<&Entry> = entries.iter().filter(|entry| entry.sequence >= base).collect();
    live.sort_by_key(|entry| entry.sequence);
    live
}

impl Recovery {
    /// The live changes of `pool`. `None` if there are none. `entries` may be in any order.
    pub(super) fn of(pool: PoolId, entries: &[Entry]) -> Option<Self> {
        let live = live(entries);
        let resumed = live.iter().any(|entry| entry.resumed & 1 << pool.number() != 0);
        let newest = live.iter().rev().find_map(|entry| entry.change.as_ref())?;
        let changes: Vec<&Change> = live
            .iter()
            .filter_map(|entry| entry.change.as_ref())
            .filter(|change| change.pool == pool)
            .collect();
        let last = (*changes.last()?).clone();
        // No other program changed the size between our changes: each begins with the size that the one
        // before left.
        let is_chain = changes.windows(2).all(|pair| pair[0].new_len == pair[1].old_len);
        let lengths = || changes.iter().flat_map(|change| [change.old_len, change.new_len]);
        let lengths = is_chain.then_some((lengths().min()?, lengths().max()?));
        let is_newest = newest.pool == pool;
        let mut recovery = Self { last, is_newest, resumed, records: Vec::new(), cuts: Vec::new(), lengths };
        for change in &changes {
            if let Step::Write(write, _) = &change.step {
                recovery.add(write);
            }
        }
        for change in &changes {
            recovery.add_cut(change);
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
        // A sector after the old end of the file can be zero when only the size reached the disk.
        let zero = digest(&[0; RECORD_SIZE]);
        let states = vec![zero, write.old, new];
        self.records.push(RecordRecovery { record: write.record, image: write.new, states });
    }

    /// Remembers the last record before the file got shorter. If the disk lost only the new size, the record
    /// is still there when a later change appends.
    fn add_cut(&mut self, change: &Change) {
        let (Step::Cut { last: cut } | Step::Write(_, Some(cut))) = &change.step else { return };
        self.cuts.push((change.new_len, *cut));
        let known = self.records.iter_mut().filter(|known| position(known.record) == change.new_len);
        known.for_each(|known| known.states.push(*cut));
    }

    /// Whether our writes can have left a file of this size.
    pub(super) fn expects_len(&self, len: u64) -> bool {
        self.lengths.is_some_and(|(shortest, longest)| (shortest..=longest).contains(&len))
    }
}

impl Recovery {
    /// Whether a record after the file's final end is one that we have cut off or written. Otherwise another
    /// program has appended it.
    pub(super) fn expects_tail(&self, record: u32, found: &Image) -> bool {
        let cuts = self.cuts.iter().filter(|(place, _)| *place == position(record)).map(|(_, sum)| sum);
        let written =
            self.records.iter().filter(|known| known.record == record).flat_map(|known| &known.states);
        // Only the size may have reached the disk.
        let zero = digest(&[0; RECORD_SIZE]);
        let states: Vec<&Digest> = cuts.chain(written).chain([&zero]).collect();
        digest(found).iter().enumerate().all(|(piece, sum)| states.iter().any(|state| state[piece] == *sum))
    }
}

impl RecordRecovery {
    /// Whether each sector is in a state that our writes can have left, made or not made.
    pub(super) fn expects(&self, found: &Image) -> bool {
        digest(found)
            .iter()
            .enumerate()
            .all(|(piece, sum)| self.states.iter().any(|state| state[piece] == *sum))
    }

    /// Whether the record is complete: as it was before or after one of our writes.
    pub(super) fn is_whole(&self, found: &Image) -> bool {
        self.states.contains(&digest(found))
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_RECORDS;
    use super::*;

    const SCENE: Scene = Scene { inode: 9, boot: 5, time: -3 };

    fn change(step: Step, old_len: u64, new_len: u64) -> Option<Change> {
        Some(Change { pool: PoolId::Guest, step, old_len, new_len, scene: SCENE })
    }

    fn entry(sequence: u64, base: u64, change: Option<Change>) -> Entry {
        Entry { sequence, base, resumed: 0, change }
    }

    fn write(record: u32, old: u8, new: u8) -> Write {
        Write { record, old: digest(&[old; RECORD_SIZE]), new: [new; RECORD_SIZE] }
    }

    fn overwrite(old: u8, new: u8) -> Option<Change> {
        change(Step::Write(write(0, old, new), None), 2560, 2560)
    }

    #[test]
    fn an_entry_is_the_same_after_encoding_and_decoding() {
        for change in [
            None,
            overwrite(2, 3),
            change(Step::Write(write(1, 0, 3), None), 2560, 5120),
            change(Step::Write(write(0, 2, 3), Some([7; PIECES])), 5120, 2560),
            change(Step::Cut { last: [4; PIECES] }, 5120, 2560),
            change(Step::Rewrite(Rewrite { first: 2, sum: 99 }), 2560 * 9, 2560 * 4),
            // The last record of the largest pool.
            change(Step::Write(write(MAX_RECORDS - 1, 0, 3), None), MAX_BYTES - 2560, MAX_BYTES),
        ] {
            let entry = Entry { resumed: 0b10, ..entry(7, 3, change) };
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn a_partly_written_entry_is_rejected() {
        let whole = entry(7, 3, overwrite(2, 3)).encode();
        assert_eq!(Entry::decode(&[0; ENTRY_SIZE]), None);
        for sectors in 1..ENTRY_SIZE.div_ceil(SECTOR) {
            let mut torn = [0; ENTRY_SIZE];
            torn[..sectors * SECTOR].copy_from_slice(&whole[..sectors * SECTOR]);
            assert_eq!(Entry::decode(&torn), None, "{sectors}");
        }
    }

    #[test]
    fn an_impossible_entry_is_rejected_despite_its_checksum() {
        const HUGE: u64 = RECORD_BYTES * (1 << 30);
        let rewrite = |first| Step::Rewrite(Rewrite { first, sum: 0 });
        for change in [
            change(Step::Write(write(0, 0, 1), None), 0, 1 << 40),
            change(Step::Write(write(0, 0, 1), None), HUGE, HUGE),
            change(Step::Write(write(1 << 30, 0, 1), None), HUGE, HUGE + 2560),
            change(Step::Write(write(5, 0, 1), None), 2560, 5120),
            change(Step::Write(write(1, 0, 1), None), 2560, 2560),
            change(Step::Write(write(0, 0, 1), None), 100, 2660),
            change(Step::Write(write(1, 0, 1), Some([0; PIECES])), 5120, 2560),
            change(Step::Write(write(0, 0, 1), Some([0; PIECES])), 7680, 2560),
            change(Step::Cut { last: [0; PIECES] }, 5120, 0),
            change(Step::Cut { last: [0; PIECES] }, 0, 2560),
            change(rewrite(0), 2560, 5120),
            change(rewrite(7), 5120, 2560),
        ] {
            assert_eq!(Entry::decode(&entry(1, 1, change.clone()).encode()), None, "{change:?}");
        }
    }

    #[test]
    fn entries_below_the_base_are_retired() {
        let entries = [entry(5, 2, overwrite(0, 1)), entry(6, 6, None)];
        assert_eq!(Recovery::of(PoolId::Guest, &entries), None);
        assert!(Recovery::of(PoolId::Guest, &entries[..1]).is_some());
        assert_eq!(Recovery::of(PoolId::External, &entries[..1]), None);
    }

    #[test]
    fn only_mixtures_of_our_own_states_are_expected() {
        let appended = change(Step::Write(write(1, 0, 1), None), 2560, 5120);
        let entries = [entry(7, 0, appended), entry(6, 0, overwrite(2, 3)), entry(5, 0, overwrite(1, 2))];
        let recovery = Recovery::of(PoolId::Guest, &entries).unwrap();
        let record = &recovery.records[0];
        assert_eq!(record.image, [3; RECORD_SIZE]);
        assert!(record.is_whole(&[1; RECORD_SIZE]) && record.is_whole(&[2; RECORD_SIZE]));
        let mut found = [1; RECORD_SIZE];
        found[512..1024].fill(2);
        found[1024..1536].fill(3);
        assert!(record.expects(&found) && !record.is_whole(&found));
        found[2000] = 9;
        assert!(!record.expects(&found));
        assert!(recovery.expects_len(2560) && recovery.expects_len(3000) && !recovery.expects_len(7680));
    }
}
