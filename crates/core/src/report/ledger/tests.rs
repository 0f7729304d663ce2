//! The records of whole backups: a real freezer gets the events, and the ledger records them.

use log::Level;

use super::*;
use crate::abi::vss::{Operation, Request};
use crate::vss::hooks::{Hook, Phase, Selection};
use crate::vss::mounts::{FsId, Mount};
use crate::vss::scan::{Process, Scan, Writer};
use crate::vss::{Freezer, Rules, Survey};

/// A freezer, its ledger, and a clock that advances a second with each event.
struct Room {
    freezer: Freezer,
    ledger: Ledger,
    now: u64,
    hooks: Vec<Hook>,
    /// The result of each program.
    outcome: Outcome,
    scan: Scan,
    /// The mount point whose suspension fails.
    refuses: Option<&'static str>,
}

impl Room {
    fn new() -> Self {
        let identity = Identity {
            program: "hv_vss_daemon",
            config: None,
            device: "/dev/hv_fsvss_dev".into(),
            started: Moment::default(),
        };
        Self {
            freezer: Freezer::new(Rules::default()),
            ledger: Ledger::new(identity),
            now: 100,
            hooks: vec![Hook { name: "10-db".into(), path: "/d/10-db".into() }],
            outcome: Outcome::Succeeded,
            scan: Scan::default(),
            refuses: None,
        }
    }

    fn moment(&self) -> Moment {
        Moment { monotonic: Duration::from_secs(self.now), unix: 1_000_000 + self.now }
    }

    /// Hands an event to both, in the order of the daemon's loop.
    fn feed(&mut self, event: Event) {
        let mut actions = VecDeque::from(self.handle(event));
        while let Some(action) = actions.pop_front() {
            self.ledger.action(&action, self.moment());
            if let Some(event) = self.perform(action) {
                actions.extend(self.handle(event));
            }
        }
        if self.freezer.is_idle() {
            self.ledger.idle(self.moment());
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        self.now += 1;
        self.ledger.event(&event, self.moment());
        self.freezer.handle(event, self.moment().monotonic)
    }

    fn perform(&self, action: Action) -> Option<Event> {
        Some(match action {
            Action::Survey(lane) => {
                let mounts = vec![mount("/", 1), mount("/data", 2)];
                Event::Surveyed(lane, Ok(Survey { mounts, held_open: Vec::new() }))
            }
            Action::ListHooks(lane) => {
                Event::Hooks(lane, Selection { hooks: self.hooks.clone(), ..Selection::default() })
            }
            Action::Run(lane, Task::Prepare(preparation), _) => {
                let scan = preparation.scan.map(|_| Ok(self.scan.clone()));
                let flush = preparation.flush.map(|_| Ok(()));
                let took = Duration::from_secs(3);
                Event::Prepared(lane, Prepared { scan, flush, scan_took: took, flush_took: took })
            }
            Action::Run(lane, ..) => {
                Event::Ended(lane, Ended { outcome: self.outcome.clone(), output: vec!["said".into()] })
            }
            Action::Open(_) => Event::Opened(Ok(())),
            Action::Suspend { mount, .. } => Event::Suspended(if self.refuses == Some(mount.on.as_str()) {
                Suspended::Failed("busy".into())
            } else {
                Suspended::Done
            }),
            Action::Answer(_) => Event::Answered(Ok(())),
            _ => return None,
        })
    }

    fn ask(&mut self, operation: Operation, id: u64) {
        self.feed(Event::Request { request: request(operation, id), age: Duration::ZERO });
    }

    fn report(&self) -> VssReport {
        self.ledger.report(self.moment())
    }
}

fn request(operation: Operation, id: u64) -> Request {
    Request { operation, id }
}

fn mount(on: &str, number: i32) -> Mount {
    Mount {
        fs_type: "ufs".into(),
        from: format!("/dev/da{number}"),
        on: on.into(),
        id: FsId([number, 7]),
        read_only: false,
        local: true,
    }
}

#[test]
fn a_good_backup_is_recorded_with_its_times() {
    let mut room = Room::new();
    room.ask(Operation::Check, 1);
    room.ask(Operation::Freeze, 2);
    let report = room.report();
    assert_eq!(report.frozen.len(), 2);
    assert!(report.frozen_since.is_some() && report.last_backup.is_none());
    assert_eq!(room.ledger.take_finished(), None);
    room.ask(Operation::Thaw, 3);
    let report = room.report();
    assert_eq!((report.frozen.len(), report.frozen_since), (0, None));
    let backup = room.ledger.take_finished().unwrap();
    assert_eq!(room.ledger.take_finished(), None);
    assert_eq!(report.last_backup.as_ref(), Some(&backup));
    assert_eq!((backup.verdict, &backup.reason), (Verdict::Good, &None));
    assert!(backup.answered_in >= 1_000_000 && backup.frozen_for.unwrap() >= 1_000_000, "{backup:?}");
    let mounts: Vec<&str> = backup.mounts.iter().map(|mount| mount.mount.as_str()).collect();
    assert_eq!(mounts.len(), 2, "{mounts:?}");
    assert!(backup.mounts.iter().all(|mount| mount.took == 1_000_000));
    let hooks: Vec<_> = backup.hooks.iter().map(|hook| (hook.phase.as_str(), hook.took)).collect();
    assert_eq!(hooks, [("freeze", 1_000_000), ("thaw", 1_000_000)]);
    let counts: Vec<_> = report.requests.counts.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(counts, [("check", 1), ("freeze", 1), ("thaw", 1)]);
    assert_eq!(report.requests.slowest.unwrap().request, "freeze");
    assert_eq!(report.requests.refused, 0);
}

#[test]
fn each_failed_freeze_is_recorded_with_its_reason() {
    let mut room = Room::new();
    room.refuses = Some("/data");
    // More often than the log repeats it.
    for id in 1..=12 {
        room.ask(Operation::Freeze, id);
        let report = room.report();
        assert_eq!(report.frozen.len(), 0);
        let backup = room.ledger.take_finished().unwrap();
        assert_eq!(backup.verdict, Verdict::Failed);
        let reason = backup.reason.unwrap();
        assert!(reason.contains("/data") && reason.contains("busy"), "{id}: {reason}");
        assert_eq!(report.requests.refused, id);
        assert!(report.requests.last_refused.unwrap().reason.contains("busy"), "{id}");
    }
}

#[test]
fn a_backup_that_is_thawed_without_the_host_is_void() {
    let mut room = Room::new();
    room.ask(Operation::Freeze, 1);
    // A second freeze is refused; the first one continues.
    room.ask(Operation::Freeze, 2);
    assert_eq!((room.report().frozen.len(), room.report().requests.refused), (2, 1));
    room.now += 1000;
    room.feed(Event::Tick);
    let backup = room.ledger.take_finished().unwrap();
    assert_eq!(backup.verdict, Verdict::Void);
    assert!(backup.reason.unwrap().contains("no thaw came in time"));
    assert!(backup.frozen_for.unwrap() > 900_000_000);
    assert_eq!(backup.hooks.last().unwrap().phase, Phase::Abort.as_str());
}

#[test]
fn a_hook_that_fails_is_named() {
    let mut room = Room::new();
    room.outcome = Outcome::Failed("hook 10-db freeze ended with status 1".into());
    room.ask(Operation::Freeze, 1);
    let backup = room.ledger.take_finished().unwrap();
    assert_eq!(backup.verdict, Verdict::Failed);
    assert!(backup.hooks[0].failed.as_deref().unwrap().contains("status 1"), "{backup:?}");
    assert!(backup.mounts.is_empty() && backup.frozen_for.is_none());
}

#[test]
fn log_lines_without_a_reason_change_nothing() {
    let mut room = Room::new();
    room.ledger.action(&Action::Log(Level::Warn, "something".into()), room.moment());
    assert_eq!(room.report().requests, Requests::default());
}

#[test]
fn flushed_mounts_are_recorded_with_their_reason() {
    let mut room = Room::new();
    let process = Process { pid: 812, jail: 0, program: "sqlite3".into() };
    room.scan.writers = vec![Writer { on: FsId([2, 7]), process, file: "/data/x".into() }];
    room.ask(Operation::Freeze, 1);
    room.ask(Operation::Thaw, 2);
    let backup = room.ledger.take_finished().unwrap();
    assert_eq!(backup.flushed[0].mount, "/data");
    assert!(backup.flushed[0].why.contains("sqlite3 (pid 812)"), "{backup:?}");
    let mounts: Vec<&str> = backup.mounts.iter().map(|mount| mount.mount.as_str()).collect();
    assert_eq!(mounts, ["/"]);
    let steps: Vec<(&str, u64)> = backup.steps.iter().map(|step| (step.what.as_str(), step.took)).collect();
    assert_eq!(steps[..2], [("look at programs", 3_000_000), ("sync", 3_000_000)]);
    // A report of an earlier version lacks this member.
    let mut old = serde_json::to_value(&backup).unwrap();
    old.as_object_mut().unwrap().remove("flushed");
    assert_eq!(serde_json::from_value::<Backup>(old).unwrap().flushed, []);
}

#[test]
fn steps_between_the_hooks_are_named_with_their_failure() {
    let mut room = Room::new();
    let run = |room: &mut Room, task: Task, outcome: Outcome| {
        room.now += 1;
        room.ledger.action(&Action::Run(Lane::Backup, task, Duration::MAX), room.moment());
        room.now += 2;
        let ended = Event::Ended(Lane::Backup, Ended { outcome, output: Vec::new() });
        room.ledger.event(&ended, room.moment());
    };
    // Without a backup there is no record.
    run(&mut room, Task::ListPools, Outcome::Succeeded);
    room.ledger.event(
        &Event::Request { request: request(Operation::Freeze, 1), age: Duration::ZERO },
        room.moment(),
    );
    room.ledger.action(&Action::Survey(Lane::Backup), room.moment());
    run(&mut room, Task::ListPools, Outcome::Succeeded);
    let pools = vec!["zroot".to_owned(), "tank".to_owned()];
    run(&mut room, Task::SyncPools(pools.clone()), Outcome::NotStarted("no such file".into()));
    // The end of a stopped program tells nothing.
    room.ledger.action(&Action::Run(Lane::Backup, Task::ListPools, Duration::MAX), room.moment());
    room.ledger.action(&Action::Stop(Lane::Backup), room.moment());
    let late = Ended { outcome: Outcome::Failed("killed".into()), output: Vec::new() };
    room.ledger.event(&Event::Ended(Lane::Backup, late), room.moment());
    for _ in 0..2 * MOST_NAMED {
        run(&mut room, Task::SyncPools(pools.clone()), Outcome::Succeeded);
        let hook = room.hooks[0].clone();
        run(&mut room, Task::Hook(hook, Phase::Freeze), Outcome::Succeeded);
    }
    assert_eq!(room.ledger.open.as_ref().unwrap().backup.hooks.len(), MOST_NAMED);
    let steps = &room.ledger.open.as_ref().unwrap().backup.steps;
    let first: Vec<_> = steps[..3].iter().map(|s| (s.what.as_str(), s.took, s.failed.as_deref())).collect();
    let wanted = [
        ("zpool list", 2_000_000, None),
        ("zpool sync zroot tank", 2_000_000, Some("no such file")),
        ("zpool sync zroot tank", 2_000_000, None),
    ];
    assert_eq!(first, wanted);
    assert_eq!(steps.len(), MOST_NAMED);
}

#[test]
fn requests_that_are_never_answered_are_forgotten() {
    let mut room = Room::new();
    for id in 0..MOST_ASKED as u64 + 2 {
        let event = Event::Request { request: request(Operation::Other(9), id), age: Duration::ZERO };
        room.ledger.event(&event, room.moment());
    }
    let ids: Vec<u64> = room.ledger.asked.iter().map(|(request, _)| request.id).collect();
    assert_eq!(ids, (2..MOST_ASKED as u64 + 2).collect::<Vec<_>>());
    let counts = room.report().requests.counts;
    assert_eq!(counts.get("unknown"), Some(&(MOST_ASKED as u64 + 2)));
}

#[test]
fn backups_that_nobody_takes_are_limited_to_the_last_ones() {
    let mut room = Room::new();
    room.refuses = Some("/data");
    for id in 1..=MOST_WAITING as u64 + 3 {
        room.ask(Operation::Freeze, id);
    }
    let times: Vec<u64> =
        std::iter::from_fn(|| room.ledger.take_finished()).map(|backup| backup.at).collect();
    assert_eq!(times.len(), MOST_WAITING);
    assert_eq!(times.last(), room.report().last_backup.map(|backup| backup.at).as_ref());
    assert!(times.is_sorted());
}

#[test]
fn a_configuration_that_is_named_later_is_reported() {
    let mut room = Room::new();
    assert_eq!(room.report().common.config, None);
    room.ledger.named(Some("/etc/hyperv.toml".into()));
    assert_eq!(room.report().common.config.as_deref(), Some("/etc/hyperv.toml"));
}
