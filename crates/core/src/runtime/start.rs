//! What the programs do between the command line and their work.

use std::path::Path;
use std::process::ExitCode;

use super::config::{Config, ConfigError, DEFAULT_PATH, Log, LogLevel, Uses};
use super::daemon::{Detached, Starting, detach};
use super::exit::Exit;
use super::log::{self as logging, Target, init, reopen};
use super::options::Options;
use super::{VERSION, error_chain, terminal};
use crate::sys::signals::Signals;

/// A program as its messages and its help present it.
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
    /// The part of the configuration that it is strict about.
    pub uses: Uses,
}

/// The life of a daemon that has its signals: opens the device, calls [`Identity::ready`], and serves until
/// the end.
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

    /// Says whether the configuration can be used, all of it, and whether the daemon's device is there.
    #[must_use]
    pub fn check_config(&self, options: &Options, device: fn(&Config) -> &Path) -> ExitCode {
        let path = options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        match Config::load(options.config.as_deref()) {
            Ok(config) if device(&config).exists() => terminal::say(&format!("{}: no error", path.display())),
            Ok(config) => terminal::say(&format!(
                "{}: can be used, but {} is absent, without which {} ends at once",
                path.display(),
                device(&config).display(),
                self.name
            )),
            Err(error) => {
                self.complain(&error);
                return Exit::Config.into();
            }
        }
        Exit::Ok.into()
    }

    /// Says what is wrong with the command line.
    #[must_use]
    pub fn usage_error(&self, error: &str) -> ExitCode {
        terminal::complain(&format!("{}: {error}\n{}", self.name, self.usage));
        Exit::Usage.into()
    }

    /// Reads the configuration for a person at the terminal, from its usual place if none is named.
    ///
    /// # Errors
    /// [`Exit::Config`] when it cannot be used; why is said at the terminal.
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

    /// Reads the configuration for a program that nobody looks at, and opens the log as it says; with
    /// `details` everything is logged.
    ///
    /// # Errors
    /// [`Exit::Config`] when it cannot be used; why is said at the terminal, and in the log at its usual
    /// place, or on the console while syslogd(8) does not run yet.
    pub fn load_and_log(&self, path: Option<&Path>, details: bool) -> Result<Config, Exit> {
        // Before anything is read that could be wrong.
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

    /// Says an error to the person at the terminal; standard error is closed as soon as the daemon serves.
    pub fn complain(&self, error: &dyn std::error::Error) {
        terminal::complain(&format!("{}: {}", self.name, error_chain(error)));
    }

    fn log_to(&self, target: Target, config: &Config, details: bool) {
        let level = if details { LogLevel::Debug } else { config.log.level };
        init(self.ident, target, level);
    }

    /// Reads the configuration, opens the log, and lives as a daemon: in the foreground, or in a process of
    /// its own that the caller waits for until it is ready.
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

    /// Lets the process that started the daemon end with success, where one waits; standard error is closed
    /// then.
    ///
    /// # Errors
    /// [`Exit::OsError`] when the standard streams cannot be closed; the log says so.
    pub fn ready(&self, starting: Option<Starting>) -> Result<(), Exit> {
        match starting.map(Starting::ready) {
            Some(Err(error)) => Err(give_up(&error, Exit::OsError)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Says once at the terminal, and in the log of a daemon that nobody looks at, why it does not come to
    /// serve; hands `exit` back.
    #[must_use]
    pub fn fail_to_start(&self, error: &dyn std::error::Error, exit: Exit) -> Exit {
        self.complain(error);
        if logging::is_shown() { exit } else { give_up(error, exit) }
    }

    /// Reads the configuration of a running daemon again and sets the log up by it. `None` when it cannot be
    /// used: that changes nothing, and the log says why.
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

/// What is wrong in the tables of other programs.
fn warn_of(passed_over: &[ConfigError]) {
    passed_over.iter().for_each(|error| log::warn!("passed over in the configuration: {error}"));
}

/// Says in the log why a daemon ends; hands `exit` back.
#[must_use]
pub fn give_up(error: &dyn std::error::Error, exit: Exit) -> Exit {
    log::error!("{}", error_chain(error));
    exit
}
