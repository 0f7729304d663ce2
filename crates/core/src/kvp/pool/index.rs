//! What is remembered of a pool file: where each key is, and in which state of the file that was so.
//!
//! Values are not kept: a record is read when it is asked for, so memory stays small and a lookup costs one read
//! whatever the size of the pool.

use std::collections::HashMap;

use super::record::{Image, key_of};
use super::storage::{Moment, Stamp};

/// One record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    hash: u32,
    /// Its position in the file.
    pub(super) record: u32,
}

/// What the stamp of a file says about changes that come after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Certainty {
    /// A change in the same tick of the clock can leave the stamp as it is.
    #[default]
    None,
    /// The time of the last change is our own and unlike any that a kernel gives: a change of the contents shows. Moving
    /// the file away in the same tick shows only at its path.
    OwnMark,
    /// The tick of the last change is over: everything shows, at the open descriptor too.
    Aged,
    /// The stamp does not matter: the system tells of every change.
    Watched,
}

/// The index of one pool file.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The state of the file that the index describes; not kept up while the file is watched.
    pub(super) stamp: Option<Stamp>,
    /// The size of the file.
    pub(super) size: u64,
    /// Whether a later change is certain to give the file another stamp.
    pub(super) certainty: Certainty,
    /// Whole records in the file.
    pub(super) records: u32,
    /// The first record of each key, by position.
    live: Vec<Slot>,
    /// Further records of keys that are in `live`, by position.
    shadowed: Vec<Slot>,
}

/// Builds an index from records in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Builder {
    index: Index,
    /// The first record with each checksum.
    first: HashMap<u32, u32>,
}

impl Builder {
    /// Takes the next record. `same_key` tells whether an earlier record with this checksum really has this key.
    ///
    /// # Errors
    /// What `same_key` says.
    pub(super) fn push<E>(
        &mut self,
        image: &Image,
        mut same_key: impl FnMut(u32) -> Result<bool, E>,
    ) -> Result<(), E> {
        let record = self.index.records;
        self.index.records += 1;
        let key = key_of(image);
        if key.is_empty() {
            return Ok(());
        }
        let slot = Slot { hash: hash(key), record };
        if *self.first.entry(slot.hash).or_insert(record) != record {
            // Two keys with one checksum are rare enough to look at every record that has it.
            for candidate in with_hash(&self.index.live, slot.hash) {
                if same_key(candidate)? {
                    self.index.shadowed.push(slot);
                    return Ok(());
                }
            }
        }
        self.index.live.push(slot);
        Ok(())
    }

    /// The index of the file in the state `stamp`.
    pub(super) fn finish(mut self, stamp: Stamp, certainty: Certainty) -> Index {
        self.index.stamp = Some(stamp);
        self.index.size = stamp.size;
        self.index.certainty = certainty;
        self.index.live.shrink_to_fit();
        self.index
    }
}

impl Index {
    /// The position in the file of the item at `index` of an enumeration.
    pub(super) fn item(&self, index: u32) -> Option<u32> {
        self.live.get(usize::try_from(index).ok()?).map(|slot| slot.record)
    }

    /// Records that can hold `key`, first ones only.
    pub(super) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        with_hash(&self.live, hash(key))
    }

    /// Records that can be further ones of `key`.
    pub(super) fn shadowed_candidates(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        with_hash(&self.shadowed, hash(key))
    }

    /// Notes that a record was appended.
    pub(super) fn appended(&mut self, key: &[u8]) {
        self.live.push(Slot { hash: hash(key), record: self.records });
        self.records += 1;
    }

    /// Notes that the last record was moved into the place of `record`, which is gone, and the file cut by one.
    pub(super) fn removed(&mut self, record: u32) {
        self.records = self.records.saturating_sub(1);
        let last = self.records;
        for slots in [&mut self.live, &mut self.shadowed] {
            slots.retain(|slot| slot.record != record);
            if let Some(at) = slots.iter().position(|slot| slot.record == last && last != record) {
                let mut moved = slots.remove(at);
                moved.record = record;
                let place = slots.partition_point(|slot| slot.record < record);
                slots.insert(place, moved);
            }
        }
    }
}

fn with_hash(slots: &[Slot], hash: u32) -> impl Iterator<Item = u32> {
    slots.iter().filter(move |slot| slot.hash == hash).map(|slot| slot.record)
}

fn hash(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

/// Whether a file last changed at `stamp` cannot change again at `now` or later with the same stamp.
///
/// Kernels take the times of files from a clock that ticks (every 1 to 10 ms), FreeBSD with vfs.timestamp_precision=0
/// and some file systems only every second or two. Inside that time two changes look like one, so what was read then
/// is read again, as git does with its index.
pub(super) fn is_settled(stamp: &Stamp, now: Moment) -> bool {
    const TICK: i64 = 100_000_000;
    const COARSE: i64 = 2_100_000_000;
    let last = stamp.modified.max(stamp.changed);
    let tick = if last.1 == 0 { COARSE } else { TICK };
    let age = (now.0 - last.0).saturating_mul(1_000_000_000).saturating_add(now.1 - last.1);
    age > tick
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvp::pool::record::image;
    use crate::kvp::{KvpKey, KvpValue};

    fn build(keys: &[&str]) -> Index {
        let images: Vec<Image> = keys
            .iter()
            .map(|key| KvpKey::new(key.as_bytes()).map_or([0; 2560], |k| image(&k, &KvpValue::default())))
            .collect();
        let mut builder = Builder::default();
        for image in &images {
            let same = |record: u32| Ok::<_, ()>(key_of(&images[record as usize]) == key_of(image));
            builder.push(image, same).unwrap();
        }
        let stamp = Stamp { inode: (1, 2), links: 1, size: 0, modified: (0, 0), changed: (0, 0) };
        builder.finish(stamp, Certainty::Aged)
    }

    fn items(index: &Index) -> Vec<u32> {
        (0..).map_while(|at| index.item(at)).collect()
    }

    #[test]
    fn records_without_a_key_and_further_ones_of_a_key_are_no_items() {
        let index = build(&["a", "", "b", "a", "c", "b"]);
        assert_eq!(items(&index), [0, 2, 4]);
        assert_eq!(index.records, 6);
        assert_eq!(index.shadowed_candidates(b"a").collect::<Vec<_>>(), [3]);
        assert_eq!(index.candidates(b"b").collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_last_record_takes_the_place_of_a_removed_one() {
        let mut index = build(&["a", "b", "c", "d"]);
        index.removed(1);
        assert_eq!(items(&index), [0, 1, 2]);
        assert_eq!(index.candidates(b"d").collect::<Vec<_>>(), [1]);
        index.removed(2);
        assert_eq!(items(&index), [0, 1]);
        index.appended(b"e");
        assert_eq!(index.candidates(b"e").collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_stamp_settles_after_the_tick_of_its_clock() {
        let stamp = |s, ns| Stamp { inode: (1, 2), links: 1, size: 0, modified: (s, ns), changed: (0, 0) };
        assert!(!is_settled(&stamp(100, 5), (100, 90_000_000)));
        assert!(is_settled(&stamp(100, 5), (100, 100_000_006)));
        assert!(!is_settled(&stamp(100, 0), (102, 0)));
        assert!(is_settled(&stamp(100, 0), (102, 200_000_000)));
        // A clock that was set back: never certain.
        assert!(!is_settled(&stamp(100, 5), (50, 0)));
        let restored = Stamp { changed: (100, 5), ..stamp(10, 5) };
        assert!(!is_settled(&restored, (100, 6)));
    }
}
