//! The exit codes of all programs: those of sysexits(3) that they use, and 1. It decides nothing: each
//! program chooses its code.

use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// The work failed, and its partial effects were undone. For hvctl also: the answer is no.
    Failure = 1,
    /// EX_USAGE: unknown option, stray or malformed argument.
    Usage = 64,
    /// EX_UNAVAILABLE: the device is missing, in use or gone.
    Unavailable = 69,
    /// EX_SOFTWARE: a bug in the program.
    Software = 70,
    /// EX_OSERR: the system refused an operation that normally succeeds.
    OsError = 71,
    /// EX_NOPERM: only root may do this.
    NotPermitted = 77,
    /// EX_CONFIG: the configuration file is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
