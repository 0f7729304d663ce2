//! The loop of the daemon: performs the freezer's actions, reports their results as events, and sleeps in
//! between. It decides nothing about a backup.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use hv_core::abi::vss::Answer;
use hv_core::report::{self, Backup, Ledger, Moment};
use hv_core::runtime::config::Config;
use hv_core::runtime::control::ControlSocket;
use hv_core::runtime::log as logging;
use hv_core::runtime::wait::wait;
use hv_core::sys::signals::Signals;
use hv_core::vss::mounts::Mount;
use hv_core::vss::{Action, Event, Findings, Freezer, Lane, Leaving, Rules, Survey, Suspended};

use crate::guest::{Guest, SystemGuest};
use crate::port::{SuspendPort, Suspender, VssPort};

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT arrived.
    Terminated,
    /// The device is gone.
    DeviceGone,
    /// SIGHUP arrived and no backup is under way. The caller reads the configuration and calls again.
    Reload,
}

/// The wait for events failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for the device")]
pub struct WaitError(io::Error);

/// The daemon at work. Dropping it thaws the guest and then releases the log.
#[derive(Debug)]
pub struct Driver<P, S: SuspendPort, G = SystemGuest> {
    port: P,
    suspend_port: S,
    /// The suspenders, in the order of their descriptors, which is the reverse of the slots'. When the driver
    /// is dropped, they are dropped from the first to the last, and each resumes its file system.
    suspenders: Vec<Option<S::Suspender>>,
    freezer: Freezer,
    guest: G,
    ledger: Ledger,
    control: Option<ControlSocket>,
    device_gone: bool,
    reload: bool,
    end: Option<End>,
    /// Must be the last field, so that it is dropped after everything is resumed.
    _held_lines: ReleaseLog,
}

const LANES: [Lane; 2] = [Lane::Check, Lane::Backup];

/// Releases the held log lines when the driver is dropped for any reason.
#[derive(Debug)]
struct ReleaseLog;

impl Drop for ReleaseLog {
    fn drop(&mut self) {
        logging::release();
    }
}

/// Why the loop woke up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wakeup {
    /// A request waits to be read.
    pub readable: bool,
    /// The device is gone.
    pub gone: bool,
    /// SIGTERM or SIGINT arrived.
    pub terminate: bool,
    /// SIGHUP arrived.
    pub reload: bool,
    /// SIGCHLD arrived.
    pub child: bool,
}

impl<P: VssPort, S: SuspendPort> Driver<P, S> {
    /// A driver for a guest that is not frozen.
    pub fn new(config: &Config, port: P, suspend_port: S) -> Self {
        let guest = SystemGuest::new(config, suspend_port.may_fork());
        Self::in_guest(config, port, suspend_port, guest)
    }
}

impl<P: VssPort, S: SuspendPort, G: Guest> Driver<P, S, G> {
    /// The same with another implementation of the system.
    pub fn in_guest(config: &Config, port: P, suspend_port: S, guest: G) -> Self {
        let mut driver = Self {
            port,
            suspend_port,
            suspenders: Vec::new(),
            freezer: Freezer::new(Rules::default()),
            guest,
            ledger: Ledger::new(report::Identity {
                program: "hv_vss_daemon",
                config: None,
                device: config.vss.device.display().to_string(),
                started: Moment::now(),
            }),
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
        self.guest.configure(config);
        let (policy, limits) = (config.vss.policy(), config.vss.limits());
        self.freezer.set_rules(Rules { policy, limits });
    }

    /// The engine, for its last check and last backup.
    pub fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    /// Why no backup can be made, by the mount table and the files that this process has open: one sentence
    /// each.
    pub fn check_own_files(&self) -> Vec<String> {
        match self.survey() {
            Ok(survey) => {
                let verdict = self.freezer.rules().policy.judge(&survey.mounts);
                // A veto that a scan of the devices may lift is left to the host's check.
                let held_open = survey.held_open;
                let mut findings = Findings { verdict, held_open, ..Findings::default() };
                findings.hooks = self.guest.hooks();
                if findings.verdict.may_be_efi() { Vec::new() } else { findings.refusals() }
            }
            Err(reason) => vec![reason],
        }
    }

    /// Serves requests until a signal arrives or the device is gone.
    ///
    /// # Errors
    /// [`WaitError`]; the guest is thawed when the driver is dropped.
    pub fn serve(&mut self, signals: &Signals) -> Result<End, WaitError> {
        loop {
            if let Some(end) = self.take_end() {
                return Ok(end);
            }
            if self.freezer.is_idle() && std::mem::take(&mut self.reload) {
                return Ok(End::Reload);
            }
            self.serve_once(signals)?;
        }
    }

    pub(crate) fn serve_once(&mut self, signals: &Signals) -> Result<(), WaitError> {
        let deadlines = [self.deadline(), logging::retry_at()];
        // A device that hung up would be ready for ever.
        let device = (!self.device_gone).then(|| self.port.descriptor());
        let control = self.control.as_ref().map(ControlSocket::descriptor);
        let at = usize::from(device.is_some());
        let descriptors: Vec<_> = device.into_iter().chain(control).chain(self.guest.descriptors()).collect();
        let woken = wait(signals, &descriptors, deadlines.into_iter().flatten().min()).map_err(WaitError)?;
        let device = woken.ready.first().copied().filter(|_| !self.device_gone).unwrap_or_default();
        let signals = woken.signals;
        self.wake(Wakeup {
            readable: device.readable,
            gone: device.gone,
            terminate: signals.terminate,
            reload: signals.reload,
            child: signals.child,
        });
        if let Some(control) =
            self.control.as_ref().filter(|_| woken.ready.get(at).is_some_and(|r| r.readable))
        {
            control.answer(|| report::text(&self.report()));
        }
        logging::retry();
        Ok(())
    }

    fn report(&self) -> report::VssReport {
        let mut report = self.ledger.report(Moment::now());
        // During a backup the mounts and hooks are left alone.
        if self.freezer.is_idle() {
            report.refusals = self.check_own_files();
        }
        report
    }

    /// When [`Self::wake`] must be called. `None` while no deadline runs.
    pub fn deadline(&self) -> Option<Duration> {
        self.guest.deadline().into_iter().chain(self.freezer.deadline()).min()
    }

    /// Why the loop shall end. The call clears the reason.
    pub fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// One round of the loop, after its sleep.
    pub fn wake(&mut self, wakeup: Wakeup) {
        self.reload |= wakeup.reload;
        if wakeup.child {
            self.guest.child_ended();
        }
        if wakeup.terminate {
            self.feed(Event::Terminate);
        }
        if wakeup.gone {
            self.lose_device("it hung up".to_owned());
        } else if wakeup.readable {
            self.read_request();
        }
        for lane in LANES {
            if let Some(event) = self.guest.advance(lane) {
                self.feed(event);
            }
        }
        self.feed(Event::Tick);
    }

    fn lose_device(&mut self, how: String) {
        self.device_gone = true;
        self.feed(Event::DeviceGone(how));
    }

    fn read_request(&mut self) {
        match self.port.read() {
            Ok(Some(request)) => {
                log::debug!("request op={} id={}", request.operation, request.id);
                let age = self.guest.age(request);
                self.feed(Event::Request { request, age });
            }
            Ok(None) => log::debug!("a request timed out before it was read"),
            Err(error) => self.lose_device(format!("cannot read a request: {error}")),
        }
    }

    /// Hands an event to the freezer and performs its actions.
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
        self.freezer.handle(event, self.guest.now())
    }

    /// Writes the records of finished backups. It is called only while nothing is frozen and no freeze is
    /// being prepared.
    fn write_history(&mut self) {
        while let Some(backup) = self.ledger.take_finished() {
            self.guest.keep(&backup);
        }
    }

    /// The last finished backup, with everything known about it.
    pub fn last_backup(&self) -> Option<Backup> {
        self.ledger.report(Moment::now()).last_backup
    }

    /// Whether a file system is suspended.
    pub fn is_frozen(&self) -> bool {
        !self.ledger.report(Moment::now()).frozen.is_empty()
    }

    /// Creates the socket on which the daemon reports. Without it the daemon works nevertheless.
    pub fn open_control(&mut self, path: &Path, config_file: Option<&Path>) {
        self.ledger.named(config_file.map(|path| path.display().to_string()));
        match ControlSocket::bind(path) {
            Ok(socket) => self.control = Some(socket),
            Err(error) => log::warn!("no reports for hvctl(8): cannot make {}: {error}", path.display()),
        }
    }

    /// Ends the daemon: thaws the guest, and then removes the socket. Removing it would sleep on a frozen
    /// file system.
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
            Action::ListHooks(lane) => return Some(Event::Hooks(lane, self.guest.hooks())),
            Action::Run(lane, task, limit) => return self.guest.start(lane, task, limit),
            Action::Stop(lane) => self.guest.stop(lane),
            Action::EndHooks { kill } => self.guest.end_hooks(kill),
            Action::Decided { .. } => {}
            Action::Open(count) => return Some(Event::Opened(self.open(count))),
            Action::HoldLog => logging::hold(),
            Action::ReleaseLog => logging::release(),
            Action::Suspend { slot, mount } => return Some(Event::Suspended(self.suspend(slot, &mount))),
            Action::Resume(slot) => self.resume(slot),
            // In the order of the field, so that the last suspended is resumed first.
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
        let mounts = self.guest.mounts().map_err(|error| mount_table_error(&error))?;
        let held_open = self.suspend_port.held_open(self.guest.facts(), &mounts);
        let mut held_open =
            held_open.map_err(|error| format!("cannot find out which files are open: {error}"))?;
        let own = self.port.descriptor().as_raw_fd();
        held_open.retain(|held| held.descriptor != own);
        Ok(Survey { mounts, held_open })
    }

    fn open(&mut self, count: usize) -> Result<(), String> {
        self.suspenders.clear();
        // Each open gets the lowest free number, so the numbers ascend.
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

    /// The index of a slot's suspender. The kernel closes the descriptors of a dead process in ascending
    /// order (`fdescfree()` of kern/kern_descrip.c), so the file system that was suspended last has the
    /// lowest one.
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

fn mount_table_error(error: &io::Error) -> String {
    format!("cannot read the mount table: {error}")
}

/// An error of the kernel in words for administrators.
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
