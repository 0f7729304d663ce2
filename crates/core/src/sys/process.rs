//! Processes of the programs themselves: forking a daemon, helper processes, and signals of started programs.
//! Running external programs is in `runtime::exec`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::os;
use super::signals::reset_for_exec;

/// The write bits that a new file does not get: those of the group and of others, as with devd(8) and rc(8).
const MASK: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// Removes what the caller left open to this process: closes all descriptors except the standard streams, and
/// sets the mask of file modes. Programs that are started inherit both: resolvconf(8) and
/// dhclient(8) leave the modes of their files to the mask.
///
/// It must be called first, while the process owns no descriptor.
pub fn forget_caller() {
    os::mounts::close_from(3);
    umask(MASK);
}

/// The two sides of a fork.
#[derive(Debug)]
pub enum Forked {
    /// The process that was there before.
    Parent {
        /// The new process.
        child: Pid,
        /// Delivers the child's output, and end of file when the child has ended.
        from_child: OwnedFd,
    },
    /// The new process.
    Child {
        /// The pipe to the parent.
        to_parent: OwnedFd,
    },
}

/// Forks with a pipe from child to parent.
///
/// # Errors
/// The error of pipe(2) or fork(2). The process must have one thread, which the programs always do.
pub fn fork_with_pipe() -> io::Result<Forked> {
    // Closed in programs that are started later.
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
/// The error of setsid(2) or chdir(2).
pub fn leave_session() -> io::Result<()> {
    setsid()?;
    std::env::set_current_dir("/")
}

/// Points standard input, output and error at /dev/null.
///
/// # Errors
/// /dev/null cannot be opened or put in place.
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

/// A child of this process that does one thing and ends. It has a copy of the memory, and no descriptor
/// except a pipe to its parent.
#[derive(Debug)]
pub struct Helper {
    child: Pid,
    from_child: File,
    ended: bool,
}

impl Helper {
    /// Starts a child. The parent can read what `work` writes.
    ///
    /// # Errors
    /// The error of pipe(2) or fork(2). `Unsupported` if this process has more than one thread.
    pub fn start(work: impl FnOnce(&mut File)) -> io::Result<Self> {
        if os::processes::own_threads()? != 1 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this process has more than one thread"));
        }
        match fork_with_pipe()? {
            Forked::Parent { child, from_child } => Self::of(child, from_child),
            Forked::Child { to_parent } => {
                be_helper(to_parent, work);
                // SAFETY: _exit(2) takes a number; nothing of the parent's is flushed or dropped twice.
                unsafe { libc::_exit(0) }
            }
        }
    }

    fn of(child: Pid, from_child: OwnedFd) -> io::Result<Self> {
        fcntl(&from_child, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { child, from_child: from_child.into(), ended: false })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.child.as_raw()
    }

    /// Appends to `text` what the child wrote since the last call. Returns true at the end of its output.
    ///
    /// # Errors
    /// The error of read(2).
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

    /// Kills it. A child that sleeps uninterruptibly ends later.
    pub fn kill(&self) {
        if !self.ended {
            // It may have ended already. It was not collected, so the number is still its own.
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }

    /// Whether it has ended. If so, it is collected.
    pub fn has_ended(&mut self) -> bool {
        self.ended = self.ended
            || !matches!(
                waitpid(self.child, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
            );
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
    // A signal to all processes with the daemon's name shall end this one, too.
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

/// Gives a program the default signal mask and dispositions. A daemon's mask would block SIGTERM in the
/// program and its children.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: the child calls only sigaction(2) and sigprocmask(2), which are async-signal-safe, and
    // allocates nothing.
    unsafe { command.pre_exec(reset_for_exec) }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// A helper that runs these words of sh(1), and its process, of which only the standard input is used.
    fn helper(script: &str) -> (Helper, Child) {
        let mut command = Command::new("/bin/sh");
        let command = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let helper = Helper::of(pid, child.stdout.take().unwrap().into()).unwrap();
        assert_eq!(helper.id(), pid.as_raw());
        (helper, child)
    }

    fn read_to_end(helper: &mut Helper) -> Vec<u8> {
        let mut text = Vec::new();
        while !helper.read(&mut text).unwrap() {
            poll(&mut [PollFd::new(helper.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        }
        text
    }

    fn await_end(helper: &mut Helper) {
        while !helper.has_ended() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_helper_writes_is_read_without_waiting() {
        let (mut helper, mut child) =
            helper("read line; i=0; while [ $i -lt 500 ]; do echo 123456789; i=$((i+1)); done");
        let mut text = Vec::new();
        assert!(!helper.read(&mut text).unwrap() && text.is_empty(), "it has written nothing yet");
        assert!(!helper.has_ended());
        drop(child.stdin.take());
        let text = read_to_end(&mut helper);
        assert_eq!(text.len(), 5000);
        assert!(text.chunks(10).all(|line| line == b"123456789\n"));
        await_end(&mut helper);
    }

    #[test]
    fn a_killed_helper_is_collected_once() {
        let (mut helper, mut child) = helper("read line");
        assert!(!helper.has_ended());
        helper.kill();
        assert!(read_to_end(&mut helper).is_empty());
        await_end(&mut helper);
        drop(child.stdin.take());
        // Its number may belong to another process now.
        assert_eq!(waitpid(helper.child, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
        assert!(helper.has_ended());
        helper.kill();
    }

    #[test]
    fn a_process_with_threads_starts_no_helper() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        let started = Helper::start(|_| ());
        drop(end);
        assert!(thread.join().unwrap().is_err());
        assert_eq!(started.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
