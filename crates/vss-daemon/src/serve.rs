//! The loop: performs what the freezer says, and sleeps in between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hv_core::abi::vss::{Answer, Request};
use hv_core::report::{self, Ledger, Moment};
use hv_core::runtime::config::Config;
use hv_core::runtime::control::ControlSocket;
use hv_core::runtime::exec::Running;
use hv_core::runtime::log as logging;
use hv_core::runtime::wait::wait;
use hv_core::sys::clock;
use hv_core::sys::signals::Signals;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::mounts::Mount;
use hv_core::vss::{Action, Event, Freezer, HeldOpen, Leaving, Rules, Suspended, Task};

use crate::history;
use crate::hook_dir;
use crate::port::{SuspendPort, Suspender, VssPort};
use crate::programs::{self, Paths};

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
    /// Dropped with the driver, and each one resumes what it suspends.
    suspenders: Vec<Option<S::Suspender>>,
    freezer: Freezer,
    facts: FactsSource,
    hook_dir: PathBuf,
    paths: Paths,
    held_open: Vec<HeldOpen>,
    running: Option<(Task, Running)>,
    ledger: Ledger,
    history: PathBuf,
    control: Option<ControlSocket>,
    device_gone: bool,
    reload: bool,
    end: Option<End>,
    /// The last one to be dropped, when everything is resumed.
    _held_lines: ReleaseLog,
}

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
        let facts = facts_source(config);
        let own = port.descriptor().as_raw_fd();
        let held_open =
            held_open(&suspend_port, &facts).into_iter().filter(|held| held.descriptor != own).collect();
        let mut driver = Self {
            port,
            suspend_port,
            suspenders: Vec::new(),
            freezer: Freezer::new(Rules::default()),
            facts,
            hook_dir: PathBuf::new(),
            paths: Paths::new(&config.vss),
            held_open,
            running: None,
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
        self.paths = Paths::new(&config.vss);
        self.history.clone_from(&config.vss.history);
        let (policy, limits) = (config.vss.policy(), config.vss.limits());
        self.freezer.set_rules(Rules { policy, limits, held_open: self.held_open.clone() });
    }

    /// Why no backup can be made now, a sentence each.
    pub fn refusals(&self) -> Vec<String> {
        match self.facts.mounts() {
            Ok(table) => self.freezer.rules().refusals(&self.freezer.rules().policy.judge(&table)),
            Err(error) => vec![mount_table_error(&error)],
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

    fn serve_once(&mut self, signals: &Signals) -> Result<(), WaitError> {
        let program = self.running.as_ref().map(|(_, running)| running);
        let deadlines = [self.freezer.deadline(), program.map(Running::deadline), logging::retry_at()];
        // A device that hung up would be ready for ever.
        let device = (!self.device_gone).then(|| self.port.descriptor());
        let control = self.control.as_ref().map(ControlSocket::descriptor);
        let at = usize::from(device.is_some());
        let descriptors: Vec<_> = device
            .into_iter()
            .chain(control)
            .chain(program.into_iter().flat_map(Running::descriptors))
            .collect();
        let wakeup = wait(signals, &descriptors, deadlines.into_iter().flatten().min()).map_err(WaitError)?;
        let device = wakeup.ready.first().copied().filter(|_| !self.device_gone).unwrap_or_default();
        self.reload |= wakeup.signals.reload;
        if wakeup.signals.terminate {
            self.feed(Event::Terminate);
        }
        if device.gone {
            self.lose_device("it hung up".to_owned());
        } else if device.readable {
            self.read_request();
        }
        if let Some((task, running)) = &mut self.running
            && let Some(result) = running.advance()
        {
            let ended = programs::ended(task, result);
            self.running = None;
            self.feed(Event::Ended(ended));
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
            Action::Survey(purpose) => {
                let table = self.facts.mounts().map_err(|error| mount_table_error(&error));
                return Some(Event::Surveyed(purpose, table));
            }
            Action::ListHooks => return Some(Event::Hooks(hook_dir::list(&self.hook_dir))),
            Action::Run(task, limit) => return self.start(task, limit),
            Action::Stop => self.running = None,
            Action::Open(count) => return Some(Event::Opened(self.open(count))),
            Action::HoldLog => logging::hold(),
            Action::ReleaseLog => logging::release(),
            Action::Suspend { slot, mount } => return Some(Event::Suspended(self.suspend(slot, &mount))),
            Action::Resume(slot) => self.resume(slot),
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

    /// Starts a program; one that cannot be started has ended.
    fn start(&mut self, task: Task, limit: Duration) -> Option<Event> {
        match self.paths.program(&task, limit).start() {
            Ok(running) => {
                self.running = Some((task, running));
                None
            }
            Err(error) => Some(Event::Ended(programs::ended(&task, Err(error)))),
        }
    }

    fn open(&mut self, count: usize) -> Result<(), String> {
        self.suspenders.clear();
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

    fn suspend(&self, slot: usize, mount: &Mount) -> Suspended {
        let Some(Some(suspender)) = self.suspenders.get(slot) else {
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
        let Some(suspender) = self.suspenders.get_mut(slot).and_then(Option::take) else { return };
        if let Err(error) = suspender.resume() {
            log::warn!("a file system is resumed by closing, because the device said: {error}");
        }
    }
}

fn facts_source(config: &Config) -> FactsSource {
    config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory)
}

fn held_open(port: &impl SuspendPort, facts: &FactsSource) -> Vec<HeldOpen> {
    let held = facts.mounts().and_then(|table| port.held_open(facts, &table));
    held.unwrap_or_else(|error| {
        log::warn!("cannot find out which files are open: {error}");
        Vec::new()
    })
}

fn mount_table_error(error: &io::Error) -> String {
    format!("cannot read the mount table: {error}")
}

/// The kernel's words in words for administrators.
fn suspend_error(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "it is suspended already, perhaps by growfs(8) or another program".to_owned(),
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
