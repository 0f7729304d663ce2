//! Joins hnN and its VF in laggN, or takes the lagg apart: reads the facts, plans, and performs the plan under a lock.

mod options;
mod replacement;

use std::ffi::OsString;
use std::process::ExitCode;

use hv_core::hn::lock::{Lock, LockError};
use hv_core::plan::network::{ApplyError, NetworkPort, NetworkStep};
use hv_core::plan::{Event, Failed, Plan};
use hv_core::runtime::config::{Config, Uses};
use hv_core::runtime::error_chain;
use hv_core::runtime::exit::Exit;
use hv_core::runtime::start::Identity;
use hv_core::sys::network::NetworkSource;
use hv_core::sys::signals::Signals;
use hv_core::vf::load::{self, LoadError};
use hv_core::vf::plan::{PlanError, plan_down, plan_up, plan_without_vf};

use options::{Command, Options};

/// The name in messages and in the log.
const NAME: &str = "hyperv_vfup";

const PROGRAM: Identity = Identity { name: NAME, ident: NAME, usage: USAGE, help: HELP, uses: USES };
/// devd(8) waits for it, and the network for both, whatever the version of the file.
const USES: Uses = Uses { tables: &["log", "facts", "network", "vf"], newer: true };
const USAGE: &str = "usage: hyperv_vfup [-dnv] [-f file] hnN\n       hyperv_vfup -h | -V";
const HELP: &str = "Joins a Hyper-V network adapter and its VF in a lagg, or takes the lagg apart.

  -d       take the lagg apart and give hnN its configuration back
  -n       print the steps and change nothing
  -v       log details
  -f file  use this configuration instead of CONFIG
  -h       show this help and exit
  -V       show the version and exit

Exit status: 0 when all is as it should be, 1 when it is not, 64 for a wrong command line, 78 for a wrong configuration;
that of the administrator's own script where there is one.";

/// Why the hand-over failed. Nothing is left half-done unless the text says so.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Plan(PlanError),
    #[error(transparent)]
    Failed(Box<Failed<NetworkStep, ApplyError>>),
}

/// Does what the command line asks; returns the exit code of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments) {
        Ok(Command::Help) => PROGRAM.help(),
        Ok(Command::Version) => PROGRAM.version(),
        Ok(Command::Work(options)) => start(&options),
        Err(error) => PROGRAM.usage_error(&error.to_string()),
    }
}

fn start(options: &Options) -> ExitCode {
    let config = match PROGRAM.load_and_log(options.config.as_deref(), options.verbose) {
        Ok(config) => config,
        Err(exit) => return exit.into(),
    };
    if !options.down
        && let Some(script) = replacement::find(&config.vf.override_dir, &options.hn)
    {
        return replacement::run(&script, &config.network.sh, options.print);
    }
    let job = Job { options, source: load::network_source(&config), config: &config };
    match job.run() {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let text = format!("{}: {}", options.hn, error_chain(&error));
            eprintln!("{NAME}: {text}");
            log::error!("{text}");
            job.recover(&error);
            Exit::Failure.into()
        }
    }
}

/// One hand-over.
struct Job<'a> {
    options: &'a Options,
    config: &'a Config,
    source: NetworkSource,
}

impl Job<'_> {
    fn run(&self) -> Result<(), Error> {
        if self.options.print {
            if let Some(plan) = self.plan(false)? {
                self.print(&plan);
            }
            return Ok(());
        }
        // Facts that another run is changing would make a plan for a network that is gone a moment later.
        let vf = &self.config.vf;
        let mut lock = Lock::take(&vf.lock_dir, &self.options.hn, vf.lock_wait())?;
        match self.plan(lock.is_interrupted()?)? {
            Some(plan) => self.perform(&plan, &mut lock),
            None => Ok(()),
        }
    }

    /// `None`: there is nothing to plan for, and that has been said.
    fn plan(&self, interrupted: bool) -> Result<Option<Plan<NetworkStep>>, Error> {
        let hn = &self.options.hn;
        let settings = &self.config.network;
        if self.options.down {
            let vf = load::load_vf(&self.source.facts, hn)?;
            let mut facts = load::load_facts(settings, &self.source, hn, vf)?;
            facts.interrupted = interrupted;
            return plan_down(hn, &facts).map(Some).map_err(Error::Plan);
        }
        if load::load_vf_facts(&self.source.facts)?.is_transparent() {
            self.say("the kernel handles its VF itself, nothing to do");
            return Ok(None);
        }
        let gone = "VF was detached";
        let Some(vf) = load::load_vf(&self.source.facts, hn)? else {
            // It can be gone again before devd comes to the event.
            self.say(gone);
            return Ok(None);
        };
        let mut facts = load::load_facts(settings, &self.source, hn, Some(vf))?;
        facts.interrupted = interrupted;
        let plan = plan_up(hn, &facts).map_err(Error::Plan)?;
        if plan.is_none() {
            self.say(gone);
        }
        Ok(plan)
    }

    fn perform(&self, plan: &Plan<NetworkStep>, lock: &mut Lock) -> Result<(), Error> {
        if plan.is_empty() {
            log::debug!("{}: nothing to do", self.options.hn);
            return Ok(lock.finish()?);
        }
        // A plan is not left half-way because somebody is impatient: each step has its time limit.
        if let Err(error) = Signals::install() {
            log::warn!("cannot defer signals: {error}");
        }
        lock.begin()?;
        let result = plan.run(&mut self.port());
        if result.as_ref().err().is_none_or(|failed| failed.left_behind.is_empty()) {
            lock.finish()?;
        }
        result.map_err(|failed| Error::Failed(Box::new(failed)))
    }

    /// While a VF is up the kernel delivers to it, so after a hand-over that failed hn would be there without traffic. Who
    /// has the lock will see to that, and taking apart ends with what was there.
    fn recover(&self, error: &Error) {
        if self.options.print || self.options.down || matches!(error, Error::Lock(_)) {
            return;
        }
        if let Err(error) = self.leave_to_hn() {
            self.complain(&format!("cannot leave the network to it: {}", error_chain(&error)));
        }
    }

    fn leave_to_hn(&self) -> Result<(), Error> {
        let vf = load::load_vf(&self.source.facts, &self.options.hn)?;
        let facts = load::load_network(&self.config.network, &self.source, vf)?;
        let plan = plan_without_vf(&facts);
        if plan.is_empty() {
            return Ok(());
        }
        plan.run(&mut self.port()).map_err(|failed| Error::Failed(Box::new(failed)))?;
        let vf = facts.vf.as_ref().map_or("the VF", |vf| vf.as_str());
        let hn = &self.options.hn;
        self.complain(&format!(
            "{vf} is down now, so that {hn} has the network; \"{NAME} {hn}\" tries again"
        ));
        Ok(())
    }

    fn complain(&self, text: &str) {
        eprintln!("{NAME}: {}: {text}", self.options.hn);
        log::warn!("{}: {text}", self.options.hn);
    }

    fn port(&self) -> NetworkPort {
        let subject = self.options.hn.to_string();
        NetworkPort::new(self.config.network.clone(), self.source.clone(), &subject)
    }

    /// The lines that the log of a real run shows.
    fn print(&self, plan: &Plan<NetworkStep>) {
        for planned in plan.steps() {
            println!("{}: {}", self.options.hn, Event::Doing(&planned.step));
        }
    }

    fn say(&self, text: &str) {
        println!("{}: {text}", self.options.hn);
        log::info!("{}: {text}", self.options.hn);
    }
}
