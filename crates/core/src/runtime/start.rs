//! What the programs do between the command line and their work.

use std::path::Path;
use std::process::ExitCode;

use super::config::{Config, DEFAULT_PATH, LogLevel};
use super::daemon::{Detached, Starting, detach};
use super::exit::Exit;
use super::log::{Target, init, reopen};
use super::options::Options;
use super::{VERSION, error_chain};
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
}

/// The life of a daemon that has its signals: opens the device, calls [`Identity::ready`], and serves until the end.
pub type Life = fn(&Options, &Config, &Signals, Option<Starting>) -> Exit;

impl Identity {
    /// Prints the help.
    #[must_use]
    pub fn help(&self) -> ExitCode {
        println!("{}\n\n{}", self.usage, self.help.replace("CONFIG", DEFAULT_PATH));
        Exit::Ok.into()
    }

    /// Prints the version.
    #[must_use]
    pub fn version(&self) -> ExitCode {
        println!("{} {VERSION}", self.name);
        Exit::Ok.into()
    }

    /// Says whether the configuration can be used.
    #[must_use]
    pub fn check_config(&self, options: &Options) -> ExitCode {
        match self.load(options.config.as_deref()) {
            Ok(_) => {
                let path = options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
                println!("{}: no error", path.display());
                Exit::Ok.into()
            }
            Err(exit) => exit.into(),
        }
    }

    /// Says what is wrong with the command line.
    #[must_use]
    pub fn usage_error(&self, error: &str) -> ExitCode {
        eprintln!("{}: {error}\n{}", self.name, self.usage);
        Exit::Usage.into()
    }

    /// Reads the configuration, from its usual place if none is named.
    ///
    /// # Errors
    /// [`Exit::Config`] when it cannot be used; why is said at the terminal.
    pub fn load(&self, path: Option<&Path>) -> Result<Config, Exit> {
        Config::load(path).map_err(|error| {
            self.complain(&error);
            Exit::Config
        })
    }

    /// Says an error to the person at the terminal; standard error is closed as soon as the daemon serves.
    pub fn complain(&self, error: &dyn std::error::Error) {
        eprintln!("{}: {}", self.name, error_chain(error));
    }

    /// Directs the log to syslogd(8); with `details` everything is logged, whatever the configuration says.
    pub fn log_to_syslog(&self, config: &Config, details: bool) {
        self.log_to(Target::Syslog(config.log.sockets.clone()), config, details);
    }

    fn log_to(&self, target: Target, config: &Config, details: bool) {
        let level = if details { LogLevel::Debug } else { config.log.level };
        init(self.ident, target, level);
    }

    /// Reads the configuration, opens the log, and lives as a daemon: in the foreground, or in a process of its own that
    /// the caller waits for until it is ready.
    #[must_use]
    pub fn start(&self, options: &Options, life: Life) -> ExitCode {
        let config = match self.load(options.config.as_deref()) {
            Ok(config) => config,
            Err(exit) => return exit.into(),
        };
        self.set_up_log(options, &config);
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

    fn set_up_log(&self, options: &Options, config: &Config) {
        if options.foreground {
            self.log_to(Target::Stdout, config, options.debug);
        } else {
            self.log_to_syslog(config, options.debug);
        }
    }

    /// Lets the process that started the daemon end with success, where one waits; standard error is closed then.
    ///
    /// # Errors
    /// [`Exit::OsError`] when the standard streams cannot be closed; the log says so.
    pub fn ready(&self, starting: Option<Starting>) -> Result<(), Exit> {
        match starting.map(Starting::ready) {
            Some(Err(error)) => Err(give_up(&error, Exit::OsError)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Says in the log and at the terminal why the daemon does not come to serve; hands `exit` back.
    #[must_use]
    pub fn fail_to_start(&self, error: &dyn std::error::Error, exit: Exit) -> Exit {
        let exit = give_up(error, exit);
        self.complain(error);
        exit
    }

    /// Reads the configuration of a running daemon again and sets the log up by it. `None` when it cannot be used: that
    /// changes nothing, and the log says why.
    #[must_use]
    pub fn reload(&self, options: &Options) -> Option<Config> {
        match Config::load(options.config.as_deref()) {
            Ok(config) => {
                self.set_up_log(options, &config);
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

/// Says in the log why a daemon ends; hands `exit` back.
#[must_use]
pub fn give_up(error: &dyn std::error::Error, exit: Exit) -> Exit {
    log::error!("{}", error_chain(error));
    exit
}
