//! Performs the steps of an injection, in a time that is divided beforehand.
//!
//! The host gets an answer within four seconds, whatever happens. So the steps have a deadline, and taking
//! them back has a later one of its own; each program gets what is left at most, and one that takes part in
//! the undo a share only, so that one that hangs does not use up the time of the others.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{self, FileError};
use super::load::load_facts;
use super::persist::{self, Mismatch};
use super::plan::Facts;
use super::step::{Expectation, FileChange, ResolvLabel, Step};
use super::transaction::Guest;
use crate::hn::Adapter;
use crate::net::InterfaceName;
use crate::net::processes::Named;
use crate::plan::network::{ApplyError as NetworkError, NetworkPort, NetworkStep};
use crate::plan::{Event, Port};
use crate::rc::load_rc_conf;
use crate::runtime::config;
use crate::runtime::error_chain;
use crate::runtime::exec::{Program, ProgramError};
use crate::sys::clock;
use crate::sys::network::NetworkSource;
use crate::vf::load::LoadError;

/// How long others may go on before the next look.
const PAUSE: Duration = Duration::from_millis(50);

/// When things must be over, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The steps of the plan.
    pub steps: Duration,
    /// The undo of all of them.
    pub undo: Duration,
    /// How long one program of the undo may take.
    pub share: Duration,
}

/// Why a step's outcome was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A change of the network.
    #[error(transparent)]
    Network(NetworkError),
    /// resolvconf(8).
    #[error(transparent)]
    Program(ProgramError),
    /// A file could not be read or replaced.
    #[error(transparent)]
    File(FileError),
    /// Somebody has changed a file since it was read.
    #[error("{0} was changed by somebody else")]
    Changed(PathBuf),
    /// rc.conf(5) could not be read by the shell.
    #[error(transparent)]
    RcConf(LoadError),
    /// It says something else than it should.
    #[error(transparent)]
    Mismatch(Mismatch),
    /// The network could not be looked at.
    #[error(transparent)]
    Look(LoadError),
    /// A DHCP client of another kind serves the interface.
    #[error("{} with process id {} serves it, stop that first", .0.name, .0.pid)]
    ForeignClient(Named),
    /// Others are at work on the interface for longer than the host waits.
    #[error("somebody else is at work on it: {0}")]
    NotStill(String),
    /// The answer is due.
    #[error("the host's time for an answer is used up")]
    NoTime,
}

/// Performs [`Step`]s.
#[derive(Debug)]
pub struct InjectionPort {
    network: NetworkPort,
    settings: config::Network,
    source: NetworkSource,
    deadlines: Deadlines,
    undoing: bool,
    /// Whether it is known how rc(8) starts DHCP clients.
    knows_client: bool,
    /// The adapter that is looked at, and what log lines begin with.
    hn: Adapter,
}

impl InjectionPort {
    /// A port for what is done to the interface of an adapter, or to its lagg.
    #[must_use]
    pub fn new(
        settings: &config::Network,
        source: &NetworkSource,
        hn: &Adapter,
        deadlines: Deadlines,
    ) -> Self {
        let network = NetworkPort::new(settings.clone(), source.clone(), hn.name().as_str());
        let (settings, source, hn) = (settings.clone(), source.clone(), hn.clone());
        Self { network, settings, source, deadlines, undoing: false, knows_client: false, hn }
    }

    /// Starts the DHCP client of an interface, which nobody waits for.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_client(&mut self, interface: &InterfaceName) -> Result<(), ApplyError> {
        self.network(&NetworkStep::StartDhcp { interface: interface.clone(), wait: false })
    }

    /// When the next step must be over.
    fn deadline(&self) -> Duration {
        if self.undoing {
            self.deadlines.undo.min(clock::monotonic() + self.deadlines.share)
        } else {
            self.deadlines.steps
        }
    }

    /// How long the next program may take.
    fn limit(&self) -> Result<Duration, ApplyError> {
        let left = self.deadline().saturating_sub(clock::monotonic());
        if left.is_zero() { Err(ApplyError::NoTime) } else { Ok(left.min(self.settings.command_limit())) }
    }

    fn network(&mut self, step: &NetworkStep) -> Result<(), ApplyError> {
        let limit = self.limit()?;
        if let NetworkStep::StartDhcp { interface, .. } = step {
            self.learn_client(interface, limit);
        }
        self.network.set_deadline(self.deadline());
        self.network.perform(step).map_err(ApplyError::Network)
    }

    /// A client is started as rc.d/dhclient would: the variables are those of the interface that it serves.
    /// Where they cannot be had, base's is started without any flags.
    fn learn_client(&mut self, interface: &InterfaceName, limit: Duration) {
        if std::mem::replace(&mut self.knows_client, true) {
            return;
        }
        let mut settings = self.settings.clone();
        settings.set_command_limit(limit);
        match load_rc_conf(&settings, &[interface]) {
            Ok(rc_conf) => self.network.set_dhcp_client(rc_conf.dhcp_client(interface)),
            Err(error) => log::debug!("{interface}: {}", error_chain(&error)),
        }
    }

    fn check(&self, expectation: &Expectation, limit: Duration) -> Result<(), ApplyError> {
        let mut settings = self.settings.clone();
        settings.set_command_limit(limit);
        let lagg = expectation.lagg.as_ref();
        let names: Vec<_> = std::iter::once(&expectation.hn).chain(lagg).collect();
        let rc_conf = load_rc_conf(&settings, &names).map_err(ApplyError::RcConf)?;
        persist::check(&expectation.hn, lagg, &expectation.method, &rc_conf).map_err(ApplyError::Mismatch)
    }
}

impl Port<Step> for InjectionPort {
    type Error = ApplyError;

    fn perform(&mut self, step: &Step) -> Result<(), ApplyError> {
        match step {
            // Takes no program, and what was written must be taken back even when all time is used up.
            Step::Store(change) => store(change, self.undoing),
            Step::Network(step) => self.network(step),
            Step::SetNameServers { label, text } => {
                succeed(&supply_name_servers(&self.settings, label, text, self.limit()?))
            }
            Step::DropNameServers(label) => {
                succeed(&resolvconf(&self.settings, &["-f", "-d", label.as_str()], self.limit()?))
            }
            Step::Check(expectation) => self.check(expectation, self.limit()?),
            // What is looked at is said by whoever looks.
            Step::Settle(_) => Ok(()),
        }
    }

    fn announce(&mut self, event: Event<'_, Step>) {
        self.undoing = matches!(event, Event::Undoing(_));
        log::info!("{}: {event}", self.hn);
    }
}

impl Guest for InjectionPort {
    fn look(&mut self) -> Result<Facts, ApplyError> {
        let limit = self.limit()?;
        load_facts(&self.settings, &self.source, &self.hn, limit).map_err(ApplyError::Look)
    }

    fn pause(&mut self) -> bool {
        std::thread::sleep(PAUSE);
        clock::monotonic() < self.deadlines.steps
    }
}

/// The program that gives resolvconf(8) the name servers of a label, for the time after a boot.
#[must_use]
pub fn supply_name_servers(
    settings: &config::Network,
    label: &ResolvLabel,
    text: &str,
    limit: Duration,
) -> Program {
    let program = resolvconf(settings, &["-a", label.as_str()], limit);
    Program { input: text.as_bytes().to_vec(), ..program }
}

/// Drops the name servers of a label, if there are any.
///
/// # Errors
/// resolvconf(8) failed or was late.
pub fn drop_name_servers(settings: &config::Network, label: &ResolvLabel) -> Result<(), ApplyError> {
    succeed(&resolvconf(settings, &["-f", "-d", label.as_str()], settings.command_limit()))
}

fn succeed(program: &Program) -> Result<(), ApplyError> {
    program.succeed().map(drop).map_err(ApplyError::Program)
}

fn resolvconf(settings: &config::Network, arguments: &[&str], limit: Duration) -> Program {
    let mut program = Program::new(&settings.resolvconf, limit);
    program.arguments = arguments.iter().map(Into::into).collect();
    program
}

/// A file that is neither as it was nor as it should be belongs to somebody else. One that only a failed
/// replacement would have changed is still as it was.
fn store(change: &FileChange, undoing: bool) -> Result<(), ApplyError> {
    let held = file::load(&change.path).map_err(ApplyError::File)?;
    let is = |wanted: &Option<file::Content>| {
        held.as_ref().map(|held| &held.bytes) == wanted.as_ref().map(|wanted| &wanted.bytes)
    };
    if is(&change.to) && undoing {
        return Ok(());
    }
    if !is(&change.from) && !is(&change.to) {
        return Err(ApplyError::Changed(change.path.clone()));
    }
    file::store(&change.path, change.to.as_ref()).map_err(ApplyError::File)
}
