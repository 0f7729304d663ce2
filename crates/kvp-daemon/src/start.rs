//! From the command line to the loop, and out again.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use hv_core::abi::kvp::Message;
use hv_core::runtime::config::{Config, DEFAULT_PATH, LogLevel};
use hv_core::runtime::daemon::{Detached, Starting, detach};
use hv_core::runtime::exit::Exit;
use hv_core::runtime::log::{Target, init};
use hv_core::runtime::options::{self, Command, ExtraOption, Options};
use hv_core::runtime::{VERSION, error_chain};
use hv_core::sys::signals::Signals;

use crate::injection;
use crate::port::{DeviceFile, KvpPort};
use crate::serve::{End, serve};
use crate::service::Service;

const IDENT: &str = "HV_KVP";
const USAGE: &str = "usage: hv_kvp_daemon [-dnt] [-f file]\n       hv_kvp_daemon [-f file] -R hnN\n       hv_kvp_daemon -h | -V";
const HELP: &str = "Serves the host's key-value exchange through /dev/hv_kvp_dev.

  -d       log each message
  -n       stay in the foreground and log to standard output
  -f file  use this configuration instead of CONFIG
  -t       check the configuration and exit
  -R hnN   take back what the host's network configuration of hnN has changed in rc.conf, and exit
  -h       show this help and exit
  -V       show the version and exit

Exit status: 0 at the end of its work, 1 when nothing can be taken back, 64 for a wrong command line, 69 when the device is missing, in use or gone,
71 when the system refuses what it always grants, 78 for a wrong configuration.";

/// `-R hnN`.
const RESTORE: ExtraOption = ExtraOption { letter: 'R', takes_argument: true };

/// Runs the daemon with these arguments, its name not among them.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments, &[RESTORE]) {
        Ok(Command::Help) => {
            println!("{USAGE}\n\n{}", HELP.replace("CONFIG", DEFAULT_PATH));
            Exit::Ok.into()
        }
        Ok(Command::Version) => {
            println!("hv_kvp_daemon {VERSION}");
            Exit::Ok.into()
        }
        Ok(Command::CheckConfig(options)) => match load(&options) {
            Ok(_) => {
                println!("{}: no error", shown_path(&options));
                Exit::Ok.into()
            }
            Err(exit) => exit.into(),
        },
        Ok(Command::Serve(options)) => match load(&options) {
            Ok(config) => start(&options, &config),
            Err(exit) => exit.into(),
        },
        Ok(Command::Extra(_, argument, options)) => restore(&options, argument.as_deref()),
        Err(error) => usage(&error.to_string()),
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("hv_kvp_daemon: {error}\n{USAGE}");
    Exit::Usage.into()
}

fn restore(options: &Options, argument: Option<&OsStr>) -> ExitCode {
    let Some(hn) = argument.and_then(|argument| argument.to_str()?.parse().ok()) else {
        return usage("-R needs the name of an interface of hn(4)");
    };
    let config = match load(options) {
        Ok(config) => config,
        Err(exit) => return exit.into(),
    };
    match injection::restore(&config, &hn) {
        Ok(text) => {
            println!("{text}");
            Exit::Ok.into()
        }
        Err(error) => {
            complain(&error);
            Exit::Failure.into()
        }
    }
}

fn shown_path(options: &Options) -> String {
    options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH)).display().to_string()
}

fn load(options: &Options) -> Result<Config, Exit> {
    Config::load(options.config.as_deref()).map_err(|error| {
        complain(&error);
        Exit::Config
    })
}

/// For the person at the terminal; standard error is closed as soon as the daemon serves.
fn complain(error: &dyn std::error::Error) {
    eprintln!("hv_kvp_daemon: {}", error_chain(error));
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

/// The life of the daemon. The device is opened after the last fork, because the driver kills the process that opened
/// it, and before anything else is touched, because only one daemon can have it.
fn serve_device(options: &Options, config: &Config, starting: Option<Starting>) -> Exit {
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return give_up(&error, Exit::OsError, true),
    };
    let mut port = match DeviceFile::open(&config.kvp.device) {
        Ok(port) => port,
        Err(error) => return give_up(&error, Exit::Unavailable, true),
    };
    let mut service = Service::open(config);
    if let Err(error) = port.register(&Message::registration(VERSION)) {
        return give_up(&error, Exit::Unavailable, true);
    }
    if let Some(starting) = starting
        && let Err(error) = starting.ready()
    {
        return give_up(&error, Exit::OsError, false);
    }
    log::info!("started version={VERSION} device={}", config.kvp.device.display());
    service.at_leisure();
    let exit = serve_until_end(options, config, &mut port, &mut service, &signals);
    service.finish();
    exit
}

fn serve_until_end(
    options: &Options,
    config: &Config,
    port: &mut DeviceFile,
    service: &mut Service,
    signals: &Signals,
) -> Exit {
    loop {
        match serve(port, service, signals) {
            Ok(End::Terminated) => {
                log::info!("stopped by a signal");
                return Exit::Ok;
            }
            Ok(End::Reload) => reload(options, config, service),
            Err(error) => return give_up(&error, Exit::Unavailable, false),
        }
    }
}

/// A configuration that cannot be used changes nothing.
fn reload(options: &Options, started_with: &Config, service: &mut Service) {
    match Config::load(options.config.as_deref()) {
        Ok(config) => {
            set_up_log(options, &config);
            if config.kvp.device != started_with.kvp.device
                || config.kvp.pool_dir != started_with.kvp.pool_dir
            {
                log::warn!("a new kvp.device or kvp.pool-dir takes effect at the next start");
            }
            service.reconfigure(&config);
            log::info!("configuration read again");
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
