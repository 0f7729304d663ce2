//! What the programs do between the command line and their work: help, version, configuration, log,
//! detaching. It never opens a device.

use std::path::Path;
use std::process::ExitCode;

use super::config::{Config, ConfigError, DEFAULT_PATH, Log, LogLevel, Uses};
use super::daemon::{Detached, Starting, detach};
use super::exit::Exit;
use super::log::{self as logging, Target, init, reopen};
use super::options::Options;
use super::{VERSION, error_chain, is_absent, terminal};
use crate::sys::signals::Signals;

/// A program as its messages and its help describe it.
#[derive(Debug)]
pub struct Identity {
    /// Its name at the terminal.
    pub name: &'static str,
    /// Its name in the log.
    pub ident: &'static str,
    /// The lines `usage: ...` of its help and of every usage error.
    pub usage: &'static str,
    /// The rest of its help; `CONFIG` in it stands for the path of the configuration.
    pub help: &'static str,
    /// The part of the configuration in which its errors are fatal.
    pub uses: Uses,
}

/// The main function of a daemon after its signals are set up: it opens the device, calls
/// [`Identity::ready`], and serves until its end.
pub type Life = fn(&Options, &Config, &Signals, Option<Starting>) -> Exit;

impl Identity {
    /// Prints the help.
    #[must_use]
    pub fn help(&self) -> ExitCode {
        terminal::say(&format!("{}\n\n{}", self.usage, self.help.replace("CONFIG", DEFAULT_PATH)));
        Exit::Ok.into()
    }

    /// Prints the version.
    #[must_use]
    pub fn version(&self) -> ExitCode {
        terminal::say(&format!("{} {VERSION}", self.name));
        Exit::Ok.into()
    }

    /// Reports whether the whole configuration can be used, and whether the daemon's device exists.
    #[must_use]
    pub fn check_config(&self, options: &Options, device: fn(&Config) -> &Path) -> ExitCode {
        let path = options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        match Config::load(options.config.as_deref()) {
            Ok(config) => terminal::say(&self.verdict(path, device(&config))),
            Err(error) => {
                self.complain(&error);
                return Exit::Config.into();
            }
        }
        Exit::Ok.into()
    }

    fn verdict(&self, path: &Path, device: &Path) -> String {
        let (path, name) = (path.display(), self.name);
        match is_absent(device) {
            false => format!("{path}: no error"),
            true => format!(
                "{path}: can be used, but {} is absent, without which {name} ends at once",
                device.display()
            ),
        }
    }

    /// Prints an error of the command line.
    #[must_use]
    pub fn usage_error(&self, error: &str) -> ExitCode {
        terminal::complain(&format!("{}: {error}\n{}", self.name, self.usage));
        Exit::Usage.into()
    }

    /// Reads the configuration for a user at the terminal, from the default path if none is given.
    ///
    /// # Errors
    /// [`Exit::Config`] if it cannot be used. The reason is printed.
    pub fn load(&self, path: Option<&Path>) -> Result<Config, Exit> {
        match Config::load_for(path, &self.uses) {
            Ok((config, passed_over)) => {
                passed_over
                    .iter()
                    .for_each(|error| terminal::complain(&format!("{}: warning: {error}", self.name)));
                Ok(config)
            }
            Err(error) => {
                self.complain(&error);
                Err(Exit::Config)
            }
        }
    }

    /// Reads the configuration for a program that runs in the background, and opens the log. With `details`
    /// everything is logged.
    ///
    /// # Errors
    /// [`Exit::Config`] if it cannot be used. The reason is printed, and logged at the default place, or on
    /// the console while syslogd(8) does not run yet.
    pub fn load_and_log(&self, path: Option<&Path>, details: bool) -> Result<Config, Exit> {
        // Before the configuration is read, because that may fail.
        init(self.ident, Target::Syslog(Log::default().sockets), LogLevel::Info);
        match Config::load_for(path, &self.uses) {
            Ok((config, passed_over)) => {
                self.log_to(Target::Syslog(config.log.sockets.clone()), &config, details);
                warn_of(&passed_over);
                Ok(config)
            }
            Err(error) => {
                self.complain(&error);
                let exit = give_up(&error, Exit::Config);
                logging::end_on_console();
                Err(exit)
            }
        }
    }

    /// Prints an error at the terminal. Standard error is closed as soon as the daemon serves.
    pub fn complain(&self, error: &dyn std::error::Error) {
        terminal::complain(&format!("{}: {}", self.name, error_chain(error)));
    }

    fn log_to(&self, target: Target, config: &Config, details: bool) {
        let level = if details { LogLevel::Debug } else { config.log.level };
        init(self.ident, target, level);
    }

    /// Reads the configuration, opens the log, and runs the daemon: in the foreground, or in a child that the
    /// caller waits for until it is ready.
    #[must_use]
    pub fn start(&self, options: &Options, life: Life) -> ExitCode {
        let path = options.config.as_deref();
        let config = match options.foreground {
            true => self.load(path).inspect(|config| self.log_to(Target::Stdout, config, options.debug)),
            false => self.load_and_log(path, options.debug),
        };
        let config = match config {
            Ok(config) => config,
            Err(exit) => return exit.into(),
        };
        if options.foreground {
            return self.live(options, &config, None, life).into();
        }
        match detach() {
            Ok(Detached::Parent(code)) => ExitCode::from(code),
            Ok(Detached::Child(starting)) => self.live(options, &config, Some(starting), life).into(),
            Err(error) => {
                self.complain(&error);
                Exit::OsError.into()
            }
        }
    }

    fn live(&self, options: &Options, config: &Config, starting: Option<Starting>, life: Life) -> Exit {
        match Signals::install() {
            Ok(signals) => life(options, config, &signals, starting),
            Err(error) => self.fail_to_start(&error, Exit::OsError),
        }
    }

    /// Lets the process that started the daemon end with success, if one waits. Standard error is closed
    /// then.
    ///
    /// # Errors
    /// [`Exit::OsError`] if the standard streams cannot be closed. The log has the reason.
    pub fn ready(&self, starting: Option<Starting>) -> Result<(), Exit> {
        match starting.map(Starting::ready) {
            Some(Err(error)) => Err(give_up(&error, Exit::OsError)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Reports why the daemon cannot start: once at the terminal, and in the log of a background daemon.
    /// Returns `exit`.
    #[must_use]
    pub fn fail_to_start(&self, error: &dyn std::error::Error, exit: Exit) -> Exit {
        self.complain(error);
        if logging::is_shown() { exit } else { give_up(error, exit) }
    }

    /// Reads the configuration of a running daemon again and sets up the log with it. `None` if it cannot be
    /// used: nothing changes, and the log has the reason.
    #[must_use]
    pub fn reload(&self, options: &Options) -> Option<Config> {
        match Config::load_for(options.config.as_deref(), &self.uses) {
            Ok((config, passed_over)) => {
                let target = match options.foreground {
                    true => Target::Stdout,
                    false => Target::Syslog(config.log.sockets.clone()),
                };
                self.log_to(target, &config, options.debug);
                warn_of(&passed_over);
                Some(config)
            }
            Err(error) => {
                reopen();
                log::error!("configuration not changed: {}", error_chain(&error));
                None
            }
        }
    }
}

/// Logs errors in the tables of other programs.
fn warn_of(passed_over: &[ConfigError]) {
    passed_over.iter().for_each(|error| log::warn!("passed over in the configuration: {error}"));
}

/// Logs why a daemon ends. Returns `exit`.
#[must_use]
pub fn give_up(error: &dyn std::error::Error, exit: Exit) -> Exit {
    log::error!("{}", error_chain(error));
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_configuration_tells_whether_the_daemon_would_stay() {
        let uses = Uses { tables: &["kvp"], newer: false };
        let identity = Identity { name: "hv_x_daemon", ident: "HV_X", usage: "usage: x", help: "", uses };
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("device");
        let verdict = || identity.verdict(Path::new("/etc/x.toml"), &device);
        let absent = device.display();
        let wanted = format!(
            "/etc/x.toml: can be used, but {absent} is absent, without which hv_x_daemon ends at once"
        );
        assert_eq!(verdict(), wanted);
        std::fs::write(&device, "").unwrap();
        assert_eq!(verdict(), "/etc/x.toml: no error");
    }
}
