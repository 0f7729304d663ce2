//! Whether and how a child has ended. A signal that interrupts the question says nothing about the child, so
//! the question is asked again: else the child would go on while its caller believes that it failed. It
//! starts and ends no child.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Waits for the end of a child, and collects it.
///
/// # Errors
/// The error of waitpid(2), except EINTR.
pub(super) fn wait(child: Pid) -> io::Result<WaitStatus> {
    uninterrupted(|| Ok(waitpid(child, None)?))
}

/// Whether a child has ended, and how. It is collected then.
///
/// # Errors
/// The error of waitpid(2), except EINTR.
pub(super) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    uninterrupted(|| child.try_wait())
}

/// Whether a child has ended, and how, without collecting it: until it is collected, no other process gets
/// its number.
///
/// # Errors
/// The error of waitid(2), except EINTR.
pub(super) fn peek(child: Pid) -> io::Result<Option<ExitStatus>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(match uninterrupted(|| Ok(waitid(Id::Pid(child), flags)?))? {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
        WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
        _ => None,
    })
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_question_is_asked_again() {
        let mut answers = [Ok(7), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted)].to_vec();
        assert_eq!(uninterrupted(|| Ok(answers.pop().unwrap()?)).unwrap(), 7);
        let mut other = [Ok(7), Err(io::ErrorKind::OutOfMemory)].to_vec();
        assert_eq!(
            uninterrupted(|| Ok(other.pop().unwrap()?)).unwrap_err().kind(),
            io::ErrorKind::OutOfMemory
        );
    }
}
