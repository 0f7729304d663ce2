//! The destination of log lines: standard output in the foreground, syslogd(8)'s socket otherwise. Writing a
//! line never waits for syslogd.
//!
//! The `syslog` crate provides priorities and writing. Transport and format are ours, for three reasons. A
//! daemon that may have frozen syslogd's disk must never wait for it. It must find syslogd again after a
//! restart. It must be able to hold lines and deliver them later with their own times. Lines that cannot be
//! delivered wait in a bounded queue, so a daemon that devd(8) started before syslogd loses none.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use syslog::{Facility, LogFormat, Severity};

use super::config::LogLevel;
use crate::sys::{clock, console};

/// How many lines can wait. When the queue is full, the oldest line is dropped.
const QUEUE_LINES: usize = 512;
/// FreeBSD's local datagrams take 2048 bytes on 13 and 14 (net.local.dgram.maxdgram).
const LINE_BYTES: usize = 1900;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// The pause before the next try when syslogd has no room. It is short, because a syslogd whose disk was
/// frozen catches up soon.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// How often a process that ends checks whether there is room.
const LAST_LOOK: Duration = Duration::from_millis(20);

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    state: Mutex<State>,
}

struct State {
    output: Output,
    queue: VecDeque<Line>,
    dropped: u64,
    held: bool,
    retry_at: Option<Duration>,
    retry_pause: Duration,
    /// Whether the last line was refused for lack of room.
    full: bool,
}

enum Output {
    Stdout,
    Syslog(syslog::Logger<Socket, Format>),
}

/// The connection to syslogd: one datagram for each write.
struct Socket {
    paths: Vec<PathBuf>,
    connected: Option<UnixDatagram>,
}

/// RFC 5424 with the line's own local time. syslogd adds the host.
struct Format {
    ident: &'static str,
}

struct Line {
    level: Level,
    time: SystemTime,
    text: String,
}

/// The destination of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output, one line each.
    Stdout,
    /// The first of these sockets that accepts them.
    Syslog(Vec<PathBuf>),
}

/// Directs all lines of the `log` crate to `target` under the name `ident`, and the texts of panics, too. The
/// name of the first call stays; later calls only change level and target.
pub fn init(ident: &'static str, target: Target, level: LogLevel) {
    let logger = LOGGER.get_or_init(|| Logger { state: Mutex::new(State::new(Output::Stdout)) });
    logger.lock().direct(Output::new(ident, target));
    log::set_max_level(filter(level));
    if log::set_logger(logger).is_ok() {
        std::panic::set_hook(Box::new(|panic| log::error!("this is a defect, please report it: {panic}")));
    }
}

/// Closes the connection to syslogd, so that the next line connects again. SIGHUP asks for this.
pub fn reopen() {
    if let Some(mut state) = state() {
        state.reopen();
    }
}

/// Holds all lines in memory until [`release`]. Nothing is written anywhere.
pub fn hold() {
    if let Some(mut state) = state() {
        state.held = true;
    }
}

/// Ends a [`hold`] and writes the held lines, each with its own time.
pub fn release() {
    if let Some(mut state) = state() {
        state.release();
    }
}

/// Whether lines go to standard output, where the user sees them.
#[must_use]
pub fn is_shown() -> bool {
    state().is_some_and(|state| matches!(state.output, Output::Stdout))
}

/// Writes lines that syslogd has not taken to the system's console. It is for a program that ends before
/// syslogd runs, because devd(8) starts first at boot. FreeBSD keeps such lines in the kernel's messages
/// (kern.log_console_output).
pub fn end_on_console() {
    if let (Some(mut state), Some(path)) = (state(), console::path()) {
        state.end_on(path);
    }
}

/// Delivers waiting lines before the process ends. Waits at most for `longest` if syslogd has no room.
pub fn finish(longest: Duration) {
    let until = clock::monotonic().saturating_add(longest);
    while state().is_some_and(|mut state| state.has_no_room()) && clock::monotonic() < until {
        std::thread::sleep(LAST_LOOK);
    }
}

/// When to call [`retry`] for lines that syslogd did not take, by the monotonic clock. A daemon adds it to
/// its deadlines. `None` while no line waits.
#[must_use]
pub fn retry_at() -> Option<Duration> {
    state().and_then(|state| state.next_try())
}

/// Tries waiting lines again, if it is time.
pub fn retry() {
    if let Some(mut state) = state() {
        state.drain();
    }
}

fn state() -> Option<MutexGuard<'static, State>> {
    LOGGER.get().map(Logger::lock)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

impl Logger {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves the queue usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = printable(&record.args().to_string());
        self.lock().add(Line { level: record.level(), time: SystemTime::now(), text });
    }

    fn flush(&self) {}
}

impl State {
    fn new(output: Output) -> Self {
        Self {
            output,
            queue: VecDeque::new(),
            dropped: 0,
            held: false,
            retry_at: None,
            retry_pause: FIRST_RETRY,
            full: false,
        }
    }

    fn direct(&mut self, output: Output) {
        self.output = output;
        // A new target has not refused a line yet.
        (self.retry_at, self.retry_pause) = (None, FIRST_RETRY);
    }

    fn reopen(&mut self) {
        if let Output::Syslog(logger) = &mut self.output {
            logger.backend.connected = None;
        }
        (self.retry_at, self.retry_pause) = (None, FIRST_RETRY);
        self.drain();
    }

    fn release(&mut self) {
        self.held = false;
        self.drain();
    }

    fn add(&mut self, line: Line) {
        if self.queue.len() >= QUEUE_LINES {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(line);
        self.drain();
    }

    fn next_try(&self) -> Option<Duration> {
        if self.held || self.queue.is_empty() { None } else { self.retry_at }
    }

    /// Tries all lines at once, held ones, too. Whether lines stay because syslogd has no room for them now.
    fn has_no_room(&mut self) -> bool {
        (self.held, self.retry_at) = (false, None);
        self.drain();
        !self.queue.is_empty() && self.full
    }

    /// Empties the queue into the console at this path. If that fails, nothing else can be tried.
    fn end_on(&mut self, path: &Path) {
        let waiting = std::mem::take(&mut self.queue);
        if waiting.is_empty() {
            return;
        }
        if let Ok(mut console) = console::open(path) {
            for line in waiting {
                let _ = console.write_all(foreground_line(&line).as_bytes());
            }
        }
    }

    fn drain(&mut self) {
        if self.held || self.retry_at.is_some_and(|at| clock::monotonic() < at) {
            return;
        }
        while let Some(line) = self.queue.front() {
            if let Err(error) = self.output.write(line) {
                return self.postpone(&error);
            }
            self.full = false;
            self.queue.pop_front();
            self.retry_at = None;
            self.retry_pause = FIRST_RETRY;
            self.report_dropped();
        }
    }

    fn postpone(&mut self, error: &syslog::Error) {
        self.full = matches!(error, syslog::Error::Write(error) if has_no_room(error));
        let pause = if self.full {
            FULL_RETRY
        } else {
            let pause = self.retry_pause;
            self.retry_pause = (pause * 2).min(LAST_RETRY);
            pause
        };
        self.retry_at = Some(clock::monotonic().saturating_add(pause));
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let text = format!("lines lost because the log was not there count={}", self.dropped);
            self.dropped = 0;
            self.queue.push_back(Line { level: Level::Warn, time: SystemTime::now(), text });
        }
    }
}

impl Output {
    fn new(ident: &'static str, target: Target) -> Self {
        match target {
            Target::Stdout => Self::Stdout,
            Target::Syslog(paths) => {
                Self::Syslog(syslog::Logger::new(Socket { paths, connected: None }, Format { ident }))
            }
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), syslog::Error> {
        match self {
            Self::Stdout => {
                let text = foreground_line(line);
                // A closed standard output must neither end the daemon nor fill the queue.
                let _ = io::stdout().lock().write_all(text.as_bytes());
                Ok(())
            }
            // Info becomes syslog's NOTICE, because the stock syslog.conf(5) keeps nothing below it.
            Self::Syslog(logger) => match line.level {
                Level::Error => logger.err(line),
                Level::Warn => logger.warning(line),
                Level::Info => logger.notice(line),
                Level::Debug | Level::Trace => logger.debug(line),
            },
        }
    }
}

impl Write for Socket {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if let Some(connected) = &self.connected {
            match connected.send(message) {
                // A new connection would be taken at once. But FreeBSD's kernel throws away the unread lines of one
                // that ends, where it still has some of an earlier one (unp_disconnect of sys/kern/uipc_usrreq.c).
                Err(error) if !has_no_room(&error) => {}
                result => return result,
            }
        }
        // syslogd does not run or was restarted. A new connection shows which.
        self.connected = None;
        self.connected.insert(connect(&self.paths)?).send(message)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFormat<&Line> for Format {
    fn format<W: Write>(&self, to: &mut W, severity: Severity, line: &Line) -> Result<(), syslog::Error> {
        // The facility is that of base's daemons.
        let priority = Facility::LOG_USER as u8 | severity as u8;
        let (time, pid) = (clock::local_timestamp(line.time), std::process::id());
        let mut message = format!("<{priority}>1 {time} - {} {pid} - - {}", self.ident, line.text);
        if message.len() > LINE_BYTES {
            message.truncate(message.floor_char_boundary(LINE_BYTES));
        }
        to.write_all(message.as_bytes()).map_err(syslog::Error::Write)
    }
}

/// Whether syslogd is there and has no room now. FreeBSD says ENOBUFS where Linux says EAGAIN.
fn has_no_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn connect(paths: &[PathBuf]) -> io::Result<UnixDatagram> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for path in paths {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        result = socket.connect(path).map(|()| socket);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn foreground_line(line: &Line) -> String {
    let level = match line.level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    format!("{} {level}: {}\n", clock::local_timestamp(line.time), line.text)
}

/// Escapes control characters: the host's text must not move a cursor or begin a new line.
fn printable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { result.extend(c.escape_default()) } else { result.push(c) }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn line(level: Level, text: &str) -> Line {
        Line { level, time: SystemTime::UNIX_EPOCH, text: text.to_owned() }
    }

    fn state(paths: Vec<PathBuf>) -> State {
        State::new(Output::new("T", Target::Syslog(paths)))
    }

    /// All lines that syslogd gets when it reads as fast as they come.
    fn deliver(state: &mut State, syslogd: &UnixDatagram) -> Vec<String> {
        syslogd.set_nonblocking(true).unwrap();
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let waits = state.has_no_room();
            while let Ok(count) = syslogd.recv(&mut buffer) {
                lines.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
            }
            if !waits {
                return lines;
            }
        }
    }

    fn message(severity: Severity, text: &str) -> String {
        let mut message = Vec::new();
        Format { ident: "HV_KVP" }.format(&mut message, severity, &line(Level::Info, text)).unwrap();
        String::from_utf8(message).unwrap()
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\nb\x1b[2Jé\u{85}"), "a\\nb\\u{1b}[2Jé\\u{85}");
    }

    #[test]
    fn info_is_notice_for_syslogd() {
        let message = message(Severity::LOG_NOTICE, "started");
        assert!(message.starts_with("<13>1 "), "{message}");
        let end = format!(" - HV_KVP {} - - started", std::process::id());
        assert!(message.ends_with(&end), "{message}");
    }

    #[test]
    fn long_lines_are_cut_on_a_character_boundary() {
        assert!(message(Severity::LOG_NOTICE, &"é".repeat(3000)).len() <= LINE_BYTES);
    }

    #[test]
    fn lines_wait_until_syslogd_starts_or_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut state = state(vec![dir.path().join("logpriv"), path.clone()]);
        state.queue.push_back(line(Level::Warn, "early"));
        state.drain();
        assert_eq!(state.queue.len(), 1);
        assert!(state.retry_at.is_some());

        let syslogd = UnixDatagram::bind(&path).unwrap();
        state.retry_at = None;
        state.drain();
        assert!(receive(&syslogd).ends_with("early"));

        drop(syslogd);
        std::fs::remove_file(&path).unwrap();
        let syslogd = UnixDatagram::bind(&path).unwrap();
        state.queue.push_back(line(Level::Warn, "after the restart"));
        state.drain();
        assert!(receive(&syslogd).ends_with("after the restart"));
    }

    #[test]
    fn a_full_syslogd_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syslogd = UnixDatagram::bind(&path).unwrap();
        let mut state = state(vec![path]);
        let mut sent = 0;
        while state.retry_at.is_none() {
            state.queue.push_back(line(Level::Warn, "line"));
            state.drain();
            sent += 1;
        }
        assert_eq!(state.queue.len(), 1);
        // After many refusals it is still tried again soon.
        for _ in 0..20 {
            state.retry_at = None;
            state.drain();
            let pause = state.retry_at.unwrap().saturating_sub(clock::monotonic());
            assert!(state.full && pause <= FULL_RETRY, "{pause:?}");
        }
        for _ in 1..sent {
            receive(&syslogd);
        }
        state.retry_at = None;
        state.drain();
        assert!(receive(&syslogd).ends_with("line"));
    }

    #[test]
    fn held_lines_keep_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syslogd = UnixDatagram::bind(&path).unwrap();
        syslogd.set_nonblocking(true).unwrap();
        let mut state = state(vec![path]);
        state.held = true;
        state.queue.push_back(line(Level::Info, "frozen"));
        state.drain();
        assert!(syslogd.recv(&mut [0; 16]).is_err());
        state.held = false;
        state.drain();
        assert!(receive(&syslogd).contains(&clock::local_timestamp(SystemTime::UNIX_EPOCH)));
    }

    #[test]
    fn each_level_has_its_priority() {
        let dir = tempfile::tempdir().unwrap();
        let syslogd = UnixDatagram::bind(dir.path().join("log")).unwrap();
        let mut state = state(vec![dir.path().join("log")]);
        for (level, priority) in [
            (Level::Error, "<11>1 "),
            (Level::Warn, "<12>1 "),
            (Level::Info, "<13>1 "),
            (Level::Debug, "<15>1 "),
            (Level::Trace, "<15>1 "),
        ] {
            state.add(line(level, "text"));
            let message = receive(&syslogd);
            assert!(message.starts_with(priority), "{level}: {message}");
        }
        assert_eq!(filter(LogLevel::Error), LevelFilter::Error);
        assert_eq!(filter(LogLevel::Warning), LevelFilter::Warn);
        assert_eq!(filter(LogLevel::Info), LevelFilter::Info);
        assert_eq!(filter(LogLevel::Debug), LevelFilter::Debug);
    }

    #[test]
    fn a_full_queue_loses_its_oldest_lines_and_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut state = state(vec![path.clone()]);
        for number in 0..QUEUE_LINES + 3 {
            state.add(line(Level::Info, &format!("number={number}")));
        }
        assert_eq!(state.queue.len(), QUEUE_LINES);
        let syslogd = UnixDatagram::bind(path).unwrap();
        let lines = deliver(&mut state, &syslogd);
        assert_eq!(lines.len(), QUEUE_LINES + 1);
        assert!(lines[0].ends_with(" number=3"), "{}", lines[0]);
        assert!(lines[QUEUE_LINES].ends_with(" lines lost because the log was not there count=3"));
        state.add(line(Level::Info, "after it"));
        assert_eq!(deliver(&mut state, &syslogd).len(), 1, "the loss is reported once");
    }

    /// FreeBSD's kernel has a buffer for each connection, which does not always outlive it (unp_disconnect of
    /// sys/kern/uipc_usrreq.c).
    #[test]
    fn a_full_syslogd_keeps_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syslogd = UnixDatagram::bind(&path).unwrap();
        let mut socket = Socket { paths: vec![path], connected: None };
        let mut taken = 0;
        let error = loop {
            match socket.write_all(format!("number={taken}").as_bytes()) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(has_no_room(&error), "{error}");
        let descriptor = socket.connected.as_ref().map(AsRawFd::as_raw_fd);
        assert!(descriptor.is_some());
        for _ in 0..3 {
            assert!(has_no_room(&socket.write_all(b"no room").unwrap_err()));
            assert_eq!(socket.connected.as_ref().map(AsRawFd::as_raw_fd), descriptor);
        }
        for number in 0..taken {
            assert_eq!(receive(&syslogd), format!("number={number}"));
        }
        socket.write_all(b"room").unwrap();
        assert_eq!(receive(&syslogd), "room");
    }

    #[test]
    fn pauses_grow_while_syslogd_is_absent() {
        let mut state = state(vec!["/nonexistent/log".into()]);
        assert_eq!(state.next_try(), None);
        state.add(line(Level::Info, "early"));
        let mut pauses = vec![state.retry_pause.as_secs()];
        for _ in 0..9 {
            assert!(!state.has_no_room(), "a missing syslogd is not waited for");
            pauses.push(state.retry_pause.as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(state.next_try() > Some(clock::monotonic()));
        state.held = true;
        assert_eq!(state.next_try(), None, "held lines wait for their release");
    }

    #[test]
    fn reopening_and_a_new_target_try_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let late = clock::monotonic() + LAST_RETRY;
        let mut state = state(vec![path.clone()]);
        state.retry_at = Some(late);
        state.add(line(Level::Info, "first"));
        let syslogd = UnixDatagram::bind(&path).unwrap();
        syslogd.set_nonblocking(true).unwrap();
        state.drain();
        assert!(syslogd.recv(&mut [0; 16]).is_err(), "the pause has not ended");
        state.reopen();
        assert!(receive(&syslogd).ends_with("first"));

        // A new syslogd at the same place; the old one still takes what is sent to it.
        std::fs::remove_file(&path).unwrap();
        let new = UnixDatagram::bind(&path).unwrap();
        state.add(line(Level::Info, "second"));
        assert!(receive(&syslogd).ends_with("second"));
        state.reopen();
        state.add(line(Level::Info, "third"));
        assert!(receive(&new).ends_with("third"));

        let other = dir.path().join("other");
        let elsewhere = UnixDatagram::bind(&other).unwrap();
        (state.retry_at, state.retry_pause) = (Some(late), LAST_RETRY);
        state.direct(Output::new("T", Target::Syslog(vec![other])));
        state.add(line(Level::Info, "fourth"));
        assert!(receive(&elsewhere).ends_with("fourth"));
    }

    #[test]
    fn the_last_try_takes_held_lines_and_notices_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syslogd = UnixDatagram::bind(&path).unwrap();
        let mut state = state(vec![path]);
        state.held = true;
        for _ in 0..QUEUE_LINES {
            state.add(line(Level::Info, &"x".repeat(LINE_BYTES)));
        }
        assert_eq!(state.queue.len(), QUEUE_LINES);
        assert!(state.has_no_room(), "syslogd reads nothing");
        assert!(state.queue.len() < QUEUE_LINES);
        assert_eq!(deliver(&mut state, &syslogd).len(), QUEUE_LINES);
        assert!(!state.has_no_room() && state.queue.is_empty());
    }

    #[test]
    fn lines_that_nobody_takes_end_on_the_console() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        std::fs::write(&console, "").unwrap();
        let mut state = state(vec![dir.path().join("log")]);
        state.end_on(&console);
        assert_eq!(std::fs::read_to_string(&console).unwrap(), "");
        for (level, text) in
            [(Level::Error, "a"), (Level::Warn, "b"), (Level::Info, "c"), (Level::Debug, "d")]
        {
            state.add(line(level, text));
        }
        state.end_on(&console);
        let time = clock::local_timestamp(SystemTime::UNIX_EPOCH);
        let wanted = format!("{time} error: a\n{time} warning: b\n{time} info: c\n{time} debug: d\n");
        assert_eq!(std::fs::read_to_string(&console).unwrap(), wanted);
        state.add(line(Level::Error, "no console"));
        state.end_on(&dir.path().join("missing"));
        assert!(state.queue.is_empty());
    }
}
