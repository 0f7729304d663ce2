//! The exit codes of the programs: those of sysexits(3) that they use. hvctl adds its own meaning of 1.

use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// The work failed. Its partial effects were undone.
    Failure = 1,
    /// EX_USAGE: unknown option, stray or malformed argument.
    Usage = 64,
    /// EX_UNAVAILABLE: the device is missing, in use or gone.
    Unavailable = 69,
    /// EX_SOFTWARE: a bug in the program.
    Software = 70,
    /// EX_OSERR: the system refused an operation that normally succeeds.
    OsError = 71,
    /// EX_CONFIG: the configuration file is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
