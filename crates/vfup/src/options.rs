//! Parses the command line of hyperv_vfup. It checks the words and runs nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use hv_core::net::InterfaceName;
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
    /// The interface, or its device.
    pub(crate) interface: InterfaceName,
}

impl Options {
    /// Whether a lagg is to be created: if that fails the VF is brought down.
    pub(crate) fn joins(&self) -> bool {
        !self.down && !self.print
    }
}

/// The configuration file in a malformed command line.
pub(crate) fn named_config(arguments: &[OsString]) -> Option<PathBuf> {
    let mut words = arguments.iter().skip_while(|word| !word.to_string_lossy().starts_with("-f"));
    match words.next()?.to_str()?.strip_prefix("-f")? {
        "" => words.next().map(PathBuf::from),
        path => Some(path.into()),
    }
}

/// Whether a malformed command line only asks for a look, or for taking apart.
pub(crate) fn only_looks(arguments: &[OsString]) -> bool {
    let is_option = |word: &&str| word.starts_with('-') && !word.starts_with("--");
    let mut options = arguments.iter().filter_map(|word| word.to_str()).filter(is_option);
    options.any(|word| word.contains(['n', 'd']))
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
    let interface =
        interface.to_string_lossy().parse::<InterfaceName>().map_err(|error| UsageError::new(&error))?;
    Ok(Command::Work(Options { down, print, verbose, config, interface }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Command, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn options_may_precede_or_follow_the_interface() {
        let interface = "hn10".parse().unwrap();
        let wanted =
            Options { down: true, print: true, verbose: false, config: Some("/x".into()), interface };
        assert_eq!(read(&["-dn", "-f", "/x", "hn10"]).unwrap(), Command::Work(wanted.clone()));
        assert_eq!(read(&["hn10", "-n", "-f/x", "-d"]).unwrap(), Command::Work(wanted));
    }

    #[test]
    fn malformed_names_are_usage_errors() {
        let long = "h".repeat(300);
        for name in ["hn0; x", "../x", "", "hn0\n", "$(id)", "0hn", &long] {
            let error = read(&[name]).unwrap_err().to_string();
            assert!(error.len() < 120 && !error.contains('\n'), "{error}");
        }
        assert!(read(&[]).is_err());
        assert!(read(&["hn0", "hn1"]).is_err());
        assert!(read(&["-x", "hn0"]).is_err());
        let only_looks =
            |words: &[&str]| super::only_looks(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(only_looks(&["-xn", "hn0"]) && only_looks(&["hn0", "-d", "hn1"]));
        assert!(!only_looks(&["hn0", "hn1"]) && !only_looks(&["-x", "hn0"]));
        let config =
            |words: &[&str]| super::named_config(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            (config(&["-f", "/x", "hn0"]), config(&["hn0", "-f/x"])),
            (Some("/x".into()), Some("/x".into()))
        );
        assert_eq!((config(&["hn0"]), config(&["hn0", "-f"])), (None, None));
    }
}
