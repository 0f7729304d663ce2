//! The results of a command: its exit code, or why it failed. Printing them is left to `lib`.

use std::io;
use std::path::PathBuf;

use hv_core::runtime::config::ConfigError;
pub(crate) use hv_core::runtime::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It needs root. Nothing was done.
    #[error("{0}: this needs root")]
    NotPermitted(String),
    /// A daemon or device does not exist or does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The requested item does not exist, or the answer is no.
    #[error("{0}")]
    No(String),
    /// The system refused an operation.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// Its file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// An operation on the pools failed. Nothing was changed.
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
            Self::No(_) | Self::Io { .. } | Self::Pool(_) => Exit::Failure,
        }
    }
}

/// The result of a command.
pub(crate) type Outcome = Result<Exit, Failure>;
