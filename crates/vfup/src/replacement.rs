//! Finds and runs the administrator's own script for an interface, which replaces this program. It does not
//! look into the script.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hv_core::net::InterfaceName;
use hv_core::runtime::terminal;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// The exit status of sh(1) for a file that it cannot execute.
const CANNOT_EXECUTE: u8 = 126;

/// `hyperv_vfup.hnN` in `directory`, if it is a file. As in base, a file that is not executable is an error
/// and not ignored, because its owner does not want the usual hand-over.
pub(crate) fn find(directory: &Path, name: &InterfaceName) -> Option<PathBuf> {
    let path = directory.join(format!("hyperv_vfup.{name}"));
    path.is_file().then_some(path)
}

/// Replaces this process by the script, without arguments and with the same environment, so its exit status
/// is this program's. Returns only if that fails, or if the script is only to be named; then nothing is
/// joined.
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
        // A script without its first line was run by the shell that started it, so a shell runs it here.
        error = Command::new(sh).arg(script).exec();
    }
    refuse(&format!("cannot run {}: {error}", script.display()))
}

fn refuse(text: &str) -> ExitCode {
    log::error!("{text}");
    terminal::complain(&format!("hyperv_vfup: {text}"));
    ExitCode::from(CANNOT_EXECUTE)
}
