//! The loop: performs what the freezer says, and sleeps in between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hv_core::abi::vss::{Answer, Request};
use hv_core::report::{self, Ledger, Moment};
use hv_core::runtime::config::Config;
use hv_core::runtime::control::ControlSocket;
use hv_core::runtime::exec::{self, Group, Running};
use hv_core::runtime::log as logging;
use hv_core::runtime::wait::wait;
use hv_core::sys::clock;
use hv_core::sys::signals::Signals;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::mounts::Mount;
use hv_core::vss::{
    Action, Ended, Event, Findings, Freezer, Lane, Leaving, Outcome, Rules, Survey, Suspended, Task,
};

use crate::helper::{LeftBehind, Preparing, prepare_inline};
use crate::port::{SuspendPort, Suspender, VssPort};
use crate::{history, hook_dir, programs};

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT came.
    Terminated,
    /// The device is gone.
    DeviceGone,
    /// SIGHUP came, and no backup is going on: the caller reads the configuration and comes back.
    Reload,
}

/// Waiting failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for the device")]
pub struct WaitError(io::Error);

/// The daemon at work. Dropping it thaws the guest and then lets go the log.
#[derive(Debug)]
pub struct Driver<P, S: SuspendPort> {
    port: P,
    suspend_port: S,
    /// In the order of their numbers, which is the reverse of the slots'. Dropped with the driver, the first one first, and
    /// each one resumes what it suspends.
    suspenders: Vec<Option<S::Suspender>>,
    freezer: Freezer,
    facts: FactsSource,
    hook_dir: PathBuf,
    zpool: PathBuf,
    /// What runs for a check and for a backup.
    works: [Option<Work>; 2],
    /// What hooks of this backup may have left running.
    groups: Vec<Group>,
    left: LeftBehind,
    ledger: Ledger,
    history: PathBuf,
    control: Option<ControlSocket>,
    device_gone: bool,
    reload: bool,
    end: Option<End>,
    /// The last one to be dropped, when everything is resumed.
    _held_lines: ReleaseLog,
}

/// What runs beside the loop.
#[derive(Debug)]
enum Work {
    Program(Task, Running),
    Preparing(Preparing),
}

impl Work {
    fn deadline(&self) -> Duration {
        match self {
            Self::Program(_, running) => running.deadline(),
            Self::Preparing(preparing) => preparing.deadline(),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Program(_, running) => running.descriptors().collect(),
            Self::Preparing(preparing) => preparing.descriptor().into_iter().collect(),
        }
    }
}

const LANES: [Lane; 2] = [Lane::Check, Lane::Backup];

/// However the driver comes to its end, the lines that a freeze held back are written.
#[derive(Debug)]
struct ReleaseLog;

impl Drop for ReleaseLog {
    fn drop(&mut self) {
        logging::release();
    }
}

impl<P: VssPort, S: SuspendPort> Driver<P, S> {
    /// A driver for a guest that is not frozen.
    pub fn new(config: &Config, port: P, suspend_port: S) -> Self {
        let mut driver = Self {
            port,
            suspend_port,
            suspenders: Vec::new(),
            freezer: Freezer::new(Rules::default()),
            facts: facts_source(config),
            hook_dir: PathBuf::new(),
            zpool: PathBuf::new(),
            works: [None, None],
            groups: Vec::new(),
            left: LeftBehind::default(),
            ledger: Ledger::new(report::Identity {
                program: "hv_vss_daemon",
                config: None,
                device: config.vss.device.display().to_string(),
                started: Moment::now(),
            }),
            history: PathBuf::new(),
            control: None,
            device_gone: false,
            reload: false,
            end: None,
            _held_lines: ReleaseLog,
        };
        driver.configure(config);
        driver
    }

    /// Puts a new configuration into force.
    pub fn configure(&mut self, config: &Config) {
        self.facts = facts_source(config);
        self.hook_dir.clone_from(&config.vss.hook_dir);
        self.zpool.clone_from(&config.vss.zpool);
        self.history.clone_from(&config.vss.history);
        let (policy, limits) = (config.vss.policy(), config.vss.limits());
        self.freezer.set_rules(Rules { policy, limits });
    }

    /// What the engine knows: the last check and the last backup.
    pub fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    /// Why no backup can be made by the mount table and by what this process has open, a sentence each.
    pub fn check_own_files(&self) -> Vec<String> {
        match self.survey() {
            Ok(survey) => {
                let verdict = self.freezer.rules().policy.judge(&survey.mounts);
                // A veto that a look at the devices may lift is left to the host's check.
                let held_open = survey.held_open;
                let mut findings = Findings { verdict, held_open, ..Findings::default() };
                findings.hooks = hook_dir::list(&self.hook_dir);
                if findings.verdict.may_be_efi() { Vec::new() } else { findings.refusals() }
            }
            Err(reason) => vec![reason],
        }
    }

    /// Serves requests until a signal or the end of the device.
    ///
    /// # Errors
    /// [`WaitError`]; the guest is thawed when the driver is dropped.
    pub fn serve(&mut self, signals: &Signals) -> Result<End, WaitError> {
        loop {
            if let Some(end) = self.end.take() {
                return Ok(end);
            }
            if self.freezer.is_idle() && std::mem::take(&mut self.reload) {
                return Ok(End::Reload);
            }
            self.serve_once(signals)?;
        }
    }

    pub(crate) fn serve_once(&mut self, signals: &Signals) -> Result<(), WaitError> {
        let works = self.works.iter().flatten();
        let deadlines =
            works.clone().map(Work::deadline).chain(self.freezer.deadline()).chain(logging::retry_at());
        // A device that hung up would be ready for ever.
        let device = (!self.device_gone).then(|| self.port.descriptor());
        let control = self.control.as_ref().map(ControlSocket::descriptor);
        let at = usize::from(device.is_some());
        let descriptors: Vec<_> =
            device.into_iter().chain(control).chain(works.flat_map(Work::descriptors)).collect();
        let wakeup = wait(signals, &descriptors, deadlines.min()).map_err(WaitError)?;
        let device = wakeup.ready.first().copied().filter(|_| !self.device_gone).unwrap_or_default();
        self.reload |= wakeup.signals.reload;
        if wakeup.signals.child {
            exec::reap();
            self.left.reap();
        }
        if wakeup.signals.terminate {
            self.feed(Event::Terminate);
        }
        if device.gone {
            self.lose_device("it hung up".to_owned());
        } else if device.readable {
            self.read_request();
        }
        for lane in LANES {
            if let Some(event) = self.advance(lane) {
                self.feed(event);
            }
        }
        self.feed(Event::Tick);
        if let Some(control) =
            self.control.as_ref().filter(|_| wakeup.ready.get(at).is_some_and(|r| r.readable))
        {
            control.answer(|| report::text(&self.ledger.report(Moment::now())));
        }
        logging::retry();
        Ok(())
    }

    /// What the work of a lane has come to, if that is its end.
    fn advance(&mut self, lane: Lane) -> Option<Event> {
        let event = match self.works[lane as usize].as_mut()? {
            Work::Program(task, running) => {
                let ended = programs::ended(task, running.advance()?);
                self.groups.extend(running.take_group());
                Event::Ended(lane, ended)
            }
            Work::Preparing(preparing) => Event::Prepared(lane, preparing.advance(&mut self.left)?),
        };
        self.works[lane as usize] = None;
        Some(event)
    }

    fn lose_device(&mut self, how: String) {
        self.device_gone = true;
        self.feed(Event::DeviceGone(how));
    }

    fn read_request(&mut self) {
        match self.port.read() {
            Ok(Some(request)) => {
                log::debug!("request op={} id={}", request.operation, request.id);
                self.feed(Event::Request { request, age: age(request) });
            }
            Ok(None) => log::debug!("a request timed out before it was read"),
            Err(error) => self.lose_device(format!("cannot read a request: {error}")),
        }
    }

    /// Lets the freezer handle an event, and does what it says.
    fn feed(&mut self, event: Event) {
        let mut actions = VecDeque::from(self.handle(event));
        while let Some(action) = actions.pop_front() {
            self.ledger.action(&action, Moment::now());
            if let Some(event) = self.perform(action) {
                actions.extend(self.handle(event));
            }
        }
        if self.freezer.is_idle() {
            self.ledger.idle(Moment::now());
            self.write_history();
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        self.ledger.event(&event, Moment::now());
        self.freezer.handle(event, clock::monotonic())
    }

    /// Writes down the backups that are over. Nothing is frozen now, and no freeze is being prepared.
    fn write_history(&mut self) {
        while let Some(backup) = self.ledger.take_finished() {
            if let Err(error) = history::append(&self.history, &backup) {
                log::warn!("cannot write {}: {error}", self.history.display());
            }
        }
    }

    /// Makes the socket on which the daemon reports. Without it everything else works.
    pub fn open_control(&mut self, path: &Path, config_file: Option<&Path>) {
        self.ledger.named(config_file.map(|path| path.display().to_string()));
        match ControlSocket::bind(path) {
            Ok(socket) => self.control = Some(socket),
            Err(error) => log::warn!("no reports for hvctl(8): cannot make {}: {error}", path.display()),
        }
    }

    /// Ends the work: thaws the guest, and then removes the socket, which would sleep on a frozen file system.
    pub fn end(mut self) {
        let control = self.control.take();
        drop(self);
        if let Some(control) = control {
            control.remove();
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Survey(lane) => return Some(Event::Surveyed(lane, self.survey())),
            Action::ListHooks(lane) => return Some(Event::Hooks(lane, hook_dir::list(&self.hook_dir))),
            Action::Run(lane, task, limit) => return self.start(lane, task, limit),
            Action::Stop(lane) => self.stop(lane),
            Action::EndHooks { kill } => {
                self.groups.drain(..).filter(|_| kill).for_each(|group| group.kill());
            }
            Action::Decided { .. } => {}
            Action::Open(count) => return Some(Event::Opened(self.open(count))),
            Action::HoldLog => logging::hold(),
            Action::ReleaseLog => logging::release(),
            Action::Suspend { slot, mount } => return Some(Event::Suspended(self.suspend(slot, &mount))),
            Action::Resume(slot) => self.resume(slot),
            // From the first on: see the field.
            Action::Close => self.suspenders.clear(),
            Action::Answer(answer) => {
                let Answer { request, status } = &answer;
                log::debug!("answer op={} id={} status={status:?}", request.operation, request.id);
                let result = self.port.write(answer);
                return Some(Event::Answered(
                    result.map_err(|error| format!("cannot write an answer: {error}")),
                ));
            }
            Action::Log(level, text) => log::log!(level, "{text}"),
            Action::Leave(Leaving::Terminated) => self.end = Some(End::Terminated),
            Action::Leave(Leaving::DeviceGone) => self.end = Some(End::DeviceGone),
        }
        None
    }

    fn survey(&self) -> Result<Survey, String> {
        let mounts = self.facts.mounts().map_err(|error| mount_table_error(&error))?;
        let held_open = self.suspend_port.held_open(&self.facts, &mounts);
        let mut held_open =
            held_open.map_err(|error| format!("cannot find out which files are open: {error}"))?;
        let own = self.port.descriptor().as_raw_fd();
        held_open.retain(|held| held.descriptor != own);
        Ok(Survey { mounts, held_open })
    }

    /// Starts a task; one that cannot be started has ended.
    fn start(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event> {
        if let Task::Prepare(preparation) = &task {
            if !self.suspend_port.may_fork() {
                return Some(Event::Prepared(lane, prepare_inline(&self.facts, preparation)));
            }
            let preparing = Preparing::start(&self.facts, preparation, limit, &mut self.left);
            self.works[lane as usize] = Some(Work::Preparing(preparing));
            // It may have failed at once.
            return self.advance(lane);
        }
        let program = programs::program(&self.zpool, &task, limit)?;
        if let Some(pid) = exec::hanging(&program.path) {
            let text = format!("{} hangs since an earlier attempt (process {pid})", program.path.display());
            let ended = Ended { outcome: Outcome::NotStarted(text), output: Vec::new() };
            return Some(Event::Ended(lane, ended));
        }
        match program.start() {
            Ok(running) => {
                self.works[lane as usize] = Some(Work::Program(task, running));
                None
            }
            Err(error) => Some(Event::Ended(lane, programs::ended(&task, Err(error)))),
        }
    }

    fn stop(&mut self, lane: Lane) {
        // A program is killed by being dropped.
        if let Some(Work::Preparing(preparing)) = self.works[lane as usize].take() {
            preparing.stop(&mut self.left);
        }
    }

    fn open(&mut self, count: usize) -> Result<(), String> {
        self.suspenders.clear();
        // Each one gets the lowest number that is free, so they come in ascending order.
        for _ in 0..count {
            match self.suspend_port.open() {
                Ok(suspender) => self.suspenders.push(Some(suspender)),
                Err(error) => {
                    self.suspenders.clear();
                    return Err(format!("cannot open the device that suspends file systems: {error}"));
                }
            }
        }
        Ok(())
    }

    /// What was suspended last is resumed first when the kernel closes the descriptors of a dead process, which it does in
    /// ascending order (`fdescfree()` of kern/kern_descrip.c).
    fn place(&self, slot: usize) -> Option<usize> {
        self.suspenders.len().checked_sub(slot + 1)
    }

    fn suspend(&self, slot: usize, mount: &Mount) -> Suspended {
        let suspender = self.place(slot).and_then(|place| self.suspenders.get(place));
        let Some(Some(suspender)) = suspender else {
            return Suspended::Failed("there is no descriptor for it".to_owned());
        };
        match suspender.suspend(mount.id) {
            Ok(()) => Suspended::Done,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => Suspended::Vanished,
                _ => Suspended::Failed(suspend_error(&error)),
            },
        }
    }

    fn resume(&mut self, slot: usize) {
        let place = self.place(slot);
        let suspender = place.and_then(|place| self.suspenders.get_mut(place)).and_then(Option::take);
        let Some(suspender) = suspender else { return };
        if let Err(error) = suspender.resume() {
            log::warn!("a file system is resumed by closing, because the device said: {error}");
        }
    }
}

pub(crate) fn facts_source(config: &Config) -> FactsSource {
    config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory)
}

fn mount_table_error(error: &io::Error) -> String {
    format!("cannot read the mount table: {error}")
}

/// The kernel's words in words for administrators.
fn suspend_error(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "it is suspended already, or being unmounted: by umount(8), growfs(8), a snapshot in the making"
                .to_owned()
        }
        Some(libc::EDEADLK) => "this daemon holds a file open for writing there".to_owned(),
        Some(libc::EPERM) => "not permitted, perhaps because this is a jail".to_owned(),
        Some(libc::EINVAL) => "the kernel says that it is no ufs".to_owned(),
        _ => error.to_string(),
    }
}

fn age(request: Request) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_nanos(request.age(u64::try_from(now.as_nanos()).unwrap_or(0)))
}
