//! Detaches the program as daemon(3) does, but reports success only when the service runs. It is called once,
//! before anything is opened.
//!
//! devd(8) waits for the command that it starts, and administrators check the exit status. So the parent
//! waits until the child reports that it serves. If the child ends instead, the parent ends with the child's
//! exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::child;
use super::exit::Exit;
use crate::sys::process::{Forked, fork_with_pipe, leave_session, silence_standard_streams};

/// Which process this is after [`detach`].
#[derive(Debug)]
pub enum Detached {
    /// The process that was started. It ends with this code.
    Parent(u8),
    /// The process that serves.
    Child(Starting),
}

/// A daemon before its start is complete. It still has its caller's standard error for error messages.
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
        // The parent may have been killed meanwhile. That does not matter to the service.
        let _ = File::from(self.to_parent).write_all(&[Exit::Ok as u8]);
        Ok(())
    }
}

/// Forks. The child becomes the leader of a new session, in `/`.
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

/// Success when the child reports it, otherwise the exit code of the child.
fn await_child(pid: Pid, from_child: OwnedFd) -> u8 {
    let mut report = [0];
    if File::from(from_child).read_exact(&mut report).is_ok() {
        return report[0];
    }
    match child::wait(pid) {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(Exit::Software as u8),
        _ => Exit::Software as u8,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// The exit code after a child that runs these words of sh(1). Its standard output is the pipe.
    fn code(script: &str) -> u8 {
        let mut command = Command::new("/bin/sh");
        let mut child =
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let code = await_child(pid, child.stdout.take().unwrap().into());
        // One that still runs ends at the end of its input. One that was collected has no other end.
        drop(child.stdin.take());
        let _ = child.wait();
        code
    }

    #[test]
    fn the_caller_is_told_what_the_daemon_reports() {
        assert_eq!(code("printf '\\0'; read line"), Exit::Ok as u8, "a running service is not waited for");
        assert_eq!(code("printf '\\107'; exit 3"), 71);
    }

    #[test]
    fn a_daemon_that_ends_first_gives_its_exit_code() {
        assert_eq!(code("exit 78"), Exit::Config as u8);
        assert_eq!(code("exit 0"), 0);
        assert_eq!(code("exec >&-; exit 69"), Exit::Unavailable as u8);
        assert_eq!(code("kill -9 $$"), Exit::Software as u8, "it has no exit code");
    }

    #[test]
    fn a_child_that_cannot_be_waited_for_is_a_defect() {
        let (from_child, to_parent) = io::pipe().unwrap();
        drop(to_parent);
        // The process with this number is never a child of this one.
        assert_eq!(await_child(Pid::from_raw(1), from_child.into()), Exit::Software as u8);
    }
}
