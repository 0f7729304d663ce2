//! Fuzz target: hyperv.toml and the options of the daemons. No input may panic, and an error must have its
//! place in the text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use hv_core::runtime::config::Config;
use hv_core::runtime::options::{Command, ExtraOption, parse};

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "configuration",
    promise: "any hyperv.toml and any options are taken or refused with a reason; nothing else happens",
    check,
    words: &[
        "[log]\n",
        "[kvp]\n",
        "[vss]\n",
        "[vf]\n",
        "[network]\n",
        "[facts]\n",
        "[[vss.mounts]]\n",
        "level = \"debug\"\n",
        "pool-dir = \"",
        "max-records = ",
        "exclude = [\"/",
        "treatment = \"veto\"\n",
        "watchdog-ms = ",
        "-n",
        "-f",
        "--help",
        "-t",
        "-d",
        "-c",
        "-R",
    ],
};

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let mut words: Vec<OsString> = Vec::new();
    for _ in 0..choices.below(6) {
        let word =
            choices.of(&["-d", "-n", "-t", "-c", "-f", "x.toml", "-R", "hn0", "-h", "-V", "--", "-dn"]);
        let any = choices.byte() % 8 == 0;
        words.push(if any { OsString::from_vec(choices.bytes(12).to_vec()) } else { word.into() });
    }
    options(&words, &mut seen);
    let text = String::from_utf8_lossy(choices.rest()).into_owned();
    match Config::parse(&text, Path::new("hyperv.toml")) {
        Ok(config) => {
            let again = Config::parse(&text, Path::new("hyperv.toml")).expect("it was good");
            assert_eq!(config, again);
            seen.saw(config == Config::default());
        }
        Err(error) => seen.saw(error.to_string().split_whitespace().nth(1).unwrap_or_default().to_owned()),
    }
    seen.name()
}

fn options(words: &[OsString], seen: &mut Behaviour) {
    let extras = [
        ExtraOption { letter: 'c', takes_argument: false },
        ExtraOption { letter: 'R', takes_argument: true },
    ];
    match parse(words.iter().cloned(), &extras) {
        Ok(Command::Serve(options) | Command::CheckConfig(options)) => {
            let found = options.config.is_none_or(|path| path.is_absolute() || path.as_os_str().is_empty());
            assert!(found, "the file is found from anywhere");
            seen.saw((options.debug, options.foreground));
        }
        Ok(Command::Extra(letter, argument, _)) => {
            assert!(letter == 'c' || (letter == 'R' && argument.is_some()));
            seen.saw(letter);
        }
        Ok(Command::Help) => seen.saw("help"),
        Ok(Command::Version) => seen.saw("version"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            seen.saw("refused");
        }
    }
}
