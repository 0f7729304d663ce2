//! Runs external programs: by absolute path, with an argument vector, a clean environment and a time limit.
//! It knows nothing about the programs that it runs.
//!
//! No shell is involved. A program runs in a process group of its own, and a program past its limit is killed
//! with all its children. [`Program::run`] waits for the end; [`Program::start`] is for a poll loop;
//! [`Program::detach`] starts a program without waiting.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::child::{peek, try_wait};
use crate::sys::clock;
use crate::sys::process::with_default_signals;

/// The whole environment of a child. The path is the one that rc(8) and devd(8) give their children.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/sbin:/bin:/usr/sbin:/usr/bin"), ("HOME", "/"), ("LC_ALL", "C")];

/// Bytes that are written to an input pipe at once.
const PIECE: usize = 4096;

/// How much of each output stream is kept by default, in bytes, and how much is read at once.
pub const OUTPUT_LIMIT: usize = 64 * 1024;

/// The most that one run of ifconfig(8) may print, in bytes: some thousand interfaces.
pub const LONG_OUTPUT_LIMIT: usize = 1024 * 1024;

/// How long to wait for the end of a killed program.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How often and with which pauses a program whose file is open for writing is tried again: a tenth of a
/// second in all.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// Variables that are added to the clean environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its standard input: at most 64 KiB, so that a pipe holds all of it.
    pub input: Vec<u8>,
    /// How long it may take.
    pub limit: Duration,
    /// Whether [`Running::take_group`] returns its process group after its end.
    pub keep_group: bool,
    /// How much of each output stream is kept, in bytes. The rest is read and dropped.
    pub keep: usize,
}

/// A program that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
    /// It wrote more to standard output than is kept.
    pub truncated: bool,
}

impl Finished {
    /// The first line of its standard error, for messages about its failure: without control characters, at
    /// most 200 characters.
    #[must_use]
    pub fn complaint(&self) -> String {
        first_line(&self.stderr)
    }

    /// The error of a failed program. route(8) writes its errors to standard output.
    #[must_use]
    pub fn failure(&self, path: &Path) -> ProgramError {
        let message = match self.complaint() {
            complaint if complaint.is_empty() => first_line(&self.stdout),
            complaint => complaint,
        };
        ProgramError::Failed { path: path.to_owned(), status: self.status, message }
    }

    /// The same, or the exit status of a program that wrote nothing.
    #[must_use]
    pub fn complaint_or_status(&self) -> String {
        let complaint = self.complaint();
        if complaint.is_empty() { self.status.to_string() } else { complaint }
    }
}

/// The first line that is not blank, control characters removed, at most 200 characters.
fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    line.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Why a program has no result.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started, or waiting for it failed.
    #[error("cannot run {path}")]
    Start {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It was killed, with its process group, at its time limit.
    #[error("{path} did not end within {limit:?} and was killed")]
    TimedOut {
        /// Its path.
        path: PathBuf,
        /// Its time limit.
        limit: Duration,
    },
    /// It ran to its end, but its output could not be read to the end, so the output is incomplete.
    #[error("cannot read what {path} wrote")]
    Unread {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It failed.
    #[error("{}", failure(path, *status, message))]
    Failed {
        /// Its path.
        path: PathBuf,
        /// Its exit status.
        status: ExitStatus,
        /// The first line of its output, at most 200 characters. Empty if it wrote nothing.
        message: String,
    },
    /// It wrote more than is kept.
    #[error("{path} wrote more than {limit} bytes")]
    Truncated {
        /// Its path.
        path: PathBuf,
        /// How much was kept.
        limit: usize,
    },
}

/// The message about a failure. Programs of the base system begin their messages with their name.
fn failure(path: &Path, status: ExitStatus, message: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match message {
        "" => format!("{name} failed with {status}"),
        said if said.starts_with(&format!("{name}:")) => said.to_owned(),
        said => format!("{name}: {said}"),
    }
}

impl Program {
    /// A program without arguments and input.
    #[must_use]
    pub fn new(path: &Path, limit: Duration) -> Self {
        let path = path.to_owned();
        Self {
            path,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            limit,
            keep_group: false,
            keep: OUTPUT_LIMIT,
        }
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Runs it and waits for its end, at most for [`Self::limit`].
    ///
    /// # Errors
    /// [`ProgramError::Start`] and [`ProgramError::TimedOut`]. A program that failed is no error here, but a
    /// [`Finished`] with its status.
    pub fn run(&self) -> Result<Finished, ProgramError> {
        let mut running = self.start()?;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(result) = running.advance() {
                return result;
            }
            running.pause(pause);
            pause = (pause * 2).min(Duration::from_millis(16));
        }
    }

    /// Runs it and waits for its end. It must succeed.
    ///
    /// # Errors
    /// See [`ProgramError`]. Output that was cut is no error.
    pub fn succeed(&self) -> Result<Finished, ProgramError> {
        let finished = self.run()?;
        if finished.status.success() { Ok(finished) } else { Err(finished.failure(&self.path)) }
    }

    /// Runs it for its output. It must succeed and print at most [`Self::keep`] bytes.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn output(&self) -> Result<Vec<u8>, ProgramError> {
        let finished = self.succeed()?;
        match finished.truncated {
            true => Err(ProgramError::Truncated { path: self.path.clone(), limit: self.keep }),
            false => Ok(finished.stdout),
        }
    }

    /// Starts it without waiting for it: without output, input or time limit. [`reap`] collects it after its
    /// end.
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn detach(&self) -> Result<(), ProgramError> {
        reap();
        let child = self.spawn([Stdio::null(), Stdio::null(), Stdio::null()])?;
        leave_behind(None, child);
        Ok(())
    }

    /// Starts it. The caller polls [`Running::descriptors`], and calls [`Running::advance`] when one is
    /// ready, after SIGCHLD, or at [`Running::deadline`].
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn start(&self) -> Result<Running, ProgramError> {
        reap();
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child = self.spawn([stdin, Stdio::piped(), Stdio::piped()])?;
        let mut input = child.stdin.take().map(|pipe| Input::new(pipe.into(), self.input.clone()));
        feed(&mut input);
        let stdout = child.stdout.take().map(|pipe| Stream::new(pipe.into(), self.keep));
        let stderr = child.stderr.take().map(|pipe| Stream::new(pipe.into(), self.keep));
        let deadline = clock::monotonic().saturating_add(self.limit);
        let id = child.id();
        Ok(Running {
            program: self.clone(),
            id,
            child: Some(child),
            input,
            stdout,
            stderr,
            deadline,
            group: None,
        })
    }

    fn spawn(&self, [stdin, stdout, stderr]: [Stdio; 3]) -> Result<Child, ProgramError> {
        let start_error = |source| ProgramError::Start { path: self.path.clone(), source };
        if !self.path.is_absolute() {
            return Err(start_error(io::Error::new(io::ErrorKind::InvalidInput, "its path is not absolute")));
        }
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        spawn(with_default_signals(&mut command)).map_err(start_error)
    }
}

/// Children that no caller waits for, with the paths of their programs: detached ones, and killed ones that
/// did not end in time.
static LEFT_BEHIND: Mutex<Vec<(Option<PathBuf>, Child)>> = Mutex::new(Vec::new());

fn left_behind() -> MutexGuard<'static, Vec<(Option<PathBuf>, Child)>> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leave_behind(path: Option<&Path>, child: Child) {
    left_behind().push((path.map(Path::to_owned), child));
}

/// Collects ended children that no caller waits for, so that no zombie stays. It is cheap: every start of a
/// program calls it, and a daemon on SIGCHLD.
pub fn reap() {
    left_behind().retain_mut(|(_, child)| matches!(try_wait(child), Ok(None)));
}

/// The process id of a program at this path that was killed and has not ended yet. Another one would probably
/// hang, too.
#[must_use]
pub fn hanging(path: &Path) -> Option<u32> {
    reap();
    left_behind().iter().find(|(of, _)| of.as_deref() == Some(path)).map(|(_, child)| child.id())
}

/// Starts a command. A file that is being written, or that a child of its writer still has open, is busy only
/// for a moment.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY_ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

/// A program that has been started. Dropping it kills its process group.
#[derive(Debug)]
pub struct Running {
    program: Program,
    id: u32,
    /// `None` after its end was seen, or when [`reap`] collects it.
    child: Option<Child>,
    input: Option<Input>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    deadline: Duration,
    group: Option<Group>,
}

impl Running {
    /// Its process id, which is also its process group's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The time limit, by the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The descriptors that are ready when [`Self::advance`] has something to do.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout, &self.stderr].into_iter().flatten().filter(|s| !s.ended).map(|s| s.file.as_fd())
    }

    /// Reads at most [`OUTPUT_LIMIT`] of each stream, and checks whether the program ended or its time is up.
    /// Never blocks. Unread output keeps its descriptor ready.
    pub fn advance(&mut self) -> Option<Result<Finished, ProgramError>> {
        // The end is checked before the output is read, so that no output before the end is missed. A child
        // that the program left may hold the pipes open for ever; it is not waited for.
        let keep_group = self.program.keep_group;
        let end = |child: &mut Child| if keep_group { peek(raw_pid(child.id())) } else { try_wait(child) };
        let ended = self.child.as_mut().map_or(Ok(None), end);
        feed(&mut self.input);
        [&mut self.stdout, &mut self.stderr].into_iter().flatten().for_each(Stream::read_available);
        match ended {
            Ok(Some(status)) => {
                self.child = None;
                self.group = keep_group.then(|| Group(raw_pid(self.id)));
                if let Some(source) = self.stdout.as_mut().and_then(|stream| stream.broken.take()) {
                    return Some(Err(ProgramError::Unread { path: self.program.path.clone(), source }));
                }
                let truncated = self.stdout.as_ref().is_some_and(|stream| stream.truncated);
                let take = |stream: &mut Option<Stream>| stream.take().map(|s| s.text).unwrap_or_default();
                let (stdout, stderr) = (take(&mut self.stdout), take(&mut self.stderr));
                Some(Ok(Finished { status, stdout, stderr, truncated }))
            }
            Ok(None) if clock::monotonic() >= self.deadline => {
                self.kill();
                let Program { path, limit, .. } = &self.program;
                Some(Err(ProgramError::TimedOut { path: path.clone(), limit: *limit }))
            }
            Ok(None) => None,
            Err(source) => Some(Err(ProgramError::Start { path: self.program.path.clone(), source })),
        }
    }

    /// Kills the process group and collects the program. A program that sleeps uninterruptibly (on a hung
    /// disk or pool) does not end yet: it is waited for only a moment and then left behind.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Ok(id) = i32::try_from(self.id) {
            // It may have ended already.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let until = clock::monotonic() + LAST_WAIT;
        while matches!(try_wait(&mut child), Ok(None)) {
            if clock::monotonic() >= until {
                return leave_behind(Some(&self.program.path), child);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process group of a program with `keep_group`, after [`Self::advance`] returned its end.
    #[must_use]
    pub fn take_group(&mut self) -> Option<Group> {
        self.group.take()
    }

    /// Sleeps until there is output, at most for `longest`.
    fn pause(&self, longest: Duration) {
        let mut fds: Vec<PollFd<'_>> =
            self.descriptors().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::from(16u8));
        // An interrupted sleep only ends earlier.
        let _ = poll(&mut fds, timeout);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn raw_pid(id: u32) -> Pid {
    // Process ids are positive and far below the limit of the type.
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

/// The processes that a program left in its process group. The program itself is collected only when this is
/// dropped, so that no other group gets its number.
#[derive(Debug)]
pub struct Group(Pid);

impl Group {
    /// Kills all processes in it.
    pub fn kill(&self) {
        // Usually there is none.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = waitpid(self.0, Some(WaitPidFlag::WNOHANG));
    }
}

/// The input pipe of a program, and the input that is not written yet.
#[derive(Debug)]
struct Input {
    file: File,
    rest: Vec<u8>,
}

impl Input {
    fn new(pipe: OwnedFd, rest: Vec<u8>) -> Self {
        let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        Self { file: File::from(pipe), rest }
    }
}

/// Writes as much input as the program takes now, and closes the pipe after the last byte. A program that
/// does not read its input is no error: its exit status counts.
fn feed(input: &mut Option<Input>) {
    while let Some(Input { file, rest }) = input {
        if rest.is_empty() {
            *input = None;
            return;
        }
        // In small pieces: FreeBSD accepts a large one only while the reader reads.
        let piece = rest.len().min(PIECE);
        match file.write(&rest[..piece]) {
            Ok(count) => drop(rest.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => *input = None,
        }
    }
}

/// One output pipe of a program.
#[derive(Debug)]
struct Stream {
    file: File,
    text: Vec<u8>,
    ended: bool,
    /// How many bytes are kept.
    keep: usize,
    /// Whether more arrived than is kept.
    truncated: bool,
    /// Why it was not read to its end.
    broken: Option<io::Error>,
}

impl Stream {
    fn new(pipe: OwnedFd, keep: usize) -> Self {
        // If this fails the pipe blocks; each read still follows a poll(2).
        let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        Self { file: File::from(pipe), text: Vec::new(), ended: false, keep, truncated: false, broken: None }
    }

    /// Reads at most [`OUTPUT_LIMIT`], so that a program that writes without end cannot hold its caller.
    /// After the program's end one call still reads everything that is kept.
    fn read_available(&mut self) {
        let mut chunk = [0; 4096];
        let mut budget = OUTPUT_LIMIT;
        while !self.ended && budget > 0 {
            let size = chunk.len().min(budget);
            match self.file.read(&mut chunk[..size]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    budget -= count;
                    let room = self.keep.saturating_sub(self.text.len());
                    self.text.extend_from_slice(&chunk[..count.min(room)]);
                    self.truncated |= count > room;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.broken = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use nix::errno::Errno;

    use super::*;

    fn shell(script: &str, limit: Duration) -> Program {
        Program::new(Path::new("/bin/sh"), limit).arg("-c").arg(script)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn output_status_and_complaint_are_kept() {
        let finished = shell("echo out; echo; echo oh\x07 no >&2; exit 3", LONG).run().unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, b"out\n\n");
        assert_eq!(finished.complaint(), "oh no");
        assert_eq!(finished.complaint_or_status(), "oh no");
    }

    #[test]
    fn a_silent_failure_is_described_by_its_status() {
        let finished = shell("echo out; echo >&2; exit 3", LONG).run().unwrap();
        assert_eq!(
            (finished.complaint(), finished.complaint_or_status()),
            (String::new(), "exit status: 3".into())
        );
    }

    #[test]
    fn the_environment_is_clean() {
        let program = Program {
            environment: vec![("EXTRA".into(), "1".into())],
            ..Program::new(Path::new("/usr/bin/env"), LONG)
        };
        let stdout = String::from_utf8(program.run().unwrap().stdout).unwrap();
        let mut lines: Vec<&str> = stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["EXTRA=1", "HOME=/", "LC_ALL=C", "PATH=/sbin:/bin:/usr/sbin:/usr/bin"]);
    }

    #[test]
    fn signals_that_a_daemon_blocks_reach_its_programs() {
        use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
        let blocked = SigSet::from(Signal::SIGTERM);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).unwrap();
        let finished = shell("kill -TERM $$; echo still here", LONG).run();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
        let finished = finished.unwrap();
        assert_eq!((finished.status.signal(), finished.stdout), (Some(libc::SIGTERM), Vec::new()));
    }

    #[test]
    fn input_reaches_the_program() {
        let program = Program { input: b"host text".to_vec(), ..Program::new(Path::new("/bin/cat"), LONG) };
        assert_eq!(program.run().unwrap().stdout, b"host text");
    }

    #[test]
    fn a_late_program_is_killed_with_its_children() {
        let error = shell("sleep 1000 & wait", Duration::from_millis(50)).run().unwrap_err();
        assert!(matches!(error, ProgramError::TimedOut { .. }), "{error}");
        let mut running = shell("sleep 1000 & echo started; wait", LONG).start().unwrap();
        while running.stdout.as_ref().unwrap().text.is_empty() {
            assert!(running.advance().is_none());
            running.pause(Duration::from_millis(10));
        }
        running.kill();
        // The grandchild holds the pipe, too: the pipe ends only when that process is dead.
        let stdout = running.stdout.as_mut().unwrap();
        let until = clock::monotonic() + LONG;
        while !stdout.ended && clock::monotonic() < until {
            stdout.read_available();
            std::thread::yield_now();
        }
        assert!(stdout.ended);
    }

    #[test]
    fn unread_input_does_not_block_the_caller() {
        let mut program = shell("exec sleep 1000", Duration::from_millis(200));
        program.input = vec![b'x'; 1 << 20];
        assert!(matches!(program.run(), Err(ProgramError::TimedOut { .. })));
        let mut program = shell("exec wc -c", LONG);
        program.input = vec![b'x'; 1 << 20];
        let finished = program.run().unwrap();
        assert_eq!(String::from_utf8(finished.stdout).unwrap().trim(), "1048576");
    }

    /// Runs a program to its end and keeps the group.
    fn group_of(script: &str) -> (Finished, Group) {
        let program = Program { keep_group: true, ..shell(script, LONG) };
        let mut running = program.start().unwrap();
        loop {
            if let Some(result) = running.advance() {
                return (result.unwrap(), running.take_group().unwrap());
            }
            running.pause(Duration::from_millis(10));
        }
    }

    #[test]
    fn processes_that_a_program_left_can_be_killed_later() {
        let (finished, group) = group_of("sleep 1000 >/dev/null 2>&1 & echo $!; exit 3");
        assert_eq!(finished.status.code(), Some(3));
        let id: i32 = String::from_utf8(finished.stdout).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(id), None).unwrap();
        group.kill();
        drop(group);
        let until = clock::monotonic() + LONG;
        while is_running(id) && clock::monotonic() < until {
            std::thread::yield_now();
        }
        assert!(!is_running(id));
    }

    fn is_running(id: i32) -> bool {
        // A process that was not collected still has its number.
        let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[test]
    fn a_kept_group_has_the_signal_and_is_collected_later() {
        let (finished, group) = group_of("kill -KILL $$");
        assert_eq!(finished.status.signal(), Some(libc::SIGKILL));
        let id = group.0;
        drop(group);
        assert_eq!(waitpid(id, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
    }

    #[test]
    fn a_program_that_ends_late_is_not_waited_for() {
        let path = Path::new("/nonexistent/late");
        let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let id = child.id();
        leave_behind(Some(path), child);
        assert_eq!(hanging(path), Some(id));
        assert_eq!(hanging(Path::new("/nonexistent/other")), None);
        nix::sys::signal::kill(raw_pid(id), Signal::SIGKILL).unwrap();
        let until = clock::monotonic() + LONG;
        while hanging(path).is_some() && clock::monotonic() < until {
            std::thread::yield_now();
        }
        assert_eq!(hanging(path), None);
        assert_eq!(waitpid(raw_pid(id), None), Err(Errno::ECHILD));
    }

    #[test]
    fn a_child_that_stays_does_not_block_the_caller() {
        let finished = shell("sleep 1000 >&2 & echo $!", LONG).run().unwrap();
        let id: i32 = String::from_utf8(finished.stdout).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn output_beyond_the_limit_is_dropped() {
        let finished = shell("dd if=/dev/zero bs=1024 count=300 2>/dev/null", LONG).run().unwrap();
        assert_eq!((finished.stdout.len(), finished.truncated), (OUTPUT_LIMIT, true));
    }

    #[test]
    fn cut_output_and_failures_are_errors() {
        let output = |script: &str| shell(script, LONG).output().map_err(|error| error.to_string());
        let whole = format!("dd if=/dev/zero bs={OUTPUT_LIMIT} count=1 2>/dev/null");
        assert_eq!(output(&whole).map(|bytes| bytes.len()), Ok(OUTPUT_LIMIT));
        assert_eq!(
            output(&format!("{whole}; printf x")),
            Err("/bin/sh wrote more than 65536 bytes".to_owned())
        );
        assert_eq!(output("echo half; echo sh: oh no >&2; exit 2"), Err("sh: oh no".to_owned()));
        assert_eq!(output("echo it says so here; exit 2"), Err("sh: it says so here".to_owned()));
        assert_eq!(output("exit 2"), Err("sh failed with exit status: 2".to_owned()));
    }

    #[test]
    fn detached_programs_are_collected_and_leave_no_zombie() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("pid");
        shell(&format!("echo $$ > {0}.new; mv {0}.new {0}", mark.display()), LONG).detach().unwrap();
        let until = clock::monotonic() + LONG;
        let exists = |id: &str| std::fs::exists(format!("/proc/{id}")).unwrap();
        loop {
            let id = std::fs::read_to_string(&mark).unwrap_or_default();
            if !id.is_empty() && !exists(id.trim()) {
                break;
            }
            assert!(clock::monotonic() < until, "{id} is still there");
            reap();
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_endless_writer_meets_its_time_limit() {
        // /dev/zero delivers data faster than the budget is used up, like a pipe with a fast writer.
        let mut stream = Stream::new(File::open("/dev/zero").unwrap().into(), OUTPUT_LIMIT);
        stream.read_available();
        assert_eq!((stream.text.len(), stream.ended), (OUTPUT_LIMIT, false));
        let endless = Program::new(Path::new("/bin/cat"), Duration::from_millis(50)).arg("/dev/zero");
        assert!(matches!(endless.run(), Err(ProgramError::TimedOut { .. })));
    }

    #[test]
    fn a_program_whose_file_is_busy_is_tried_again() {
        use std::os::unix::fs::OpenOptionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut file =
            std::fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(&path).unwrap();
        file.write_all(b"#!/bin/sh\nexit 7\n").unwrap();
        assert!(matches!(Program::new(&path, LONG).run(), Err(ProgramError::Start { .. })));
        let closing = std::thread::spawn(move || drop(file));
        assert_eq!(Program::new(&path, LONG).run().unwrap().status.code(), Some(7));
        closing.join().unwrap();
    }

    #[test]
    fn a_program_that_cannot_start_is_an_error() {
        let error = Program::new(Path::new("/nonexistent"), LONG).run().unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nonexistent");
        assert!(Program::new(Path::new("sh"), LONG).run().is_err());
    }
}
