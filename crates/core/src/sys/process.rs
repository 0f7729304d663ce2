//! Becoming a daemon, and starting programs as one that is none.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe, setsid};

use super::signals::reset_for_exec;

/// The two sides of a fork.
#[derive(Debug)]
pub enum Forked {
    /// The process that was there before.
    Parent {
        /// The new process.
        child: Pid,
        /// Gives what the child writes, then end of file when it is gone.
        from_child: OwnedFd,
    },
    /// The new process.
    Child {
        /// Reaches the parent.
        to_parent: OwnedFd,
    },
}

/// Forks with a pipe from child to parent.
///
/// # Errors
/// What pipe(2) or fork(2) say. The process must have one thread; the programs never have more.
pub fn fork_with_pipe() -> io::Result<Forked> {
    let (from_child, to_parent) = pipe()?;
    // SAFETY: the process is single threaded, so the child inherits no lock that a vanished thread holds.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Parent { child, from_child }),
        ForkResult::Child => Ok(Forked::Child { to_parent }),
    }
}

/// Leaves the caller's session and directory, as daemon(3) does.
///
/// # Errors
/// What setsid(2) or chdir(2) say.
pub fn leave_session() -> io::Result<()> {
    setsid()?;
    std::env::set_current_dir("/")
}

/// Points standard input, output and error at /dev/null.
///
/// # Errors
/// When /dev/null cannot be opened or put in place.
pub fn silence_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Lets a program begin without the signal mask of a daemon, which would keep SIGTERM from it and from whatever it
/// starts, and without ignoring what the daemon ignores.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: the child calls only sigaction(2) and sigprocmask(2), which are async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(reset_for_exec) }
}
