//! Why an injection, or taking it back, failed. Only the errors and their texts.

use std::io;
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
use hv_core::runtime::error_chain;
use hv_core::runtime::exec::ProgramError;
use hv_core::vf::load::LoadError;

/// Why an injection or taking it back failed. All of its changes are undone, unless the log has others.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectionError {
    /// The administrator does not allow it.
    #[error("the configuration does not allow it")]
    Off,
    /// The interface is not on the administrator's list.
    #[error("{0} is not among kvp.ip-injection-interfaces")]
    NotAllowed(InterfaceName),
    /// The request is malformed.
    #[error(transparent)]
    Request(RequestError),
    /// There is no interface for it.
    #[error(transparent)]
    NoTarget(NoTarget),
    /// Another program works on the interface.
    #[error(transparent)]
    Lock(LockError),
    /// The interfaces could not be read.
    #[error("cannot read interfaces and routes")]
    Network(#[source] io::Error),
    /// The network could not be read.
    #[error(transparent)]
    Facts(LoadError),
    /// rc.conf or the undo file could not be read or written.
    #[error(transparent)]
    File(FileError),
    /// The undo file is damaged.
    #[error("{} is no undo file", path.display())]
    Record {
        /// Its path.
        path: PathBuf,
        /// The error in it.
        source: RecordError,
    },
    /// The undo file belongs to another rc.conf.
    #[error("{} is about {}, take that back first", path.display(), rc_conf.display())]
    OtherRcConf {
        /// Its path.
        path: PathBuf,
        /// That rc.conf.
        rc_conf: PathBuf,
    },
    /// The shell would read other values from the restored rc.conf.
    #[error(
        "{} was edited since: with its old line back, {name} would not be what it was; put it right by hand",
        rc_conf.display()
    )]
    NotRestored {
        /// The file.
        rc_conf: PathBuf,
        /// The variable.
        name: Variable,
    },
    /// rc.conf(5) could not be read by the shell.
    #[error(transparent)]
    RcConf(LoadError),
    /// There is nothing to take back.
    #[error("there is nothing to take back, {} is missing", .0.display())]
    NoRecord(PathBuf),
    /// A value cannot be written.
    #[error(transparent)]
    Value(ParseError),
    /// A step failed.
    #[error("{}", failure(failed, *pending))]
    Failed {
        /// The step and the error.
        failed: Box<Failed<Step, ApplyError>>,
        /// How many steps are not taken back yet. That is tried again after the answer.
        pending: usize,
    },
    /// The external program failed.
    #[error(transparent)]
    External(ProgramError),
}

/// The text with the reason, which is the source of `failed` and not of this error.
fn failure(failed: &Failed<Step, ApplyError>, pending: usize) -> String {
    let reason = error_chain(&failed.error);
    match pending {
        0 => format!("{failed}: {reason}"),
        _ => format!("cannot {}, {pending} steps are still to be taken back: {reason}", failed.step),
    }
}
