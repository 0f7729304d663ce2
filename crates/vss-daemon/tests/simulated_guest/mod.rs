//! A guest in one thread: the daemon's own loop on a simulated kernel with a simulated clock. The test plays
//! host, administrator and other programs. No process and no file is involved.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use hv_core::abi::vss::{Answer, Request};
use hv_core::report::Backup;
use hv_core::runtime::config::Config;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::hooks::{Hook, Phase, Selection};
use hv_core::vss::mounts::{FsId, Mount};
use hv_core::vss::scan::{Process as Program, Scan, Writer};
use hv_core::vss::stores::{Held, Stores};
use hv_core::vss::{Ended, Event, HeldOpen, Lane, Outcome as TaskOutcome, Preparation, Prepared, Task};
use hvsim::device::Handle;
use hvsim::vss::descriptors::{Descriptor, Target};
use hvsim::vss::facts::{Facts, Mapping, Process};
use hvsim::vss::kernel::Kernel;
use hvsim::vss::{Call, Fault, Operation, Outcome};
use vss_daemon::guest::Guest;
use vss_daemon::port::{SuspendPort, Suspender, VssPort};
use vss_daemon::serve::{Driver, End, Wakeup};

/// Longer than any deadline of the daemon.
const LONG: Duration = Duration::from_secs(200);
/// Descriptors that the daemon has open before a backup: the standard streams on /dev/null, and the device.
const FIRST_FREE: i32 = 4;

/// How the guest's hook behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hooks {
    None,
    Quick,
    /// It succeeds after a while in each phase.
    Slow,
    /// Before a freeze it runs until it is killed.
    Hanging,
}

/// How long a slow hook takes, and a moment in which one ends.
const HOOK: Duration = Duration::from_secs(3);
const MOMENT: Duration = Duration::from_secs(4);

/// A kind of guest.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    facts: Facts,
    hooks: Hooks,
    /// UFS mounts that are flushed instead of suspended.
    flushed: Vec<&'static str>,
}

fn ufs(on: &str, from: &str, number: i32) -> Mount {
    let (fs_type, from, on) = ("ufs".into(), from.into(), on.into());
    Mount { fs_type, from, on, id: FsId([number, 7]), read_only: false, local: true }
}

impl Layout {
    /// Mounts on mounts.
    pub(crate) fn nested(hooks: Hooks) -> Self {
        let mounts = vec![ufs("/", "/dev/da0", 1), ufs("/a", "/dev/da1", 2), ufs("/a/b", "/dev/da2", 3)];
        let name = match hooks {
            Hooks::None => "nested",
            Hooks::Quick => "nested, with a hook",
            Hooks::Slow => "nested, with a slow hook",
            Hooks::Hanging => "nested, with a hook that hangs",
        };
        Self { name, facts: Facts { mounts, ..Facts::default() }, hooks, flushed: Vec::new() }
    }

    /// A program stores into the middle mount through a mapping.
    pub(crate) fn with_mapped_writer() -> Self {
        let mut layout = Self::nested(Hooks::None);
        let mappings = vec![Mapping { path: "/a/x.db-shm".into(), on: "/a".into(), stores: true }];
        layout.facts.processes.push(Process { pid: 812, command: "sqlite3".into(), gone: false, mappings });
        layout.facts.left_dirty.push(("/a/b/left".into(), "/a/b".into()));
        Self { name: "mapped writer", flushed: vec!["/a"], ..layout }
    }

    /// The last mount is stored in a file on a mount beside it.
    pub(crate) fn with_image() -> Self {
        let mut layout = Self::nested(Hooks::None);
        layout.facts.mounts[2] = ufs("/data", "/dev/md0", 3);
        layout.facts.images.push(("md0".into(), "/a/disk.img".into()));
        Self { name: "file system in a file", ..layout }
    }

    /// The last mount is stored in a file on the mount that it is mounted on.
    pub(crate) fn with_image_below() -> Self {
        let mut layout = Self::nested(Hooks::None);
        layout.facts.mounts[2].from = "/dev/md0p1".into();
        layout.facts.images.push(("md0".into(), "/a/disk.img".into()));
        Self { name: "file system in a file below itself", flushed: vec!["/a"], ..layout }
    }
}

type Shared = Rc<RefCell<Kernel>>;

/// The device as the daemon has it open.
struct Port {
    kernel: Shared,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Port")
    }
}

/// Never becomes readable, and never hangs up.
static DESCRIPTOR: LazyLock<io::PipeReader> = LazyLock::new(|| io::pipe().unwrap().0);
static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::parse("", Path::new("hyperv.toml")).unwrap());

impl VssPort for Port {
    fn descriptor(&self) -> BorrowedFd<'_> {
        DESCRIPTOR.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        Ok(self.kernel.borrow_mut().read()?)
    }

    fn write(&mut self, answer: Answer) -> io::Result<()> {
        Ok(self.kernel.borrow_mut().write(answer)?)
    }
}

/// `/dev/ufssuspend`, and the descriptor numbers that the daemon gets for it.
struct SuspendDevice {
    kernel: Shared,
    pid: u32,
    taken: Rc<RefCell<Vec<i32>>>,
}

struct Suspension {
    kernel: Shared,
    handle: Handle,
    number: i32,
    taken: Rc<RefCell<Vec<i32>>>,
}

impl std::fmt::Debug for Suspension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suspension({})", self.number)
    }
}

impl std::fmt::Debug for SuspendDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SuspendDevice({:?})", self.taken.borrow())
    }
}

impl SuspendPort for SuspendDevice {
    type Suspender = Suspension;

    fn open(&mut self) -> io::Result<Suspension> {
        let number = (FIRST_FREE..).find(|number| !self.taken.borrow().contains(number)).unwrap();
        self.taken.borrow_mut().push(number);
        let handle = self.kernel.borrow_mut().open_suspender(self.pid, number);
        Ok(Suspension { kernel: Rc::clone(&self.kernel), handle, number, taken: Rc::clone(&self.taken) })
    }

    fn held_open(&self, _: &FactsSource, _: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        Ok(Vec::new())
    }
}

impl Suspender for Suspension {
    fn suspend(&self, id: FsId) -> io::Result<()> {
        Ok(self.kernel.borrow_mut().suspend(self.handle, id)?)
    }

    fn resume(&self) -> io::Result<()> {
        Ok(self.kernel.borrow_mut().resume(self.handle)?)
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.kernel.borrow_mut().close_suspender(self.handle);
        self.taken.borrow_mut().retain(|number| *number != self.number);
    }
}

/// The system around the daemon.
struct SimulatedGuest {
    kernel: Shared,
    hooks: Hooks,
    /// The hooks that run: how each will end, and when.
    running: [Option<(TaskOutcome, Duration)>; 2],
}

impl std::fmt::Debug for SimulatedGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimulatedGuest({:?})", self.running)
    }
}

impl Guest for SimulatedGuest {
    fn now(&self) -> Duration {
        self.kernel.borrow().now()
    }

    fn age(&self, request: Request) -> Duration {
        self.kernel.borrow().age(request)
    }

    fn facts(&self) -> &FactsSource {
        &FactsSource::System
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(self.kernel.borrow().mounts().to_vec())
    }

    fn hooks(&self) -> Selection {
        let hooks = match self.hooks {
            Hooks::None => Vec::new(),
            Hooks::Quick | Hooks::Slow | Hooks::Hanging => {
                vec![Hook { name: "10-db".into(), path: "/hooks/10-db".into() }]
            }
        };
        Selection { hooks, ..Selection::default() }
    }

    fn start(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event> {
        match &task {
            Task::Prepare(preparation) => Some(Event::Prepared(lane, self.prepare(preparation))),
            Task::Hook(_, Phase::Freeze) if self.hooks == Hooks::Hanging => {
                let end = TaskOutcome::Failed("the hook hangs".to_owned());
                self.running[lane as usize] = Some((end, self.now() + limit));
                None
            }
            Task::Hook(..) if self.hooks == Hooks::Slow => {
                self.running[lane as usize] = Some((TaskOutcome::Succeeded, self.now() + HOOK.min(limit)));
                None
            }
            Task::Hook(..) | Task::ListPools | Task::SyncPools(_) => {
                Some(Event::Ended(lane, Ended { outcome: TaskOutcome::Succeeded, output: Vec::new() }))
            }
        }
    }

    fn advance(&mut self, lane: Lane) -> Option<Event> {
        let now = self.now();
        let (outcome, _) = self.running[lane as usize].take_if(|(_, until)| *until <= now)?;
        Some(Event::Ended(lane, Ended { outcome, output: Vec::new() }))
    }

    fn stop(&mut self, lane: Lane) {
        self.running[lane as usize] = None;
    }

    fn end_hooks(&mut self, _kill: bool) {}

    fn deadline(&self) -> Option<Duration> {
        self.running.iter().flatten().map(|(_, until)| *until).min()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn child_ended(&mut self) {}

    fn keep(&mut self, _: &Backup) {}

    fn configure(&mut self, _: &Config) {}
}

impl SimulatedGuest {
    fn prepare(&self, preparation: &Preparation) -> Prepared {
        let mut kernel = self.kernel.borrow_mut();
        if preparation.flush.is_some() {
            kernel.sync();
        }
        let scan = preparation.scan.map(|_| Ok(scan(kernel.facts())));
        Prepared { scan, flush: preparation.flush.as_ref().map(|_| Ok(())), ..Prepared::default() }
    }
}

/// The result of a scan of all programs and devices.
fn scan(facts: &Facts) -> Scan {
    let id = |on: &str| facts.mounts.iter().find(|mount| mount.on == on).map(|mount| mount.id);
    let writers = facts.mapped_writers().filter_map(|(process, map)| {
        let program = Program { pid: process.pid, jail: 0, program: process.command.clone() };
        Some(Writer { on: id(&map.on)?, process: program, file: map.path.clone() })
    });
    let held = facts.images.iter().filter_map(|(device, file)| {
        let mount = facts.mounts.iter().find(|mount| mount.from.contains(device.as_str()))?.id;
        let holder = id(Path::new(file).parent()?.to_str()?)?;
        Some(Held { mount, holder })
    });
    let stores = Stores { held: held.collect(), ..Stores::default() };
    Scan { writers: writers.collect(), stores, at_work: Vec::new() }
}

type Daemon = Driver<Port, SuspendDevice, SimulatedGuest>;

/// The guest, its daemon, and its host.
pub(crate) struct World {
    kernel: Shared,
    daemon: Option<(Daemon, Handle)>,
    pid: u32,
    hooks: Hooks,
    flushed: Vec<&'static str>,
}

impl World {
    /// A guest whose daemon has the device open.
    pub(crate) fn new(layout: &Layout) -> Self {
        let kernel = Rc::new(RefCell::new(Kernel::new(layout.facts.clone())));
        let (hooks, flushed) = (layout.hooks, layout.flushed.clone());
        let mut world = Self { kernel, daemon: None, pid: 100, hooks, flushed };
        world.restart();
        world
    }

    /// Starts a daemon where none runs, and attaches the device where there is none.
    pub(crate) fn restart(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        if !self.kernel.borrow().is_present() {
            self.kernel.borrow_mut().attach();
        }
        self.pid += 1;
        let handle = self.kernel.borrow_mut().open_device(self.pid).unwrap();
        let kernel = || Rc::clone(&self.kernel);
        let port = Port { kernel: kernel() };
        let device = SuspendDevice { kernel: kernel(), pid: self.pid, taken: Rc::default() };
        let guest = SimulatedGuest { kernel: kernel(), hooks: self.hooks, running: [None, None] };
        self.daemon = Some((Driver::in_guest(&CONFIG, port, device, guest), handle));
        self.wake(Wakeup::default());
    }

    /// Runs the daemon's loop until it has nothing more to do.
    fn wake(&mut self, mut wakeup: Wakeup) {
        loop {
            let Some((daemon, _)) = &mut self.daemon else { return };
            wakeup.readable = self.kernel.borrow().is_readable();
            let again = wakeup.readable;
            daemon.wake(wakeup);
            wakeup = Wakeup::default();
            match daemon.take_end() {
                Some(End::Terminated | End::DeviceGone) => return self.end(),
                Some(End::Reload) | None if again => {}
                Some(End::Reload) | None => return,
            }
        }
    }

    /// The daemon ends by itself: its driver is dropped, and then its process ends.
    fn end(&mut self) {
        let Some((daemon, handle)) = self.daemon.take() else { return };
        drop(daemon);
        let mut kernel = self.kernel.borrow_mut();
        kernel.exit(self.pid, &[]);
        kernel.close_device(handle);
    }

    /// SIGKILL: the daemon runs no more code, and the kernel closes its descriptors.
    pub(crate) fn kill(&mut self) {
        let Some((daemon, handle)) = self.daemon.take() else { return };
        // A killed process drops nothing.
        std::mem::forget(daemon);
        let null = |number| Descriptor { number, target: Target::Other };
        let mut kernel = self.kernel.borrow_mut();
        kernel.exit(self.pid, &[null(0), null(1), null(2)]);
        kernel.close_device(handle);
    }

    /// SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.wake(Wakeup { terminate: true, ..Wakeup::default() });
    }

    /// The device is detached, and the process that has it open is killed.
    pub(crate) fn lose_device(&mut self) {
        self.kernel.borrow_mut().detach();
        self.kill();
    }

    /// The host asks. `None` while there is no answer.
    pub(crate) fn ask(&mut self, operation: Operation) -> Option<Outcome> {
        let ticket = self.kernel.borrow_mut().submit(operation);
        self.wake(Wakeup::default());
        self.kernel.borrow_mut().take_answer(ticket)
    }

    /// The same, and time passes until the host has an answer.
    pub(crate) fn ask_and_wait(&mut self, operation: Operation) -> Outcome {
        let ticket = self.kernel.borrow_mut().submit(operation);
        self.wake(Wakeup::default());
        let end = self.kernel.borrow().now() + LONG;
        loop {
            let answer = self.kernel.borrow_mut().take_answer(ticket);
            match answer {
                Some(outcome) => return outcome,
                None => assert!(self.pass_to_next_deadline(end), "the host hears nothing"),
            }
        }
    }

    /// umount(8) of the youngest UFS that is not `/`.
    pub(crate) fn unmount(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let on = kernel.mounts().iter().rev().map(|mount| mount.on.clone()).find(|on| on != "/");
        if let Some(on) = on {
            // A second umount of the same mount is busy.
            let _ = kernel.unmount(&on);
        }
    }

    /// All deadlines pass, in the order in which they are due.
    pub(crate) fn time_out(&mut self) {
        self.pass(LONG);
    }

    /// The UFSSUSPEND after the next one sleeps for longer than the kernel waits. Where hooks are slow, one
    /// of them ends.
    pub(crate) fn delay(&mut self) {
        if self.hooks == Hooks::Slow {
            return self.pass(MOMENT);
        }
        self.quick_disk();
        self.kernel.borrow_mut().inject(Fault { call: Call::Suspend, after: 1, errno: 0, delay: 16_000 });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.kernel.borrow().now() + time;
        while self.pass_to_next_deadline(end) {}
    }

    /// Lets time pass until the daemon has something to do, or until `end`; returns false at `end`.
    fn pass_to_next_deadline(&mut self, end: Duration) -> bool {
        let now = self.kernel.borrow().now();
        let deadline = self.daemon.as_ref().and_then(|(daemon, _)| daemon.deadline());
        let next = deadline.filter(|deadline| *deadline > now).unwrap_or(end).min(end);
        self.kernel.borrow_mut().pass(next.saturating_sub(now));
        self.wake(Wakeup::default());
        next < end
    }

    /// No UFSSUSPEND sleeps.
    pub(crate) fn quick_disk(&mut self) {
        self.kernel.borrow_mut().forget_faults();
    }

    /// Whether the guest refuses this request.
    pub(crate) fn refuses(&self, operation: Operation) -> bool {
        self.hooks == Hooks::Hanging && operation != Operation::Check
    }

    pub(crate) fn suspended(&self) -> Vec<String> {
        self.kernel.borrow().suspended()
    }

    /// No rule of the kernel was broken.
    pub(crate) fn assert_lawful(&self) {
        let kernel = self.kernel.borrow();
        let happened =
            || -> Vec<String> { kernel.timeline().iter().map(|entry| entry.happening.describe()).collect() };
        assert!(kernel.violations().is_empty(), "{:#?}\n{:#?}", kernel.violations(), happened());
        if kernel.is_backup_in_force() {
            self.assert_frozen_as_told();
        }
    }

    /// All UFS mounts are suspended, except those that the daemon reported as flushed.
    fn assert_frozen_as_told(&self) {
        let mut suspended = self.suspended();
        suspended.sort();
        let kernel = self.kernel.borrow();
        let mut wanted: Vec<&str> = kernel.mounts().iter().map(|mount| mount.on.as_str()).collect();
        wanted.retain(|on| !self.flushed.contains(on) || self.holds_nothing(on));
        wanted.sort_unstable();
        assert_eq!(suspended, wanted);
    }

    /// Whether a holder's image is no longer mounted, so that the holder is suspended like other mounts.
    fn holds_nothing(&self, on: &str) -> bool {
        let kernel = self.kernel.borrow();
        let image =
            kernel.facts().images.iter().any(|(_, file)| Path::new(file).parent() == Some(Path::new(on)));
        image && !kernel.mounts().iter().any(|mount| mount.from.contains("/md"))
    }

    /// Everything that decides about the future, as a text.
    pub(crate) fn state(&self) -> String {
        let daemon = self.daemon.as_ref().map(|(daemon, _)| format!("{daemon:?}")).unwrap_or_default();
        // Fields for the log and the reports have no influence.
        let daemon = ["refusals: ", "ledger: ", "last_check: ", "logged_flushes: "]
            .into_iter()
            .fold(daemon, without_field);
        without_numbers(&format!("{daemon} {}", self.kernel.borrow().state()))
    }
}

/// Removes a field with a value in braces or brackets from a text of Debug.
fn without_field(text: String, name: &str) -> String {
    let Some(begin) = text.find(name) else { return text };
    let (mut depth, mut opened) = (0, false);
    let end = text[begin..].find(|c: char| {
        depth += i32::from(matches!(c, '{' | '[' | '(')) - i32::from(matches!(c, '}' | ']' | ')'));
        opened |= depth > 0;
        depth == 0 && (opened || c == ',')
    });
    match end {
        Some(end) => format!("{}{}", &text[..begin], &text[begin + end + usize::from(opened)..]),
        None => text,
    }
}

/// Replaces numbers of requests, handles and processes, which only have to differ from each other.
fn without_numbers(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    loop {
        let marks = ["id: ", "Handle("];
        let found = marks.iter().filter_map(|mark| Some(rest.find(mark)? + mark.len())).min();
        let Some(end) = found else { break };
        out.push_str(&rest[..end]);
        rest = rest[end..].trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    out
}
