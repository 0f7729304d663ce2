//! Freezes and thaws the guest without a host, for `hvctl vss test`. It runs the daemon's own loop with
//! requests that this program makes. It writes no history.

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hv_core::abi::vss::{Answer, Operation, Request, Status};
use hv_core::report::Backup;
use hv_core::runtime::config::Config;
use hv_core::runtime::wait::wait;
use hv_core::sys::clock;
use hv_core::sys::signals::{Signals, ignore_job_control};

use crate::port::{SuspendPath, SuspendPort, VssPort};
use crate::serve::{Driver, Wakeup};
use crate::start::prepare_memory;

/// How much later than the wanted thaw the watchdog thaws.
const WATCHDOG_MARGIN: Duration = Duration::from_secs(10);

/// The request under way and its answer.
#[derive(Debug, Default)]
struct Desk {
    next: Option<Request>,
    answers: Vec<Answer>,
}

/// The host's side. It never announces a request: the trial wakes the loop itself.
#[derive(Debug)]
struct Port {
    desk: Rc<RefCell<Desk>>,
    silent: PipeReader,
    /// Open until the end, so that the reader does not hang up.
    _writer: PipeWriter,
}

impl VssPort for Port {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.silent.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        Ok(self.desk.borrow_mut().next.take())
    }

    fn write(&mut self, answer: Answer) -> io::Result<()> {
        self.desk.borrow_mut().answers.push(answer);
        Ok(())
    }
}

/// Freezes the guest, keeps it frozen for `hold`, thaws it and waits for the hooks. Hooks, limits and
/// watchdog are those of a backup; the watchdog is always armed. A signal thaws at once.
///
/// To be called by a process without threads.
///
/// # Errors
/// The system refuses something that the daemon would need, too. Nothing is frozen then.
pub fn run(config: &Config, hold: Duration) -> io::Result<Backup> {
    let devices = SuspendPath(config.vss.suspend_device.clone());
    ignore_job_control()?;
    let signals = Signals::install()?;
    prepare_memory();
    freeze_and_thaw(config, hold, devices, &signals)
}

fn freeze_and_thaw(
    config: &Config,
    hold: Duration,
    devices: impl SuspendPort,
    signals: &Signals,
) -> io::Result<Backup> {
    let mut config = config.clone();
    let latest = u64::try_from((hold + WATCHDOG_MARGIN).as_millis()).unwrap_or(u64::MAX);
    if config.vss.watchdog_ms == 0 || config.vss.watchdog_ms > latest {
        config.vss.watchdog_ms = latest;
    }
    // A trial is no backup, so it is not in the history.
    config.vss.history = "/dev/null".into();
    let (silent, writer) = io::pipe()?;
    let desk = Rc::new(RefCell::new(Desk::default()));
    let port = Port { desk: Rc::clone(&desk), silent, _writer: writer };
    let mut trial = Trial { driver: Driver::new(&config, port, devices), desk, signals };
    if trial.ask(Operation::Freeze)? == Status::Success {
        trial.hold(hold)?;
        trial.ask(Operation::Thaw)?;
    }
    trial.finish()?;
    let none = || io::Error::other("the freeze was not tried");
    trial.driver.last_backup().ok_or_else(none)
}

struct Trial<'a, S: SuspendPort> {
    driver: Driver<Port, S>,
    desk: Rc<RefCell<Desk>>,
    signals: &'a Signals,
}

impl<S: SuspendPort> Trial<'_, S> {
    /// Makes a request and waits for its answer; each step has its limit.
    fn ask(&mut self, operation: Operation) -> io::Result<Status> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = Request { operation, id: u64::try_from(now.as_nanos()).unwrap_or(0) };
        self.desk.borrow_mut().next = Some(request);
        self.driver.wake(Wakeup { readable: true, ..Wakeup::default() });
        loop {
            let answered = |answer: &&Answer| answer.request == request;
            if let Some(answer) = self.desk.borrow().answers.iter().find(answered) {
                return Ok(answer.status);
            }
            if self.driver.take_end().is_some() {
                return Ok(Status::Failure);
            }
            self.driver.serve_once(self.signals).map_err(io::Error::other)?;
        }
    }

    /// Waits until the time is over or the guest is thawed.
    fn hold(&mut self, hold: Duration) -> io::Result<()> {
        let until = clock::monotonic().saturating_add(hold);
        while clock::monotonic() < until && self.driver.is_frozen() {
            let due = self.driver.deadline().into_iter().chain([until]).min();
            let woken = wait(self.signals, &[], due)?.signals;
            let (terminate, child) = (woken.terminate, woken.child);
            self.driver.wake(Wakeup { terminate, child, ..Wakeup::default() });
        }
        Ok(())
    }

    /// Waits for the end of the hooks.
    fn finish(&mut self) -> io::Result<()> {
        while !self.driver.freezer().is_idle() && self.driver.take_end().is_none() {
            self.driver.serve_once(self.signals).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
