//! From the command line to the loop, and out again.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use hv_core::runtime::config::{Config, DEFAULT_PATH, LogLevel};
use hv_core::runtime::daemon::{Detached, Starting, detach};
use hv_core::runtime::exit::Exit;
use hv_core::runtime::log::{Target, init};
use hv_core::runtime::options::{self, Command, ExtraOption, Options};
use hv_core::runtime::{VERSION, error_chain};
use hv_core::sys::memory;
use hv_core::sys::mount_table::close_inherited_descriptors;
use hv_core::sys::signals::Signals;
use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::VssDevice;

use crate::port::{SuspendPath, open_device};
use crate::serve::{Driver, End};
use crate::{check, hook_dir};

const IDENT: &str = "HV_VSS";
const USAGE: &str = "usage: hv_vss_daemon [-cdnt] [-f file]\n       hv_vss_daemon -h | -V";
const HELP: &str = "Freezes and thaws this guest's file systems for the host's live backup, through /dev/hv_fsvss_dev.

  -c       show what a backup would do with each mount and exit
  -d       log each message
  -n       stay in the foreground and log to standard output
  -f file  use this configuration instead of CONFIG
  -t       check the configuration and exit
  -h       show this help and exit
  -V       show the version and exit

Exit status: 0 at the end of its work, 1 when -c finds that no backup can be made, 64 for a wrong command line,
69 when the device is missing, in use or gone, 71 when the system refuses what it always grants, 78 for a wrong
configuration.";

/// Runs the daemon with these arguments, its name not among them.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments, &[ExtraOption { letter: 'c', takes_argument: false }]) {
        Ok(Command::Help) => {
            println!("{USAGE}\n\n{}", HELP.replace("CONFIG", DEFAULT_PATH));
            Exit::Ok.into()
        }
        Ok(Command::Version) => {
            println!("hv_vss_daemon {VERSION}");
            Exit::Ok.into()
        }
        Ok(Command::CheckConfig(options)) => with_config(&options, |_| {
            println!("{}: no error", shown_path(&options));
            Exit::Ok.into()
        }),
        Ok(Command::Extra(_, _, options)) => with_config(&options, dry_check),
        Ok(Command::Serve(options)) => {
            // Before anything is opened: a descriptor that a careless parent left open may stand in the way of a freeze.
            close_inherited_descriptors();
            with_config(&options, |config| start(&options, config))
        }
        Err(error) => {
            eprintln!("hv_vss_daemon: {error}\n{USAGE}");
            Exit::Usage.into()
        }
    }
}

fn with_config(options: &Options, act: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match Config::load(options.config.as_deref()) {
        Ok(config) => act(&config),
        Err(error) => {
            complain(&error);
            Exit::Config.into()
        }
    }
}

fn shown_path(options: &Options) -> String {
    options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH)).display().to_string()
}

/// For the person at the terminal; standard error is closed as soon as the daemon serves.
fn complain(error: &dyn std::error::Error) {
    eprintln!("hv_vss_daemon: {}", error_chain(error));
}

fn dry_check(config: &Config) -> ExitCode {
    let facts = config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory);
    match facts.mounts() {
        Ok(table) => {
            let verdict = config.vss.policy().judge(&table);
            let hooks = hook_dir::list(&config.vss.hook_dir);
            println!("{}", check::report(&verdict, &hooks, &config.vss.hook_dir));
            if verdict.allows_backup() { Exit::Ok.into() } else { Exit::Failure.into() }
        }
        Err(error) => {
            eprintln!("hv_vss_daemon: cannot read the mount table: {error}");
            Exit::OsError.into()
        }
    }
}

fn start(options: &Options, config: &Config) -> ExitCode {
    set_up_log(options, config);
    if options.foreground {
        return serve_device(options, config, None).into();
    }
    match detach() {
        Ok(Detached::Parent(code)) => ExitCode::from(code),
        Ok(Detached::Child(starting)) => serve_device(options, config, Some(starting)).into(),
        Err(error) => {
            complain(&error);
            Exit::OsError.into()
        }
    }
}

fn set_up_log(options: &Options, config: &Config) {
    let level = if options.debug { LogLevel::Debug } else { config.log.level };
    let target = if options.foreground { Target::Stdout } else { Target::Syslog(config.log.sockets.clone()) };
    init(IDENT, target, level);
}

/// The life of the daemon. The device is opened after the last fork, because the driver kills the process that opened it;
/// which descriptors are in the way is looked at when standard error is no more what the caller gave.
fn serve_device(options: &Options, config: &Config, starting: Option<Starting>) -> Exit {
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return give_up(&error, Exit::OsError, true),
    };
    let device = match open_device(&config.vss.device) {
        Ok(device) => device,
        Err(error) => return give_up(&error, Exit::Unavailable, true),
    };
    if let Some(starting) = starting
        && let Err(error) = starting.ready()
    {
        return give_up(&error, Exit::OsError, false);
    }
    let mut driver = Driver::new(config, device, SuspendPath(config.vss.suspend_device.clone()));
    prepare_memory();
    log::info!("started version={VERSION} device={}", config.vss.device.display());
    driver.refusals().iter().for_each(|reason| log::warn!("no backup can be made: {reason}"));
    serve_until_end(options, config, &mut driver, &signals)
}

/// A frozen guest gives no page back that it took.
fn prepare_memory() {
    if let Err(error) = memory::forbid_core_file() {
        log::warn!("cannot forbid core files: {error}");
    }
    if let Err(error) = memory::lock_all() {
        log::warn!("cannot lock memory, a freeze may meet a page that is not there: {error}");
    }
}

fn serve_until_end(
    options: &Options,
    config: &Config,
    driver: &mut Driver<VssDevice, SuspendPath>,
    signals: &Signals,
) -> Exit {
    loop {
        match driver.serve(signals) {
            Ok(End::Terminated) => {
                log::info!("stopped by a signal");
                return Exit::Ok;
            }
            // The freezer has said how.
            Ok(End::DeviceGone) => return Exit::Unavailable,
            Ok(End::Reload) => reload(options, config, driver),
            Err(error) => return give_up(&error, Exit::OsError, false),
        }
    }
}

/// A configuration that cannot be used changes nothing.
fn reload(options: &Options, started_with: &Config, driver: &mut Driver<VssDevice, SuspendPath>) {
    match Config::load(options.config.as_deref()) {
        Ok(config) => {
            set_up_log(options, &config);
            if config.vss.device != started_with.vss.device
                || config.vss.suspend_device != started_with.vss.suspend_device
            {
                log::warn!("a new vss.device or vss.suspend-device takes effect at the next start");
            }
            driver.configure(&config);
            log::info!("configuration read again");
            driver.refusals().iter().for_each(|reason| log::warn!("no backup can be made: {reason}"));
        }
        Err(error) => {
            hv_core::runtime::log::reopen();
            log::error!("configuration not changed: {}", error_chain(&error));
        }
    }
}

fn give_up(error: &dyn std::error::Error, exit: Exit, terminal: bool) -> Exit {
    log::error!("{}", error_chain(error));
    if terminal {
        complain(error);
    }
    exit
}
