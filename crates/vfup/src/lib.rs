//! hyperv_vfup: joins hnN and its VF in laggN, or takes the lagg apart. It reads the command line and the
//! configuration, and reports; the work is in `handover`.

pub mod handover;
mod options;
mod replacement;

use std::ffi::OsString;
use std::process::ExitCode;

use hv_core::net::InterfaceName;
use hv_core::plan::Event;
use hv_core::runtime::config::{Config, Uses};
use hv_core::runtime::exit::Exit;
use hv_core::runtime::start::Identity;
use hv_core::runtime::{error_chain, terminal};
use hv_core::vf::load;

use handover::{Direction, Handover, Left, Planned};
use options::{Command, Options};

/// The name in messages and in the log.
const NAME: &str = "hyperv_vfup";

const PROGRAM: Identity = Identity { name: NAME, ident: NAME, usage: USAGE, help: HELP, uses: USES };
/// devd(8) waits for the program, and the network waits for both, so an unknown key must not stop it.
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

/// Runs the command line. Returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match options::parse(arguments.iter().cloned()) {
        Ok(Command::Help) => PROGRAM.help(),
        Ok(Command::Version) => PROGRAM.version(),
        Ok(Command::Work(options)) => start(&options),
        Err(error) => {
            let exit = PROGRAM.usage_error(&error.to_string());
            // Joining does not happen, and a VF that is up would keep the network from its hn.
            if !options::only_looks(&arguments) {
                let config = Config::load(options::named_config(&arguments).as_deref()).unwrap_or_default();
                let names = arguments.iter().filter_map(|word| word.to_str()?.parse().ok());
                names.for_each(|name| leave_to_hn(&config, &name));
            }
            exit
        }
    }
}

fn start(options: &Options) -> ExitCode {
    let config = match PROGRAM.load_and_log(options.config.as_deref(), options.verbose) {
        Ok(config) => config,
        Err(exit) => {
            if options.joins() {
                leave_to_hn(&Config::default(), &options.interface);
            }
            return exit.into();
        }
    };
    if !options.down
        && let Some(script) = replacement::find(&config.vf.override_dir, &options.interface)
    {
        let exit = replacement::run(&script, &config.network.sh, options.print);
        if options.joins() {
            leave_to_hn(&config, &options.interface);
        }
        return exit;
    }
    hand_over(options, &config)
}

fn hand_over(options: &Options, config: &Config) -> ExitCode {
    let name = &options.interface;
    let hn = match load::load_adapter(&load::network_source(config), name) {
        Ok(Some(hn)) => hn,
        Ok(None) => return fail(options, config, &format!("{name}: there is no such network adapter")),
        Err(error) => return fail(options, config, &format!("{name}: {}", error_chain(&error))),
    };
    let direction = if options.down { Direction::Down } else { Direction::Up };
    let handover = Handover::new(config, hn, direction);
    if options.print {
        return match handover.plan() {
            Ok(planned) => show(name, &planned),
            Err(error) => complain(&format!("{name}: {}", error_chain(&error))),
        };
    }
    match handover.apply() {
        Ok(why) => {
            if let Some(why) = why {
                say(&format!("{name}: {why}"));
            }
            Exit::Ok.into()
        }
        Err(failure) => {
            let exit = complain(&format!("{name}: {}", error_chain(&failure.error)));
            tell(name, &failure.left);
            exit
        }
    }
}

/// Prints the lines that the log of a real run would have.
fn show(name: &InterfaceName, planned: &Planned) -> ExitCode {
    match planned {
        Planned::Nothing(why) => terminal::say(&format!("{name}: {why}")),
        Planned::Steps(plan, _) => {
            for planned in plan.steps() {
                terminal::say(&format!("{name}: {}", Event::Doing(&planned.step)));
            }
        }
    }
    Exit::Ok.into()
}

fn fail(options: &Options, config: &Config, text: &str) -> ExitCode {
    let exit = complain(text);
    if options.joins() {
        leave_to_hn(config, &options.interface);
    }
    exit
}

fn leave_to_hn(config: &Config, name: &InterfaceName) {
    tell(name, &handover::leave_to(config, name));
}

/// Reports the state of the VF.
fn tell(name: &InterfaceName, left: &Left) {
    let text = match left {
        Left::AsItIs => return,
        Left::Down(vf) => {
            format!("{name}: {vf} is down now, so that {name} has the network; \"{NAME} {name}\" tries again")
        }
        Left::Failed(error) => format!("{name}: cannot leave the network to it: {}", error_chain(error)),
    };
    log::warn!("{text}");
    terminal::complain(&format!("{NAME}: {text}"));
}

/// Logs and prints an error. The log comes first, because there may be no terminal.
fn complain(text: &str) -> ExitCode {
    log::error!("{text}");
    terminal::complain(&format!("{NAME}: {text}"));
    Exit::Failure.into()
}

fn say(text: &str) {
    log::info!("{text}");
    terminal::say(text);
}
