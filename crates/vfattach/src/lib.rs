//! Brings a new VF up, after the delay in which other programs of the guest may still use it. It never joins
//! a VF with hn(4); that is hyperv_vfup's work.
//!
//! devd(8) waits for the program that it starts, so a child process does the waiting.

mod options;
mod waiter;

use std::ffi::OsString;
use std::process::ExitCode;

use hv_core::rc::{SHORTEST_VF_DELAY, load_vf_delay};
use hv_core::runtime::config::{Config, Uses};
use hv_core::runtime::daemon::{Detached, Starting, detach};
use hv_core::runtime::error_chain;
use hv_core::runtime::exec::ProgramError;
use hv_core::runtime::exit::Exit;
use hv_core::runtime::start::Identity;
use hv_core::runtime::terminal;
use hv_core::vf::attach::Decision;
use hv_core::vf::load;

use options::{Command, Options};
use waiter::{PATIENCE, SHORT_PATIENCE, WaitError, Waiter};

/// The name in messages and in the log.
const NAME: &str = "hyperv_vfattach";

const PROGRAM: Identity = Identity { name: NAME, ident: NAME, usage: USAGE, help: HELP, uses: USES };
/// devd(8) waits for the program, and the network waits for both, so an unknown key must not stop it.
const USES: Uses = Uses { tables: &["log", "facts", "network", "vf"], newer: true };
const USAGE: &str = "usage: hyperv_vfattach [-v] [-f file] interface delay\n       hyperv_vfattach -h | -V";
const HELP: &str = "Brings the VF of a Hyper-V network adapter up after a delay; 0 means that of rc.conf, in the background.

  -v       log details
  -f file  use this configuration instead of CONFIG
  -h       show this help and exit
  -V       show the version and exit

Exit status: 0 when all is as it should be, 1 when it is not, 64 for a wrong command line, 78 for a wrong configuration.";

/// Runs the command line. Returns the exit code.
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
    let facts = match load::load_vf_facts(&load::network_source(&config).facts) {
        Ok(facts) => facts,
        Err(error) => return fail(options, &error),
    };
    match facts.decide(&options.interface) {
        Decision::BringUp if options.delay == 0 => wait_detached(options, config),
        Decision::BringUp => wait_in_foreground(options, config),
        Decision::Transparent | Decision::NotVf => Exit::Ok.into(),
    }
}

/// Returns at once in the process that devd waits for.
fn wait_detached(options: &Options, config: Config) -> ExitCode {
    match detach() {
        Ok(Detached::Parent(code)) => ExitCode::from(code),
        Ok(Detached::Child(starting)) => {
            let waiter = Waiter { interface: options.interface.clone(), config };
            conclude(options, wait_in_background(&waiter, starting))
        }
        Err(error) => fail(options, &error),
    }
}

fn wait_in_background(waiter: &Waiter, starting: Starting) -> Result<(), WaitError> {
    // The lock is nearly always taken before the parent returns, so that of two attaches the second one
    // waits.
    let place = waiter.replace_waiter(SHORT_PATIENCE)?;
    starting.ready().map_err(WaitError::Detach)?;
    let place = match place {
        Some(place) => place,
        None => waiter.replace_waiter(PATIENCE)?.ok_or(WaitError::Predecessor)?,
    };
    // Read in the child: the shell takes longer than devd should wait.
    let delay = load_vf_delay(&waiter.config.network).unwrap_or_else(|error| {
        log::warn!("{}: {}", waiter.interface, error_chain(&error));
        SHORTEST_VF_DELAY
    });
    waiter.run(place, delay)
}

fn wait_in_foreground(options: &Options, config: Config) -> ExitCode {
    let waiter = Waiter { interface: options.interface.clone(), config };
    let place = waiter.replace_waiter(PATIENCE).and_then(|place| place.ok_or(WaitError::Predecessor));
    conclude(options, place.and_then(|place| waiter.run(place, options.delay)))
}

fn conclude(options: &Options, result: Result<(), WaitError>) -> ExitCode {
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(WaitError::Program(error @ ProgramError::Failed { status, .. })) => {
            report(options, &error.to_string());
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(error) => fail(options, &error),
    }
}

fn fail(options: &Options, error: &dyn std::error::Error) -> ExitCode {
    report(options, &error_chain(error));
    Exit::Failure.into()
}

fn report(options: &Options, text: &str) {
    log::error!("{}: {text}", options.interface);
    terminal::complain(&format!("{NAME}: {}: {text}", options.interface));
}
