//! The life of the program: command line, configuration, device, loop, end. It opens things in the order that
//! the kernel demands, and decides about no request.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use hv_core::abi::kvp::Message;
use hv_core::report;
use hv_core::runtime::VERSION;
use hv_core::runtime::config::{Config, Uses};
use hv_core::runtime::daemon::Starting;
use hv_core::runtime::exit::Exit;
use hv_core::runtime::options::{self, Command, ExtraOption, Options};
use hv_core::runtime::start::{Identity, give_up};
use hv_core::runtime::terminal;
use hv_core::sys::process::forget_caller;
use hv_core::sys::signals::Signals;

use crate::injection;
use crate::linux_path;
use crate::port::{DeviceFile, KvpPort};
use crate::serve::{End, serve};
use crate::service::Service;

const DAEMON: Identity =
    Identity { name: "hv_kvp_daemon", ident: "HV_KVP", usage: USAGE, help: HELP, uses: USES };
const USES: Uses = Uses { tables: &["log", "facts", "kvp", "network"], newer: false };
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

/// Runs the daemon with these arguments, without the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments, &[RESTORE]) {
        Ok(Command::Help) => DAEMON.help(),
        Ok(Command::Version) => DAEMON.version(),
        Ok(Command::CheckConfig(options)) => check(&options),
        Ok(Command::Serve(options)) => {
            // Before anything is opened: descriptors that the parent left open would reach every program that
            // is started.
            forget_caller();
            DAEMON.start(&options, serve_device)
        }
        Ok(Command::Extra(_, argument, options)) => restore(&options, argument.as_deref()),
        Err(error) => DAEMON.usage_error(&error.to_string()),
    }
}

/// Also reports missing programs of the base system: pkgbase splits it, and most of the daemon works without
/// them.
fn check(options: &Options) -> ExitCode {
    if let Ok(config) = Config::load(options.config.as_deref()) {
        for (path, loss) in config.network.missing_programs() {
            terminal::complain(&format!("{} is missing: {loss}", path.display()));
        }
    }
    DAEMON.check_config(options, |config| &config.kvp.device)
}

fn restore(options: &Options, argument: Option<&OsStr>) -> ExitCode {
    let Some(hn) = argument.and_then(|argument| argument.to_str()?.parse().ok()) else {
        return DAEMON.usage_error("-R needs the name of an interface of hn(4)");
    };
    let config = match DAEMON.load(options.config.as_deref()) {
        Ok(config) => config,
        Err(exit) => return exit.into(),
    };
    match injection::restore(&config, &hn) {
        Ok(text) => {
            println!("{text}");
            Exit::Ok.into()
        }
        Err(error) => {
            DAEMON.complain(&error);
            Exit::Failure.into()
        }
    }
}

/// Runs the daemon. The device is opened after the last fork, because the driver kills the process that
/// opened it. It is opened before anything is changed, because only one daemon can have it.
fn serve_device(options: &Options, config: &Config, signals: &Signals, starting: Option<Starting>) -> Exit {
    let mut port = match DeviceFile::open(&config.kvp.device) {
        Ok(port) => port,
        Err(error) => return DAEMON.fail_to_start(&error, Exit::Unavailable),
    };
    let mut service = Service::open(config);
    // Before the first request, so that the socket exists as soon as the daemon serves.
    service.open_control(&config.kvp.control_socket, identity(options, config));
    if let Err(error) = port.register(&Message::registration(VERSION)) {
        service.close_control();
        return DAEMON.fail_to_start(&error, Exit::Unavailable);
    }
    keep_linux_path(config);
    if let Err(exit) = DAEMON.ready(starting) {
        return exit;
    }
    log::info!("started version={VERSION} device={}", config.kvp.device.display());
    service.after_answer();
    let exit = serve_until_end(options, config, &mut port, &mut service, signals);
    service.finish();
    exit
}

/// The daemon's identity in its reports.
fn identity(options: &Options, config: &Config) -> report::Identity {
    report::Identity {
        program: DAEMON.name,
        config: options.config.as_ref().map(|path| path.display().to_string()),
        device: config.kvp.device.display().to_string(),
        started: report::Moment::now(),
    }
}

fn keep_linux_path(config: &Config) {
    let Some(link) = &config.kvp.linux_path else { return };
    if let Err(error) = linux_path::keep(link, &config.kvp.pool_dir) {
        log::warn!("cannot make the link {}: {error}", link.display());
    }
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
            Err(error) => return give_up(&error, Exit::Unavailable),
        }
    }
}

fn reload(options: &Options, started_with: &Config, service: &mut Service) {
    let Some(config) = DAEMON.reload(options) else { return };
    if config.kvp.device != started_with.kvp.device || config.kvp.pool_dir != started_with.kvp.pool_dir {
        log::warn!("a new kvp.device or kvp.pool-dir takes effect at the next start");
    }
    service.reconfigure(&config);
    keep_linux_path(&config);
    log::info!("configuration read again");
}
