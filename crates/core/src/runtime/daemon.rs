//! Becoming a daemon with daemon(3)'s meaning, but only reporting success when the service is really there.
//!
//! devd(8) waits for the command that it starts, and an administrator looks at its exit status. So the parent
//! stays until the child says that it serves, and ends with the child's own exit code when it does not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::exit::Exit;
use crate::sys::process::{Forked, fork_with_pipe, leave_session, silence_standard_streams};

/// Which process this is after [`detach`].
#[derive(Debug)]
pub enum Detached {
    /// The one that was started: it ends with this code.
    Parent(u8),
    /// The one that serves.
    Child(Starting),
}

/// A daemon that still has its caller's standard error, for messages about a start that fails.
#[derive(Debug)]
pub struct Starting {
    to_parent: OwnedFd,
}

impl Starting {
    /// Lets the parent exit with success and closes the standard streams.
    ///
    /// # Errors
    /// When /dev/null cannot be put in place of the standard streams.
    pub fn ready(self) -> io::Result<()> {
        silence_standard_streams()?;
        // The parent may have been killed meanwhile: the service is there all the same.
        let _ = File::from(self.to_parent).write_all(&[Exit::Ok as u8]);
        Ok(())
    }
}

/// Forks; the child becomes the leader of a session of its own in `/`.
///
/// # Errors
/// What fork(2), pipe(2), setsid(2) or chdir(2) say.
pub fn detach() -> io::Result<Detached> {
    match fork_with_pipe()? {
        Forked::Parent { child, from_child } => Ok(Detached::Parent(await_child(child, from_child))),
        Forked::Child { to_parent } => {
            leave_session()?;
            Ok(Detached::Child(Starting { to_parent }))
        }
    }
}

/// Success once the child reports it, else the exit code of a child that ended.
fn await_child(child: Pid, from_child: OwnedFd) -> u8 {
    let mut report = [0];
    if File::from(from_child).read_exact(&mut report).is_ok() {
        return report[0];
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(Exit::Software as u8),
        _ => Exit::Software as u8,
    }
}
