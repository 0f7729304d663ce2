//! Parses the command line of hyperv_vfattach. It checks the words and runs nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use hv_core::net::InterfaceName;
use hv_core::runtime::options::UsageError;
use lexopt::Arg;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Wait and bring up a new interface.
    Work(Options),
    /// `-h`.
    Help,
    /// `-V`.
    Version,
}

/// A new interface and how to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-v`: log details.
    pub(crate) verbose: bool,
    /// `-f FILE`: the configuration file.
    pub(crate) config: Option<PathBuf>,
    /// The interface's name.
    pub(crate) interface: InterfaceName,
    /// Seconds to wait in the foreground. 0: wait in the background, as long as rc.conf says.
    pub(crate) delay: u32,
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let (mut verbose, mut config, mut operands) = (false, None, Vec::new());
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('v') => verbose = true,
            Arg::Short('f') => config = Some(parser.value()?.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Value(value) => operands.push(value.to_string_lossy().into_owned()),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let [interface, delay] = operands.as_slice() else {
        return Err(UsageError::new(&"an interface and a delay are needed"));
    };
    let interface = interface.parse::<InterfaceName>().map_err(|error| UsageError::new(&error))?;
    let delay = read_delay(delay).ok_or_else(|| UsageError::new(&"the delay is no number of seconds"))?;
    Ok(Command::Work(Options { verbose, config, interface, delay }))
}

/// Decimal digits only: `+5` and ` 5` are refused.
fn read_delay(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Command, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn interface_and_delay_are_parsed() {
        let interface = "mce0".parse().unwrap();
        let wanted = Options { verbose: true, config: Some("/x".into()), interface, delay: 120 };
        assert_eq!(read(&["-v", "-f", "/x", "mce0", "120"]).unwrap(), Command::Work(wanted));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let long = "h".repeat(300);
        for words in [
            &[][..],
            &["mce0"],
            &["mce0", "0", "0"],
            &["mce0", ""],
            &["mce0", "-5"],
            &["mce0", "+5"],
            &["mce0", "1.5"],
            &["mce0", "99999999999"],
            &["mce0", "0x2"],
            &["hn0; reboot", "0"],
            &["../x", "0"],
            &["", "0"],
            &[&long, "0"],
            &["-x", "mce0", "0"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
