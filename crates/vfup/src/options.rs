//! The command line of hyperv_vfup.

use std::ffi::OsString;
use std::path::PathBuf;

use hv_core::hn::Adapter;
use hv_core::runtime::options::UsageError;
use lexopt::Arg;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A hand-over.
    Work(Options),
    /// `-h`.
    Help,
    /// `-V`.
    Version,
}

/// A hand-over of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-d`: take the lagg apart.
    pub(crate) down: bool,
    /// `-n`: print the plan and change nothing.
    pub(crate) print: bool,
    /// `-v`: log details.
    pub(crate) verbose: bool,
    /// `-f FILE`: the configuration file.
    pub(crate) config: Option<PathBuf>,
    /// The interface.
    pub(crate) hn: Adapter,
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let (mut down, mut print, mut verbose, mut config) = (false, false, false, None);
    let mut interface: Option<OsString> = None;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('d') => down = true,
            Arg::Short('n') => print = true,
            Arg::Short('v') => verbose = true,
            Arg::Short('f') => config = Some(parser.value()?.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Value(value) if interface.is_none() => interface = Some(value),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let Some(interface) = interface else { return Err(UsageError::new(&"no interface is named")) };
    let hn = interface.to_string_lossy().parse::<Adapter>().map_err(|error| UsageError::new(&error))?;
    Ok(Command::Work(Options { down, print, verbose, config, hn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Command, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn options_may_stand_on_either_side_of_the_interface() {
        let hn = "hn10".parse().unwrap();
        let wanted = Options { down: true, print: true, verbose: false, config: Some("/x".into()), hn };
        assert_eq!(read(&["-dn", "-f", "/x", "hn10"]).unwrap(), Command::Work(wanted.clone()));
        assert_eq!(read(&["hn10", "-n", "-f/x", "-d"]).unwrap(), Command::Work(wanted));
    }

    #[test]
    fn hostile_names_are_usage_errors_and_not_repeated_in_full() {
        let long = "h".repeat(300);
        for name in ["hn0; reboot", "../x", "", "hn0\n", "$(id)", "lagg0", "hn", &long] {
            let error = read(&[name]).unwrap_err().to_string();
            assert!(error.len() < 120 && !error.contains('\n'), "{error}");
        }
        assert!(read(&[]).is_err());
        assert!(read(&["hn0", "hn1"]).is_err());
        assert!(read(&["-x", "hn0"]).is_err());
    }
}
