//! Help, usage, configuration and completions of hvctl, as a user sees them. No guest and no daemon is
//! involved.

use std::fs;
use std::path::Path;

use crate::support::{HYPER_V, without_daemons};

#[test]
fn a_wrong_command_line_exits_with_64() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for arguments in
        [&[][..], &["nonsense"], &["kvp"], &["kvp", "get", "9", "k"], &["kvp", "put", "k"], &["-x"]]
    {
        let said = place.hvctl(arguments);
        assert_eq!(said.code, 64, "{arguments:?} {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["kvp", "--help"], &["kvp", "put", "-h"], &["-h"]] {
        let help = place.hvctl(arguments).good();
        assert!(help.contains("Usage: hvctl"), "{help}");
    }
    assert_eq!(place.hvctl(&["-V"]).good(), format!("hvctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_configuration_exits_with_78() {
    let (_scratch, place) = without_daemons(HYPER_V);
    std::fs::write(&place.config, "[kvp]\nmax-record = 1\n").unwrap();
    for arguments in [&["status"][..], &["kvp", "list"], &["host"], &["metrics"]] {
        let said = place.hvctl(arguments);
        assert_eq!(said.code, 78, "{arguments:?}");
        assert!(said.err.contains("unknown field `max-record`"), "{said:?}");
    }
}

#[test]
fn the_installed_completions_are_those_of_this_program() {
    let (_scratch, place) = without_daemons(HYPER_V);
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/completions"));
    for (shell, file) in [("bash", "hvctl.bash"), ("zsh", "_hvctl"), ("fish", "hvctl.fish")] {
        let script = place.hvctl(&["completions", shell]).good();
        let installed = fs::read_to_string(directory.join(file)).unwrap_or_default();
        assert!(script == installed, "target/debug/hvctl completions {shell} > etc/completions/{file}");
    }
}

#[test]
fn completions_of_every_shell_have_the_commands() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.hvctl(&["completions", shell]).good();
        for word in ["status", "doctor", "kvp", "put", "history", "restore"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
}
