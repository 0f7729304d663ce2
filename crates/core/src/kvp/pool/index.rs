//! The index of a pool file: where the last record of each key is, and whether the file is unchanged. It is
//! built from records that are handed in, and never reads the file.
//!
//! Values are not kept: a record is read when it is requested. So memory stays small, and a lookup costs one
//! read whatever the size of the pool.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::record::{Image, key_of};

/// A key of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    hash: u32,
    /// The position of its first record, which orders the enumeration. An agent that appends a report under
    /// an existing key therefore changes an item, and moves no item while a host walks.
    first: u32,
    /// The position of its last record, which is the valid one.
    last: u32,
}

/// A record that a later record of the same key has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outdated {
    hash: u32,
    record: u32,
}

/// The index of one pool file.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The size of the file.
    pub(super) size: u64,
    /// Whether the system reports every change after the index was built.
    pub(super) certain: bool,
    /// Whole records in the file.
    pub(super) records: u32,
    /// The keys, in the order of their first records.
    live: Vec<Slot>,
    /// The outdated records, in the order of the file.
    outdated: Vec<Outdated>,
    /// Randomly keyed, so that no choice of keys can cause many collisions.
    hasher: RandomState,
}

/// Builds an index from records in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Builder {
    index: Index,
    /// Where in `live` the first key with each checksum is.
    slots: HashMap<u32, usize>,
}

impl Builder {
    /// Adds the next record. `same_key` tells whether an earlier record with this checksum has this key.
    ///
    /// # Errors
    /// The error of `same_key`.
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
        let hash = self.index.hash(key);
        let end = self.index.live.len();
        let known = *self.slots.entry(hash).or_insert(end);
        // Different keys with one checksum are rare, so each of them is compared.
        for at in known..end {
            let slot = self.index.live[at];
            if slot.hash == hash && same_key(slot.last)? {
                self.index.outdated.push(Outdated { hash, record: slot.last });
                self.index.live[at].last = record;
                return Ok(());
            }
        }
        self.index.live.push(Slot { hash, first: record, last: record });
        Ok(())
    }

    /// The index for a file of this size.
    pub(super) fn finish(mut self, size: u64, certain: bool) -> Index {
        self.index.size = size;
        self.index.certain = certain;
        self.index.live.shrink_to_fit();
        self.index.outdated.sort_unstable_by_key(|outdated| outdated.record);
        self.index
    }
}

impl Index {
    /// The position in the file of item `index` of the enumeration.
    pub(super) fn item(&self, index: u32) -> Option<u32> {
        self.live.get(usize::try_from(index).ok()?).map(|slot| slot.last)
    }

    /// Records that may be the last one of `key`.
    pub(super) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        let hash = self.hash(key);
        self.live.iter().filter(move |slot| slot.hash == hash).map(|slot| slot.last)
    }

    /// Records that may be outdated ones of `key`, in the order of the file.
    pub(super) fn outdated_candidates(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        let hash = self.hash(key);
        self.outdated.iter().filter(move |outdated| outdated.hash == hash).map(|outdated| outdated.record)
    }

    /// Records that a record with a new key was appended.
    pub(super) fn appended(&mut self, key: &[u8]) {
        let record = self.records;
        self.live.push(Slot { hash: self.hash(key), first: record, last: record });
        self.records += 1;
    }

    /// Records that the last record was moved over `record`, and that the file was shortened by one. Neither
    /// key may have an outdated record.
    pub(super) fn removed(&mut self, record: u32) {
        self.records = self.records.saturating_sub(1);
        let last = self.records;
        self.live.retain(|slot| slot.last != record);
        if let Some(at) = self.live.iter().position(|slot| slot.last == last && last != record) {
            let moved = Slot { first: record, last: record, ..self.live.remove(at) };
            let place = self.live.partition_point(|slot| slot.first < record);
            self.live.insert(place, moved);
        }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // Half of the hash is enough.
        (self.hasher.hash_one(key) >> 32) as u32
    }
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
        builder.finish(0, true)
    }

    fn items(index: &Index) -> Vec<u32> {
        (0..99).map_while(|at| index.item(at)).collect()
    }

    #[test]
    fn an_item_is_the_last_record_at_the_firsts_place() {
        let index = build(&["a", "", "b", "a", "c", "b", "a"]);
        assert_eq!(items(&index), [6, 5, 4]);
        assert_eq!(index.records, 7);
        assert_eq!(index.outdated_candidates(b"a").collect::<Vec<_>>(), [0, 3]);
        assert_eq!(index.candidates(b"b").collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_last_record_replaces_a_removed_one() {
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
    fn items_stay_in_the_order_of_the_file_after_several_moves() {
        let mut index = build(&["a", "b", "c", "d", "e", "f"]);
        index.removed(1);
        index.removed(2);
        assert_eq!(items(&index), [0, 1, 2, 3]);
    }

    #[test]
    fn different_keys_with_one_checksum_are_different_items() {
        let mut builder = Builder::default();
        let text = |n: u32| format!("key {n}");
        let mut seen = HashMap::new();
        let collision = |n: u32| Some((seen.insert(builder.index.hash(text(n).as_bytes()), n)?, n));
        let (one, other) = (0..).find_map(collision).unwrap();
        let keys = [one, other, one].map(text);
        for key in &keys {
            let image = image(&KvpKey::new(key.as_bytes()).unwrap(), &KvpValue::default());
            builder.push(&image, |record| Ok::<_, ()>(keys[record as usize] == *key)).unwrap();
        }
        let index = builder.finish(0, true);
        assert_eq!(items(&index), [2, 1]);
        assert_eq!(index.outdated_candidates(keys[0].as_bytes()).collect::<Vec<_>>(), [0]);
    }
}
