//! Exit codes: those of sysexits(3) that the programs use.

use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The work failed and nothing of it is left behind.
    Failure = 1,
    /// EX_USAGE: unknown option, stray or malformed argument.
    Usage = 64,
    /// EX_UNAVAILABLE: the device is missing, taken or gone.
    Unavailable = 69,
    /// EX_SOFTWARE: a defect of the program itself.
    Software = 70,
    /// EX_OSERR: the system refused something that it always grants.
    OsError = 71,
    /// EX_CONFIG: the configuration file is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
