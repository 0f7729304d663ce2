//! Entries of the journal: how many are live, what a change costs, and what a settled or refused change leaves
//! for the next one.

use super::super::disk::Fault;
use super::super::journal::{ENTRY_SIZE, SLOT_SIZE, SLOTS};
use super::*;

#[test]
fn files_are_synchronised_when_one_page_of_the_ring_is_left() {
    let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("2")).unwrap();
    pools.settle().unwrap();
    let before = disk.synchronised();
    let changes = 3 * (SLOTS as usize - 1) + 1;
    for round in 0..changes {
        pools.set(POOL, &key("a"), &value(&format!("{round}"))).unwrap();
    }
    // Each change synchronises the journal, and three of them the pool file.
    assert_eq!(disk.synchronised() - before, changes + 3);
}

#[test]
fn two_pages_of_an_unused_journal_are_read() {
    let disk = Disk::with_pool(b"");
    let mut pools = open(disk.clone());
    let before = disk.bytes_read();
    pools.set(POOL, &key("a"), &value("1")).unwrap();
    assert_eq!(disk.bytes_read() - before, 2 * ENTRY_SIZE);
}

/// The first page is empty then, although all others have entries.
#[test]
fn a_refused_change_in_the_first_page_hides_no_other() {
    for seed in 1..10 {
        let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
        let mut pools = open(disk.clone());
        for round in 0..SLOTS {
            pools.set(POOL, &key("a"), &value(&format!("{round}"))).unwrap();
        }
        disk.fail_at(3, Fault::Error(libc::EIO, 0));
        pools.set(POOL, &key("a"), &value("refused")).unwrap_err();
        let pages = disk.read(FileId::Journal);
        assert!(pages[SLOT_SIZE..SLOT_SIZE + ENTRY_SIZE].iter().all(|byte| *byte == 0));
        disk.lose_power(seed);
        assert_eq!(get(&mut open(disk), "a"), Some(format!("{}", SLOTS - 1)), "seed {seed}");
    }
}

#[test]
fn an_overwrite_is_a_lock_a_read_two_writes_and_one_synchronisation() {
    let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("2")).unwrap();
    let before = disk.operations();
    pools.set(POOL, &key("a"), &value("3")).unwrap();
    assert_eq!(disk.operations() - before, 5);
}

#[test]
fn a_change_after_settling_survives_a_power_cut() {
    for seed in 1..20 {
        for disk in on_both_systems(&raw(&[("a", "1")])) {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("a"), &value("2")).unwrap();
            pools.settle().unwrap();
            pools.set(POOL, &key("b"), &value("3")).unwrap();
            disk.lose_power(seed);
            assert_eq!(items(&mut open(disk)), pairs(&[("a", "2"), ("b", "3")]), "seed {seed}");
        }
    }
}

/// The page of the entry that retired a change is not written before another entry has retired it, too.
#[test]
fn a_settled_change_is_not_repeated_after_a_torn_entry() {
    let before = raw(&[("a", "before")]);
    for (step, left) in (0..8).flat_map(|step| [(step, 0), (step, 512), (step, 1024)]) {
        for disk in on_both_systems(&before) {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("a"), &value("ours")).unwrap();
            pools.settle().unwrap();
            // Within the time in which a recovery takes changes for ours.
            disk.write_by_another(&before);
            disk.fail_at(step, Fault::Kill(left));
            let _ = pools.set(POOL, &key("b"), &value("ours"));
            disk.reboot();
            assert_eq!(get(&mut open(disk), "a").as_deref(), Some("before"), "step {step}, {left}");
        }
    }
}

#[test]
fn a_foreign_change_after_a_refused_one_is_kept() {
    let before = raw(&[("a", "before"), ("b", "before")]);
    for seed in 1..20 {
        for disk in on_both_systems(&before) {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("a"), &value("ours")).unwrap();
            let mut operation = 0;
            loop {
                // An error of each step, until one is at the write of the record.
                disk.fail_at(operation, Fault::Error(libc::EIO, 512));
                match pools.set(POOL, &key("a"), &value("refused")) {
                    Err(PoolError::Io { doing: "write a record", .. }) => break,
                    outcome => assert!(outcome.is_err() && operation < 20, "{operation}: {outcome:?}"),
                }
                operation += 1;
            }
            disk.write_by_another(&before);
            disk.clone().sync(FileId::Pool(POOL)).unwrap();
            pools.set(POOL, &key("b"), &value("ours")).unwrap();
            disk.lose_power(seed);
            assert_eq!(items(&mut open(disk)), pairs(&[("a", "before"), ("b", "ours")]), "seed {seed}");
        }
    }
}
