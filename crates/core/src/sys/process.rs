//! Becoming a daemon, and starting programs as one that is none.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::os;
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
    // Not for programs that are started later.
    let (from_child, to_parent) = pipe2(OFlag::O_CLOEXEC)?;
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

/// Points one of the standard streams at /dev/null.
///
/// # Errors
/// /dev/null cannot be opened or put in place.
pub(super) fn silence(descriptor: i32) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    match descriptor {
        0 => dup2_stdin(&null)?,
        1 => dup2_stdout(&null)?,
        _ => dup2_stderr(&null)?,
    }
    Ok(())
}

/// A child of this process that does one thing and is gone. It has its own copy of the memory, and nothing
/// open but a pipe to its parent.
#[derive(Debug)]
pub struct Helper {
    child: Pid,
    from_child: File,
    ended: bool,
}

impl Helper {
    /// Starts one; what `work` writes reaches the parent.
    ///
    /// # Errors
    /// What pipe(2) or fork(2) say; `Unsupported` where this process has more than one thread.
    pub fn start(work: impl FnOnce(&mut File)) -> io::Result<Self> {
        if os::processes::own_threads()? != 1 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this process has more than one thread"));
        }
        match fork_with_pipe()? {
            Forked::Parent { child, from_child } => {
                let from_child = File::from(from_child);
                fcntl(&from_child, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                Ok(Self { child, from_child, ended: false })
            }
            Forked::Child { to_parent } => {
                be_helper(to_parent, work);
                // SAFETY: _exit(2) takes a number; nothing of the parent's is flushed or dropped twice.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.child.as_raw()
    }

    /// Adds what it wrote since the last call to `text`; true when there will be no more.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.from_child.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => text.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills it. One that sleeps uninterruptibly dies later.
    pub fn kill(&self) {
        if !self.ended {
            // It can have ended in this very moment; it is not waited for yet, so the number is still its
            // own.
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }

    /// Whether it is gone; if it is, it has been waited for.
    pub fn has_ended(&mut self) -> bool {
        self.ended = self.ended
            || !matches!(waitpid(self.child, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive));
        self.ended
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from_child.as_fd()
    }
}

fn be_helper(to_parent: OwnedFd, work: impl FnOnce(&mut File)) {
    let mut pipe = File::from(to_parent);
    // Who ends the daemon by name ends this as well.
    let _ = reset_for_exec();
    let number = pipe.as_raw_fd();
    os::mounts::close_from(number + 1);
    for descriptor in 0..number {
        // SAFETY: the numbers below the pipe are the parent's copies; no value of this process that still
        // runs owns one.
        unsafe { libc::close(descriptor) };
    }
    // A panic must not run on into the parent's code.
    let _ = catch_unwind(AssertUnwindSafe(|| work(&mut pipe)));
}

/// Lets a program begin without the signal mask of a daemon, which would keep SIGTERM from it and from
/// whatever it starts, and without ignoring what the daemon ignores.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: the child calls only sigaction(2) and sigprocmask(2), which are async-signal-safe, and
    // allocates nothing.
    unsafe { command.pre_exec(reset_for_exec) }
}
