//! How a command ends: exit codes of sysexits(3) and what is said with them.

use std::io;
use std::path::PathBuf;

use hv_core::runtime::config::ConfigError;

/// Exit codes besides those of clap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// A negative verdict, or what was asked for is not there.
    No = 1,
    /// EX_USAGE.
    Usage = 64,
    /// EX_UNAVAILABLE: a device or a daemon is not there.
    Unavailable = 69,
    /// EX_NOPERM.
    NotPermitted = 77,
    /// EX_CONFIG.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It needs root; nothing was done.
    #[error("{0}: this needs root")]
    NotPermitted(String),
    /// A daemon or device is not there.
    #[error("{0}")]
    Unavailable(String),
    /// What was asked for is not there, or the answer is no.
    #[error("{0}")]
    No(String),
    /// The system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something of the pools failed; nothing was changed.
    #[error(transparent)]
    Pool(#[from] hv_core::kvp::pool::PoolError),
}

impl Failure {
    /// An operation on a file failed.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::NotPermitted(format!("cannot {doing} {}", path.display()))
            }
            _ => Self::Io { doing, path, source },
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Config(_) => Exit::Config,
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::Unavailable(_) => Exit::Unavailable,
            Self::No(_) | Self::Io { .. } | Self::Pool(_) => Exit::No,
        }
    }
}

/// What a command gives back.
pub(crate) type Outcome = Result<Exit, Failure>;
