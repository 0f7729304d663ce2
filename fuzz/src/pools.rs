//! Fuzz target: pool files and journals with any contents. Opening, reading and changing them must neither
//! panic nor lose other records.

use std::time::Duration;

use hv_core::kvp::pool::disk::{Disk, POOL};
use hv_core::kvp::pool::storage::{FileId, Storage};
use hv_core::kvp::pool::{Limits, Pools};
use hv_core::kvp::{KvpKey, KvpValue};

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "pools",
    promise: "any file and any journal are read in bounded work, and what is set is there afterwards",
    check,
    words: &["HVKVPJNL", "a\0", "\0\0\0\0\0\0\0\0"],
};

const RECORD: usize = 2560;
const LIMITS: Limits = Limits { max_records: 64, lock_wait: Duration::from_millis(1) };

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let disk = Disk::with_pool(&pool_file(&mut choices));
    let mut writer = disk.clone();
    if choices.yes() {
        // A journal with entries of a real daemon, then damaged.
        let (mut pools, _) = Pools::open(disk.clone(), LIMITS);
        for _ in 0..choices.below(4) {
            let (key, value) = (key(&mut choices), value(&mut choices));
            let _ = pools.set(POOL, &key, &value);
        }
        for _ in 0..choices.below(4) {
            let at = choices.below(64 * 4096);
            let _ = writer.write_at(FileId::Journal, at as u64, choices.bytes(64));
        }
        if choices.yes() {
            disk.write_by_another(&pool_file(&mut choices));
        }
    }
    let before = disk.operations();
    let (mut pools, problems) = Pools::open(disk.clone(), LIMITS);
    seen.saw(problems.len());
    let items = walk(&mut pools, &mut seen);
    let (key, value) = (key(&mut choices), value(&mut choices));
    match pools.set(POOL, &key, &value) {
        Ok(()) => {
            let found = pools.get(POOL, &key).expect("a read on a good disk").expect("it was set");
            assert_eq!(found.value, value.as_bytes());
            let after = walk(&mut pools, &mut seen);
            let others = |items: &[(Vec<u8>, Vec<u8>)]| {
                let mut others: Vec<_> = items.iter().filter(|(k, _)| k != key.as_bytes()).cloned().collect();
                others.sort();
                others
            };
            assert_eq!(others(&items), others(&after), "all other records are as they were");
        }
        Err(_) => seen.saw("refused"),
    }
    let changed = pools.delete(POOL, &key);
    seen.saw(matches!(changed, Ok(true)));
    if changed.is_ok() {
        assert_eq!(pools.get(POOL, &key).expect("a read on a good disk"), None);
    }
    let _ = pools.settle();
    assert!(disk.operations() - before < 20_000, "bounded work");
    assert!(disk.pool().len() < 1 << 20, "a file does not grow for what a journal says");
    seen.name()
}

fn walk(pools: &mut Pools<Disk>, seen: &mut Behaviour) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut items = Vec::new();
    while let Ok(Some(record)) = pools.enumerate(POOL, u32::try_from(items.len()).unwrap_or(u32::MAX)) {
        assert!(!record.key.is_empty(), "no record without a key");
        items.push((record.key, record.value));
    }
    let mut keys: Vec<_> = items.iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), items.len(), "each key once");
    seen.saw(items.len());
    items
}

fn pool_file(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..choices.below(12) {
        let mut record = [0; RECORD];
        let (key, value) = (key(choices), value(choices));
        record[..key.as_bytes().len()].copy_from_slice(key.as_bytes());
        record[512..512 + value.as_bytes().len()].copy_from_slice(value.as_bytes());
        if choices.byte() % 8 == 0 {
            let junk = choices.bytes(700);
            let at = choices.below(RECORD - junk.len());
            record[at..at + junk.len()].copy_from_slice(junk);
        }
        bytes.extend(record);
    }
    bytes.extend(choices.bytes(RECORD));
    bytes
}

fn key(choices: &mut Choices<'_>) -> KvpKey {
    let any = choices.byte() % 8 == 0;
    let key = if any { KvpKey::new(choices.bytes(511)) } else { None };
    key.unwrap_or_else(|| KvpKey::new(&[b'a' + choices.byte() % 6]).expect("a letter is a key"))
}

fn value(choices: &mut Choices<'_>) -> KvpValue {
    KvpValue::new(choices.bytes(64)).unwrap_or_default()
}
