//! The freezer through whole backups, failures and deadlines. A guest performs its actions, and fails the
//! test when one is forbidden.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::*;
use crate::vss::fixtures::mount;
use crate::vss::hooks::{Hook, Selection, Skipped};
use crate::vss::mounts::{FsId, Glob, MappedWriters, Mount, Policy, Rule, Treatment};
use crate::vss::scan::{Process, Scan, Writer};
use crate::vss::stores::Held;

const SECOND: Duration = Duration::from_secs(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn request(operation: Operation, id: u64) -> Request {
    Request { operation, id }
}

fn ufs(count: usize) -> Vec<Mount> {
    let on = |n: usize| if n == 0 { "/".to_owned() } else { format!("/m{n}") };
    (0..count).map(|n| mount("ufs", &format!("/dev/da{n}"), &on(n), i32::try_from(n).unwrap() + 1)).collect()
}

/// A guest that performs each action at once, and fails the test when an action is forbidden at that moment.
struct Guest {
    freezer: Freezer,
    now: Duration,
    table: Result<Vec<Mount>, String>,
    selection: Selection,
    /// The result of suspending the n-th slot. Success where the list ends.
    suspend: Vec<Suspended>,
    /// How long each call of suspend takes.
    suspend_takes: Duration,
    open: Result<(), String>,
    answer: Result<(), String>,
    answer_takes: Duration,
    held_open: Vec<HeldOpen>,
    /// The results of the next scans and flushes; `None`: it does not end. Where the list ends, the result is
    /// `scan` and a flush that succeeded.
    preparations: VecDeque<Option<Prepared>>,
    /// The time limits of the flushes.
    flush_limits: Vec<Duration>,
    scan: Scan,
    /// What `zpool list` prints.
    pools: Vec<String>,
    /// How the next programs end; `None`: it does not end. Success where the list ends.
    programs: VecDeque<Option<Ended>>,
    program_takes: Duration,
    suspended: Vec<usize>,
    open_slots: usize,
    held: bool,
    running: [bool; 2],
    left: Option<Leaving>,
    /// The actions that were performed, in short words.
    trace: Vec<String>,
}

impl Guest {
    fn new(table: Vec<Mount>) -> Self {
        Self {
            freezer: Freezer::new(Rules::default()),
            now: seconds(1000),
            table: Ok(table),
            selection: Selection::default(),
            suspend: Vec::new(),
            suspend_takes: Duration::ZERO,
            open: Ok(()),
            answer: Ok(()),
            answer_takes: Duration::ZERO,
            held_open: Vec::new(),
            preparations: VecDeque::new(),
            flush_limits: Vec::new(),
            scan: Scan::default(),
            pools: Vec::new(),
            programs: VecDeque::new(),
            program_takes: Duration::ZERO,
            suspended: Vec::new(),
            open_slots: 0,
            held: false,
            running: [false; 2],
            left: None,
            trace: Vec::new(),
        }
    }

    fn with_hooks(mut self, names: &[&str]) -> Self {
        let hook = |name: &&str| Hook { name: (*name).into(), path: PathBuf::from(format!("/d/{name}")) };
        self.selection.hooks = names.iter().map(hook).collect();
        self
    }

    fn send(&mut self, event: Event) {
        let mut actions: VecDeque<Action> = self.freezer.handle(event, self.now).into();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.perform(action) {
                actions.extend(self.freezer.handle(event, self.now));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Survey(lane) => {
                self.trace.push("survey".into());
                let held_open = self.held_open.clone();
                Some(Event::Surveyed(lane, self.table.clone().map(|mounts| Survey { mounts, held_open })))
            }
            Action::ListHooks(lane) => Some(Event::Hooks(lane, self.selection.clone())),
            Action::Run(lane, task, limit) => self.run(lane, &task, limit),
            Action::Stop(lane) => {
                assert!(self.running[lane as usize], "nothing to stop");
                self.running[lane as usize] = false;
                self.trace.push("stop".into());
                None
            }
            Action::Decided { .. } => None,
            Action::EndHooks { kill } => {
                self.trace.push(format!("end hooks {kill}"));
                None
            }
            Action::Open(count) => {
                self.trace.push(format!("open {count}"));
                self.open_slots = count;
                Some(Event::Opened(self.open.clone()))
            }
            Action::HoldLog => {
                assert!(self.suspended.is_empty(), "the log is held too late");
                self.held = true;
                None
            }
            Action::ReleaseLog => {
                assert!(self.suspended.is_empty(), "the log is released while frozen");
                self.held = false;
                None
            }
            Action::Suspend { slot, mount } => Some(self.suspend(slot, &mount)),
            Action::Resume(slot) => {
                assert_eq!(self.suspended.pop(), Some(slot), "resumed out of order");
                self.trace.push(format!("resume {slot}"));
                None
            }
            Action::Close => {
                assert!(self.suspended.is_empty(), "left to the close");
                self.open_slots = 0;
                None
            }
            Action::Answer(answer) => {
                let word = if answer.status == Status::Success { "yes" } else { "no" };
                self.trace.push(format!("{} {} {word}", answer.request.operation, answer.request.id));
                self.now += self.answer_takes;
                Some(Event::Answered(self.answer.clone()))
            }
            Action::Log(_, text) => {
                self.trace.push(format!("log {text}"));
                None
            }
            Action::Leave(leaving) => {
                assert!(self.suspended.is_empty(), "left while frozen");
                self.trace.push("leave".into());
                self.left = Some(leaving);
                None
            }
        }
    }

    fn run(&mut self, lane: Lane, task: &Task, limit: Duration) -> Option<Event> {
        assert!(self.suspended.is_empty() && !self.held, "a program while frozen");
        assert!(!limit.is_zero());
        assert!(!self.running[lane as usize], "two at once");
        let mut output = Vec::new();
        self.trace.push(match task {
            Task::Hook(hook, phase) => format!("{phase} {}", hook.name),
            Task::SyncPools(pools) => format!("sync {}", pools.join(",")),
            Task::ListPools => {
                output.clone_from(&self.pools);
                "pools".into()
            }
            Task::Prepare(preparation) => return self.prepare(lane, preparation),
        });
        self.now += self.program_takes;
        let next = if *task == Task::ListPools { None } else { self.programs.pop_front() };
        match next {
            Some(None) => {
                self.running[lane as usize] = true;
                None
            }
            Some(Some(ended)) => Some(Event::Ended(lane, ended)),
            None => Some(Event::Ended(lane, Ended { outcome: Outcome::Succeeded, output })),
        }
    }

    fn prepare(&mut self, lane: Lane, preparation: &Preparation) -> Option<Event> {
        self.flush_limits.extend(preparation.flush.as_ref().map(|flush| flush.limit));
        let flush = preparation.flush.as_ref().map(|flush| {
            let on: Vec<&str> = flush.mounts.iter().map(|mount| mount.on.as_str()).collect();
            format!("flush {}", on.join(",")).trim_end().to_owned()
        });
        let look = preparation.scan.map(|_| "look".to_owned());
        let words: Vec<String> = look.clone().into_iter().chain(flush.clone()).collect();
        self.trace.push(words.join(" "));
        let prepared = Prepared {
            scan: look.map(|_| Ok(self.scan.clone())),
            flush: flush.map(|_| Ok(())),
            ..Prepared::default()
        };
        match self.preparations.pop_front() {
            Some(None) => {
                self.running[lane as usize] = true;
                None
            }
            Some(Some(prepared)) => Some(Event::Prepared(lane, prepared)),
            None => Some(Event::Prepared(lane, prepared)),
        }
    }

    /// Ends the hook that runs.
    fn end_hook(&mut self) {
        self.running[Lane::Backup as usize] = false;
        self.send(Event::Ended(Lane::Backup, Ended { outcome: Outcome::Succeeded, output: Vec::new() }));
    }

    fn suspend(&mut self, slot: usize, mount: &Mount) -> Event {
        assert!(self.held && slot < self.open_slots, "not prepared");
        self.now += self.suspend_takes;
        let outcome = self.suspend.get(slot).cloned().unwrap_or(Suspended::Done);
        if outcome == Suspended::Done {
            self.suspended.push(slot);
            self.trace.push(format!("suspend {}", mount.on));
        }
        Event::Suspended(outcome)
    }

    fn ask(&mut self, operation: Operation, id: u64) {
        self.send(Event::Request { request: request(operation, id), age: Duration::ZERO });
    }

    fn tick_at(&mut self, now: Duration) {
        self.now = now;
        self.send(Event::Tick);
    }

    /// The actions since the last call, without log lines.
    fn all_done(&mut self) -> Vec<String> {
        self.trace.drain(..).filter(|entry| !entry.starts_with("log ")).collect()
    }

    /// The same without surveys and without what is the same in every backup.
    fn done(&mut self) -> Vec<String> {
        let routine = |entry: &String| {
            ["survey", "look", "flush", "pools", "end hooks"].iter().any(|word| entry.starts_with(word))
        };
        self.all_done().into_iter().filter(|entry| !routine(entry)).collect()
    }

    fn logged(&self, text: &str) -> bool {
        self.trace.iter().any(|entry| entry.starts_with("log ") && entry.contains(text))
    }

    fn assert_at_rest(&self) {
        assert!(
            self.suspended.is_empty() && !self.held && self.running == [false; 2] && self.open_slots == 0
        );
        assert!(!self.freezer.is_frozen());
        assert_eq!(self.freezer.deadline(), None);
    }
}

fn failed(reason: &str) -> Option<Ended> {
    Some(Ended { outcome: Outcome::Failed(reason.into()), output: vec!["oh no".into()] })
}

use Operation::{Check, Freeze, Other, Thaw};

#[test]
fn a_backup_from_check_to_thaw() {
    let mut guest = Guest::new(ufs(3));
    guest.ask(Check, 1);
    assert_eq!(guest.done(), ["check 1 yes"]);
    guest.ask(Freeze, 2);
    assert_eq!(guest.done(), ["open 3", "suspend /", "suspend /m1", "suspend /m2", "freeze 2 yes"]);
    assert!(guest.freezer.is_frozen() && guest.held);
    guest.ask(Thaw, 3);
    assert_eq!(guest.done(), ["resume 2", "resume 1", "resume 0", "thaw 3 yes"]);
    guest.assert_at_rest();
}

#[test]
fn a_guest_without_ufs_is_frozen_by_being_synced() {
    let mut guest = Guest::new(vec![
        mount("zfs", "zroot/ROOT/default", "/", 1),
        mount("zfs", "tank", "/tank", 2),
        mount("msdosfs", "/dev/gpt/efiboot0", "/boot/efi", 3),
    ]);
    guest.ask(Freeze, 1);
    assert_eq!(
        guest.all_done(),
        [
            "survey",
            "pools",
            "survey",
            "flush",
            "sync zroot,tank",
            "survey",
            "flush /boot/efi",
            "survey",
            "open 0",
            "freeze 1 yes"
        ]
    );
    guest.ask(Thaw, 2);
    assert_eq!(guest.all_done(), ["thaw 2 yes"]);
    guest.assert_at_rest();
}

#[test]
fn check_names_every_mount_that_stands_in_the_way() {
    let mut table = ufs(1);
    table.push(mount("ext2fs", "/dev/da5", "/linux", 5));
    table.push(mount("msdosfs", "/dev/da6", "/usb", 6));
    let mut guest = Guest::new(table);
    guest.ask(Check, 1);
    assert!(guest.logged("check refused: /linux (ext2fs)"));
    assert!(guest.logged("check refused: /usb (msdosfs)"));
    assert_eq!(guest.done(), ["check 1 no"]);
}

#[test]
fn host_that_asks_in_a_loop_cannot_fill_the_log() {
    let mut guest = Guest::new(vec![mount("ext2fs", "/dev/da5", "/linux", 5)]);
    let ask_often = |guest: &mut Guest, operation: fn(u32) -> Operation| -> Vec<String> {
        guest.trace.clear();
        (0..1000).for_each(|n| guest.ask(operation(n), 1));
        guest.trace.iter().filter(|entry| entry.starts_with("log ")).cloned().collect()
    };
    for operation in [|_| Check, |_| Freeze, |n| Other(n + 100)] as [fn(u32) -> Operation; 3] {
        let lines = ask_often(&mut guest, operation);
        assert_eq!(lines.len(), 5, "{lines:?}");
    }
    // Another reason is logged at once, with the count of the lines that were not logged.
    guest.table.as_mut().unwrap().push(mount("ext2fs", "/dev/da6", "/more", 6));
    let lines = ask_often(&mut guest, |_| Check);
    assert_eq!(lines.len(), 10);
    assert!(lines[0].starts_with("log check refused: /linux (ext2fs)") && !lines[0].contains("unlogged"));
    assert!(lines[1].starts_with("log check refused: /more (ext2fs)") && lines[1].ends_with(" unlogged=995"));
    // The same reason is logged again an hour later, and after a check that passed.
    guest.now += seconds(3600);
    assert_eq!(ask_often(&mut guest, |_| Check).len(), 10);
    for operation in [|_| Check, |_| Freeze] as [fn(u32) -> Operation; 2] {
        let bad = std::mem::replace(&mut guest.table, Ok(ufs(1)));
        guest.ask(operation(0), 1);
        guest.ask(Thaw, 2);
        guest.table = bad;
        assert_ne!(ask_often(&mut guest, operation), [""; 0]);
    }
    // Also while a backup is under way.
    guest.table = Ok(ufs(1));
    guest.ask(Freeze, 1);
    assert_eq!(ask_often(&mut guest, |_| Check).len(), 5);
    assert_eq!(ask_often(&mut guest, |_| Freeze).len(), 5);
}

#[test]
fn an_unreadable_mount_table_fails_the_request() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.table = Err("getfsstat: EIO".into());
    guest.ask(Check, 1);
    guest.ask(Freeze, 2);
    assert!(guest.logged("freeze failed, nothing is frozen: getfsstat: EIO"));
    assert_eq!(guest.done(), ["check 1 no", "freeze 2 no"]);
    guest.assert_at_rest();
}

#[test]
fn a_file_that_the_daemon_holds_open_vetoes() {
    let mut guest = Guest::new(ufs(2));
    guest.held_open =
        vec![HeldOpen { descriptor: 2, id: FsId([2, 0]), path: "/m1/log".into(), writable: true }];
    guest.ask(Check, 1);
    assert!(guest.logged("/m1 (ufs): this daemon itself holds descriptor 2 of /m1/log open there"));
    guest.ask(Freeze, 2);
    assert_eq!(guest.done(), ["check 1 no", "freeze 2 no"]);

    // The open file matters only where the mount would be suspended.
    let policy = Policy {
        rules: vec![Rule {
            fs_type: None,
            mount_point: Some(Glob::try_from("/m1".to_owned()).unwrap()),
            treatment: Some(Treatment::Sync),
            mapped_writers: None,
        }],
        ..Policy::default()
    };
    guest.freezer.set_rules(Rules { policy, ..guest.freezer.rules().clone() });
    guest.ask(Check, 3);
    assert_eq!(guest.done(), ["check 3 yes"]);
}

#[test]
fn a_failure_at_any_mount_resumes_all_in_reverse() {
    for count in 1..=6 {
        for k in 0..count {
            let mut guest = Guest::new(ufs(count)).with_hooks(&["a"]);
            guest.suspend = vec![Suspended::Done; k];
            guest.suspend.push(Suspended::Failed("EBUSY".into()));
            guest.ask(Freeze, 1);
            let on = |slot: usize| if slot == 0 { "/".into() } else { format!("/m{slot}") };
            assert!(guest.logged(&format!("cannot suspend {}: EBUSY", on(k))), "{k} of {count}");
            let mut wanted = vec!["freeze a".into(), format!("open {count}")];
            wanted.extend((0..k).map(|slot| format!("suspend {}", on(slot))));
            wanted.extend((0..k).rev().map(|slot| format!("resume {slot}")));
            wanted.extend(["freeze 1 no".into(), "abort a".into()]);
            assert_eq!(guest.done(), wanted, "{k} of {count}");
            guest.assert_at_rest();

            // The guest can be backed up afterwards.
            guest.suspend.clear();
            guest.ask(Freeze, 2);
            assert!(guest.done().contains(&"freeze 2 yes".to_owned()));
        }
    }
}

#[test]
fn a_freeze_fails_when_descriptors_cannot_be_opened() {
    let mut guest = Guest::new(ufs(2));
    guest.open = Err("cannot open /dev/ufssuspend: EMFILE".into());
    guest.ask(Freeze, 1);
    assert!(guest.logged("EMFILE"));
    assert_eq!(guest.done(), ["open 2", "freeze 1 no"]);
    guest.assert_at_rest();
}

#[test]
fn a_second_freeze_is_refused_without_harm() {
    let mut guest = Guest::new(ufs(2));
    guest.ask(Freeze, 1);
    guest.done();
    guest.ask(Freeze, 2);
    guest.ask(Check, 3);
    assert_eq!(guest.done(), ["freeze 2 no", "check 3 no"]);
    assert_eq!(guest.suspended, [0, 1]);
    guest.ask(Thaw, 4);
    assert_eq!(guest.done(), ["resume 1", "resume 0", "thaw 4 yes"]);
    guest.assert_at_rest();
}

#[test]
fn a_thaw_without_a_freeze_of_this_process_fails() {
    let mut guest = Guest::new(ufs(1));
    guest.ask(Thaw, 1);
    guest.ask(Thaw, 2);
    assert!(guest.logged("thaw refused, the backup is void: this daemon has frozen nothing"));
    assert_eq!(guest.done(), ["thaw 1 no", "thaw 2 no"]);
    guest.table = Err("getfsstat: EIO".into());
    guest.ask(Freeze, 3);
    guest.ask(Thaw, 4);
    assert!(guest.logged("thaw refused, the backup is void: its freeze failed: getfsstat: EIO"));
    assert_eq!(guest.done(), ["freeze 3 no", "thaw 4 no"]);
    guest.assert_at_rest();
}

#[test]
fn an_unknown_operation_is_answered_with_its_own_number() {
    let mut guest = Guest::new(ufs(1));
    guest.ask(Other(0), 1);
    guest.ask(Freeze, 2);
    guest.done();
    guest.ask(Other(77), 3);
    assert_eq!(guest.done(), ["operation 77 3 no"]);
    assert!(guest.freezer.is_frozen());
}

#[test]
fn a_mount_that_vanished_does_not_fail_the_freeze() {
    let mut guest = Guest::new(ufs(3));
    guest.suspend = vec![Suspended::Done, Suspended::Vanished];
    guest.ask(Freeze, 1);
    assert!(guest.logged("it was unmounted: /m1"));
    assert_eq!(guest.done(), ["open 3", "suspend /", "suspend /m2", "freeze 1 yes"]);
    guest.ask(Thaw, 2);
    assert_eq!(guest.done(), ["resume 2", "resume 0", "thaw 2 yes"]);
    guest.assert_at_rest();
}

#[test]
fn mounts_that_appear_after_the_check_are_judged_and_suspended() {
    let mut guest = Guest::new(ufs(1));
    guest.ask(Check, 1);
    guest.table.as_mut().unwrap().push(mount("ufs", "/dev/md0", "/img", 9));
    guest.ask(Freeze, 2);
    assert_eq!(guest.done(), ["check 1 yes", "open 2", "suspend /", "suspend /img", "freeze 2 yes"]);
    guest.ask(Thaw, 3);
    guest.table.as_mut().unwrap().push(mount("ext2fs", "/dev/da9", "/linux", 10));
    guest.done();
    guest.ask(Freeze, 4);
    assert_eq!(guest.done(), ["freeze 4 no"]);
    guest.assert_at_rest();
}

#[test]
fn mounts_that_a_hook_makes_are_judged_before_suspending() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.programs.push_back(None);
    guest.ask(Freeze, 1);
    guest.table.as_mut().unwrap().push(mount("zfs", "late/x", "/x", 9));
    guest.end_hook();
    assert_eq!(guest.done(), ["freeze a", "sync late", "open 1", "suspend /", "freeze 1 yes"]);
    guest.ask(Thaw, 2);
    guest.done();

    guest.running = [false; 2];
    guest.programs.push_back(None);
    guest.ask(Freeze, 3);
    guest.table.as_mut().unwrap().push(mount("ext2fs", "/dev/da9", "/linux", 10));
    guest.end_hook();
    assert_eq!(guest.done(), ["freeze a", "freeze 3 no", "abort a"]);
}

#[test]
fn hooks_run_in_order_before_and_reversed_after_the_answer() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["10", "20", "30"]);
    guest.ask(Freeze, 1);
    assert_eq!(guest.done(), ["freeze 10", "freeze 20", "freeze 30", "open 1", "suspend /", "freeze 1 yes"]);
    guest.ask(Thaw, 2);
    assert_eq!(guest.done(), ["resume 0", "thaw 2 yes", "thaw 30", "thaw 20", "thaw 10"]);
    guest.assert_at_rest();
}

#[test]
fn a_failing_hook_vetoes_and_earlier_hooks_get_abort() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["10", "20", "30"]);
    let fine = Some(Ended { outcome: Outcome::Succeeded, output: vec!["checkpoint done".into()] });
    guest.programs = VecDeque::from([fine, failed("20 ended with status 3")]);
    guest.ask(Freeze, 1);
    assert!(guest.logged("hook=10 phase=freeze: checkpoint done"));
    assert!(guest.logged("hook=20 phase=freeze: oh no"));
    assert!(guest.logged("freeze failed, nothing is frozen: 20 ended with status 3"));
    assert_eq!(guest.done(), ["freeze 10", "freeze 20", "freeze 1 no", "abort 20", "abort 10"]);
    guest.assert_at_rest();
}

#[test]
fn a_hook_that_cannot_start_vetoes_without_abort() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["10", "20"]);
    let fine = Some(Ended { outcome: Outcome::Succeeded, output: Vec::new() });
    let absent = Some(Ended { outcome: Outcome::NotStarted("cannot run /d/20".into()), output: Vec::new() });
    guest.programs = VecDeque::from([fine, absent]);
    guest.ask(Freeze, 1);
    assert_eq!(guest.done(), ["freeze 10", "freeze 20", "freeze 1 no", "abort 10"]);
}

#[test]
fn a_hook_that_fails_after_the_thaw_is_only_logged() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["10", "20"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([failed("20 ended with status 1")]);
    guest.ask(Thaw, 2);
    assert!(guest.logged("hook failed hook=20 phase=thaw: 20 ended with status 1"));
    assert_eq!(guest.done().last().unwrap(), "thaw 10");
    guest.assert_at_rest();
}

#[test]
fn a_hook_gets_its_limit_or_the_time_left() {
    let mut freezer = Freezer::new(Rules {
        limits: Limits { answer: seconds(10), freeze_hook: seconds(6), ..Limits::default() },
        ..Rules::default()
    });
    let hook = |name: &str| Hook { name: name.into(), path: PathBuf::from("/d") };
    let hooks = vec![hook("a"), hook("b")];
    let ask = Event::Request { request: request(Freeze, 1), age: Duration::ZERO };
    let _ = freezer.handle(ask, seconds(100));
    let _ = freezer.handle(
        Event::Surveyed(Lane::Backup, Ok(Survey { mounts: ufs(1), held_open: Vec::new() })),
        seconds(100),
    );
    let limit = |actions: Vec<Action>| match actions.as_slice() {
        [Action::Run(Lane::Backup, Task::Hook(..), limit)] => *limit,
        other => panic!("{other:?}"),
    };
    let actions =
        freezer.handle(Event::Hooks(Lane::Backup, Selection { hooks, ..Selection::default() }), seconds(101));
    assert_eq!(limit(actions), seconds(6));
    let ended = Ended { outcome: Outcome::Succeeded, output: Vec::new() };
    assert_eq!(limit(freezer.handle(Event::Ended(Lane::Backup, ended), seconds(106))), seconds(4));
}

#[test]
fn hook_past_the_deadline_is_stopped_and_the_freeze_answered() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a", "b"]);
    guest.programs.push_back(None);
    guest.ask(Freeze, 1);
    let deadline = guest.freezer.deadline().unwrap();
    assert_eq!(deadline, guest.now + seconds(10));
    guest.tick_at(deadline - Duration::from_nanos(1));
    assert_eq!(guest.done(), ["freeze a"]);
    guest.tick_at(deadline);
    assert_eq!(guest.done(), ["stop", "freeze 1 no", "abort a"]);
    guest.assert_at_rest();
}

#[test]
fn a_pool_sync_that_fails_or_hangs_fails_the_freeze() {
    let table = vec![mount("zfs", "zroot", "/", 1)];
    let mut guest = Guest::new(table.clone());
    guest.programs.push_back(failed("zpool ended with status 1"));
    guest.ask(Freeze, 1);
    assert_eq!(guest.done(), ["sync zroot", "freeze 1 no"]);
    let mut guest = Guest::new(table);
    guest.programs.push_back(None);
    guest.ask(Freeze, 1);
    guest.tick_at(guest.now + seconds(10));
    assert_eq!(guest.done(), ["sync zroot", "stop", "freeze 1 no"]);
    guest.assert_at_rest();
}

#[test]
fn suspending_past_the_deadline_is_undone_and_answered_with_failure() {
    for (count, after) in [(1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (3, 1), (4, 1)] {
        let mut guest = Guest::new(ufs(count));
        // The last suspension ends with the limit or after it.
        guest.suspend_takes = seconds(10) / u32::try_from(count).unwrap() + Duration::from_nanos(after);
        guest.ask(Freeze, 1);
        let done = guest.done();
        assert_eq!(done.last().unwrap(), "freeze 1 no", "{count}");
        assert_eq!(done.iter().filter(|entry| entry.starts_with("suspend")).count(), count);
        assert_eq!(done.iter().filter(|entry| entry.starts_with("resume")).count(), count);
        guest.assert_at_rest();
    }
}

#[test]
fn time_that_an_application_daemon_used_is_subtracted() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.programs.push_back(None);
    guest.send(Event::Request { request: request(Freeze, 1), age: seconds(9) });
    // The kernel's 15 s, less 2 s of margin, less the 9 s that are gone.
    assert_eq!(guest.freezer.deadline(), Some(guest.now + seconds(4)));
    let mut late = Guest::new(ufs(1));
    late.send(Event::Request { request: request(Freeze, 1), age: seconds(14) });
    assert_eq!(late.done().last().unwrap(), "freeze 1 no");
    late.assert_at_rest();
}

#[test]
fn a_success_too_late_for_the_kernel_is_undone() {
    let mut guest = Guest::new(ufs(2)).with_hooks(&["a"]);
    guest.answer_takes = seconds(15);
    guest.ask(Freeze, 1);
    guest.answer_takes = Duration::ZERO;
    assert!(guest.logged("the backup is void: the answer to the freeze came too late"));
    assert_eq!(guest.done().split_off(3), ["suspend /m1", "freeze 1 yes", "resume 1", "resume 0", "abort a"]);
    guest.assert_at_rest();
    guest.ask(Thaw, 2);
    assert_eq!(guest.done(), ["thaw 2 no"]);
}

#[test]
fn the_hosts_thaw_fails_after_the_watchdogs() {
    let mut guest = Guest::new(ufs(2)).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    guest.done();
    let deadline = guest.freezer.deadline().unwrap();
    assert_eq!(deadline, guest.now + seconds(60));
    guest.tick_at(deadline - Duration::from_nanos(1));
    assert_eq!(guest.done(), [""; 0]);
    guest.tick_at(deadline);
    assert!(guest.logged("no thaw came in time"));
    assert_eq!(guest.done(), ["resume 1", "resume 0", "abort a"]);
    guest.assert_at_rest();
    guest.ask(Thaw, 2);
    guest.ask(Thaw, 3);
    assert_eq!(guest.done(), ["thaw 2 no", "thaw 3 no"]);
}

#[test]
fn a_new_freeze_forgets_a_void_backup() {
    let mut guest = Guest::new(ufs(1));
    guest.ask(Freeze, 1);
    guest.tick_at(guest.now + seconds(60));
    guest.ask(Freeze, 2);
    guest.ask(Thaw, 3);
    assert_eq!(guest.done().last().unwrap(), "thaw 3 yes");
}

#[test]
fn a_watchdog_can_be_switched_off() {
    let mut guest = Guest::new(ufs(1));
    let limits = Limits { watchdog: None, ..Limits::default() };
    guest.freezer.set_rules(Rules { limits, ..Rules::default() });
    guest.ask(Freeze, 1);
    assert_eq!(guest.freezer.deadline(), None);
    guest.tick_at(guest.now + seconds(100_000));
    assert!(guest.freezer.is_frozen());
}

#[test]
fn a_stop_in_any_stage_ends_thawed() {
    let mut idle = Guest::new(ufs(2));
    idle.send(Event::Terminate);
    assert_eq!(idle.done(), ["leave"]);

    let mut hooks = Guest::new(ufs(2)).with_hooks(&["a"]);
    hooks.programs.push_back(None);
    hooks.ask(Freeze, 1);
    hooks.done();
    hooks.send(Event::Terminate);
    assert_eq!(hooks.done(), ["stop", "freeze 1 no", "abort a", "leave"]);

    let mut frozen = Guest::new(ufs(2)).with_hooks(&["a"]);
    frozen.ask(Freeze, 1);
    frozen.done();
    frozen.send(Event::Terminate);
    assert_eq!(frozen.done(), ["resume 1", "resume 0", "abort a", "leave"]);

    for guest in [idle, hooks, frozen] {
        assert_eq!(guest.left, Some(Leaving::Terminated));
        guest.assert_at_rest();
    }
}

#[test]
fn a_second_signal_does_not_wait_for_hooks() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a", "b"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([None]);
    guest.send(Event::Terminate);
    guest.done();
    guest.send(Event::Terminate);
    assert_eq!(guest.done(), ["stop", "leave"]);
    guest.assert_at_rest();
}

#[test]
fn a_lost_device_in_any_stage_ends_thawed() {
    let gone = || Event::DeviceGone("ENXIO".into());
    let mut idle = Guest::new(ufs(2));
    idle.send(gone());
    assert_eq!(idle.trace, ["log the device is gone: ENXIO", "leave"]);

    let mut hooks = Guest::new(ufs(2)).with_hooks(&["a"]);
    hooks.programs.push_back(None);
    hooks.ask(Freeze, 1);
    hooks.done();
    hooks.send(gone());
    // Without a device there is no answer.
    assert_eq!(hooks.done(), ["stop", "abort a", "leave"]);

    let mut frozen = Guest::new(ufs(2));
    frozen.ask(Freeze, 1);
    frozen.done();
    frozen.send(gone());
    assert_eq!(frozen.done(), ["resume 1", "resume 0", "leave"]);

    let mut answering = Guest::new(ufs(2)).with_hooks(&["a"]);
    answering.answer = Err("ENXIO".into());
    answering.ask(Freeze, 1);
    assert_eq!(
        answering.done().split_off(2),
        ["suspend /", "suspend /m1", "freeze 1 yes", "resume 1", "resume 0", "abort a", "leave"]
    );

    for guest in [idle, hooks, frozen, answering] {
        assert_eq!(guest.left, Some(Leaving::DeviceGone));
        guest.assert_at_rest();
    }
}

#[test]
fn a_failed_answer_ends_the_program_after_the_hooks() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.programs = VecDeque::from([failed("no"), None]);
    guest.answer = Err("ENXIO".into());
    guest.ask(Freeze, 1);
    assert_eq!(guest.done(), ["freeze a", "freeze 1 no", "abort a"]);
    guest.end_hook();
    assert_eq!(guest.done(), ["leave"]);
    assert_eq!(guest.left, Some(Leaving::DeviceGone));
}

#[test]
fn a_check_is_answered_while_thaw_hooks_run() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([None]);
    guest.ask(Thaw, 2);
    guest.done();
    guest.ask(Check, 3);
    guest.ask(Thaw, 4);
    assert_eq!(guest.done(), ["check 3 yes", "thaw 4 no"]);
}

#[test]
fn a_freeze_waits_for_the_hooks_of_the_last_backup() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([None]);
    guest.ask(Thaw, 2);
    guest.done();
    guest.ask(Freeze, 3);
    guest.ask(Freeze, 4);
    assert_eq!(guest.done(), ["freeze 4 no"]);
    guest.end_hook();
    assert_eq!(guest.done(), ["freeze a", "open 1", "suspend /", "freeze 3 yes"]);
}

#[test]
fn a_freeze_that_waited_too_long_for_hooks_is_refused() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([None, None]);
    guest.ask(Thaw, 2);
    guest.ask(Freeze, 3);
    guest.done();
    let deadline = guest.freezer.deadline().unwrap();
    guest.tick_at(deadline);
    assert_eq!(guest.done(), ["freeze 3 no"]);
    // The end of the hook and the deadline come in the same moment, which is too late.
    guest.ask(Freeze, 5);
    guest.now += seconds(10);
    guest.end_hook();
    // Nothing of the new backup has begun.
    assert_eq!(guest.all_done(), ["end hooks false", "freeze 5 no"]);
    guest.assert_at_rest();
}

#[test]
fn a_stop_answers_a_freeze_that_waits() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    guest.programs = VecDeque::from([None]);
    guest.ask(Thaw, 2);
    guest.ask(Freeze, 3);
    guest.done();
    guest.send(Event::Terminate);
    assert_eq!(guest.done(), ["freeze 3 no"]);
    guest.end_hook();
    assert_eq!(guest.done(), ["leave"]);
}

#[test]
fn a_thaw_during_preparations_ends_them() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.programs.push_back(None);
    guest.ask(Freeze, 1);
    assert!(!guest.freezer.is_frozen(), "nothing is suspended while a hook runs");
    guest.done();
    guest.ask(Freeze, 2);
    guest.ask(Thaw, 3);
    assert_eq!(guest.done(), ["freeze 2 no", "stop", "freeze 1 no", "thaw 3 no", "abort a"]);
    guest.assert_at_rest();
}

#[test]
fn unexpected_events_change_nothing() {
    let mut guest = Guest::new(ufs(1));
    let ended = |lane| Event::Ended(lane, Ended { outcome: Outcome::Succeeded, output: vec!["x".into()] });
    let stray = || {
        vec![
            Event::Tick,
            ended(Lane::Check),
            ended(Lane::Backup),
            Event::Prepared(Lane::Check, Prepared::default()),
            Event::Prepared(Lane::Backup, Prepared::default()),
            Event::Opened(Ok(())),
            Event::Suspended(Suspended::Done),
            Event::Answered(Ok(())),
            Event::Hooks(Lane::Backup, Selection::default()),
            Event::Hooks(Lane::Check, Selection::default()),
        ]
    };
    for event in stray() {
        guest.send(event);
    }
    assert!(guest.trace.is_empty());
    guest.ask(Freeze, 1);
    guest.trace.clear();
    for event in stray() {
        guest.send(event);
    }
    assert!(guest.trace.is_empty() && guest.freezer.is_frozen());
}

#[test]
fn many_backups_leave_no_state_behind() {
    let mut guest = Guest::new(ufs(3)).with_hooks(&["a"]);
    for cycle in 0..10_000 {
        guest.suspend = if cycle % 3 == 0 { vec![Suspended::Failed("EBUSY".into())] } else { Vec::new() };
        guest.ask(Check, cycle * 3);
        guest.ask(Freeze, cycle * 3 + 1);
        guest.now += SECOND;
        guest.ask(Thaw, cycle * 3 + 2);
        guest.trace.clear();
        guest.assert_at_rest();
    }
}

fn writer(on: i32, pid: u32) -> Writer {
    let process = Process { pid, jail: 0, program: "sqlite3".into() };
    Writer { on: FsId([on, 0]), process, file: "/f".into() }
}

#[test]
fn scans_and_flush_precede_suspensions_and_a_scan_follows() {
    let mut guest = Guest::new(ufs(2)).with_hooks(&["a"]);
    guest.ask(Check, 1);
    assert_eq!(guest.all_done(), ["survey", "look", "check 1 yes"]);
    guest.ask(Freeze, 2);
    assert_eq!(
        guest.all_done(),
        [
            "survey",
            "freeze a",
            "survey",
            "look flush",
            "survey",
            "open 2",
            "suspend /",
            "suspend /m1",
            "freeze 2 yes"
        ]
    );
    guest.ask(Thaw, 3);
    assert_eq!(guest.all_done(), ["resume 1", "resume 0", "thaw 3 yes", "look", "thaw a", "end hooks false"]);
    guest.assert_at_rest();
}

#[test]
fn a_mount_with_mapped_writers_is_flushed_and_logged_once() {
    let mut guest = Guest::new(ufs(2));
    guest.scan.writers = vec![writer(2, 812)];
    guest.ask(Check, 1);
    assert_eq!(guest.done(), ["check 1 yes"]);
    guest.ask(Freeze, 2);
    let told = "not suspended, only brought to disk: /m1 (ufs): programs store into it through memory: sqlite3 (pid 812) maps /f";
    assert!(guest.logged(told), "{:?}", guest.trace);
    assert!(guest.logged("mounts=1 order=/ flushed=/m1"));
    assert_eq!(guest.done(), ["open 1", "suspend /", "freeze 2 yes"]);
    guest.ask(Thaw, 3);
    // It was not suspended, so no store is lost there.
    assert!(!guest.logged("damage"));
    guest.trace.clear();
    guest.ask(Freeze, 4);
    assert!(!guest.logged("not suspended"));
    guest.ask(Thaw, 5);
    guest.scan.writers.push(writer(2, 900));
    guest.ask(Freeze, 6);
    assert!(guest.logged("sqlite3 (pid 900)"));
}

#[test]
fn the_policy_refuses_or_suspends_mounts_with_mapped_writers() {
    let mut guest = Guest::new(ufs(2)).with_hooks(&["a"]);
    guest.scan.writers = vec![writer(2, 812)];
    let policy = |mapped_writers| Policy { mapped_writers, ..Policy::default() };
    guest.freezer.set_rules(Rules { policy: policy(MappedWriters::Refuse), ..Rules::default() });
    guest.ask(Check, 1);
    guest.ask(Freeze, 2);
    assert!(guest.logged(
        "check refused: /m1 (ufs): programs store into it through memory: sqlite3 (pid 812) maps /f"
    ));
    assert_eq!(guest.done(), ["check 1 no", "freeze a", "freeze 2 no", "abort a"]);
    guest.freezer.set_rules(Rules { policy: policy(MappedWriters::Suspend), ..Rules::default() });
    guest.ask(Freeze, 3);
    assert_eq!(guest.done(), ["freeze a", "open 2", "suspend /", "suspend /m1", "freeze 3 yes"]);
    // A program that is there only before the freeze, or only after it.
    guest.scan.writers = vec![writer(2, 813)];
    let actions = guest.freezer.handle(Event::Request { request: request(Thaw, 4), age: SECOND }, guest.now);
    assert!(matches!(actions.last(), Some(Action::Run(Lane::Backup, Task::Prepare(_), _))), "{actions:?}");
    let prepared = Prepared { scan: Some(Ok(guest.scan.clone())), ..Prepared::default() };
    let actions = guest.freezer.handle(Event::Prepared(Lane::Backup, prepared), guest.now);
    let logged: Vec<&Action> = actions.iter().filter(|a| matches!(a, Action::Log(Level::Warn, _))).collect();
    assert_eq!(logged.len(), 2, "{actions:?}");
}

#[test]
fn damage_is_logged_after_every_kind_of_end() {
    for end in [Event::Terminate, Event::DeviceGone("x".into()), Event::Tick] {
        let mut guest = Guest::new(ufs(2));
        guest.ask(Freeze, 1);
        guest.scan.writers = vec![writer(1, 812), writer(7, 3)];
        guest.now += seconds(60);
        guest.send(end);
        let line = "log damage possible: sqlite3 (pid 812) maps /f and may have lost what it stored there, because / was suspended";
        assert_eq!(guest.trace.iter().filter(|entry| entry.contains("damage")).collect::<Vec<_>>(), [line]);
        guest.assert_at_rest();
    }
    // Also when only some mounts were suspended.
    let mut guest = Guest::new(ufs(2));
    guest.suspend = vec![Suspended::Done, Suspended::Failed("EBUSY".into())];
    guest.preparations = VecDeque::from([
        Some(Prepared { scan: Some(Ok(Scan::default())), flush: Some(Ok(())), ..Prepared::default() }),
        Some(Prepared { scan: Some(Err("it hangs".into())), ..Prepared::default() }),
    ]);
    guest.ask(Freeze, 1);
    assert!(guest.logged("programs that the freeze harmed cannot be told: it hangs"));
}

#[test]
fn a_failed_scan_flushes_every_mount() {
    let failed =
        |flush| Prepared { scan: Some(Err("it hangs".into())), flush: Some(flush), ..Prepared::default() };
    let mut guest = Guest::new(ufs(2));
    guest.preparations.push_back(Some(failed(Ok(()))));
    guest.ask(Freeze, 1);
    assert!(guest.logged(
        "not suspended, only brought to disk: / (ufs): it is not known which programs store into it"
    ));
    assert_eq!(guest.done(), ["open 0", "freeze 1 yes"]);
    guest.ask(Thaw, 2);
    guest.done();
    guest.preparations.push_back(Some(failed(Err("sync hangs".into()))));
    guest.ask(Freeze, 3);
    assert!(guest.logged("freeze failed, nothing is frozen: / cannot be brought to disk: sync hangs"));
    assert_eq!(guest.done(), ["freeze 3 no"]);
    guest.assert_at_rest();
}

#[test]
fn a_sync_that_hangs_does_not_prevent_suspensions() {
    let mut guest = Guest::new(ufs(2));
    let prepared = Prepared {
        scan: Some(Ok(Scan::default())),
        flush: Some(Err("sync hangs".into())),
        ..Prepared::default()
    };
    guest.preparations.push_back(Some(prepared.clone()));
    guest.ask(Freeze, 1);
    assert!(guest.logged("not all was brought to disk before the freeze: sync hangs"));
    assert_eq!(guest.done(), ["open 2", "suspend /", "suspend /m1", "freeze 1 yes"]);
    guest.ask(Thaw, 2);
    guest.done();
    // It does matter for the EFI partition.
    guest.table.as_mut().unwrap().push(mount("msdosfs", "/dev/gpt/efiboot0", "/boot/efi", 9));
    guest.preparations.push_back(Some(prepared));
    guest.ask(Freeze, 3);
    assert!(guest.logged("/boot/efi cannot be brought to disk: sync hangs"));
    assert_eq!(guest.done(), ["freeze 3 no"]);
}

#[test]
fn a_preparation_that_never_ends_is_stopped_in_time() {
    let mut guest = Guest::new(ufs(1));
    guest.preparations.push_back(None);
    guest.ask(Freeze, 1);
    guest.tick_at(guest.now + seconds(10));
    assert_eq!(guest.done(), ["stop", "freeze 1 no"]);
    guest.preparations.push_back(None);
    guest.ask(Check, 2);
    assert_eq!(guest.freezer.deadline(), Some(guest.now + seconds(10)));
    guest.tick_at(guest.now + seconds(10));
    assert!(guest.logged("check refused: it took too long"));
    assert_eq!(guest.done(), ["stop", "check 2 no"]);
    guest.assert_at_rest();
}

#[test]
fn any_other_event_ends_a_check_under_way() {
    for (event, wanted) in [
        (Event::Terminate, vec!["stop", "check 1 no", "leave"]),
        (Event::DeviceGone("x".into()), vec!["stop", "leave"]),
        (Event::Request { request: request(Thaw, 2), age: SECOND }, vec!["stop", "check 1 no", "thaw 2 no"]),
    ] {
        let mut guest = Guest::new(ufs(1));
        guest.preparations.push_back(None);
        guest.ask(Check, 1);
        guest.send(event);
        assert_eq!(guest.done(), wanted);
        guest.assert_at_rest();
    }
}

#[test]
fn a_mount_that_holds_its_childs_file_is_flushed() {
    let mut guest = Guest::new(ufs(2));
    guest.scan.stores.held = vec![Held { mount: FsId([2, 0]), holder: FsId([1, 0]) }];
    guest.ask(Freeze, 1);
    assert!(guest.logged("not suspended, only brought to disk: / (ufs): it holds the file of /m1"));
    assert_eq!(guest.done(), ["open 1", "suspend /m1", "freeze 1 yes"]);
}

#[test]
fn an_efi_partition_is_known_before_any_hook_runs() {
    let mut table = ufs(1);
    table.push(mount("msdosfs", "/dev/da0p1", "/esp", 9));
    let mut guest = Guest::new(table).with_hooks(&["a"]);
    guest.ask(Freeze, 1);
    assert_eq!(guest.all_done(), ["survey", "look", "survey", "freeze 1 no"]);
    guest.scan.stores.efi = vec![FsId([9, 0])];
    guest.ask(Check, 2);
    guest.ask(Freeze, 3);
    assert_eq!(guest.done(), ["check 2 yes", "freeze a", "open 1", "suspend /", "freeze 3 yes"]);
}

#[test]
fn a_pool_that_takes_no_writes_is_refused() {
    let mut guest = Guest::new(vec![mount("zfs", "tank/a", "/a", 1)]);
    guest.pools = vec!["tank\t1G\tSUSPENDED".into()];
    guest.ask(Check, 1);
    guest.ask(Freeze, 2);
    assert!(guest.logged("check refused: pool tank is SUSPENDED"));
    assert!(guest.logged("nothing is frozen: pool tank is SUSPENDED"));
    assert_eq!(guest.done(), ["check 1 no", "freeze 2 no"]);
}

#[test]
fn an_untrusted_hook_refuses_checks_and_freezes() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.selection.faults = vec![Skipped { path: "/d/x".into(), reason: "it is a symbolic link".into() }];
    guest.ask(Check, 1);
    guest.ask(Freeze, 2);
    assert!(guest.logged("check refused: hook /d/x: it is a symbolic link"));
    assert_eq!(guest.done(), ["check 1 no", "freeze 2 no"]);
}

#[test]
fn processes_of_hooks_are_killed_only_after_a_failure() {
    let mut guest = Guest::new(ufs(1)).with_hooks(&["a"]);
    guest.suspend = vec![Suspended::Failed("EBUSY".into())];
    guest.ask(Freeze, 1);
    assert_eq!(guest.all_done().split_off(5), ["open 1", "freeze 1 no", "abort a", "end hooks true"]);
}

#[test]
fn the_freezer_is_idle_without_backup_and_check() {
    let policy = Policy { mapped_writers: MappedWriters::Refuse, ..Policy::default() };
    let rules = Rules { policy, ..Rules::default() };
    for operation in [Check, Freeze] {
        let mut freezer = Freezer::new(rules.clone());
        assert!(freezer.is_idle());
        assert_eq!(freezer.rules(), &rules);
        let _ = freezer
            .handle(Event::Request { request: request(operation, 1), age: Duration::ZERO }, seconds(1000));
        assert!(!freezer.is_idle(), "{operation}");
    }
}

#[test]
fn the_last_check_can_be_asked_for() {
    let mut guest = Guest::new(vec![mount("ext2fs", "/dev/da5", "/linux", 5)]);
    assert_eq!(guest.freezer.last_check(), None);
    guest.ask(Check, 1);
    assert_eq!(guest.freezer.last_check().unwrap().verdict.vetoes().count(), 1);
    guest.table = Ok(ufs(1));
    guest.ask(Check, 2);
    assert_eq!(guest.freezer.last_check().unwrap().verdict.to_suspend().count(), 1);
}

#[test]
fn a_flush_leaves_time_for_two_scans_and_the_suspensions() {
    for (scan, sync, expected) in [(1, 100, 7), (1, 6, 6), (2, 100, 5), (4, 100, 5), (9, 100, 5)] {
        let mut guest = Guest::new(ufs(1));
        let limits =
            Limits { answer: seconds(10), scan: seconds(scan), sync: seconds(sync), ..Limits::default() };
        guest.freezer.set_rules(Rules { limits, ..Rules::default() });
        guest.ask(Freeze, 1);
        assert_eq!(guest.flush_limits, [seconds(expected)], "scan {scan} s, sync {sync} s");
    }
}
