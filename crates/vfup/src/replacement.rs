//! The administrator's own script for an interface, which runs instead of this program.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hv_core::net::InterfaceName;
use hv_core::runtime::terminal;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// What sh(1) returns for a file that it cannot execute.
const CANNOT_EXECUTE: u8 = 126;

/// `hyperv_vfup.hnN` in `directory`, if it is a file: as in base, one that cannot be executed is an error and
/// not passed over, for its owner does not want the hand-over that he would get instead.
pub(crate) fn find(directory: &Path, name: &InterfaceName) -> Option<PathBuf> {
    let path = directory.join(format!("hyperv_vfup.{name}"));
    path.is_file().then_some(path)
}

/// Becomes the script, which gets no arguments and the environment as it is: its exit status is ours. Returns
/// only if that fails, or if it is only to be named; then nobody joins anything.
pub(crate) fn run(script: &Path, sh: &Path, only_name_it: bool) -> ExitCode {
    if access(script, AccessFlags::X_OK) == Err(Errno::EACCES) {
        return refuse(&format!("{} is not executable, nothing was joined", script.display()));
    }
    if only_name_it {
        terminal::say(&format!("run {}", script.display()));
        return ExitCode::SUCCESS;
    }
    log::info!("running {} instead", script.display());
    let mut error = Command::new(script).exec();
    if error.raw_os_error() == Some(Errno::ENOEXEC as i32) {
        // A script without its first line: the shell that ran it until now took it as its own.
        error = Command::new(sh).arg(script).exec();
    }
    refuse(&format!("cannot run {}: {error}", script.display()))
}

fn refuse(text: &str) -> ExitCode {
    log::error!("{text}");
    terminal::complain(&format!("hyperv_vfup: {text}"));
    ExitCode::from(CANNOT_EXECUTE)
}
