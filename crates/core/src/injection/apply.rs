//! Performs the steps of an injection: changes of the network, name servers and files. It decides no step,
//! and keeps the deadlines that it is given.
//!
//! The host must get an answer within four seconds. So the steps have a deadline, and their undo has a later
//! one. Each program gets at most the time that is left. A program of the undo gets only a share, so that one
//! that hangs leaves time for the others.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{self, FileError};
use super::load::load_facts;
use super::persist::{self, Mismatch};
use super::plan::Facts;
use super::step::{Expectation, FileChange, ResolvLabel, Step};
use super::transaction::Guest;
use crate::hn::Adapter;
use crate::net::processes::Named;
use crate::net::{InterfaceAddress, InterfaceName};
use crate::plan::network::{ApplyError as NetworkError, NetworkPort, NetworkStep};
use crate::plan::{Event, Port};
use crate::rc::load_rc_conf;
use crate::runtime::config;
use crate::runtime::error_chain;
use crate::runtime::exec::{Program, ProgramError};
use crate::sys::clock;
use crate::sys::network::NetworkSource;
use crate::vf::load::LoadError;

/// The pause between two looks while others work on the interface.
const PAUSE: Duration = Duration::from_millis(50);

/// The deadlines, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For the steps of the plan.
    pub steps: Duration,
    /// For the undo of all steps.
    pub undo: Duration,
    /// The time limit of one program of the undo.
    pub share: Duration,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A change of the network failed.
    #[error(transparent)]
    Network(NetworkError),
    /// resolvconf(8) failed.
    #[error(transparent)]
    Program(ProgramError),
    /// A file could not be read or replaced.
    #[error(transparent)]
    File(FileError),
    /// A file was changed by another program since it was read.
    #[error("{0} was changed by another program")]
    Changed(PathBuf),
    /// The shell could not read rc.conf(5).
    #[error(transparent)]
    RcConf(LoadError),
    /// rc.conf(5) means something else than it should.
    #[error(transparent)]
    Mismatch(Mismatch),
    /// The network could not be read.
    #[error(transparent)]
    Look(LoadError),
    /// A DHCP client of another kind serves the interface.
    #[error("{} with process id {} serves it, stop that first", .0.name, .0.pid)]
    ForeignClient(Named),
    /// The kernel has found another node with an address of the host's.
    #[error("{} is in use by another node of the network", .0.address)]
    Duplicated(InterfaceAddress),
    /// Other programs work on the interface for longer than the host waits.
    #[error("other programs are changing it: {0}")]
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
    /// Whether the way in which rc(8) starts DHCP clients was read.
    knows_client: bool,
    /// The adapter. Its name begins the log lines.
    hn: Adapter,
}

impl InjectionPort {
    /// A port for changes of an adapter's interface, or of its lagg.
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

    /// Starts the DHCP client of an interface, without waiting for it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_client(&mut self, interface: &InterfaceName) -> Result<(), ApplyError> {
        self.network(&NetworkStep::StartDhcp { interface: interface.clone(), wait: false })
    }

    /// The deadline of the next step.
    fn deadline(&self) -> Duration {
        if self.undoing {
            self.deadlines.undo.min(clock::monotonic() + self.deadlines.share)
        } else {
            self.deadlines.steps
        }
    }

    /// The time limit of the next program.
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

    /// Reads how rc.d/dhclient would start a client for this interface. If that fails, base's client is
    /// started without flags.
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
            // It takes no program, and a written file must be restored even when no time is left.
            Step::Store(change) => store(change, self.undoing),
            Step::Network(step) => self.network(step),
            Step::SetNameServers { label, text } => {
                succeed(&supply_name_servers(&self.settings, label, text, self.limit()?))
            }
            Step::DropNameServers(label) => {
                succeed(&resolvconf(&self.settings, &["-f", "-d", label.as_str()], self.limit()?))
            }
            Step::Check(expectation) => self.check(expectation, self.limit()?),
            // The caller looks and decides.
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

/// The call of resolvconf(8) that sets the name servers of a label, for the time after a boot.
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

/// Removes the name servers of a label, if there are any.
///
/// # Errors
/// resolvconf(8) failed, or met its time limit.
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

/// Replaces a file. A file that is neither in its old nor in its new state belongs to another program. After
/// a failed replacement the file is in its old state.
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

#[cfg(test)]
mod tests;
