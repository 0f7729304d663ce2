//! What every program needs to run: options, configuration, log, signals, waiting, exit codes and external
//! programs. It knows no request, no mount and no interface.

mod child;
pub mod config;
pub mod control;
pub mod daemon;
pub mod device;
pub mod exec;
pub mod exit;
pub mod history;
pub mod log;
pub mod options;
pub mod rate_limit;
pub mod start;
pub mod state_file;
pub mod terminal;
pub mod wait;

use std::path::Path;

/// The version of the suite, as every program reports it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether nothing is there. A file that cannot be looked at is not absent: who tries to use it gets the error.
#[must_use]
pub fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// An error with its causes in one line, joined by `: `.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_not_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        std::os::unix::fs::symlink(path("gone"), path("dangling")).unwrap();
        std::fs::write(path("file"), "").unwrap();
        for (name, absent) in
            [("file", false), ("gone", true), ("dangling", true), ("loop", false), ("file/below", false)]
        {
            assert_eq!(is_absent(&path(name)), absent, "{name}");
        }
    }
}
