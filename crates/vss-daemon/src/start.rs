//! The life of the program: command line, configuration, start of the daemon, loop, end. It opens the devices
//! in the order that the kernel demands, and decides nothing about a backup.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use hv_core::runtime::VERSION;
use hv_core::runtime::config::{Config, Uses};
use hv_core::runtime::daemon::Starting;
use hv_core::runtime::exit::Exit;
use hv_core::runtime::log as logging;
use hv_core::runtime::options::{self, Command, ExtraOption, Options};
use hv_core::runtime::start::{Identity, give_up};
use hv_core::sys::memory;
use hv_core::sys::mount_table::replace_standard_files;
use hv_core::sys::process::forget_caller;
use hv_core::sys::signals::{Signals, ignore_job_control};
use hv_core::sys::vss_device::VssDevice;

use crate::check;
use crate::guest::facts_source;
use crate::port::{SuspendPath, open_device};
use crate::serve::{Driver, End};

const DAEMON: Identity =
    Identity { name: "hv_vss_daemon", ident: "HV_VSS", usage: USAGE, help: HELP, uses: USES };
const USES: Uses = Uses { tables: &["log", "facts", "vss"], newer: false };
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

/// How long the daemon waits at its end for syslogd(8).
const LAST_LINES: Duration = Duration::from_secs(2);

/// `-c`.
const DRY_CHECK: ExtraOption = ExtraOption { letter: 'c', takes_argument: false };

/// Runs the daemon with these arguments, without the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments, &[DRY_CHECK]) {
        Ok(Command::Help) => DAEMON.help(),
        Ok(Command::Version) => DAEMON.version(),
        Ok(Command::CheckConfig(options)) => DAEMON.check_config(&options, |config| &config.vss.device),
        Ok(Command::Serve(options)) => {
            // Before anything is opened: a descriptor that the parent left open could prevent a freeze.
            forget_caller();
            DAEMON.start(&options, serve_device)
        }
        Ok(Command::Extra(_, _, options)) => match DAEMON.load(options.config.as_deref()) {
            Ok(config) => dry_check(&config),
            Err(exit) => exit.into(),
        },
        Err(error) => DAEMON.usage_error(&error.to_string()),
    }
}

fn dry_check(config: &Config) -> ExitCode {
    match check::check(config) {
        Ok(checked) => {
            println!("{}", checked.report());
            if checked.allows_backup() { Exit::Ok.into() } else { Exit::Failure.into() }
        }
        Err(error) => {
            eprintln!("hv_vss_daemon: {error}");
            Exit::OsError.into()
        }
    }
}

/// Runs the daemon. The device is opened after the last fork, because the driver kills the process that
/// opened it. Open files are checked after standard error was replaced.
fn serve_device(options: &Options, config: &Config, signals: &Signals, starting: Option<Starting>) -> Exit {
    // A stopped process has a stopped watchdog, and the guest would stay frozen.
    if let Err(error) = ignore_job_control() {
        return DAEMON.fail_to_start(&error, Exit::OsError);
    }
    // Before the device is opened, so that every descriptor that stays open is seen.
    let facts = facts_source(config);
    if let Err(error) = facts.mounts().and_then(|table| replace_standard_files(&table)) {
        log::warn!("cannot find out which files are open: {error}");
    }
    let device = match open_device(&config.vss.device) {
        Ok(device) => device,
        Err(error) => return DAEMON.fail_to_start(&error, Exit::Unavailable),
    };
    if let Err(exit) = DAEMON.ready(starting) {
        return exit;
    }
    let mut driver = Driver::new(config, device, SuspendPath(config.vss.suspend_device.clone()));
    driver.open_control(&config.vss.control_socket, options.config.as_deref());
    prepare_memory();
    log::info!("started version={VERSION} device={}", config.vss.device.display());
    driver.check_own_files().iter().for_each(|reason| log::warn!("no backup can be made: {reason}"));
    let exit = serve_until_end(options, config, &mut driver, signals);
    driver.end();
    // Held lines may wait for a syslogd that the freeze blocked, too.
    logging::finish(LAST_LINES);
    exit
}

/// Locks the memory: while the guest is frozen, a page that was taken from the process may not come back.
pub(crate) fn prepare_memory() {
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
            // The freezer has logged the reason.
            Ok(End::DeviceGone) => return Exit::Unavailable,
            Ok(End::Reload) => reload(options, config, driver),
            Err(error) => return give_up(&error, Exit::OsError),
        }
    }
}

fn reload(options: &Options, started_with: &Config, driver: &mut Driver<VssDevice, SuspendPath>) {
    let Some(config) = DAEMON.reload(options) else { return };
    if config.vss.device != started_with.vss.device
        || config.vss.suspend_device != started_with.vss.suspend_device
    {
        log::warn!("a new vss.device or vss.suspend-device takes effect at the next start");
    }
    driver.configure(&config);
    log::info!("configuration read again");
    driver.check_own_files().iter().for_each(|reason| log::warn!("no backup can be made: {reason}"));
}
