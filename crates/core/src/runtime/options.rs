//! Parses the options that both daemons share. It is given the arguments and returns a command; it prints
//! nothing.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use lexopt::Arg;

/// What the command line asks a daemon to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve the device.
    Serve(Options),
    /// `-t`: check the configuration and report the result.
    CheckConfig(Options),
    /// An option of one daemon only, with its argument, such as `-c` of the backup daemon.
    Extra(char, Option<OsString>, Options),
    /// `-h`.
    Help,
    /// `-V`.
    Version,
}

/// How a daemon is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-d`: log each message.
    pub debug: bool,
    /// `-n`: stay in the foreground and log to standard output.
    pub foreground: bool,
    /// `-f FILE`: the configuration file; it must exist when named.
    pub config: Option<PathBuf>,
}

/// Why a command line is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// The reason, in one line.
    #[must_use]
    pub fn new(text: &dyn fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::new(&error)
    }
}

/// An option that only one daemon has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraOption {
    /// Its letter.
    pub letter: char,
    /// Whether an argument follows.
    pub takes_argument: bool,
}

/// Parses the arguments after the program's name. `-h` and `-V` win over other well-formed options.
///
/// # Errors
/// An unknown option, a missing argument or any operand.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    extras: &[ExtraOption],
) -> Result<Command, UsageError> {
    let mut options = Options::default();
    let (mut help, mut version, mut check, mut extra) = (false, false, false, None);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('d') => options.debug = true,
            Arg::Short('n') => options.foreground = true,
            Arg::Short('f') => {
                // A daemon leaves the directory in which it is started, and reads the file again later.
                let path = PathBuf::from(parser.value()?);
                options.config = Some(std::path::absolute(&path).unwrap_or(path));
            }
            Arg::Short('t') => check = true,
            Arg::Short('h') | Arg::Long("help") => help = true,
            Arg::Short('V') | Arg::Long("version") => version = true,
            Arg::Short(letter) => match extras.iter().find(|extra| extra.letter == letter) {
                Some(known) if known.takes_argument => extra = Some((letter, Some(parser.value()?))),
                Some(_) => extra = Some((letter, None)),
                None => return Err(argument.unexpected().into()),
            },
            Arg::Long(_) | Arg::Value(_) => return Err(argument.unexpected().into()),
        }
    }
    Ok(match (help, version, check, extra) {
        (true, ..) => Command::Help,
        (_, true, ..) => Command::Version,
        (_, _, true, _) => Command::CheckConfig(options),
        (.., Some((letter, argument))) => Command::Extra(letter, argument, options),
        _ => Command::Serve(options),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Command, UsageError> {
        parse(words.iter().map(OsString::from), &[ExtraOption { letter: 'c', takes_argument: false }])
    }

    #[test]
    fn no_argument_serves_with_defaults() {
        assert_eq!(read(&[]).unwrap(), Command::Serve(Options::default()));
    }

    #[test]
    fn bundled_letters_work_as_with_getopt() {
        let wanted = Options { debug: true, foreground: true, config: Some("/x.toml".into()) };
        assert_eq!(read(&["-dnf", "/x.toml"]).unwrap(), Command::Serve(wanted.clone()));
        assert_eq!(read(&["-d", "-n", "-f/x.toml", "-t"]).unwrap(), Command::CheckConfig(wanted));
    }

    #[test]
    fn the_configuration_is_named_by_its_whole_path() {
        let Command::Serve(options) = read(&["-f", "x/y.toml"]).unwrap() else { panic!("it serves") };
        assert_eq!(options.config, Some(std::env::current_dir().unwrap().join("x/y.toml")));
    }

    #[test]
    fn help_and_version_win() {
        assert_eq!(read(&["-n", "-h"]).unwrap(), Command::Help);
        assert_eq!(read(&["-t", "-V"]).unwrap(), Command::Version);
    }

    #[test]
    fn an_option_of_one_daemon_is_passed_on() {
        assert_eq!(read(&["-c"]).unwrap(), Command::Extra('c', None, Options::default()));
    }

    #[test]
    fn malformed_command_lines_are_refused() {
        for words in [&["-x"][..], &["--debug"], &["stray"], &["-f"], &["-n", "--", "x"], &["-n=1"], &["-d5"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
