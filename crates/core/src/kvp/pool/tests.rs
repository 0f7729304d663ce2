//! Tests of the pools: on a simulated disk that can fail, be killed and lose power at every step, and on real
//! files.

mod entries;
mod faults;
mod real_files;
mod recoveries;

use std::time::Duration;

use super::disk::{Disk, POOL};
use super::storage::{FileId, Storage};
use super::*;

fn limits() -> Limits {
    Limits { max_records: 1024, lock_wait: Duration::from_millis(50) }
}

fn key(text: &str) -> KvpKey {
    KvpKey::new(text.as_bytes()).unwrap()
}

fn value(text: &str) -> KvpValue {
    KvpValue::new(text.as_bytes()).unwrap()
}

fn raw(records: &[(&str, &str)]) -> Vec<u8> {
    records.iter().flat_map(|(k, v)| image(&key(k), &value(v))).collect()
}

fn open<S: Storage>(storage: S) -> Pools<S> {
    let (pools, problems) = Pools::open(storage, limits());
    assert!(problems.is_empty(), "{problems:?}");
    pools
}

/// The same disk on a system that reports changes, and on one that has no watches left.
fn on_both_systems(pool: &[u8]) -> [Disk; 2] {
    [Disk::with_pool(pool), Disk::with_pool(pool).watched()]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All items in the order of the enumeration.
fn items<S: Storage>(pools: &mut Pools<S>) -> Vec<(String, String)> {
    (0..)
        .map_while(|index| pools.enumerate(POOL, index).unwrap())
        .map(|record| (text(&record.key), text(&record.value)))
        .collect()
}

fn pairs(records: &[(&str, &str)]) -> Vec<(String, String)> {
    records.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn get<S: Storage>(pools: &mut Pools<S>, name: &str) -> Option<String> {
    pools.get(POOL, &key(name)).unwrap().map(|record| text(&record.value))
}

#[test]
fn get_returns_the_value_and_matches_the_whole_key() {
    let disk = Disk::with_pool(&raw(&[("abc", "1"), ("ab", "2")]));
    let mut pools = open(disk);
    assert_eq!(get(&mut pools, "ab").as_deref(), Some("2"));
    assert_eq!(get(&mut pools, "abc").as_deref(), Some("1"));
    assert_eq!(get(&mut pools, "a"), None);
}

#[test]
fn a_shorter_value_clears_the_rest_of_the_old_one() {
    let disk = Disk::with_pool(&raw(&[("k", "a long value")]));
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("k"), &value("x")).unwrap();
    assert_eq!(disk.pool(), raw(&[("k", "x")]));
}

#[test]
fn new_keys_are_appended_and_the_cap_holds() {
    let mut pools = open(Disk::with_pool(b""));
    pools.set_limits(Limits { max_records: 2, ..limits() });
    pools.set(POOL, &key("a"), &value("1")).unwrap();
    pools.set(POOL, &key("b"), &value("")).unwrap();
    assert!(matches!(pools.set(POOL, &key("c"), &value("3")), Err(PoolError::Full { records: 2, .. })));
    pools.set(POOL, &key("a"), &value("changed")).unwrap();
    assert_eq!(items(&mut pools), pairs(&[("a", "changed"), ("b", "")]));
}

#[test]
fn delete_keeps_all_other_records() {
    for disk in on_both_systems(&raw(&[("a", "1"), ("b", "2"), ("c", "3")])) {
        let mut pools = open(disk.clone());
        let writes = disk.writes();
        assert!(!pools.delete(POOL, &key("z")).unwrap());
        assert_eq!(disk.writes(), writes);
        assert!(pools.delete(POOL, &key("a")).unwrap());
        assert_eq!(disk.pool(), raw(&[("c", "3"), ("b", "2")]));
        assert!(pools.delete(POOL, &key("b")).unwrap());
        assert!(pools.delete(POOL, &key("c")).unwrap());
        assert_eq!(disk.pool(), b"");
        assert_eq!(items(&mut pools), []);
    }
}

// contract K28
#[test]
fn the_last_record_of_a_key_is_valid() {
    let several =
        raw(&[("a", "error"), ("b", "2"), ("a", "error"), ("c", "3"), ("a", "success"), ("d", "4")]);
    for disk in on_both_systems(&several) {
        let mut pools = open(disk.clone());
        assert_eq!(items(&mut pools), pairs(&[("a", "success"), ("b", "2"), ("c", "3"), ("d", "4")]));
        assert_eq!(get(&mut pools, "a").as_deref(), Some("success"));
        pools.set(POOL, &key("a"), &value("new")).unwrap();
        assert_eq!(disk.pool(), raw(&[("b", "2"), ("c", "3"), ("a", "new"), ("d", "4")]));
        assert_eq!(items(&mut pools), pairs(&[("b", "2"), ("c", "3"), ("a", "new"), ("d", "4")]));
    }
    for disk in on_both_systems(&several) {
        let mut pools = open(disk.clone());
        assert!(pools.delete(POOL, &key("a")).unwrap());
        assert_eq!(disk.pool(), raw(&[("b", "2"), ("c", "3"), ("d", "4")]));
        assert_eq!(get(&mut pools, "a"), None);
    }
}

#[test]
fn a_delete_never_revives_outdated_records_of_other_keys() {
    let disk = Disk::with_pool(&raw(&[("x", "0"), ("a", "first"), ("b", "2"), ("a", "last")]));
    let mut pools = open(disk.clone());
    assert!(pools.delete(POOL, &key("x")).unwrap());
    assert_eq!(get(&mut pools, "a").as_deref(), Some("last"));
    assert_eq!(disk.pool(), raw(&[("a", "first"), ("b", "2"), ("a", "last")]));
}

#[test]
fn an_appended_report_moves_no_item_of_an_enumeration() {
    for disk in on_both_systems(&raw(&[("a", "error"), ("b", "2"), ("c", "3")])) {
        let mut pools = open(disk.clone());
        let first = pools.enumerate(POOL, 0).unwrap().unwrap();
        let mut bytes = disk.pool();
        bytes.extend(raw(&[("a", "success")]));
        disk.write_by_another(&bytes);
        let rest = (1..).map_while(|index| pools.enumerate(POOL, index).unwrap()).map(|item| text(&item.key));
        assert_eq!((text(&first.key).as_str(), rest.collect::<Vec<_>>().join(" ")), ("a", "b c".to_owned()));
        assert_eq!(get(&mut pools, "a").as_deref(), Some("success"));
    }
}

#[test]
fn a_change_of_a_watched_file_synchronises_only_the_journal() {
    let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("2")).unwrap();
    for text in ["3", "4", "5"] {
        let before = disk.synchronised();
        pools.set(POOL, &key("a"), &value(text)).unwrap();
        assert_eq!(disk.synchronised() - before, 1, "{text}");
    }
}

#[test]
fn outdated_records_are_removed_in_one_change() {
    let reports: Vec<(&str, &str)> = (0..500).flat_map(|_| [("report", "error"), ("other", "x")]).collect();
    for delete in [false, true] {
        let disk = Disk::with_pool(&raw(&reports)).watched();
        let mut pools = open(disk.clone());
        let before = disk.synchronised();
        if delete {
            assert!(pools.delete(POOL, &key("report")).unwrap());
        } else {
            pools.set(POOL, &key("report"), &value("success")).unwrap();
        }
        assert_eq!(disk.pool().len(), RECORD_SIZE * (500 + usize::from(!delete)));
        assert!(disk.synchronised() - before <= 4, "{}", disk.synchronised() - before);
        let report = get(&mut pools, "report");
        assert_eq!(report.as_deref(), (!delete).then_some("success"));
        assert_eq!(disk.read(FileId::Journal).len() as u64, journal::RING_BYTES);
    }
}

#[test]
fn records_without_a_key_do_not_end_the_enumeration() {
    let mut bytes = raw(&[("a", "1")]);
    bytes.extend([0; RECORD_SIZE]);
    bytes.extend(raw(&[("b", "2")]));
    assert_eq!(items(&mut open(Disk::with_pool(&bytes))), pairs(&[("a", "1"), ("b", "2")]));
}

// contract K29, K30
#[test]
fn torn_record_is_cut_off_at_start_and_before_changes() {
    let torn = |records: &[(&str, &str)], bytes: usize| [raw(records), vec![b'#'; bytes]].concat();
    for disk in on_both_systems(&torn(&[("a", "1")], 700)) {
        let mut pools = open(disk.clone());
        assert_eq!(disk.pool(), raw(&[("a", "1")]));
        assert_eq!(items(&mut pools), pairs(&[("a", "1")]));
        disk.write_by_another(&torn(&[("a", "1")], 2559));
        // Its writer may still work, so a read changes nothing.
        assert_eq!(items(&mut pools), pairs(&[("a", "1")]));
        assert_eq!(disk.pool().len(), 2560 + 2559);
        pools.set(POOL, &key("b"), &value("2")).unwrap();
        assert_eq!(disk.pool(), raw(&[("a", "1"), ("b", "2")]));
        disk.write_by_another(&torn(&[("a", "1"), ("b", "2")], 1));
        pools.set(POOL, &key("a"), &value("2")).unwrap();
        assert_eq!(disk.pool(), raw(&[("a", "2"), ("b", "2")]));
        disk.write_by_another(&torn(&[("a", "2"), ("b", "2")], 513));
        assert!(pools.delete(POOL, &key("a")).unwrap());
        assert_eq!(disk.pool(), raw(&[("b", "2")]));
    }
}

#[test]
fn a_torn_record_under_a_lock_is_kept() {
    let disk = Disk::with_pool(&[b'#'; 700]);
    disk.lock_by_another(true);
    let (mut pools, problems) = Pools::open(disk.clone(), limits());
    assert!(matches!(problems[..], [PoolError::Locked { .. }]), "{problems:?}");
    disk.lock_by_another(false);
    disk.write_by_another(&raw(&[("whole", "1")]));
    assert_eq!(get(&mut pools, "whole").as_deref(), Some("1"));
}

#[test]
fn a_pool_that_is_too_large_is_not_read() {
    let disk = Disk::with_pool(b"");
    let mut pools = open(disk.clone());
    disk.pretend_size(20 << 30);
    let before = disk.bytes_read();
    assert!(matches!(pools.get(POOL, &key("a")), Err(PoolError::TooLarge { size, .. }) if size == 20 << 30));
    assert!(matches!(pools.enumerate(POOL, 0), Err(PoolError::TooLarge { .. })));
    assert!(matches!(pools.set(POOL, &key("a"), &value("1")), Err(PoolError::TooLarge { .. })));
    assert!(matches!(pools.delete(POOL, &key("a")), Err(PoolError::TooLarge { .. })));
    // Other pools are still served.
    pools.set(PoolId::Guest, &key("a"), &value("1")).unwrap();
    assert!(disk.bytes_read() - before < 1 << 20);
}

#[test]
fn the_largest_pool_is_served_and_a_torn_end_counts_as_nothing() {
    let disk = Disk::with_pool(&raw(&[("a", "1")]));
    let mut pools = open(disk.clone());
    for (size, served) in
        [(MAX_BYTES, true), (MAX_BYTES + RECORD_BYTES - 1, true), (MAX_BYTES + RECORD_BYTES, false)]
    {
        disk.pretend_size(size);
        assert_eq!(pools.get(POOL, &key("a")).is_ok(), served, "{size}");
    }
}

#[test]
fn deleting_nothing_leaves_the_file_alone() {
    for disk in on_both_systems(&raw(&[("a", "1")])) {
        let mut pools = open(disk.clone());
        disk.pass(Duration::from_secs(5));
        let before = disk.stamp(POOL).unwrap();
        assert!(!pools.delete(POOL, &key("b")).unwrap());
        assert_eq!(disk.stamp(POOL).unwrap(), before);
    }
}

#[test]
fn missing_nuls_and_garbage_are_not_copied() {
    let mut bytes = raw(&[("a", "1")]);
    let mut dirty = [b'#'; RECORD_SIZE];
    dirty[1] = 0;
    dirty[512..515].copy_from_slice(b"\xffv\0");
    bytes.extend(dirty);
    bytes.extend([b'@'; RECORD_SIZE]);
    let disk = Disk::with_pool(&bytes);
    let mut pools = open(disk.clone());
    let record = pools.enumerate(POOL, 1).unwrap().unwrap();
    assert_eq!((&record.key[..], &record.value[..]), (&b"#"[..], &b"\xffv"[..]));
    assert_eq!(pools.enumerate(POOL, 2).unwrap().unwrap().key.len(), 511);
    pools.delete(POOL, &KvpKey::new(&[b'@'; 511]).unwrap()).unwrap();
    pools.delete(POOL, &key("a")).unwrap();
    let mut clean = [0; RECORD_SIZE];
    clean[0] = b'#';
    clean[512..514].copy_from_slice(b"\xffv");
    assert_eq!(disk.pool(), clean);
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let records: Vec<(String, String)> = (0..200).map(|n| (format!("key{n}"), format!("{n}"))).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    {
        let disk = Disk::with_pool(&raw(&records)).watched();
        let mut pools = open(disk.clone());
        pools.set(POOL, &key("key7"), &value("seven")).unwrap();
        assert_eq!(get(&mut pools, "key7").as_deref(), Some("seven"));
        let before = disk.bytes_read();
        assert_eq!(get(&mut pools, "key199").as_deref(), Some("199"));
        assert_eq!(get(&mut pools, "nothing"), None);
        assert_eq!(disk.bytes_read() - before, RECORD_SIZE);
        pools.set(POOL, &key("key3"), &value("x")).unwrap();
        pools.set(POOL, &key("new"), &value("y")).unwrap();
        assert_eq!(get(&mut pools, "key3").as_deref(), Some("x"));
        assert!(disk.bytes_read() - before < 8 * RECORD_SIZE, "our own changes keep the index");
    }
}

#[test]
fn a_foreign_change_within_one_clock_tick_is_seen() {
    for disk in on_both_systems(&raw(&[("a", "1"), ("b", "2")])) {
        let mut pools = open(disk.clone());
        for round in 0..20 {
            // The clock of the files does not move between our answers and the changes.
            let text = format!("{round}");
            disk.write_by_another(&raw(&[("b", &text), ("a", "x")]));
            assert_eq!(get(&mut pools, "b"), Some(text.clone()));
            disk.write_by_another(&raw(&[("a", &text), ("b", "x")]));
            assert_eq!(get(&mut pools, "a"), Some(text.clone()));
            pools.set(POOL, &key("a"), &value("ours")).unwrap();
            disk.write_by_another(&raw(&[("a", "theirs"), ("b", "x")]));
            assert_eq!(get(&mut pools, "a").as_deref(), Some("theirs"));
        }
    }
}

#[test]
fn all_records_appended_by_another_program_are_seen() {
    for disk in on_both_systems(b"") {
        let mut pools = open(disk.clone());
        assert_eq!(items(&mut pools), []);
        let records: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
        let records: Vec<(&str, &str)> = records.iter().map(|k| (k.as_str(), "v")).collect();
        disk.write_by_another(&raw(&records));
        assert_eq!(items(&mut pools), pairs(&records));
    }
}

#[test]
fn a_file_that_was_replaced_or_removed_is_found_again() {
    for disk in on_both_systems(&raw(&[("a", "1")])) {
        let mut pools = open(disk.clone());
        disk.pass(Duration::from_secs(5));
        assert_eq!(get(&mut pools, "a").as_deref(), Some("1"));
        disk.replace(Some(&raw(&[("a", "2")])));
        assert_eq!(get(&mut pools, "a").as_deref(), Some("2"));
        disk.replace(None);
        assert_eq!(get(&mut pools, "a"), None);
        pools.set(POOL, &key("b"), &value("3")).unwrap();
        assert_eq!(disk.pool(), raw(&[("b", "3")]));
    }
}

#[test]
fn a_lock_held_too_long_fails_the_request() {
    let disk = Disk::with_pool(&raw(&[("a", "1")]));
    let mut pools = open(disk.clone());
    disk.lock_by_another(true);
    assert!(matches!(pools.set(POOL, &key("a"), &value("2")), Err(PoolError::Locked { .. })));
    assert!(matches!(pools.delete(POOL, &key("a")), Err(PoolError::Locked { .. })));
    disk.lock_by_another(false);
    assert_eq!(get(&mut pools, "a").as_deref(), Some("1"));
}

#[test]
fn more_changes_than_journal_pages_are_all_kept() {
    for disk in on_both_systems(b"") {
        let mut pools = open(disk.clone());
        for round in 0..300 {
            pools.set(POOL, &key(&format!("k{}", round % 7)), &value(&format!("{round}"))).unwrap();
        }
        let wanted = items(&mut pools);
        drop(pools);
        disk.lose_power(1);
        assert_eq!(items(&mut open(disk)), wanted);
    }
}

#[test]
fn settling_leaves_nothing_to_recover() {
    let disk = Disk::with_pool(b"");
    let mut pools = open(disk.clone());
    assert!(!pools.unsettled());
    pools.set(POOL, &key("a"), &value("1")).unwrap();
    assert!(pools.unsettled());
    pools.settle().unwrap();
    assert!(!pools.unsettled());
    drop(pools);
    // A recovery never undoes what another program does after that.
    disk.write_by_another(b"");
    disk.lose_power(3);
    assert_eq!(items(&mut open(disk.clone())), []);
    assert!(disk.read(FileId::Journal).iter().any(|byte| *byte != 0));
}
