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
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
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
    let logger = LOGGER.get_or_init(|| Logger {
        state: Mutex::new(State {
            output: Output::Stdout,
            queue: VecDeque::new(),
            dropped: 0,
            held: false,
            retry_at: None,
            retry_pause: FIRST_RETRY,
            full: false,
        }),
    });
    let mut state = logger.lock();
    state.output = match target {
        Target::Stdout => Output::Stdout,
        Target::Syslog(paths) => Output::syslog(ident, paths),
    };
    // A new target has not refused a line yet.
    (state.retry_at, state.retry_pause) = (None, FIRST_RETRY);
    drop(state);
    log::set_max_level(match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    if log::set_logger(logger).is_ok() {
        std::panic::set_hook(Box::new(|panic| log::error!("this is a defect, please report it: {panic}")));
    }
}

/// Closes the connection to syslogd, so that the next line connects again. SIGHUP asks for this.
pub fn reopen() {
    if let Some(logger) = LOGGER.get() {
        let mut state = logger.lock();
        if let Output::Syslog(logger) = &mut state.output {
            logger.backend.connected = None;
        }
        (state.retry_at, state.retry_pause) = (None, FIRST_RETRY);
        state.drain();
    }
}

/// Holds all lines in memory until [`release`]. Nothing is written anywhere.
pub fn hold() {
    if let Some(logger) = LOGGER.get() {
        logger.lock().held = true;
    }
}

/// Ends a [`hold`] and writes the held lines, each with its own time.
pub fn release() {
    if let Some(logger) = LOGGER.get() {
        let mut state = logger.lock();
        state.held = false;
        state.drain();
    }
}

/// Whether lines go to standard output, where the user sees them.
#[must_use]
pub fn is_shown() -> bool {
    LOGGER.get().is_some_and(|logger| matches!(logger.lock().output, Output::Stdout))
}

/// Writes lines that syslogd has not taken to the system's console. It is for a program that ends before
/// syslogd runs, because devd(8) starts first at boot. FreeBSD keeps such lines in the kernel's messages
/// (kern.log_console_output).
pub fn end_on_console() {
    let (Some(logger), Some(path)) = (LOGGER.get(), console::path()) else { return };
    let waiting = std::mem::take(&mut logger.lock().queue);
    if waiting.is_empty() {
        return;
    }
    // If this fails, nothing else can be tried.
    if let Ok(mut console) = console::open(path) {
        for line in waiting {
            let _ = console.write_all(foreground_line(&line).as_bytes());
        }
    }
}

/// Delivers waiting lines before the process ends. Waits at most for `longest` if syslogd has no room.
pub fn finish(longest: Duration) {
    let Some(logger) = LOGGER.get() else { return };
    let until = clock::monotonic().saturating_add(longest);
    loop {
        let mut state = logger.lock();
        (state.held, state.retry_at) = (false, None);
        state.drain();
        if state.queue.is_empty() || !state.full || clock::monotonic() >= until {
            return;
        }
        drop(state);
        std::thread::sleep(LAST_LOOK);
    }
}

/// When to call [`retry`] for lines that syslogd did not take, by the monotonic clock. A daemon adds it to
/// its deadlines. `None` while no line waits.
#[must_use]
pub fn retry_at() -> Option<Duration> {
    LOGGER.get().and_then(|logger| {
        let state = logger.lock();
        if state.held || state.queue.is_empty() { None } else { state.retry_at }
    })
}

/// Tries waiting lines again, if it is time.
pub fn retry() {
    if let Some(logger) = LOGGER.get() {
        logger.lock().drain();
    }
}

impl Logger {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
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
        let line = Line {
            level: record.level(),
            time: SystemTime::now(),
            text: printable(&record.args().to_string()),
        };
        let mut state = self.lock();
        if state.queue.len() >= QUEUE_LINES {
            state.queue.pop_front();
            state.dropped += 1;
        }
        state.queue.push_back(line);
        state.drain();
    }

    fn flush(&self) {}
}

impl State {
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
        // FreeBSD says ENOBUFS where Linux says EAGAIN.
        let no_room = |error: &io::Error| {
            error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
        };
        self.full = matches!(error, syslog::Error::Write(error) if no_room(error));
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
    fn syslog(ident: &'static str, paths: Vec<PathBuf>) -> Self {
        Self::Syslog(syslog::Logger::new(Socket { paths, connected: None }, Format { ident }))
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
        if let Some(connected) = &self.connected
            && let Ok(sent) = connected.send(message)
        {
            return Ok(sent);
        }
        // syslogd does not run, was restarted or is full. A new connection shows which.
        self.connected = None;
        let connected = connect(&self.paths)?;
        let sent = connected.send(message)?;
        self.connected = Some(connected);
        Ok(sent)
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
    use super::*;

    fn line(level: Level, text: &str) -> Line {
        Line { level, time: SystemTime::UNIX_EPOCH, text: text.to_owned() }
    }

    fn state(paths: Vec<PathBuf>) -> State {
        State {
            output: Output::syslog("T", paths),
            queue: VecDeque::new(),
            dropped: 0,
            held: false,
            retry_at: None,
            retry_pause: FIRST_RETRY,
            full: false,
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
}
