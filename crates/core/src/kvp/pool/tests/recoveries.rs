//! What a recovery does in one situation each. The faults at every step reach these too, but take long.

use super::super::disk::Fault;
use super::*;

/// Each change alone, killed at each of its steps. What a write leaves is whole.
fn killed_at_each_step(before: &[u8], change: fn(&mut Pools<Disk>) -> bool) -> impl Iterator<Item = Disk> {
    (0..).map_while(move |step| {
        let disk = Disk::with_pool(before);
        let mut pools = open(disk.clone());
        disk.fail_at(step, Fault::Kill(RECORD_SIZE));
        let done = change(&mut pools);
        (!done).then(|| {
            disk.restart();
            disk
        })
    })
}

#[test]
fn a_killed_move_is_completed_or_not_begun() {
    let before = raw(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let after = raw(&[("a", "1"), ("d", "4"), ("c", "3")]);
    let mut found = [0, 0];
    for disk in killed_at_each_step(&before, |pools| pools.delete(POOL, &key("b")).is_ok()) {
        open(disk.clone());
        let pool = disk.pool();
        assert!(pool == before || pool == after);
        found[usize::from(pool == after)] += 1;
    }
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");
}

#[test]
fn a_cut_that_did_not_reach_the_disk_is_made_again() {
    for seed in 1..20 {
        let disk = Disk::with_pool(&raw(&[("a", "1"), ("b", "2")]));
        assert!(open(disk.clone()).delete(POOL, &key("b")).unwrap());
        disk.lose_power(seed);
        assert_eq!(items(&mut open(disk)), pairs(&[("a", "1")]), "seed {seed}");
    }
}

/// The file may hold any of its states.
#[test]
fn a_record_that_was_changed_and_removed_does_not_come_back() {
    for seed in 1..40 {
        let disk = Disk::with_pool(&raw(&[("a", "1"), ("b", "2")])).watched();
        let mut pools = open(disk.clone());
        pools.set(POOL, &key("b"), &value("3")).unwrap();
        assert!(pools.delete(POOL, &key("b")).unwrap());
        disk.lose_power(seed);
        assert_eq!(items(&mut open(disk)), pairs(&[("a", "1")]), "seed {seed}");
    }
}

/// Wherever the power cut has left it, only the journal is written, and the file cut.
#[test]
fn a_record_that_was_appended_and_removed_is_not_written_again() {
    for seed in 1..40 {
        let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
        let mut pools = open(disk.clone());
        pools.set(POOL, &key("b"), &value("2")).unwrap();
        assert!(pools.delete(POOL, &key("b")).unwrap());
        disk.lose_power(seed);
        let before = disk.writes();
        assert_eq!(items(&mut open(disk.clone())), pairs(&[("a", "1")]), "seed {seed}");
        assert_eq!(disk.writes() - before, 2, "seed {seed}");
    }
}

/// The record that was cut off is still in the file when the append is made again.
#[test]
fn an_append_after_a_cut_that_did_not_reach_the_disk_is_made_again() {
    for seed in 1..40 {
        let disk = Disk::with_pool(&raw(&[("a", "1"), ("b", "2")])).watched();
        let mut pools = open(disk.clone());
        assert!(pools.delete(POOL, &key("b")).unwrap());
        pools.set(POOL, &key("c"), &value("3")).unwrap();
        disk.lose_power(seed);
        assert_eq!(items(&mut open(disk)), pairs(&[("a", "1"), ("c", "3")]), "seed {seed}");
    }
}

#[test]
fn records_that_another_program_changed_and_removed_stay_so() {
    let disk = Disk::with_pool(&raw(&[("a", "1")])).watched();
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("ours")).unwrap();
    pools.set(POOL, &key("b"), &value("ours")).unwrap();
    // Within the time in which a recovery takes changes for ours.
    disk.write_by_another(&raw(&[("a", "theirs")]));
    disk.clone().sync(FileId::Pool(POOL)).unwrap();
    disk.lose_power(1);
    assert_eq!(items(&mut open(disk)), pairs(&[("a", "theirs")]));
}

/// The journal is read in the first steps. In two pools, each with two records to write again, so that the second recovery finds work half done.
#[test]
fn changes_survive_a_power_cut_during_their_recovery() {
    for (step, seed) in (60..110).flat_map(|step| (1..12).map(move |seed| (step, seed))) {
        let disk = Disk::with_pool(b"").watched();
        let mut pools = open(disk.clone());
        for text in ["before", "ours"] {
            for (pool, name) in [POOL, PoolId::Guest].iter().flat_map(|pool| [(*pool, "a"), (*pool, "b")]) {
                pools.set(pool, &key(name), &value(text)).unwrap();
            }
            if text == "before" {
                pools.settle().unwrap();
            }
        }
        disk.lose_power(seed);
        disk.fail_at(step, Fault::Kill(512));
        let _ = Pools::open(disk.clone(), limits());
        disk.lose_power(seed + 5);
        let mut pools = open(disk);
        for (pool, name) in [POOL, PoolId::Guest].iter().flat_map(|pool| [(*pool, "a"), (*pool, "b")]) {
            let found = pools.get(pool, &key(name)).unwrap().unwrap();
            assert_eq!(text(&found.value), "ours", "{name} of pool {pool}, step {step}, seed {seed}");
        }
    }
}

#[test]
fn an_error_at_the_start_is_made_good_later() {
    for (journal, seed) in (1..5).flat_map(|n| [(FileId::Journal, n), (FileId::OtherJournal, n)]) {
        for step in 0..90 {
            let disk = Disk::with_pool(&raw(&[("a", "before")]));
            open(disk.clone()).set(POOL, &key("a"), &value("ours")).unwrap();
            if journal == FileId::OtherJournal {
                // The tools' journal, as a daemon sees it.
                disk.put(journal, &disk.read(FileId::Journal));
                disk.put(FileId::Journal, &[]);
            }
            disk.lose_power(seed);
            disk.fail_at(step, Fault::Error(libc::EIO, 0));
            let (mut pools, _) = Pools::open(disk.clone(), limits());
            disk.restart();
            // The daemon does this before a change comes.
            pools.settle().unwrap();
            assert_eq!(
                get(&mut pools, "a").as_deref(),
                Some("ours"),
                "{journal:?}, seed {seed}, step {step}"
            );
            pools.set(POOL, &key("b"), &value("next")).unwrap();
            let wanted = pairs(&[("a", "ours"), ("b", "next")]);
            assert_eq!(items(&mut pools), wanted, "{journal:?}, seed {seed}, step {step}");
        }
    }
}

#[test]
fn many_records_are_not_completed_in_another_file() {
    let before = raw(&[("x", "1"), ("a", "1"), ("x", "2"), ("b", "2")]);
    let mut mixtures = 0;
    for disk in killed_at_each_step(&before, |pools| pools.set(POOL, &key("x"), &value("3")).is_ok()) {
        let left = disk.pool();
        mixtures += usize::from(left != before);
        disk.replace(Some(&left));
        open(disk.clone());
        assert!(disk.pool() == left);
    }
    assert!(mixtures > 0);
}

#[test]
fn a_change_after_one_of_many_records_survives_a_power_cut() {
    for seed in 1..20 {
        let disk = Disk::with_pool(&raw(&[("x", "1"), ("a", "1"), ("x", "2")]));
        let mut pools = open(disk.clone());
        pools.set(POOL, &key("x"), &value("3")).unwrap();
        pools.set(POOL, &key("a"), &value("2")).unwrap();
        disk.lose_power(seed);
        assert_eq!(items(&mut open(disk)), pairs(&[("a", "2"), ("x", "3")]), "seed {seed}");
    }
}
