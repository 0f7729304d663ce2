//! The journal: what makes a change of a pool file all or nothing.
//!
//! A pool file is changed in place, because other programs hold locks on its inode. A record crosses sectors,
//! so a power cut could leave half of a new one. Each change is therefore first written and synchronised
//! here, in one write of one page, and only then made in the pool file, which need not be synchronised before
//! the change is acknowledged. After a crash the changes are made again, but only in a file that nobody else
//! has changed since.
//!
//! The file is a ring of [`SLOTS`] pages. An entry is live while its sequence number is not below the newest
//! `base` found in the ring. Behind the ring, and only while one is under way, lies what a [`Rewrite`] needs.

use super::record::{Image, RECORD_BYTES, RECORD_SIZE};
use super::storage::Moment;
use super::{MAX_BYTES, position};
use crate::kvp::PoolId;

/// Pages in the ring.
pub(super) const SLOTS: u32 = 64;
/// Distance of two entries: a page, so that no entry shares a block with another.
pub(super) const SLOT_SIZE: usize = 4096;
/// The same as a file offset.
pub(super) const SLOT_BYTES: u64 = SLOT_SIZE as u64;
/// The size of the ring: the journal's, when no rewriting is under way.
pub(super) const RING_BYTES: u64 = SLOT_BYTES * SLOTS as u64;
/// Bytes of an entry.
pub(super) const ENTRY_SIZE: usize = HEADER + RECORD_SIZE;

const MAGIC: [u8; 8] = *b"HVKVPJ\x00\x02";
const HEADER: usize = 136;
/// Sectors of a record: disks write them whole.
pub(super) const SECTOR: usize = 512;
const PIECES: usize = RECORD_SIZE / SECTOR;

/// What byte 12 of an entry says.
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
    /// What is done.
    pub(super) step: Step,
    /// The file's size before: whole records.
    pub(super) old_len: u64,
    /// The file's size after: whole records.
    pub(super) new_len: u64,
    /// The file that was changed, and when.
    pub(super) scene: Scene,
}

/// What is done to a pool file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are one of them, or 64 after a crash")]
pub(super) enum Step {
    /// The last record goes.
    Cut {
        /// What it held.
        last: Digest,
    },
    /// A record is written; where the file gets shorter, the last one has moved there.
    Write(Write, Option<Digest>),
    /// Everything from one record on is written anew.
    Rewrite(Rewrite),
}

/// What tells whether a file is as the change has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scene {
    /// The file's inode number. A device may have another number after the next boot.
    pub(super) inode: u64,
    /// The run of the system; 0 where it has no name.
    pub(super) boot: u64,
    /// Not before the time of the file's last change before this one, nor before this one was begun.
    pub(super) time: Moment,
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

/// A change of many records. Behind the ring lie the old records from `first` on and then the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// The first record that changes.
    pub(super) first: u32,
    /// The checksum of what lies behind the ring.
    pub(super) sum: u32,
}

/// One page of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Counts up from 1 without gaps.
    pub(super) sequence: u64,
    /// All entries below this number are done with.
    pub(super) base: u64,
    /// A bit for each pool whose live entries a recovery has begun to make good, after it had found that
    /// nobody else had changed the file: its own writes must not make the next one think otherwise.
    pub(super) resumed: u8,
    /// `None` for an entry that only says the rest.
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

    /// The entry that lies in these bytes; `None` for a page that was never written or not to its end, or
    /// that says what no process of ours writes.
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
    /// Whether it can have been made: its lengths are those of whole records, not too many of them, and fit
    /// what is done.
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

    /// How many bytes of old and of new records lie behind the ring for a rewriting.
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
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn number64(bytes: &[u8; ENTRY_SIZE], at: usize) -> u64 {
    u64::from(number32(bytes, at)) | u64::from(number32(bytes, at + 4)) << 32
}

/// What is to be made of one pool file after a crash: the changes of its live entries taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// The newest change.
    pub(super) last: Change,
    /// Whether no other pool has a newer one: only that one can be unfinished in the run of the system that
    /// made it.
    pub(super) is_newest: bool,
    /// An earlier recovery has found that nobody else had changed the file.
    pub(super) resumed: bool,
    /// The records that were written, each with the states of its sectors that our writes can have left.
    pub(super) records: Vec<RecordRecovery>,
    /// What our changes have cut off, and where.
    cuts: Vec<(u64, Digest)>,
    /// The shortest and the longest file that our writes can have left.
    lengths: Option<(u64, u64)>,
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

/// The live ones of some entries, which may come in any order, by number.
pub(super) fn live(entries: &[Entry]) -> Vec<&Entry> {
    let base = entries.iter().map(|entry| entry.base).max().unwrap_or(0);
    let mut live: Vec<&Entry> = entries.iter().filter(|entry| entry.sequence >= base).collect();
    live.sort_by_key(|entry| entry.sequence);
    live
}

impl Recovery {
    /// The live changes of `pool`; `None` where there are none. The entries may come in any order.
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
        // Nobody came between our changes: each begins where the one before has ended.
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
        // A sector behind the old end of the file can be zero when only the size reached the disk.
        let zero = digest(&[0; RECORD_SIZE]);
        let states = vec![zero, write.old, new];
        self.records.push(RecordRecovery { record: write.record, image: write.new, states });
    }

    /// What was in the last record before the file got shorter by it: a disk that lost only the new size
    /// still has it when a later change appends there.
    fn add_cut(&mut self, change: &Change) {
        let (Step::Cut { last: cut } | Step::Write(_, Some(cut))) = &change.step else { return };
        self.cuts.push((change.new_len, *cut));
        let known = self.records.iter_mut().filter(|known| position(known.record) == change.new_len);
        known.for_each(|known| known.states.push(*cut));
    }

    /// Whether a file of this size can be what our writes left.
    pub(super) fn expects_len(&self, len: u64) -> bool {
        self.lengths.is_some_and(|(shortest, longest)| (shortest..=longest).contains(&len))
    }
}

impl Recovery {
    /// Whether a record behind the end that the file is to have is one that we have cut off or written there ourselves.
    /// Anything else was appended by another program.
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
    /// Whether each sector is in a state that our own writes, or their absence, can have left.
    pub(super) fn expects(&self, found: &Image) -> bool {
        digest(found)
            .iter()
            .enumerate()
            .all(|(piece, sum)| self.states.iter().any(|state| state[piece] == *sum))
    }

    /// Whether the record is whole: as it was before one of our writes or after one.
    pub(super) fn is_whole(&self, found: &Image) -> bool {
        self.states.contains(&digest(found))
    }
}

#[cfg(test)]
mod tests {
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
    fn an_entry_survives_its_encoding() {
        for change in [
            None,
            overwrite(2, 3),
            change(Step::Write(write(1, 0, 3), None), 2560, 5120),
            change(Step::Write(write(0, 2, 3), Some([7; PIECES])), 5120, 2560),
            change(Step::Cut { last: [4; PIECES] }, 5120, 2560),
            change(Step::Rewrite(Rewrite { first: 2, sum: 99 }), 2560 * 9, 2560 * 4),
        ] {
            let entry = Entry { resumed: 0b10, ..entry(7, 3, change) };
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn an_entry_that_was_not_written_to_its_end_is_none() {
        let whole = entry(7, 3, overwrite(2, 3)).encode();
        assert_eq!(Entry::decode(&[0; ENTRY_SIZE]), None);
        for sectors in 1..ENTRY_SIZE.div_ceil(SECTOR) {
            let mut torn = [0; ENTRY_SIZE];
            torn[..sectors * SECTOR].copy_from_slice(&whole[..sectors * SECTOR]);
            assert_eq!(Entry::decode(&torn), None, "{sectors}");
        }
    }

    #[test]
    fn an_entry_that_nobody_can_have_written_is_none_whatever_its_checksum() {
        const HUGE: u64 = RECORD_BYTES * (1 << 30);
        let rewrite = |first| Step::Rewrite(Rewrite { first, sum: 0 });
        for change in [
            change(Step::Write(write(0, 0, 1), None), 0, 1 << 40),
            change(Step::Write(write(0, 0, 1), None), HUGE, HUGE),
            change(Step::Write(write(1 << 30, 0, 1), None), HUGE, HUGE + 2560),
            change(Step::Write(write(5, 0, 1), None), 2560, 5120),
            change(Step::Write(write(1, 0, 1), None), 2560, 2560),
            change(Step::Write(write(0, 0, 1), None), 100, 2660),
            change(Step::Cut { last: [0; PIECES] }, 5120, 0),
            change(Step::Cut { last: [0; PIECES] }, 0, 2560),
            change(rewrite(0), 2560, 5120),
            change(rewrite(7), 5120, 2560),
        ] {
            assert_eq!(Entry::decode(&entry(1, 1, change.clone()).encode()), None, "{change:?}");
        }
    }

    #[test]
    fn entries_below_the_base_are_done_with() {
        let entries = [entry(5, 2, overwrite(0, 1)), entry(6, 6, None)];
        assert_eq!(Recovery::of(PoolId::Guest, &entries), None);
        assert!(Recovery::of(PoolId::Guest, &entries[..1]).is_some());
        assert_eq!(Recovery::of(PoolId::External, &entries[..1]), None);
    }

    #[test]
    fn a_mixture_of_our_own_states_is_expected_and_anything_else_is_not() {
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
