//! `hvsim bench`: what a key-value daemon costs beyond what the machine and the simulator cost.
//!
//! A *null daemon* that only echoes is the limit. Both run in turns (null, daemon, null, daemon…) on the same
//! device, and medians over the turns are compared: noise of the machine hits both, and a ratio means
//! something where a rate does not.

mod guest;
mod measure;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use crate::testing::{Machine, Options, program};
use guest::Guest;
pub use measure::{Operation, Speed};
pub use report::{Compared, ExchangeRow, Report, SetRow};

/// Records in the pool, of which each size is measured.
pub const POOL_SIZES: [usize; 3] = [10, 100, 1000];

/// What is measured, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The daemon's program; started with `-n -f CONFIG`, but `hvsim-null-daemon` with the device.
    pub daemon: PathBuf,
    /// Where the scratch directory is made.
    pub scratch: Option<PathBuf>,
    /// Turns of which the medians are taken.
    pub rounds: usize,
    /// Requests of one kind in one turn.
    pub exchanges: usize,
    /// How long to watch an idle daemon.
    pub idle: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            daemon: PathBuf::new(),
            scratch: None,
            rounds: 5,
            exchanges: 2000,
            idle: Some(Duration::from_secs(30)),
        }
    }
}

/// Measures everything.
///
/// # Errors
/// One line: FUSE cannot be used here, or a daemon does not start, answer or live.
pub fn run(plan: &Plan) -> Result<Report, String> {
    let mut report = Report { rounds: plan.rounds, exchanges: plan.exchanges, ..Report::default() };
    for records in POOL_SIZES {
        measure_pool(plan, records, &mut report)?;
    }
    if let Some(idle) = plan.idle {
        measure_idle(plan, idle, &mut report)?;
    }
    Ok(report)
}

fn machine(plan: &Plan) -> Result<Machine, String> {
    Machine::start_with(&Options { scratch: plan.scratch.clone(), ..Options::default() })
}

/// The two contestants: the limit and the daemon.
fn contestants(plan: &Plan) -> [PathBuf; 2] {
    [program("hvsim-null-daemon"), plan.daemon.clone()]
}

/// Everything that is measured by asking, with a pool of `records`.
fn measure_pool(plan: &Plan, records: usize, report: &mut Report) -> Result<(), String> {
    let mut machine = machine(plan)?;
    guest::prepare(&machine, records).map_err(|error| format!("cannot prepare the pool: {error}"))?;
    let mut speeds: Vec<[Vec<Speed>; 2]> = vec![Default::default(); Operation::ALL.len()];
    let (mut starts, mut memory) = ([Vec::new(), Vec::new()], [0; 2]);
    let mut bare = Vec::new();
    for _ in 0..plan.rounds {
        for (who, daemon) in contestants(plan).iter().enumerate() {
            let guest = Guest::start(&mut machine, daemon)?;
            starts[who].push(guest.start_up);
            for (operation, speeds) in Operation::ALL.into_iter().zip(&mut speeds) {
                let speed = measure::exchange(&mut machine, operation, records, plan.exchanges);
                speeds[who].push(speed.map_err(|error| format!("{}: {error}", daemon.display()))?);
            }
            memory[who] = memory[who].max(guest.peak_memory()?);
            guest.stop()?;
        }
        let sets = Operation::Set.count(plan.exchanges);
        bare.push(measure::bare_set(&machine.pool_dir(), records, sets).map_err(|error| error.to_string())?);
    }
    let violations = machine.take_violations();
    if !violations.is_empty() {
        return Err(format!("a daemon violated the contract: {}", violations.join("; ")));
    }
    report.add_pool(records, &speeds, &bare, &starts, memory);
    Ok(())
}

fn measure_idle(plan: &Plan, idle: Duration, report: &mut Report) -> Result<(), String> {
    let mut machines = [machine(plan)?, machine(plan)?];
    let mut guests = Vec::new();
    for (machine, daemon) in machines.iter_mut().zip(contestants(plan)) {
        guest::prepare(machine, 10).map_err(|error| format!("cannot prepare the pool: {error}"))?;
        guests.push(Guest::start(machine, &daemon)?);
        // A daemon that has served may do more when idle than one that has not.
        measure::exchange(machine, Operation::Get, 10, 10)?;
    }
    // Work that is left for after the answer may be done.
    std::thread::sleep(Duration::from_secs(1));
    let before = count_switches(&guests)?;
    std::thread::sleep(idle);
    let after = count_switches(&guests)?;
    let wakeups: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    report.idle_seconds = idle.as_secs_f64();
    report.idle_wakeups = Compared::new(wakeups[0], wakeups[1]);
    guests.into_iter().try_for_each(Guest::stop)
}

fn count_switches(guests: &[Guest]) -> Result<Vec<u64>, String> {
    guests.iter().map(Guest::context_switches).collect()
}
