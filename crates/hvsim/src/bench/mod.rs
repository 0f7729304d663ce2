//! `hvsim bench`: measures what the key-value daemon costs beyond the machine and the simulator. It prints
//! numbers and never fails because of one.
//!
//! A *null daemon* that only echoes is the limit. Both daemons run at the same time, each on its own device,
//! and get short bursts of requests in turn. The ratio is the median over pairs of neighbouring bursts, so
//! noise of the machine affects both sides of it. Everything runs on one processor: a wake-up across
//! processors costs several times an exchange, and the scheduler causes it irregularly.

mod guest;
mod measure;
pub mod programs;
mod report;
pub mod vss;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::testing::{Machine, Options, program};
use guest::Guest;
pub use measure::{Operation, Speed};
pub use report::{Compared, ExchangeRow, Report, SetRow};

/// The sizes of pools that are measured, in records.
pub const POOL_SIZES: [usize; 3] = [10, 100, 1024];

/// Each start needs a new machine, which takes longer than the start.
const MOST_STARTS: usize = 15;

/// What is measured, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The daemon's program. It is started with `-n -f CONFIG`; `hvsim-null-daemon` gets the device.
    pub daemon: PathBuf,
    /// Where the scratch directory is made.
    pub scratch: Option<PathBuf>,
    /// Pairs of bursts from which the medians are taken.
    pub rounds: usize,
    /// Requests in one burst. SET has a third of it.
    pub exchanges: usize,
    /// Let the scheduler choose processors.
    pub spread: bool,
    /// How long to observe an idle daemon.
    pub idle: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            daemon: PathBuf::new(),
            scratch: None,
            rounds: 75,
            exchanges: 60,
            spread: false,
            idle: Some(Duration::from_secs(30)),
        }
    }
}

/// Measures everything.
///
/// # Errors
/// In one line: FUSE cannot be used, or a daemon does not start, answer or survive.
pub fn run(plan: &Plan) -> Result<Report, String> {
    if !plan.spread {
        pin_to_one_processor().map_err(|error| format!("cannot choose a processor: {error}"))?;
    }
    let mut report = Report { rounds: plan.rounds, exchanges: plan.exchanges, ..Report::default() };
    for records in POOL_SIZES {
        measure_pool(plan, records, &mut report)?;
    }
    measure_start(plan, &mut report)?;
    if let Some(idle) = plan.idle {
        measure_idle(plan, idle, &mut report)?;
    }
    Ok(report)
}

/// Binds this process to one processor. Programs that are started later inherit that.
fn pin_to_one_processor() -> nix::Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own)?;
    // The last processor: interrupts and other programs prefer the first.
    for processor in (0..CpuSet::count()).rev() {
        if allowed.is_set(processor)? {
            let mut one = CpuSet::new();
            one.set(processor)?;
            return sched_setaffinity(own, &one);
        }
    }
    Ok(())
}

/// A machine with a daemon that serves it.
struct Stand {
    // Dropped before the machine.
    guest: Guest,
    machine: Machine,
}

impl Stand {
    fn new(plan: &Plan, daemon: &Path, records: usize) -> Result<Self, String> {
        let options = Options { scratch: plan.scratch.clone(), ..Options::default() };
        let mut machine = Machine::start_with(&options)?;
        guest::prepare(&machine, records).map_err(|error| format!("cannot prepare the pool: {error}"))?;
        let guest = Guest::start(&mut machine, daemon)?;
        Ok(Self { guest, machine })
    }

    /// Ends the daemon. A violation of the contract makes the measurement void.
    fn end(mut self) -> Result<(), String> {
        self.guest.stop()?;
        let violations = self.machine.take_violations();
        if violations.is_empty() {
            return Ok(());
        }
        Err(format!("a daemon violated the contract: {}", violations.join("; ")))
    }
}

/// A stand for the null daemon and one for the daemon.
fn stands(plan: &Plan, records: usize) -> Result<[Stand; 2], String> {
    let null = Stand::new(plan, &program("hvsim-null-daemon"), records)?;
    Ok([null, Stand::new(plan, &plan.daemon, records)?])
}

/// Measures all operations with a pool of `records`.
fn measure_pool(plan: &Plan, records: usize, report: &mut Report) -> Result<(), String> {
    let mut stands = stands(plan, records)?;
    for operation in Operation::ALL {
        let mut pairs = Vec::new();
        let mut limits = Vec::new();
        // The first pair only warms up.
        for round in 0..=plan.rounds {
            let pair = measure_pair(&mut stands, operation, records, plan.exchanges, round)?;
            if operation == Operation::Set {
                let bare = bare_set(&stands[1].machine, records, plan.exchanges)?;
                limits.push((pair.null.and_then(&bare), pair.daemon));
            }
            pairs.push((pair.null, pair.daemon));
        }
        report.exchange.push(ExchangeRow::new(operation, records, &pairs[1..]));
        if operation == Operation::Set {
            report.set.push(SetRow::new(records, &limits[1..]));
        }
    }
    report.peak_memory = Compared::new(stands[0].guest.peak_memory()?, stands[1].guest.peak_memory()?);
    stands.into_iter().try_for_each(Stand::end)
}

/// A burst for each daemon. They take turns in beginning, so that neither has an advantage.
fn measure_pair(
    stands: &mut [Stand; 2],
    operation: Operation,
    records: usize,
    exchanges: usize,
    round: usize,
) -> Result<Compared<Speed>, String> {
    let mut speeds = [Speed::default(); 2];
    for who in if round.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
        speeds[who] = measure::exchange(&mut stands[who].machine, operation, records, exchanges, round)?;
    }
    Ok(Compared::new(speeds[0], speeds[1]))
}

fn bare_set(machine: &Machine, records: usize, exchanges: usize) -> Result<Speed, String> {
    let count = Operation::Set.count(exchanges);
    measure::bare_set(&machine.pool_dir(), records, count).map_err(|error| format!("bare writes: {error}"))
}

/// Starts both on a large pool, several times.
fn measure_start(plan: &Plan, report: &mut Report) -> Result<(), String> {
    let records = POOL_SIZES.into_iter().max().unwrap_or_default();
    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds.min(MOST_STARTS) {
        for (stand, starts) in stands(plan, records)?.into_iter().zip(&mut starts) {
            starts.push(stand.guest.start_up.as_secs_f64() * 1000.0);
            stand.end()?;
        }
    }
    let [null, daemon] = starts.map(measure::median);
    report.start_up = Compared::new(null, daemon);
    Ok(())
}

fn measure_idle(plan: &Plan, idle: Duration, report: &mut Report) -> Result<(), String> {
    let mut stands = stands(plan, 10)?;
    for stand in &mut stands {
        // A daemon that has served may do more when idle than one that has not.
        measure::exchange(&mut stand.machine, Operation::Get, 10, 10, 0)?;
    }
    // Postponed work may be done first.
    std::thread::sleep(Duration::from_secs(1));
    let before = [stands[0].guest.context_switches()?, stands[1].guest.context_switches()?];
    std::thread::sleep(idle);
    let woken = |who: usize| Ok::<_, String>(stands[who].guest.context_switches()? - before[who]);
    report.idle_wakeups = Compared::new(woken(0)?, woken(1)?);
    report.idle_seconds = idle.as_secs_f64();
    stands.into_iter().try_for_each(Stand::end)
}
