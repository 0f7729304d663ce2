//! The fates of mounts after a scan, and the order of suspensions. Mounts and findings are made up.

use super::super::fixtures::mount;
use super::super::mounts::{Glob, Rule, Verdict};
use super::super::scan::Process;
use super::super::stores::{Held, Unknown};
use super::*;

fn ufs(on: &[&str]) -> Vec<Mount> {
    (1..).zip(on).map(|(number, on)| mount("ufs", &format!("/dev/da{number}"), on, number)).collect()
}

fn scan(writers: &[(i32, u32)], held: &[(i32, i32)], unknown: &[i32]) -> Scanned {
    let id = |number: i32| FsId([number, 0]);
    let writer = |(on, pid): &(i32, u32)| Writer {
        on: id(*on),
        process: Process { pid: *pid, jail: 0, program: "sqlite3".into() },
        file: "/f".into(),
    };
    let stores = Stores {
        efi: Vec::new(),
        held: held.iter().map(|(mount, holder)| Held { mount: id(*mount), holder: id(*holder) }).collect(),
        unknown: unknown.iter().map(|n| Unknown { holder: id(*n), device: "md7".into() }).collect(),
    };
    Scanned::Done(Scan { writers: writers.iter().map(writer).collect(), stores, at_work: Vec::new() })
}

fn order(verdict: &Verdict) -> Vec<&str> {
    verdict.to_suspend().map(|mount| mount.on.as_str()).collect()
}

fn flushed(verdict: &Verdict) -> Vec<&str> {
    let sync = verdict.decisions.iter().filter(|d| d.treatment == Treatment::Sync);
    sync.map(|d| d.mount.on.as_str()).collect()
}

#[test]
fn parents_come_before_children_whatever_their_age() {
    for on in [["/", "/a", "/a/b"], ["/a/b", "/a", "/"], ["/a", "/a/b", "/"]] {
        let table = ufs(&on);
        let verdict = Policy::default().judge(&table);
        assert_eq!(order(&verdict), ["/", "/a", "/a/b"], "{on:?}");
    }
    // On one directory the younger one covers the older.
    let table = vec![
        mount("ufs", "/dev/a", "/", 1),
        mount("ufs", "/dev/b", "/x", 2),
        mount("ufs", "/dev/c", "/x", 3),
    ];
    let verdict = Policy::default().judge(&table);
    let from: Vec<&str> = verdict.to_suspend().map(|mount| mount.from.as_str()).collect();
    assert_eq!(from, ["/dev/a", "/dev/b", "/dev/c"]);
    // Also where the older one has to wait: it holds the file of /box.
    let with_box: Vec<Mount> = table.into_iter().chain([mount("ufs", "/dev/d", "/box", 4)]).collect();
    let verdict = Policy::default().judge_with(&with_box, &scan(&[], &[(4, 2)], &[]));
    let from: Vec<&str> = verdict.to_suspend().map(|mount| mount.from.as_str()).collect();
    assert_eq!(from, ["/dev/a", "/dev/d", "/dev/b", "/dev/c"]);
}

#[test]
fn a_mount_lies_on_the_one_from_before_it() {
    let table = vec![
        mount("ufs", "/dev/a", "/x", 1),
        mount("ufs", "/dev/b", "/x/sub", 2),
        // It covers both.
        mount("ufs", "/dev/c", "/x", 3),
    ];
    let decisions = Policy::default().judge(&table).decisions;
    assert_eq!([0, 1, 2].map(|index| ancestors(&decisions, index)), [vec![], vec![0], vec![0]]);
}

#[test]
fn what_a_nullfs_shows_is_a_parent_too() {
    // /store is younger than nothing: its directory is where /jail/data is mounted through the nullfs.
    let table = vec![
        mount("ufs", "/dev/a", "/", 1),
        mount("ufs", "/dev/s", "/store", 2),
        mount("nullfs", "/store/jail", "/jail", 3),
        mount("ufs", "/dev/d", "/jail/data", 4),
    ];
    let decisions = Policy::default().judge(&table).decisions;
    let mut above = ancestors(&decisions, 3);
    above.sort_unstable();
    assert_eq!(above, [0, 1, 2]);
}

#[test]
fn a_file_system_in_a_file_comes_before_its_holder() {
    let table = ufs(&["/", "/data", "/box", "/deeper"]);
    // /box is in a file of /data, /deeper in one of /box.
    let verdict = Policy::default().judge_with(&table, &scan(&[], &[(3, 2), (4, 3)], &[]));
    assert_eq!(order(&verdict), ["/", "/deeper", "/box", "/data"]);
    assert_eq!(flushed(&verdict), [""; 0]);
}

#[test]
fn a_holder_below_its_own_child_is_flushed() {
    let table = ufs(&["/", "/data", "/data/box"]);
    for (held, rest) in [((3, 2), ["/", "/data/box"]), ((3, 1), ["/data", "/data/box"])] {
        let verdict = Policy::default().judge_with(&table, &scan(&[], &[held], &[]));
        assert_eq!(order(&verdict), rest);
        let decision = verdict.decisions.iter().find(|d| d.treatment == Treatment::Sync).unwrap();
        assert_eq!(decision.reason, Reason::HoldsFileOf("/data/box".into()));
    }
    // Also through a third one: /box holds the file of /data/x and lies in a file of /data itself.
    let table = ufs(&["/", "/data", "/box", "/data/x"]);
    let verdict = Policy::default().judge_with(&table, &scan(&[], &[(4, 3), (3, 2)], &[]));
    assert_eq!((order(&verdict), flushed(&verdict)), (vec!["/", "/data/x", "/box"], vec!["/data"]));
}

#[test]
fn consent_does_not_suspend_a_holder_that_cannot_be() {
    let table = ufs(&["/", "/box"]);
    let rules = vec![Rule {
        fs_type: Some("ufs".into()),
        mount_point: None,
        treatment: Some(Treatment::Suspend),
        mapped_writers: None,
    }];
    let policy = Policy { rules, ..Policy::default() };
    assert_eq!(order(&policy.judge_with(&table, &scan(&[], &[(2, 1)], &[]))), ["/box"]);
}

#[test]
fn mounts_that_wait_for_each_other_lose_a_holder() {
    // /h holds the file of /m; /h/y holds the file of /a, which /a/m2... is a parent of /m.
    let table = ufs(&["/a", "/a/m", "/h", "/h/y"]);
    let verdict = Policy::default().judge_with(&table, &scan(&[], &[(2, 3), (4, 1)], &[]));
    // /a < /a/m < /h < /h/y < /a.
    assert_eq!(flushed(&verdict).len(), 1, "{verdict:?}");
    assert_eq!(order(&verdict).len(), 3);
}

#[test]
fn a_holder_of_something_unknown_is_flushed() {
    let verdict = Policy::default().judge_with(&ufs(&["/", "/data"]), &scan(&[], &[], &[2]));
    assert_eq!((order(&verdict), flushed(&verdict)), (vec!["/"], vec!["/data"]));
    assert_eq!(verdict.decisions[1].reason, Reason::HoldsUnknown("md7".into()));
}

#[test]
fn mapped_writers_decide_by_the_policy_and_by_rules() {
    let table = ufs(&["/", "/data"]);
    let scanned = scan(&[(2, 812)], &[], &[]);
    let rule = |treatment, mapped_writers| Rule {
        fs_type: None,
        mount_point: Some(Glob::try_from("/data".to_owned()).unwrap()),
        treatment,
        mapped_writers,
    };
    use MappedWriters as M;
    use Treatment as T;
    for (all, rules, treatment, accepts_loss) in [
        (M::Flush, vec![], T::Sync, false),
        (M::Refuse, vec![], T::Veto, false),
        (M::Suspend, vec![], T::Suspend, true),
        (M::Refuse, vec![rule(None, Some(M::Flush))], T::Sync, false),
        (M::Flush, vec![rule(Some(T::Suspend), None)], T::Suspend, true),
        (M::Flush, vec![rule(Some(T::Suspend), Some(M::Refuse))], T::Veto, false),
        (M::Flush, vec![rule(None, Some(M::Suspend)), rule(Some(T::Sync), None)], T::Sync, false),
    ] {
        let policy = Policy { mapped_writers: all, rules, ..Policy::default() };
        let verdict = policy.judge_with(&table, &scanned);
        let decision = &verdict.decisions[1];
        assert_eq!((decision.treatment, decision.accepts_loss), (treatment, accepts_loss), "{policy:?}");
        assert_eq!(verdict.decisions[0].treatment, T::Suspend);
    }
}

#[test]
fn a_look_that_failed_counts_as_writers_everywhere() {
    let table = ufs(&["/", "/data"]);
    let failed = Scanned::Failed("it took longer than 1s".into());
    let verdict = Policy::default().judge_with(&table, &failed);
    assert_eq!((order(&verdict).len(), flushed(&verdict)), (0, vec!["/", "/data"]));
    assert!(verdict.decisions[0].to_string().contains("it took longer than 1s"), "{verdict:?}");
    let refuse = Policy { mapped_writers: MappedWriters::Refuse, ..Policy::default() };
    assert!(!refuse.judge_with(&table, &failed).allows_backup());
    let consent = Policy { mapped_writers: MappedWriters::Suspend, ..Policy::default() };
    assert_eq!(order(&consent.judge_with(&table, &failed)), ["/", "/data"]);
}

#[test]
fn a_file_below_a_flushed_mount_comes_before_the_holder() {
    // /deeper is in a file of /box, and that in one of /data. /box is not suspended.
    let table = ufs(&["/", "/data", "/box", "/deeper"]);
    let rules = vec![Rule {
        fs_type: None,
        mount_point: Some(Glob::try_from("/box".to_owned()).unwrap()),
        treatment: Some(Treatment::Sync),
        mapped_writers: None,
    }];
    let policy = Policy { rules, ..Policy::default() };
    let verdict = policy.judge_with(&table, &scan(&[], &[(3, 2), (4, 3)], &[]));
    assert_eq!(order(&verdict), ["/", "/deeper", "/data"]);
}

#[test]
fn of_two_that_hold_each_other_one_is_flushed() {
    let verdict = Policy::default().judge_with(&ufs(&["/", "/a", "/b"]), &scan(&[], &[(2, 3), (3, 2)], &[]));
    assert_eq!((order(&verdict), flushed(&verdict)), (vec!["/", "/a"], vec!["/b"]));
}

#[test]
fn a_holder_outside_of_the_circle_is_not_flushed() {
    // /a < /a/m < /h < /h/y < /a. Below that, /h/y/z holds the file of /box, which waits for nothing.
    let table = ufs(&["/box", "/a", "/a/m", "/h", "/h/y", "/h/y/z"]);
    let verdict = Policy::default().judge_with(&table, &scan(&[], &[(1, 6), (3, 4), (5, 2)], &[]));
    assert_eq!(flushed(&verdict), ["/h"]);
}
