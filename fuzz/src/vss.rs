//! Backups: messages of the host in any order, at any time, to a guest in which anything fails or takes long.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use hv_core::abi::vss::{Answer, Operation, Request, Status};
use hv_core::vss::hooks::{Hook, Selection};
use hv_core::vss::mounts::{FsId, Mount};
use hv_core::vss::scan::Scan;
use hv_core::vss::{
    Action, Ended, Event, Freezer, HeldOpen, KERNEL_LIMIT, Lane, Limits, Outcome, Preparation, Prepared,
    Rules, Survey, Suspended, Task,
};

use crate::Target;
use crate::input::{Behaviour, Choices, trace};

/// See the module.
pub const TARGET: Target = Target {
    name: "vss",
    promise: "one answer a request; frozen is thawed in the end; a good backup was frozen all the time between",
    check,
    words: &[],
};

const LANES: [Lane; 2] = [Lane::Check, Lane::Backup];

/// What the kernel still waits for.
#[derive(Debug, Clone, Copy)]
struct Pending {
    request: Request,
    since: Duration,
}

struct World<'a> {
    choices: Choices<'a>,
    freezer: Freezer,
    now: Duration,
    mounts: Vec<Mount>,
    pending: Option<Pending>,
    /// Requests that were handed over and not answered yet.
    unanswered: Vec<Request>,
    next_id: u64,
    slots: usize,
    suspended: Vec<usize>,
    frozen_since: Option<Duration>,
    log_held: bool,
    /// What runs for a check and for a backup.
    running: [Option<Task>; 2],
    /// A freeze was answered with success, and the log is held since.
    in_force: bool,
    /// A freeze was answered with success while the kernel waited, and nothing was resumed since.
    host_believes: bool,
    unbroken: bool,
    /// What `unbroken` was when the last thaw came: the thaw itself resumes before it answers.
    good_until_thaw: bool,
    left: bool,
    device_gone: bool,
    seen: Behaviour,
}

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mounts = mounts(&mut choices);
    let limits = Limits {
        watchdog: (choices.byte() % 8 != 0).then(|| Duration::from_secs(1 + u64::from(choices.byte() % 100))),
        ..Limits::default()
    };
    let rules = Rules { limits, ..Rules::default() };
    let watchdog = rules.limits.watchdog.is_some();
    let mut world = World {
        choices,
        freezer: Freezer::new(rules),
        now: Duration::from_secs(1_000_000),
        mounts,
        pending: None,
        unanswered: Vec::new(),
        next_id: 1,
        slots: 0,
        suspended: Vec::new(),
        frozen_since: None,
        log_held: false,
        running: [None, None],
        in_force: false,
        host_believes: false,
        unbroken: false,
        good_until_thaw: false,
        left: false,
        device_gone: false,
        seen: Behaviour::default(),
    };
    let mut steps = 0;
    while world.choices.left() && !world.left && steps < 300 {
        world.step();
        steps += 1;
    }
    world.finish(watchdog);
    world.seen.name()
}

impl World<'_> {
    fn step(&mut self) {
        match self.choices.byte() % 16 {
            0..=7 => self.request(),
            8..=10 => {
                let pass =
                    Duration::from_millis(self.choices.of(&[1, 100, 1000, 4000, 9000, 16_000, 70_000]));
                self.pass(pass);
            }
            11..=13 => {
                let lane = self.choices.of(&LANES);
                self.end_program(lane);
            }
            14 if self.choices.byte() > 200 => self.send(Event::Terminate),
            15 if self.choices.byte() > 240 => {
                self.device_gone = true;
                self.send(Event::DeviceGone("detached".into()));
            }
            _ => self.send(Event::Tick),
        }
    }

    /// The host asks. The kernel drops what comes while it waits for an answer.
    fn request(&mut self) {
        let operation = Operation::from(self.choices.of(&[1, 2, 2, 2, 3, 3, 3, 77]));
        self.expire();
        if self.pending.is_some() {
            return;
        }
        let request = Request { operation, id: self.next_id };
        self.next_id += 1;
        let age = Duration::from_millis(self.choices.of(&[0, 0, 0, 5, 3000, 12_000, 14_900]));
        self.pending = Some(Pending { request, since: self.now.saturating_sub(age) });
        self.unanswered.push(request);
        if operation == Operation::Thaw {
            self.good_until_thaw = self.unbroken;
        }
        self.send(Event::Request { request, age });
    }

    /// Time passes; what is due is done on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.freezer.deadline().filter(|due| *due <= end && !self.left) {
            self.now = self.now.max(due);
            self.expire();
            self.send(Event::Tick);
            if self.freezer.deadline() == Some(due) {
                break;
            }
        }
        self.now = self.now.max(end);
        self.expire();
    }

    /// The kernel gives up.
    fn expire(&mut self) {
        if self.pending.is_some_and(|pending| self.now >= pending.since + KERNEL_LIMIT) {
            let pending = self.pending.take();
            if pending.is_some_and(|pending| pending.request.operation == Operation::Thaw) {
                self.host_believes = false;
            }
        }
    }

    fn end_program(&mut self, lane: Lane) {
        match self.running[lane as usize].take() {
            None => {}
            Some(Task::Prepare(preparation)) => {
                let prepared = self.prepared(&preparation);
                self.send(Event::Prepared(lane, prepared));
            }
            Some(task) => {
                let ended = self.ended(&task);
                self.send(Event::Ended(lane, ended));
            }
        }
    }

    fn ended(&mut self, task: &Task) -> Ended {
        let outcome = match self.choices.byte() % 16 {
            0 => Outcome::Failed("it failed".into()),
            1 => Outcome::NotStarted("it is gone".into()),
            _ => Outcome::Succeeded,
        };
        let output = match task {
            Task::ListPools => vec!["pool0\tONLINE\toff".into(), "pool1\tONLINE\toff".into()],
            _ => vec!["line".into()],
        };
        Ended { outcome, output }
    }

    fn prepared(&mut self, preparation: &Preparation) -> Prepared {
        let fails = self.choices.byte() % 16;
        let scan =
            preparation.scan.map(|_| if fails == 0 { Err("no list".into()) } else { Ok(Scan::default()) });
        let flush = preparation.flush.as_ref().map(|_| if fails == 1 { Err("EIO".into()) } else { Ok(()) });
        Prepared { scan, flush, ..Prepared::default() }
    }

    fn send(&mut self, event: Event) {
        if trace() {
            eprintln!("{:?} {event:?}", self.now);
        }
        let mut actions: VecDeque<Action> = self.freezer.handle(event, self.now).into();
        let mut count = 0;
        while let Some(action) = actions.pop_front() {
            if trace() {
                eprintln!("    {action:?}");
            }
            count += 1;
            assert!(count < 2000, "an end to it");
            if let Some(event) = self.perform(action) {
                actions.extend(self.freezer.handle(event, self.now));
            }
            if !self.suspended.is_empty() {
                assert!(self.freezer.is_frozen() || !actions.is_empty(), "the engine knows that it froze");
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        self.seen.saw(std::mem::discriminant(&action));
        match action {
            Action::Survey(lane) => {
                let choice = self.choices.byte();
                let held = (choice == 255).then(|| HeldOpen {
                    descriptor: 2,
                    id: FsId([1, 0]),
                    path: "/x".into(),
                    writable: true,
                });
                let survey = match choice % 16 {
                    0 => Err("it cannot be read".to_owned()),
                    _ => Ok(Survey { mounts: self.mounts.clone(), held_open: held.into_iter().collect() }),
                };
                Some(Event::Surveyed(lane, survey))
            }
            Action::ListHooks(lane) => {
                let count = self.choices.of(&[0, 0, 1, 2]);
                let hook = |n: usize| Hook { name: format!("h{n}"), path: PathBuf::from(format!("/h/{n}")) };
                Some(Event::Hooks(
                    lane,
                    Selection { hooks: (0..count).map(hook).collect(), ..Selection::default() },
                ))
            }
            Action::Run(lane, task, limit) => self.run(lane, task, limit),
            Action::Stop(lane) => {
                assert!(self.running[lane as usize].take().is_some(), "nothing to stop");
                None
            }
            Action::Open(count) => {
                assert!(self.suspended.is_empty());
                self.slots = count;
                let failed = self.choices.byte() % 16 == 15;
                Some(Event::Opened(if failed { Err("no descriptor".into()) } else { Ok(()) }))
            }
            Action::HoldLog => {
                assert!(self.suspended.is_empty(), "the log is held too late");
                self.log_held = true;
                None
            }
            Action::ReleaseLog => {
                assert!(self.suspended.is_empty(), "the log is released while frozen");
                self.log_held = false;
                self.in_force = false;
                None
            }
            Action::Suspend { slot, .. } => Some(self.suspend(slot)),
            Action::Resume(slot) => {
                assert_eq!(self.suspended.pop(), Some(slot), "the last one first");
                self.thawed();
                None
            }
            Action::Close => {
                assert!(self.suspended.is_empty(), "left to the close");
                self.slots = 0;
                None
            }
            Action::Answer(answer) => Some(self.answer(answer)),
            Action::Leave(_) => {
                assert!(self.suspended.is_empty(), "left while frozen");
                self.left = true;
                None
            }
            _ => None,
        }
    }

    fn run(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event> {
        assert!(self.suspended.is_empty() && !self.log_held, "a program while frozen");
        assert!(!limit.is_zero() && self.running[lane as usize].is_none());
        if self.choices.byte() % 4 == 0 {
            self.running[lane as usize] = Some(task);
            return None;
        }
        self.now += Duration::from_millis(self.choices.of(&[0, 1, 100, 1000])).min(limit);
        Some(match task {
            Task::Prepare(preparation) => Event::Prepared(lane, self.prepared(&preparation)),
            task => Event::Ended(lane, self.ended(&task)),
        })
    }

    fn suspend(&mut self, slot: usize) -> Event {
        assert!(
            self.log_held && slot < self.slots && self.running[Lane::Backup as usize].is_none(),
            "not prepared"
        );
        self.now += Duration::from_millis(self.choices.of(&[0, 0, 1, 500, 3000, 11_000]));
        let outcome = match self.choices.byte() % 24 {
            0 => Suspended::Failed("EBUSY".into()),
            1 => Suspended::Vanished,
            _ => Suspended::Done,
        };
        if outcome == Suspended::Done {
            self.suspended.push(slot);
            self.frozen_since.get_or_insert(self.now);
        }
        Event::Suspended(outcome)
    }

    /// Something runs again.
    fn thawed(&mut self) {
        self.unbroken = false;
        if self.suspended.is_empty() {
            self.frozen_since = None;
        }
    }

    fn answer(&mut self, answer: Answer) -> Event {
        let position = self.unanswered.iter().position(|request| *request == answer.request);
        self.unanswered.remove(position.expect("one answer for each request"));
        self.now += Duration::from_millis(self.choices.of(&[0, 0, 0, 1, 2000]));
        self.expire();
        let waits = self.pending.take_if(|pending| pending.request == answer.request).is_some();
        let success = answer.status == Status::Success;
        self.seen.saw((u32::from(answer.request.operation), success, waits));
        match answer.request.operation {
            // Refused beside the one that is in force, which goes on.
            Operation::Freeze if !success && self.in_force => {}
            Operation::Freeze => {
                assert!(!success || self.log_held, "frozen without holding the log");
                // A success that comes too late is thawed by the engine, or by its watchdog.
                self.host_believes = success && waits;
                self.unbroken = success && waits;
                self.in_force = success;
                assert!(success || self.suspended.is_empty(), "a failed freeze left something frozen");
            }
            Operation::Thaw => {
                assert!(self.suspended.is_empty(), "answered before it was thawed");
                if success && waits && self.host_believes {
                    assert!(self.good_until_thaw, "a good backup of a guest that was thawed in between");
                }
                self.host_believes = false;
            }
            Operation::Check => {}
            Operation::Other(_) => assert!(!success, "an unknown operation"),
        }
        let failed = self.choices.byte() == 254;
        self.device_gone |= failed;
        Event::Answered(if failed { Err("the device is gone".into()) } else { Ok(()) })
    }

    fn finish(&mut self, watchdog: bool) {
        if watchdog && !self.left {
            for _ in 0..20 {
                self.pass(Duration::from_secs(120));
                LANES.iter().for_each(|lane| self.end_program(*lane));
            }
            assert!(self.suspended.is_empty(), "the watchdog thaws");
            let answered = self.unanswered.is_empty() || self.device_gone;
            assert!(answered, "unanswered: {:?}", self.unanswered);
        }
        for _ in 0..20 {
            if !self.left {
                self.send(Event::Terminate);
                LANES.iter().for_each(|lane| self.end_program(*lane));
            }
        }
        assert!(self.left && self.suspended.is_empty(), "it ends, and nothing is frozen");
    }
}

fn mounts(choices: &mut Choices<'_>) -> Vec<Mount> {
    let kinds = ["ufs", "ufs", "ufs", "zfs", "tmpfs", "msdosfs", "nullfs", "nfs", "ext2fs"];
    (0..choices.below(6))
        .map(|number| {
            let fs_type = choices.of(&kinds).to_owned();
            let on = match number {
                0 => "/".to_owned(),
                _ if fs_type == "msdosfs" => "/boot/efi".to_owned(),
                number => format!("/m{number}"),
            };
            let from = match fs_type.as_str() {
                "zfs" => format!("pool{}/data", choices.byte() % 2),
                "nullfs" => "/".to_owned(),
                _ => format!("/dev/da{number}"),
            };
            let read_only = choices.byte() % 8 == 0;
            let local = fs_type != "nfs";
            let id = FsId([i32::try_from(number).unwrap_or(0) + 1, 0]);
            Mount { fs_type, from, on, id, read_only, local }
        })
        .collect()
}
