//! Kills a real program at its n-th system call, makes that call fail, or makes it do half of its work. It is
//! for tests that try every n; what must hold afterwards is theirs.
//!
//! It uses ptrace(2), on Linux on amd64. The calls of children are not touched, but for one that leaves the
//! session of its parent in order to go on in the background.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// The variable that makes tests try every case: its value is `all`, or a number to try every so many of
/// them. Else they try some.
pub const VARIABLE: &str = "HVSIM_FAULTS";

/// What is done to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// The process is killed before the call does anything.
    Kill,
    /// The call has no effect and fails. close(2) closes and fails.
    Error(Errno),
    /// A read or write of more than one byte moves half of them.
    Short,
}

/// One fault of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The call with the fault.
    pub call: Call,
    /// Its number among equal calls: a run may make one call more or less than another.
    pub occurrence: usize,
    /// What is done to it.
    pub strike: Strike,
}

/// One system call of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number (`__NR_*`).
    pub number: i64,
    /// The name of the file behind its first argument, if that is a descriptor. Scratch files share one name.
    pub file: Option<String>,
}

impl Call {
    fn is(&self, numbers: &[i64]) -> bool {
        numbers.contains(&self.number)
    }

    /// Whether it is a call on the device with this name.
    #[must_use]
    pub fn is_on(&self, device: &str) -> bool {
        self.file.as_deref() == Some(device)
    }

    /// The faults that the system allows for this call, except killing.
    #[must_use]
    pub fn faults(&self) -> Vec<Strike> {
        use Errno::{EINTR, EIO, EMFILE, ENOMEM, ENOSPC};
        let errors: &[Errno] = if self.is(&READS) {
            &[EIO, EINTR]
        } else if self.is(&WRITES) {
            &[ENOSPC, EIO, EINTR]
        } else if self.is(&STORES) {
            &[ENOSPC, EIO]
        } else if self.is(&[libc::SYS_openat, libc::SYS_open]) {
            &[EMFILE, ENOSPC, EIO, ENOMEM, EINTR]
        } else if self.is(&MAKES) {
            &[EMFILE, ENOMEM]
        } else if self.is(&LOOKS) {
            &[EIO, ENOMEM]
        } else if self.is(&LOCKS) {
            &[EINTR, ENOMEM]
        } else if self.is(&WAITS) {
            // No other error: FreeBSD's poll(2) waits for memory (sys/kern/sys_generic.c, kern_poll).
            &[EINTR]
        } else if self.is(&[libc::SYS_ioctl]) {
            &[EIO, EINTR, ENOMEM]
        } else if self.is(&[libc::SYS_close]) {
            &[EIO, EINTR]
        } else {
            &[]
        };
        let short = (self.is(&READS) || self.is(&WRITES)).then_some(Strike::Short);
        errors.iter().map(|errno| Strike::Error(*errno)).chain(short).collect()
    }
}

const READS: [i64; 2] = [libc::SYS_read, libc::SYS_pread64];
const WRITES: [i64; 2] = [libc::SYS_write, libc::SYS_pwrite64];
const STORES: [i64; 12] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rename,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_fchmod,
    libc::SYS_utimensat,
];
const MAKES: [i64; 11] = [
    libc::SYS_socket,
    libc::SYS_pipe2,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_eventfd2,
    libc::SYS_inotify_init1,
    libc::SYS_accept4,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_vfork,
];
const LOOKS: [i64; 8] = [
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlink,
    libc::SYS_mmap,
];
const LOCKS: [i64; 2] = [libc::SYS_fcntl, libc::SYS_flock];
const WAITS: [i64; 4] = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_wait4, libc::SYS_waitid];

/// Where counting begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the next call.
    Now,
    /// When the process runs the program with this name.
    Program(&'static str),
    /// When a child of the process leaves its session. The watch goes over to that child; the process itself
    /// continues without one.
    Background,
}

/// The calls of a watched process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its calls in order, until the watch ended.
    pub calls: Vec<Call>,
    /// Whether the fault happened.
    pub struck: bool,
    /// Whether the process has ended.
    pub ended: bool,
}

/// A watched process. No other thread may wait for it meanwhile.
#[derive(Debug)]
pub struct Watch {
    pid: Pid,
    finish: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Report>>,
}

impl Watch {
    /// Watches a child of this process. The call of `case` gets its fault.
    ///
    /// # Errors
    /// The error of ptrace(2).
    ///
    /// # Panics
    /// The thread that watches cannot be started.
    pub fn begin(pid: Pid, from: Begin, case: Option<Case>) -> io::Result<Self> {
        if from == Begin::Now {
            wait_for_rest(pid);
        }
        let finish = Arc::new(AtomicBool::new(false));
        let (ready, wait) = channel();
        let watcher = Watcher {
            pid,
            finish: Arc::clone(&finish),
            case,
            counting: from == Begin::Now,
            from,
            pending: None,
            report: Report::default(),
        };
        // One thread must make all requests of ptrace(2) for a process.
        let thread = thread::spawn(move || watcher.run(&ready));
        match wait.recv() {
            Ok(()) => Ok(Self { pid, finish, thread }),
            Err(_) => match thread.join().expect("the watch does not panic") {
                Err(error) => Err(error),
                Ok(_) => Err(io::Error::other("the process ended at once")),
            },
        }
    }

    /// Whether the process or the watch has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Lets the process continue without a watch, and returns its calls.
    ///
    /// # Errors
    /// The error of ptrace(2).
    ///
    /// # Panics
    /// The watch panicked.
    pub fn end(self) -> io::Result<Report> {
        wait_for_rest(self.pid);
        self.finish.store(true, Ordering::SeqCst);
        // A process ignores this signal unless it asked for it, but a watched process stops for it.
        let _ = kill(self.pid, Signal::SIGURG);
        self.thread.join().expect("the watch does not panic")
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// The error of ptrace(2).
    ///
    /// # Panics
    /// The watch panicked.
    pub fn wait(self) -> io::Result<Report> {
        self.thread.join().expect("the watch does not panic")
    }
}

/// How long a process may take to come to rest. After that it is interrupted where it is.
const REST: Duration = Duration::from_millis(500);

/// Waits until a process sleeps in poll(2). An interruption elsewhere would be a fault of its own, especially
/// during a request to FUSE.
fn wait_for_rest(pid: Pid) {
    let place = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let _ = crate::testing::look_for(REST, || place().starts_with("poll_").then_some(()));
}

struct Watcher {
    pid: Pid,
    finish: Arc<AtomicBool>,
    from: Begin,
    case: Option<Case>,
    counting: bool,
    /// The value that the call under way returns instead of its own result.
    pending: Option<Errno>,
    report: Report,
}

impl Watcher {
    fn run(mut self, ready: &Sender<()>) -> io::Result<Report> {
        let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
        if self.from == Begin::Background {
            options |= Options::PTRACE_O_TRACEFORK;
            options |= Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
        }
        ptrace::seize(self.pid, options)?;
        ptrace::interrupt(self.pid)?;
        let mut ready = Some(ready);
        loop {
            let status = match next(self.pid) {
                // It has ended, and its status was collected.
                Err(Errno::ECHILD) => {
                    self.report.ended = true;
                    return Ok(self.report);
                }
                other => other?,
            };
            if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
                self.report.ended = true;
                return Ok(self.report);
            }
            if let Some(ready) = ready.take() {
                let _ = ready.send(());
            }
            match self.stopped(status) {
                Ok(true) => return Ok(self.report),
                // It was killed while it was stopped.
                Ok(false) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Handles one stop. Returns true when the watch is over.
    fn stopped(&mut self, status: WaitStatus) -> nix::Result<bool> {
        match status {
            WaitStatus::PtraceSyscall(_) => {
                match ptrace::syscall_info(self.pid)?.op {
                    libc::PTRACE_SYSCALL_INFO_ENTRY => self.entered()?,
                    libc::PTRACE_SYSCALL_INFO_EXIT => self.left()?,
                    _ => {}
                }
                ptrace::syscall(self.pid, None)?;
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                if let Begin::Program(name) = self.from {
                    let program = fs::read_link(format!("/proc/{}/exe", self.pid));
                    self.counting |= program.is_ok_and(|program| program.ends_with(name));
                }
                ptrace::syscall(self.pid, None)?;
            }
            WaitStatus::PtraceEvent(
                _,
                _,
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
            ) => {
                let child = i32::try_from(ptrace::getevent(self.pid)?).map_err(|_| Errno::ESRCH)?;
                let child = Pid::from_raw(child);
                if leaves_its_session(child)? {
                    ptrace::detach(self.pid, None)?;
                    (self.pid, self.counting) = (child, true);
                    self.entered()?;
                }
                ptrace::syscall(self.pid, None)?;
            }
            // A signal to be delivered.
            WaitStatus::PtraceEvent(_, signal, 0) | WaitStatus::Stopped(_, signal) => {
                if signal == Signal::SIGURG && self.finish.load(Ordering::SeqCst) {
                    ptrace::detach(self.pid, None)?;
                    return Ok(true);
                }
                ptrace::syscall(self.pid, signal)?;
            }
            _ => ptrace::syscall(self.pid, None)?,
        }
        Ok(false)
    }

    fn entered(&mut self) -> nix::Result<()> {
        if !self.counting {
            return Ok(());
        }
        let mut registers = ptrace::getregs(self.pid)?;
        let file = fs::read_link(format!("/proc/{}/fd/{}", self.pid, registers.rdi));
        let file = file.ok().map(|path| name_of(&path));
        let call = Call { number: registers.orig_rax.cast_signed(), file };
        let equals = self.report.calls.iter().filter(|earlier| **earlier == call).count();
        self.report.calls.push(call.clone());
        let is_meant = |case: &&Case| case.call == call && case.occurrence == equals;
        let Some(strike) = self.case.as_ref().filter(is_meant).map(|case| case.strike) else { return Ok(()) };
        self.report.struck = true;
        match strike {
            Strike::Kill => kill(self.pid, Signal::SIGKILL)?,
            Strike::Error(errno) => {
                self.pending = Some(errno);
                if !call.is(&[libc::SYS_close]) {
                    // An unknown number: the kernel does nothing.
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(self.pid, registers)?;
                }
            }
            Strike::Short if registers.rdx > 1 => {
                registers.rdx /= 2;
                ptrace::setregs(self.pid, registers)?;
            }
            Strike::Short => {}
        }
        Ok(())
    }

    fn left(&mut self) -> nix::Result<()> {
        let Some(errno) = self.pending.take() else { return Ok(()) };
        let mut registers = ptrace::getregs(self.pid)?;
        registers.rax = (-i64::from(errno as i32)).cast_unsigned();
        ptrace::setregs(self.pid, registers)
    }
}

/// Waits for the next stop of a watched process, or for its end, which is not collected here.
fn next(pid: Pid) -> nix::Result<WaitStatus> {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::__WALL;
    let seen = loop {
        match waitid(Id::Pid(pid), flags | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    match seen {
        WaitStatus::Exited(..) | WaitStatus::Signaled(..) => Ok(seen),
        _ => match waitid(Id::Pid(pid), flags | WaitPidFlag::WNOHANG)? {
            // It was killed in between.
            WaitStatus::StillAlive => next(pid),
            status => Ok(status),
        },
    }
}

/// Lets a new child go on until it is about to leave its session, or is about to run a program, after which
/// it is no longer watched. Its parent is stopped meanwhile.
fn leaves_its_session(child: Pid) -> nix::Result<bool> {
    loop {
        match next(child)? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(false),
            WaitStatus::PtraceSyscall(_) => match ptrace::getregs(child)?.orig_rax.cast_signed() {
                libc::SYS_setsid => return Ok(true),
                libc::SYS_execve | libc::SYS_execveat => {
                    ptrace::detach(child, None)?;
                    return Ok(false);
                }
                _ => ptrace::syscall(child, None)?,
            },
            WaitStatus::PtraceEvent(_, signal, 0) | WaitStatus::Stopped(_, signal) => {
                ptrace::syscall(child, signal)?;
            }
            _ => ptrace::syscall(child, None)?,
        }
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with(".tmp") {
        ".tmp".to_owned()
    } else {
        name.split(':').next().unwrap_or_default().to_owned()
    }
}

/// The command, stopped before its first call, so that it can be watched from there. SIGCONT makes it
/// continue.
#[must_use]
pub fn stopped(command: &Command) -> Command {
    let mut stopped = Command::new("/bin/sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(command.get_program());
    stopped.args(command.get_args()).stdin(Stdio::null());
    stopped
}

/// Watches a command of [`stopped`] from `from` on, and lets it continue.
///
/// # Errors
/// The error of ptrace(2).
///
/// # Panics
/// It does not stop.
pub fn watch_start(pid: Pid, from: Begin, case: Option<Case>) -> io::Result<Watch> {
    let is_stopped = || {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')).then_some(())
    };
    crate::testing::look_for(crate::testing::PATIENCE, is_stopped).expect("it stops at once");
    let watch = Watch::begin(pid, from, case)?;
    kill(pid, Signal::SIGCONT)?;
    Ok(watch)
}

/// The strikes to try on a run that made these calls: each call killed, and each in every way in which it can
/// fail. [`VARIABLE`] says how many of them; without it every `stride`-th.
#[must_use]
pub fn cases(calls: &[Call], stride: usize) -> Vec<Case> {
    cases_from(calls, 0, stride)
}

/// The same, but for the first calls of the run, which are left alone.
#[must_use]
pub fn cases_from(calls: &[Call], first: usize, stride: usize) -> Vec<Case> {
    let stride = match std::env::var(VARIABLE).as_deref() {
        Ok("all") => 1,
        Ok(number) => number.parse().unwrap_or(stride),
        Err(_) => stride,
    };
    let strikes = calls.iter().enumerate().skip(first).flat_map(|(number, call)| {
        let occurrence = calls[..number].iter().filter(|earlier| *earlier == call).count();
        let strikes = std::iter::once(Strike::Kill).chain(call.faults());
        strikes.map(move |strike| Case { call: call.clone(), occurrence, strike })
    });
    strikes.step_by(stride).collect()
}
