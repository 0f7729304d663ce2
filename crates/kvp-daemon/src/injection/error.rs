//! Why a configuration was not carried out.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use hv_core::hn::lock::LockError;
use hv_core::injection::apply::ApplyError;
use hv_core::injection::file::FileError;
use hv_core::injection::plan::NoTarget;
use hv_core::injection::rc_file::Variable;
use hv_core::injection::record::RecordError;
use hv_core::injection::step::Step;
use hv_core::kvp::ip_info::request::RequestError;
use hv_core::net::{InterfaceName, ParseError};
use hv_core::plan::Failed;
use hv_core::runtime::exec::ProgramError;
use hv_core::vf::load::LoadError;

/// Why a configuration was not carried out or taken back. Nothing of it is left unless the log says so.
#[derive(Debug)]
pub(crate) enum InjectionError {
    /// The administrator does not want it.
    Off,
    /// The interface is not on the administrator's list.
    NotAllowed(InterfaceName),
    /// The request is malformed.
    Request(RequestError),
    /// There is no interface for it.
    NoTarget(NoTarget),
    /// Another program is at work on the interface.
    Lock(LockError),
    /// The network could not be read.
    Facts(LoadError),
    /// rc.conf or the undo file could not be read or written.
    File(FileError),
    /// The undo file is damaged.
    Record {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The undo file belongs to another rc.conf.
    OtherRcConf {
        /// Its path.
        path: PathBuf,
        /// That rc.conf.
        rc_conf: PathBuf,
    },
    /// The shell would read something else from the restored rc.conf.
    NotRestored {
        /// The file.
        rc_conf: PathBuf,
        /// The variable.
        name: Variable,
    },
    /// rc.conf(5) could not be read by the shell.
    RcConf(hv_core::vf::load::LoadError),
    /// There is nothing to take back.
    NoRecord(PathBuf),
    /// A value cannot be written.
    Value(ParseError),
    /// A step failed.
    Failed {
        /// The step and why.
        failed: Box<Failed<Step, ApplyError>>,
        /// How many steps could not be taken back yet; that is tried again after the answer.
        pending: usize,
    },
    /// The external program.
    External(ProgramError),
}

impl fmt::Display for InjectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("the configuration does not allow it"),
            Self::NotAllowed(name) => write!(f, "{name} is not among kvp.ip-injection-interfaces"),
            Self::Request(error) => error.fmt(f),
            Self::NoTarget(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::Facts(error) => error.fmt(f),
            Self::RcConf(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Record { path, .. } => write!(f, "{} is no undo file", path.display()),
            Self::OtherRcConf { path, rc_conf } => {
                write!(f, "{} is about {}, take that back first", path.display(), rc_conf.display())
            }
            Self::NotRestored { rc_conf, name } => write!(
                f,
                "{} was edited since: with its old line back, {name} would not be what it was; put it right by hand",
                rc_conf.display()
            ),
            Self::NoRecord(path) => write!(f, "there is nothing to take back, {} is missing", path.display()),
            Self::Value(error) => error.fmt(f),
            Self::Failed { failed, pending: 0 } => failed.fmt(f),
            Self::Failed { failed, pending } => {
                write!(f, "cannot {}, {pending} steps are still to be taken back", failed.step)
            }
            Self::External(error) => error.fmt(f),
        }
    }
}

impl Error for InjectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Lock(error) => error.source(),
            Self::Facts(error) => error.source(),
            Self::RcConf(error) => error.source(),
            Self::File(error) => error.source(),
            Self::Record { source, .. } => Some(source),
            Self::Failed { failed, .. } => failed.source(),
            Self::External(error) => error.source(),
            _ => None,
        }
    }
}
