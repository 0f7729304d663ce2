//! A fault of each kind at every step of a scenario. Afterwards each record is old or new, all others are
//! intact, and every acknowledged change is there.

use std::collections::BTreeMap;

use super::super::disk::Fault;
use super::super::journal::{self, Step, Write, digest};
use super::super::record::RECORD_BYTES;
use super::*;

type Contents = BTreeMap<String, String>;

/// A change of the scenario: `None` deletes.
const SCENARIO: [(&str, Option<&str>); 14] = [
    ("b", Some("a longer value for b than before, so that two sectors change")),
    ("d", Some("new")),
    ("a", None),
    ("e", Some("new too")),
    ("d", None),
    ("f", Some("in the place of d")),
    ("thrice", None),
    ("c", Some("changed")),
    ("c", Some("changed again")),
    ("b", None),
    ("twice", Some("once")),
    ("c", None),
    ("g", Some("last")),
    ("g", None),
];

fn start() -> (Vec<u8>, Contents) {
    let mut bytes = raw(&[
        ("thrice", "1"),
        ("a", "1"),
        ("thrice", "2"),
        ("twice", "first"),
        ("b", "2"),
        ("thrice", "3"),
        ("c", "3"),
        ("twice", "second"),
    ]);
    bytes.extend([b'#'; 1000]);
    let contents = [("a", "1"), ("b", "2"), ("c", "3"), ("twice", "second"), ("thrice", "3")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    (bytes, contents.into())
}

/// Runs the scenario until the process dies. Returns the acknowledged contents and the change under way.
fn run(disk: &Disk) -> (Contents, Option<(&'static str, Option<&'static str>)>) {
    let (_, mut contents) = start();
    let (mut pools, _) = Pools::open(disk.clone(), limits());
    for (name, change) in SCENARIO {
        let outcome = match change {
            Some(text) => pools.set(POOL, &key(name), &value(text)),
            None => pools.delete(POOL, &key(name)).map(|_| ()),
        };
        match (outcome, change) {
            (Ok(()), Some(text)) => drop(contents.insert(name.to_owned(), text.to_owned())),
            (Ok(()), None) => drop(contents.remove(name)),
            (Err(_), _) if disk.is_dead() => return (contents, Some((name, change))),
            (Err(_), _) => {
                // After a refused change the pool is unchanged, for every other program, too.
                assert_eq!(items_now(&mut pools), contents, "after the refused change of {name}");
            }
        }
        if name == "f" {
            let _ = pools.settle();
        }
    }
    (contents, None)
}

fn items_now(pools: &mut Pools<Disk>) -> Contents {
    items(pools).into_iter().collect()
}

fn check(disk: &Disk, acknowledged: &Contents, under_way: Option<(&str, Option<&str>)>, what: &str) {
    let mut pools = open(disk.clone());
    let mut found = items_now(&mut pools);
    let count = items(&mut pools).len();
    assert_eq!(count, found.len(), "{what}: no key twice");
    let mut wanted = acknowledged.clone();
    if let Some((name, change)) = under_way {
        let now = found.remove(name);
        let before = wanted.remove(name);
        assert!(now == before || now.as_deref() == change, "{what}: {name} is {now:?}");
    }
    assert_eq!(found, wanted, "{what}");
    assert!(!pools.unsettled(), "{what}");
}

/// The disk of the scenario. Every second one is on a system that reports changes.
fn disk_number(number: usize) -> Disk {
    let disk = Disk::with_pool(&start().0);
    if number.is_multiple_of(2) { disk } else { disk.watched() }
}

/// The number of operations of the scenario on the system where it is higher.
fn operations_of_the_scenario() -> usize {
    let operations = |number| {
        let disk = disk_number(number);
        run(&disk);
        disk.operations()
    };
    operations(0).max(operations(1))
}

#[test]
fn kill_at_every_step_leaves_each_record_old_or_new() {
    for step in 0..operations_of_the_scenario() {
        // A kill interrupts a write between two pages, and records begin at sectors.
        for (number, left) in [0, 0, 512, 512, 1536, 1536, 2560, 2560].into_iter().enumerate() {
            let disk = disk_number(number);
            disk.fail_at(step, Fault::Kill(left));
            let (acknowledged, under_way) = run(&disk);
            disk.restart();
            check(&disk, &acknowledged, under_way, &format!("kill at step {step}, {left} bytes left"));
        }
    }
}

#[test]
fn power_cut_at_every_step_leaves_records_old_or_new() {
    for step in 0..operations_of_the_scenario() {
        for (number, seed) in (0..16).enumerate() {
            let disk = disk_number(number);
            disk.fail_at(step, Fault::Kill(2560));
            let (acknowledged, under_way) = run(&disk);
            disk.lose_power(seed + 1);
            check(&disk, &acknowledged, under_way, &format!("power cut at step {step}, seed {seed}"));
        }
    }
}

#[test]
fn a_second_crash_during_a_recovery_loses_nothing() {
    for step in (0..operations_of_the_scenario()).step_by(5) {
        for (number, again) in (0..90).enumerate() {
            let disk = disk_number(number);
            disk.fail_at(step, Fault::Kill(2560));
            let (acknowledged, under_way) = run(&disk);
            disk.lose_power(again + 1);
            disk.fail_at(usize::try_from(again).unwrap(), Fault::Kill(1024));
            let _ = Pools::open(disk.clone(), limits());
            disk.lose_power(again + 7);
            check(&disk, &acknowledged, under_way, &format!("crashes at {step} and {again}"));
        }
    }
}

#[test]
fn an_error_at_any_step_changes_nothing() {
    for step in 0..operations_of_the_scenario() {
        for errno in [libc::ENOSPC, libc::EIO] {
            for (number, left) in [0, 0, 700, 700].into_iter().enumerate() {
                let disk = disk_number(number);
                disk.fail_at(step, Fault::Error(errno, left));
                let (acknowledged, under_way) = run(&disk);
                assert_eq!(under_way, None);
                disk.restart();
                let what = format!("error {errno} at step {step}, {left} bytes left");
                check(&disk, &acknowledged, None, &what);
                // A power cut does not bring back a refused change, either.
                disk.lose_power(5);
                check(&disk, &acknowledged, None, &what);
            }
        }
    }
}

#[test]
fn a_recovery_delayed_by_a_lock_loses_nothing() {
    for seed in 1..40 {
        let disk = Disk::with_pool(&raw(&[("a", "old")]));
        let mut pools = Pools::open(disk.clone(), limits()).0;
        pools.set(POOL, &key("a"), &value("acknowledged")).unwrap();
        disk.lose_power(seed);
        // The next process starts while another program holds its lock for too long.
        disk.lock_by_another(true);
        let (mut pools, problems) = Pools::open(disk.clone(), limits());
        assert!(!problems.is_empty() && !pools.is_recovered() && pools.unsettled());
        pools.set(POOL, &key("b"), &value("x")).unwrap_err();
        // The daemon does this when it is idle, and at its end.
        pools.settle().unwrap_err();
        disk.lock_by_another(false);
        drop(pools);
        let (mut pools, problems) = Pools::open(disk.clone(), limits());
        assert!(problems.is_empty() && pools.is_recovered());
        assert_eq!(items_now(&mut pools).get("a").map(String::as_str), Some("acknowledged"), "seed {seed}");
    }
}

#[test]
fn changes_are_recovered_once_the_lock_is_free() {
    let disk = Disk::with_pool(&raw(&[("a", "old")]));
    let mut pools = Pools::open(disk.clone(), limits()).0;
    pools.set(POOL, &key("a"), &value("acknowledged")).unwrap();
    disk.lose_power(7);
    disk.lock_by_another(true);
    let mut pools = Pools::open(disk.clone(), limits()).0;
    disk.lock_by_another(false);
    pools.settle().unwrap();
    assert!(pools.is_recovered() && !pools.unsettled());
    assert_eq!(items_now(&mut pools).get("a").map(String::as_str), Some("acknowledged"));
}

/// Sets `a` to `ours` and leaves the change in the journal.
fn unsettled(disk: &Disk) {
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("ours")).unwrap();
    assert!(pools.unsettled());
}

#[test]
fn a_foreign_change_after_a_kill_is_kept() {
    let before = raw(&[("x", "1"), ("a", "before")]);
    for rebooted in [false, true] {
        let disk = Disk::with_pool(&before);
        unsettled(&disk);
        disk.pass(Duration::from_secs(2));
        disk.write_by_another(&before);
        if rebooted {
            disk.reboot();
        }
        assert_eq!(get(&mut open(disk.clone()), "a").as_deref(), Some("before"), "rebooted: {rebooted}");
        assert_eq!(disk.pool(), before);
    }
}

#[test]
fn foreign_change_is_kept_after_the_clock_was_set_back() {
    let disk = Disk::with_pool(&raw(&[("a", "before")]));
    let mut pools = open(disk.clone());
    pools.set(POOL, &key("a"), &value("yesterday")).unwrap();
    let before = disk.pool();
    disk.set_clock_back(Duration::from_secs(86_400));
    pools.set(POOL, &key("a"), &value("ours")).unwrap();
    disk.pass(Duration::from_secs(2));
    disk.write_by_another(&before);
    disk.reboot();
    assert_eq!(get(&mut open(disk.clone()), "a").as_deref(), Some("yesterday"));
    // Later changes are settled no earlier than usual.
    let mut pools = open(disk);
    pools.set(POOL, &key("a"), &value("first")).unwrap();
    pools.set(POOL, &key("a"), &value("second")).unwrap();
    assert!(pools.unsettled());
}

#[test]
fn a_foreign_removal_after_a_kill_is_kept() {
    for rebooted in [false, true] {
        let disk = Disk::with_pool(&raw(&[("x", "1")]));
        unsettled(&disk);
        disk.pass(Duration::from_secs(2));
        disk.write_by_another(&raw(&[("x", "1")]));
        if rebooted {
            disk.reboot();
        }
        assert_eq!(items(&mut open(disk.clone())), pairs(&[("x", "1")]), "rebooted: {rebooted}");
    }
}

#[test]
fn a_foreign_change_between_our_changes_is_kept() {
    let before = raw(&[("a", "before"), ("b", "before")]);
    for seed in 1..60 {
        for (disk, read) in [
            (Disk::with_pool(&before), false),
            (Disk::with_pool(&before).watched(), false),
            // The system has reported the change when the host reads, and reports nothing afterwards.
            (Disk::with_pool(&before).watched(), true),
        ] {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("a"), &value("ours")).unwrap();
            disk.write_by_another(&before);
            if read {
                assert_eq!(get(&mut pools, "a").as_deref(), Some("before"));
            }
            pools.set(POOL, &key("b"), &value("ours")).unwrap();
            disk.lose_power(seed);
            assert_eq!(
                items(&mut open(disk)),
                pairs(&[("a", "before"), ("b", "ours")]),
                "seed {seed} {read}"
            );
        }
    }
}

#[test]
fn a_replaced_file_is_not_changed_by_a_recovery() {
    let disk = Disk::with_pool(&raw(&[("a", "before")]));
    unsettled(&disk);
    disk.replace(Some(&raw(&[("a", "before")])));
    disk.lose_power(3);
    assert_eq!(get(&mut open(disk), "a").as_deref(), Some("before"));
}

#[test]
fn journal_lengths_that_do_not_fit_write_nothing() {
    let new = image(&key("evil"), &value("x"));
    let write = |record: u32| Step::Write(Write { record, old: digest(&[0; RECORD_SIZE]), new }, None);
    let huge = RECORD_BYTES * u64::from(MAX_RECORDS - 1);
    let rewrite = Step::Rewrite(journal::Rewrite { first: 0, sum: 0 });
    for (step, old_len, new_len) in [
        (write(0), 0, 1 << 40),
        (write(MAX_RECORDS - 1), huge, huge + RECORD_BYTES),
        (write(7), RECORD_BYTES * 7, RECORD_BYTES * 8),
        (rewrite, huge, 0),
    ] {
        let scene = journal::Scene { inode: 77, boot: 0, time: i64::MAX };
        let change = journal::Change { pool: POOL, step, old_len, new_len, scene };
        let entry = journal::Entry { sequence: 1, base: 1, resumed: 0, change: Some(change) };
        let mut bytes = vec![0; usize::try_from(journal::RING_BYTES).unwrap()];
        bytes[journal::SLOT_SIZE..journal::SLOT_SIZE + journal::ENTRY_SIZE].copy_from_slice(&entry.encode());
        let disk = Disk::with_pool(&raw(&[("a", "1")]));
        disk.put(FileId::Journal, &bytes);
        let mut pools = open(disk.clone());
        assert_eq!(disk.pool(), raw(&[("a", "1")]), "{old_len} {new_len}");
        pools.set(POOL, &key("a"), &value("2")).unwrap();
        assert_eq!(items(&mut pools), pairs(&[("a", "2")]));
    }
}

#[test]
fn a_tool_recovers_the_journal_of_a_dead_daemon() {
    let disk = Disk::with_pool(&raw(&[("a", "before")]));
    unsettled(&disk);
    let left = disk.read(FileId::Journal);
    // The daemon sees the tool's journal like this after a reboot.
    disk.put(FileId::OtherJournal, &left);
    disk.put(FileId::Journal, &[]);
    for seed in 1..30 {
        disk.lose_power(seed);
        assert_eq!(get(&mut open(disk.clone()), "a").as_deref(), Some("ours"));
    }
}

#[test]
fn a_journal_claimed_by_another_process_refuses_only_changes() {
    let disk = Disk::with_pool(&raw(&[("a", "1")]));
    disk.claim_by_another(true);
    let mut pools = open(disk.clone());
    assert_eq!(get(&mut pools, "a").as_deref(), Some("1"));
    assert!(matches!(pools.set(POOL, &key("a"), &value("2")), Err(PoolError::JournalInUse)));
    disk.claim_by_another(false);
    pools.set(POOL, &key("a"), &value("2")).unwrap();
}

/// As cloud-init does between two changes of the host. Found by the fuzz target `kvp`.
#[test]
fn an_append_that_the_host_saw_does_not_prevent_recovery() {
    for seed in 1..40 {
        for mut disk in [Disk::with_pool(b""), Disk::with_pool(b"").watched()] {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("first"), &value("1")).unwrap();
            let mut bytes = disk.pool();
            bytes.extend(raw(&[("theirs", "2")]));
            disk.write_by_another(&bytes);
            disk.sync(FileId::Pool(POOL)).unwrap();
            // The host enumerates, so the daemon reads the file again.
            assert_eq!(items_now(&mut pools).len(), 2);
            pools.set(POOL, &key("second"), &value("3")).unwrap();
            pools.set(POOL, &key("third"), &value("4")).unwrap();
            disk.lose_power(seed);
            let found = items_now(&mut open(disk.clone()));
            let wanted = [("first", "1"), ("theirs", "2"), ("second", "3"), ("third", "4")];
            assert_eq!(found, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), "seed {seed}");
        }
    }
}

/// The append happens within the time in which a recovery takes changes for the daemon's own. Found by the
/// fuzz target `kvp`.
#[test]
fn an_append_right_after_a_delete_survives_a_recovery() {
    for seed in 1..40 {
        for mut disk in [Disk::with_pool(&raw(&[("a", "1"), ("b", "2")])), Disk::with_pool(b"").watched()] {
            disk.write_by_another(&raw(&[("a", "1"), ("b", "2")]));
            let mut pools = open(disk.clone());
            assert!(pools.delete(POOL, &key("b")).unwrap());
            let mut bytes = disk.pool();
            bytes.extend(raw(&[("theirs", "3")]));
            disk.write_by_another(&bytes);
            disk.sync(FileId::Pool(POOL)).unwrap();
            disk.lose_power(seed);
            let found = items_now(&mut open(disk.clone()));
            let wanted = [("a", "1"), ("theirs", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(found, wanted.into(), "seed {seed}");
        }
    }
}

/// The refused record was in the file for a moment. Found by the fuzz target `kvp`.
#[test]
fn refused_change_does_not_come_back_after_power_cut() {
    let before = [("twice", "1"), ("a", "2"), ("twice", "3")];
    let wanted = [("twice", "3"), ("a", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let mut refused = 0;
    for name in ["new", "a", "twice"] {
        for (operation, seed) in (0..24).flat_map(|operation| (1..12).map(move |seed| (operation, seed))) {
            let disk = Disk::with_pool(&raw(&before));
            let mut pools = open(disk.clone());
            disk.fail_at(operation, Fault::Error(libc::EIO, 2560));
            if pools.set(POOL, &key(name), &value("refused")).is_ok() {
                continue;
            }
            refused += 1;
            disk.restart();
            disk.lose_power(seed);
            assert_eq!(items_now(&mut open(disk)), wanted, "{name}, operation {operation}, seed {seed}");
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Between a change of ours and a refused one another program has appended. Found by the fuzz target `kvp`.
#[test]
fn change_after_foreign_and_refused_ones_survives_a_power_cut() {
    for (operation, seed) in (0..12).flat_map(|operation| (1..40).map(move |seed| (operation, seed))) {
        for disk in on_both_systems(&raw(&[("a", "1")])) {
            let mut pools = open(disk.clone());
            pools.set(POOL, &key("b"), &value("2")).unwrap();
            // A second file to synchronise, at which that can fail.
            pools.set(PoolId::AutoExternal, &key("x"), &value("y")).unwrap();
            let mut bytes = disk.pool();
            bytes.extend(raw(&[("theirs", "3")]));
            disk.write_by_another(&bytes);
            disk.fail_at(operation, Fault::Error(libc::EIO, 700));
            let refused = pools.set(POOL, &key("c"), &value("refused")).is_err();
            disk.restart();
            pools.set(POOL, &key("d"), &value("acknowledged")).unwrap();
            disk.lose_power(seed);
            let found = items_now(&mut open(disk));
            assert_eq!(found.get("d").map(String::as_str), Some("acknowledged"), "{operation}, seed {seed}");
            assert_eq!(found.contains_key("c"), !refused, "{operation}, seed {seed}");
        }
    }
}

#[test]
fn a_change_behind_a_torn_record_survives_a_power_cut() {
    for seed in 1..20 {
        for disk in on_both_systems(&raw(&[("a", "before")])) {
            let mut pools = open(disk.clone());
            disk.write_by_another(&[&raw(&[("a", "before")])[..], &[b'#'; 1000]].concat());
            pools.set(POOL, &key("a"), &value("ours")).unwrap();
            disk.lose_power(seed);
            assert_eq!(items(&mut open(disk.clone())), pairs(&[("a", "ours")]), "seed {seed}");
            assert_eq!(disk.pool(), raw(&[("a", "ours")]));
        }
    }
}

/// A change of many records by itself, which is copied in several pieces, with the pool before it and after.
struct ManyRecords {
    before: Vec<u8>,
    after: Vec<u8>,
    change: fn(&mut Pools<Disk>) -> Result<(), PoolError>,
}

impl ManyRecords {
    fn all() -> [Self; 2] {
        let name = |n: usize| if [2, 12, 28].contains(&n) { "x".to_owned() } else { format!("k{n}") };
        let records: Vec<_> = (0..30).map(|n| (name(n), format!("value {n}"))).collect();
        let bytes = |kept: &dyn Fn(usize) -> bool, last: &str| {
            let text = |n: usize| if n == 28 { last } else { records[n].1.as_str() };
            let kept: Vec<_> =
                (0..30).filter(|n| kept(*n)).map(|n| (records[n].0.as_str(), text(n))).collect();
            raw(&kept)
        };
        let before = bytes(&|_| true, "value 28");
        [
            Self {
                before: before.clone(),
                after: bytes(&|n| ![2, 12].contains(&n), "new"),
                change: |pools| pools.set(POOL, &key("x"), &value("new")),
            },
            Self {
                before,
                after: bytes(&|n| ![2, 12, 28].contains(&n), ""),
                change: |pools| pools.delete(POOL, &key("x")).map(|_| ()),
            },
        ]
    }

    /// The disk when the change has died at this step, with this many bytes written. `None` beyond the last.
    fn killed(&self, step: usize, left: usize) -> Option<Disk> {
        let disk = Disk::with_pool(&self.before);
        let mut pools = open(disk.clone());
        disk.fail_at(step, Fault::Kill(left));
        let outcome = (self.change)(&mut pools);
        if disk.is_dead() {
            return Some(disk);
        }
        outcome.unwrap();
        assert_eq!(disk.pool(), self.after);
        assert_eq!(disk.read(FileId::Journal).len() as u64, journal::RING_BYTES);
        None
    }
}

#[test]
fn many_records_are_old_or_new_together_after_a_crash() {
    for many in ManyRecords::all() {
        let mut found = [0, 0];
        for (end, left) in
            [(0, 0), (0, 512), (0, 9 * 2560 + 1024), (1, 0), (2, 2560), (3, 9 * 2560), (4, 512)]
        {
            for disk in (0..).map_while(|step| many.killed(step, left)) {
                match end {
                    0 => disk.restart(),
                    seed => disk.lose_power(seed),
                }
                open(disk.clone());
                let pool = disk.pool();
                assert!(pool == many.before || pool == many.after, "{end} {left}");
                found[usize::from(pool == many.after)] += 1;
            }
        }
        assert!(found.iter().all(|count| *count > 10), "{found:?}");
    }
}

#[test]
fn many_records_are_completed_if_only_the_size_is_new() {
    for many in ManyRecords::all() {
        let killed = (0..).map_while(|step| many.killed(step, 0));
        // The journal has the whole change, and nothing of it is in the pool file.
        let disk = killed.filter(|disk| disk.pool() == many.before).last().unwrap();
        disk.restart();
        disk.write_by_another(&many.before[..many.after.len()]);
        open(disk.clone());
        assert!(disk.pool() == many.after);
    }
}

#[test]
fn many_records_are_not_completed_over_a_foreign_change() {
    for many in ManyRecords::all() {
        for disk in (0..).map_while(|step| many.killed(step, 9 * 2560 + 1024)) {
            disk.restart();
            let mut foreign = disk.pool();
            let place = 25 * 2560 + 600;
            foreign[place..place + 5].copy_from_slice(b"other");
            disk.write_by_another(&foreign);
            open(disk.clone());
            assert_eq!(disk.pool(), foreign);
        }
        for disk in (0..).map_while(|step| many.killed(step, 512)) {
            let pool = disk.pool();
            let longer = [&pool[..], &raw(&[("y", "1"), ("z", "2"), ("w", "3"), ("v", "4")])].concat();
            for other in [&longer[..], &pool[..10 * 2560]] {
                disk.restart();
                disk.write_by_another(other);
                open(disk.clone());
                assert_eq!(disk.pool(), other);
            }
        }
    }
}

#[test]
fn a_damaged_copy_of_many_records_is_not_used() {
    let start = usize::try_from(journal::RING_BYTES).unwrap();
    for many in ManyRecords::all() {
        let killed = (0..).map_while(|step| many.killed(step, 9 * 2560 + 1024));
        let mut damaged = 0;
        for disk in killed.filter(|disk| ![&many.before, &many.after].contains(&&disk.pool())) {
            disk.restart();
            let (pool, mut copy) = (disk.pool(), disk.read(FileId::Journal));
            // A record that does not change, in the copy of the new ones.
            let place = start + (28 + 5) * 2560 + 600;
            copy[place] = b'#';
            disk.put(FileId::Journal, &copy);
            open(disk.clone());
            assert_eq!(disk.pool(), pool);
            damaged += 1;
        }
        assert!(damaged > 0);
    }
}
