//! `hvsim soak`: runs the real daemons under mixed load for a chosen time. It starts the parts and compares
//! the end with the beginning.
//!
//! One guest serves mixed host traffic (every 100th request is malformed), eight other writers and two loops
//! of hvctl in pool 1, injections, and a VF that appears and disappears. Its syslogd is absent half of the
//! time, and file times jump. Another guest is backed up every few seconds. A model has the expected answer
//! to each request. At the end processes, memory, descriptors and state are compared with those of the
//! beginning.

mod backups;
mod network;
mod process;
mod syslogd;
mod tools;
mod traffic;
pub mod writer;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::process::Sample;
use self::tools::Tool;
use crate::session::kvp::{NetworkSetup, Session, Setup};
use crate::station::lock;
use crate::testing::program;

/// How much a daemon's memory may grow between the first tenth and the end. Allocator and kernel may use it.
const GROWTH_KIB: u64 = 512;
/// Other programs that write to pool 1.
const WRITERS: usize = 8;
/// Loops of hvctl that write to it.
const TOOLS: [Tool; 2] = [Tool::Put, Tool::Import];

/// The data that all parts share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    over: AtomicBool,
    complaints: Mutex<Vec<String>>,
}

impl Shared {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn complain(&self, text: impl Into<String>) {
        lock(&self.complaints).push(text.into());
    }

    /// Sleeps, but not beyond the end.
    pub(super) fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over() {
            thread::sleep(Duration::from_millis(20).min(time));
        }
    }
}

/// The numbers of operations.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) backups: AtomicU64,
    pub(super) injections: AtomicU64,
    pub(super) vf_events: AtomicU64,
    pub(super) outages: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) puts: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The result.
#[derive(Debug)]
pub struct Report {
    took: Duration,
    counts: Counts,
    /// The name of each daemon with its first and last sample.
    samples: Vec<(&'static str, Sample, Sample)>,
    complaints: Vec<String>,
}

impl Report {
    /// Whether there was no complaint.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.took.as_secs_f64() / 60.0;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        writeln!(f, "{minutes:.1} minutes:")?;
        writeln!(
            f,
            "  {:>8} requests of the host, {} of them malformed",
            of(&counts.requests),
            of(&counts.malformed)
        )?;
        writeln!(f, "  {:>8} changes of pool 1 by {WRITERS} other programs", of(&counts.writes))?;
        writeln!(f, "  {:>8} items put and imported there by hvctl", of(&counts.puts))?;
        writeln!(f, "  {:>8} backups", of(&counts.backups))?;
        writeln!(
            f,
            "  {:>8} injections, {} arrivals and departures of a VF",
            of(&counts.injections),
            of(&counts.vf_events)
        )?;
        writeln!(f, "  {:>8} times without syslogd", of(&counts.outages))?;
        for (name, first, last) in &self.samples {
            writeln!(f, "  {name}: {first} at first, {last} at the end")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "  WRONG: {complaint}")?;
        }
        let verdict = if self.is_good() { "nothing lost, nothing left behind" } else { "not as it must be" };
        writeln!(f, "  {verdict}")
    }
}

/// Runs for `time`.
///
/// # Errors
/// In one line: FUSE cannot be used, or something cannot be started.
pub fn run(time: Duration) -> Result<Report, String> {
    let network = Some(network::setup());
    let setup = Setup { network, ..Setup::default() };
    let mut session = Session::start(&setup);
    if let Some(reason) = session.without_device() {
        return Err(reason.to_owned());
    }
    process::detach(&mut session)?;
    let mut guest = backups::guest()?;
    let (shared, counts, begin) = (Shared::default(), Counts::default(), Instant::now());
    let log = session.path("log");
    let samples = thread::scope(|scope| {
        let traffic = (session.another_host(), session.pool_dir());
        let writers = writer::start(WRITERS, &session.pool_file(1));
        scope.spawn(|| traffic::run(traffic, &shared, &counts));
        let config = session.path("hyperv.toml");
        let (shared, counts) = (&shared, &counts);
        let tools = TOOLS.map(|tool| {
            let (host, config) = (session.another_host(), config.clone());
            scope.spawn(move || tools::run(tool, &config, host, shared, counts))
        });
        scope.spawn(|| syslogd::run(&log, shared, counts));
        let backups = scope.spawn(|| backups::run(&mut guest, shared, counts));
        let network = scope.spawn(|| network::run(session.guest(), session.another_host(), shared, counts));
        shared.pause(time / 10);
        let first = process::sample_of(&session);
        shared.pause(time.saturating_sub(begin.elapsed()));
        shared.over.store(true, Ordering::SeqCst);
        let _ = network.join();
        let vss = backups.join().ok().flatten();
        tools.into_iter().for_each(|tool| drop(tool.join()));
        writer::finish(writers, &mut session.another_host(), shared, counts);
        // Postponed work is done by then.
        thread::sleep(Duration::from_secs(3));
        let last = process::last_sample_of(&session);
        let kvp = first.zip(last).map(|(first, last)| ("hv_kvp_daemon", first, last));
        let vss = vss.map(|(first, last)| ("hv_vss_daemon", first, last));
        kvp.into_iter().chain(vss).collect::<Vec<_>>()
    });
    if samples.len() < 2 {
        shared.complain("a daemon has ended");
    }
    for (name, first, last) in &samples {
        last.judge(first, GROWTH_KIB).into_iter().for_each(|text| shared.complain(format!("{name}: {text}")));
    }
    for violation in session.take_violations() {
        shared.complain(violation);
    }
    let complaints = std::mem::take(&mut *lock(&shared.complaints));
    Ok(Report { took: begin.elapsed(), counts, samples, complaints })
}
