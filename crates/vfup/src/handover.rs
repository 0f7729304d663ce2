//! A hand-over from the facts to the last check: plan, lock, steps, undo, and what is left to hnN after a
//! failure. The plans are decided in `hv_core::vf`.

use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::hn::lock::{Lock, LockError};
use hv_core::net::{InterfaceName, StaticRoute};
use hv_core::plan::network::{ApplyError, NetworkPort, NetworkStep};
use hv_core::plan::{Event, Failed, Found, Plan, Port};
use hv_core::runtime::config::Config;
use hv_core::runtime::daemon::{Detached, detach};
use hv_core::runtime::error_chain;
use hv_core::runtime::terminal;
use hv_core::sys::clock;
use hv_core::sys::network::NetworkSource;
use hv_core::sys::signals::Signals;
use hv_core::vf::facts::Facts;
use hv_core::vf::load::{self, LoadError};
use hv_core::vf::plan::{
    PlanError, awaits_lease, differences, is_settled, lost_to_lease, plan_down, plan_restore, plan_up,
    plan_without_vf,
};

/// How often changes by others are corrected, and the rest of a failed undo.
const ROUNDS: u32 = 3;
/// How long the process that devd(8) waits for may take to end after it said so.
const PARENTS_END: Duration = Duration::from_secs(5);
/// How long undone changes may take to show, such as a DHCP client, and how often that is checked.
const UNDO_PATIENCE: Duration = Duration::from_secs(3);
const UNDO_PAUSE: Duration = Duration::from_millis(50);
/// How long a script of dhclient(8) is waited for before the last look beside a lease.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(3);

/// Why a hand-over failed. Nothing is left half-done unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The facts cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step failed.
    #[error(transparent)]
    Failed(Box<Failed<NetworkStep, ApplyError>>),
}

/// The direction of a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The network moves to the lagg of hnN and its VF.
    Up,
    /// The lagg is taken apart.
    Down,
}

/// The work to do.
#[derive(Debug)]
pub enum Planned {
    /// Nothing, for this reason.
    Nothing(&'static str),
    /// These steps, made from these facts. There may be none.
    Steps(Plan<NetworkStep>, Box<Facts>),
}

/// The state of the VF after joining has failed.
#[derive(Debug)]
pub enum Left {
    /// It is in use or down, or there is none.
    AsItIs,
    /// It was brought down, so that hnN has the network.
    Down(InterfaceName),
    /// It could not be brought down.
    Failed(Error),
}

/// A hand-over that failed.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub error: Error,
    /// The state of the VF.
    pub left: Left,
}

impl Failure {
    fn new(error: Error, left: Left) -> Box<Self> {
        Box::new(Self { error, left })
    }
}

/// The hand-over of one adapter.
#[derive(Debug)]
pub struct Handover<'a> {
    config: &'a Config,
    source: NetworkSource,
    hn: Adapter,
    direction: Direction,
}

impl<'a> Handover<'a> {
    /// The hand-over of `hn` with the programs and limits of `config`.
    #[must_use]
    pub fn new(config: &'a Config, hn: Adapter, direction: Direction) -> Self {
        Self { config, source: load::network_source(config), hn, direction }
    }

    /// What [`Self::apply`] would do now. It changes nothing and takes no lock.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Plan`].
    pub fn plan(&self) -> Result<Planned, Error> {
        self.plan_now(None)
    }

    /// `killed`: what the last run noted, if it never finished.
    fn plan_now(&self, killed: Option<&[StaticRoute]>) -> Result<Planned, Error> {
        if self.direction == Direction::Up && load::load_vf_facts(&self.source.facts)?.is_transparent() {
            return Ok(Planned::Nothing("the kernel handles its VF itself, nothing to do"));
        }
        let vf = load::load_vf(&self.source.facts, &self.hn)?;
        let gone = Planned::Nothing("VF was detached");
        if self.direction == Direction::Up && vf.is_none() {
            // The VF can be gone again before devd handles the event.
            return Ok(gone);
        }
        let mut facts = load::load_facts(&self.config.network, &self.source, &self.hn, vf)?;
        facts.interrupted = killed.is_some();
        facts.remembered = killed.unwrap_or_default().to_vec();
        let plan = match self.direction {
            Direction::Up => plan_up(&self.hn, &facts)?,
            Direction::Down => Some(plan_down(&self.hn, &facts)?),
        };
        Ok(plan.map_or(gone, |plan| Planned::Steps(plan, Box::new(facts))))
    }

    /// Performs the hand-over under the lock of the adapter, and checks the result. Returns the reason if
    /// there was nothing to do.
    ///
    /// If the plan waits for a lease, the caller's process ends here with success, and a child continues in
    /// the background: devd(8) must not wait.
    ///
    /// # Errors
    /// [`Error`], and the state of the VF: if joining fails it is brought down, still under the lock.
    pub fn apply(&self) -> Result<Option<&'static str>, Box<Failure>> {
        let vf = &self.config.vf;
        // The facts are read under the lock: a plan from facts that another process is changing would be
        // wrong.
        let mut lock = match Lock::take(&vf.lock_dir, &self.hn, vf.lock_wait()) {
            Ok(lock) => lock,
            // The process with the lock takes care of the VF.
            Err(error @ LockError::Busy { .. }) => return Err(Failure::new(error.into(), Left::AsItIs)),
            Err(error) => return Err(Failure::new(error.into(), self.leave_to_hn())),
        };
        self.work(&mut lock).map_err(|error| {
            // If taking apart fails, the former state is restored, VF included.
            let left = if self.direction == Direction::Up { self.leave_to_hn() } else { Left::AsItIs };
            Failure::new(error, left)
        })
    }

    fn work(&self, lock: &mut Lock) -> Result<Option<&'static str>, Error> {
        let noted = lock.routes(self.hn.name())?;
        let mut killed = lock.is_interrupted()?.then_some(noted.as_slice());
        for _ in 0..ROUNDS {
            let (plan, facts) = match self.plan_now(killed)? {
                Planned::Nothing(why) => return Ok(Some(why)),
                Planned::Steps(plan, facts) => (plan, facts),
            };
            if plan.is_empty() {
                log::debug!("{}: nothing to do", self.hn);
                finish(lock);
                break;
            }
            self.perform(&plan, &facts, lock)?;
            killed = None;
            if self.direction == Direction::Down || self.is_settled(&facts)? {
                break;
            }
            log::warn!("{}: something else has configured a port meanwhile, looking again", self.hn);
        }
        Ok(None)
    }

    /// Whether changes by devd(8), rc(8) or a cloud agent came in between. It starts no process. The plan is done
    /// by then, so a look that fails is tried again.
    fn is_settled(&self, before: &Facts) -> Result<bool, Error> {
        let mut attempts = 1..ROUNDS;
        loop {
            match self.source.snapshot() {
                Ok(network) => return Ok(is_settled(&self.hn, &Facts { network, ..before.clone() })),
                Err(error) if attempts.next().is_none() => return Err(LoadError::Network(error).into()),
                Err(error) => log::warn!("{}: not looked at, trying again: {error}", self.hn),
            }
            std::thread::sleep(UNDO_PAUSE);
        }
    }

    fn perform(&self, plan: &Plan<NetworkStep>, facts: &Facts, lock: &mut Lock) -> Result<(), Error> {
        // A signal must not leave a plan half-way. Each step has its time limit.
        if let Err(error) = Signals::install() {
            log::warn!("cannot defer signals: {error}");
        }
        lock.begin(&self.hn, &facts.network)?;
        let result = plan.run(&mut HandoverPort { port: self.port(), lock, hn: &self.hn });
        let Err(mut failed) = result else {
            self.give_again(plan);
            finish(lock);
            return Ok(());
        };
        let differing = self.undo_by_state(facts);
        if differing.is_empty() {
            finish(lock);
        }
        failed.found = Some(match differing {
            none if none.is_empty() => Found::AsBefore,
            some => Found::Differs(some),
        });
        Err(Error::Failed(Box::new(failed)))
    }

    /// Looks at the addresses beside a lease once more, and gives again what is missing: a client sets its lease
    /// again when the link comes back meanwhile, and takes an address away each time.
    fn give_again(&self, plan: &Plan<NetworkStep>) {
        let Some(interface) = awaits_lease(plan) else { return };
        let deadline = clock::monotonic() + SCRIPT_PATIENCE;
        let is_busy = || self.source.runs_dhclient_script(interface).unwrap_or(false);
        for _ in 0..ROUNDS {
            while is_busy() && clock::monotonic() < deadline {
                std::thread::sleep(UNDO_PAUSE);
            }
            let network = match self.source.snapshot() {
                Ok(network) => network,
                Err(error) => return log::warn!("{}: not looked at again: {error}", self.hn),
            };
            let lost = lost_to_lease(plan, interface, &network);
            if lost.is_empty() {
                return;
            }
            let mut port = self.port();
            for step in lost {
                port.announce(Event::Doing(step));
                if let Err(error) = port.perform(step) {
                    log::warn!("{}: {step}: {}", self.hn, error_chain(&error));
                }
            }
        }
    }

    /// Checks after the undo of all steps whether the state is as before, and restores what is not. Returns
    /// the remaining differences.
    fn undo_by_state(&self, before: &Facts) -> Vec<String> {
        let mut found = vec!["the network could not be read".to_owned()];
        let deadline = clock::monotonic() + UNDO_PATIENCE;
        for round in 0.. {
            match self.look(before) {
                Ok(now) => {
                    found = differences(&self.hn, before, &now);
                    if found.is_empty() {
                        break;
                    }
                    if round < ROUNDS {
                        self.restore(before, &now);
                    }
                }
                Err(error) => log::warn!("{}: {}", self.hn, error_chain(&error)),
            }
            if clock::monotonic() >= deadline {
                break;
            }
            std::thread::sleep(UNDO_PAUSE);
        }
        found
    }

    fn look(&self, before: &Facts) -> Result<Facts, LoadError> {
        load::load_network(&self.config.network, &self.source, &self.hn, before.vf.clone())
    }

    fn restore(&self, before: &Facts, now: &Facts) {
        let mut port = self.port();
        for planned in plan_restore(&self.hn, before, now).steps() {
            port.announce(Event::Undoing(&planned.step));
            if let Err(error) = port.perform(&planned.step) {
                log::warn!("{}: {}: {}", self.hn, planned.step, error_chain(&error));
            }
        }
    }

    /// Brings the VF down after a failure: while a VF is up the kernel delivers to it, and hn would have no
    /// traffic.
    fn leave_to_hn(&self) -> Left {
        match load::load_vf(&self.source.facts, &self.hn) {
            Ok(vf) => leave_without(self.config, &self.source, vf),
            Err(error) => Left::Failed(error.into()),
        }
    }

    fn port(&self) -> NetworkPort {
        NetworkPort::new(self.config.network.clone(), self.source.clone(), self.hn.name().as_str())
    }
}

/// Nothing is half-done any more. A mark that stays makes the next run look once more, which does no harm.
fn finish(lock: &mut Lock) {
    if let Err(error) = lock.finish() {
        log::warn!("{}", error_chain(&error));
    }
}

/// Brings an unused VF down. If `name` is not an interface of hn(4), or comes from a malformed command line,
/// the VF is found by `hw.hn.vfmap`.
#[must_use]
pub fn leave_to(config: &Config, name: &InterfaceName) -> Left {
    let source = load::network_source(config);
    match load::load_vf_of(&source, name) {
        Ok(vf) => leave_without(config, &source, vf),
        Err(error) => Left::Failed(error.into()),
    }
}

fn leave_without(config: &Config, source: &NetworkSource, vf: Option<InterfaceName>) -> Left {
    let Some(vf) = vf else { return Left::AsItIs };
    let bring_down = || -> Result<bool, Error> {
        let facts = load::load_one(&config.network, source, vf.clone())?;
        let plan = plan_without_vf(&facts);
        let mut port = NetworkPort::new(config.network.clone(), source.clone(), vf.as_str());
        plan.run(&mut port).map_err(|failed| Error::Failed(Box::new(failed)))?;
        Ok(!plan.is_empty())
    };
    match bring_down() {
        Ok(true) => Left::Down(vf),
        Ok(false) => Left::AsItIs,
        Err(error) => Left::Failed(error),
    }
}

/// Performs the steps. Before one that waits for a lease it lets the caller of the program continue.
struct HandoverPort<'a> {
    port: NetworkPort,
    lock: &'a mut Lock,
    hn: &'a Adapter,
}

impl Port<NetworkStep> for HandoverPort<'_> {
    type Error = ApplyError;

    fn perform(&mut self, step: &NetworkStep) -> Result<(), ApplyError> {
        if matches!(step, NetworkStep::StartDhcp { wait: true, .. }) {
            self.leave_the_foreground();
        }
        self.port.perform(step)
    }

    fn announce(&mut self, event: Event<'_, NetworkStep>) {
        self.port.announce(event);
    }
}

impl HandoverPort<'_> {
    /// From here on this is a child in a session of its own, with the lock. The process that was started has
    /// ended with success.
    fn leave_the_foreground(&mut self) {
        match detach() {
            Ok(Detached::Parent(code)) => {
                terminal::say(&format!("{}: the lease is waited for in the background", self.hn));
                std::process::exit(code.into())
            }
            Ok(Detached::Child(starting)) => {
                if let Err(error) = starting.ready() {
                    log::warn!("{}: cannot leave the standard streams: {error}", self.hn);
                }
                match self.lock.inherit(PARENTS_END) {
                    Ok(true) => {}
                    Ok(false) => {
                        log::info!("{}: another run goes on with it", self.hn);
                        std::process::exit(0)
                    }
                    Err(error) => log::warn!("{}: {}", self.hn, error_chain(&error)),
                }
            }
            Err(error) => log::warn!("{}: devd waits for the lease: {error}", self.hn),
        }
    }
}
