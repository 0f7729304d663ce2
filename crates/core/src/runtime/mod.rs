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

/// The version of the suite, as every program reports it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

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
