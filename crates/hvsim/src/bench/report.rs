//! The results: a table for people, the same as data for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::measure::{Operation, Speed, median, real};

/// A number of the null daemon beside the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Compared<T> {
    /// Of the null daemon.
    pub null: T,
    /// Of the daemon.
    pub daemon: T,
}

impl<T> Compared<T> {
    /// Both numbers.
    pub fn new(null: T, daemon: T) -> Self {
        Self { null, daemon }
    }
}

/// One operation at one size of the pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExchangeRow {
    /// The operation.
    pub operation: Operation,
    /// Records in the pool.
    pub records: usize,
    /// The speeds.
    #[serde(flatten)]
    pub speed: Compared<Speed>,
    /// The daemon's rate divided by the null daemon's.
    pub ratio: f64,
}

/// SET beside bare durable writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetRow {
    /// Records in the pool.
    pub records: usize,
    /// Lock, write of a record, fsync and unlock in a loop.
    pub bare: Speed,
    /// The daemon's SET.
    pub daemon: Speed,
    /// The daemon's rate divided by the bare loop's.
    pub ratio: f64,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Turns of which the medians were taken.
    pub rounds: usize,
    /// Requests of one kind in one turn; a tenth of it for SET.
    pub exchanges: usize,
    /// Each operation at each size.
    pub exchange: Vec<ExchangeRow>,
    /// SET at each size.
    pub set: Vec<SetRow>,
    /// How long the idle daemons were watched; 0 when they were not.
    pub idle_seconds: f64,
    /// How often they woke up or were put to sleep then.
    pub idle_wakeups: Compared<u64>,
    /// Peak resident memory in KiB after all operations on the largest pool.
    pub peak_memory: Compared<u64>,
    /// Milliseconds from the start of the program to its registration, at the largest pool.
    pub start_up: Compared<f64>,
}

impl Report {
    pub(super) fn add_pool(
        &mut self,
        records: usize,
        speeds: &[[Vec<Speed>; 2]],
        bare: &[Speed],
        starts: &[Vec<Duration>; 2],
        memory: [u64; 2],
    ) {
        for (operation, [null, daemon]) in Operation::ALL.into_iter().zip(speeds) {
            let speed = Compared::new(Speed::median(null), Speed::median(daemon));
            let ratio = speed.daemon.rate / speed.null.rate;
            self.exchange.push(ExchangeRow { operation, records, speed, ratio });
            if operation == Operation::Set {
                let bare = Speed::median(bare);
                let ratio = speed.daemon.rate / bare.rate;
                self.set.push(SetRow { records, bare, daemon: speed.daemon, ratio });
            }
        }
        let start = |starts: &[Duration]| median(starts.iter().map(|d| d.as_secs_f64() * 1000.0).collect());
        self.start_up = Compared::new(start(&starts[0]), start(&starts[1]));
        self.peak_memory = Compared::new(memory[0], memory[1]);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {} turns with {} exchanges each ({} for SET); latencies in microseconds.\n",
            self.rounds,
            self.exchanges,
            Operation::Set.count(self.exchanges)
        )?;
        writeln!(
            f,
            "{:<12} {:>7} | {:>9} {:>8} {:>8} | {:>9} {:>8} {:>8} | {:>6} {:>6}",
            "operation", "records", "null/s", "p50", "p99", "daemon/s", "p50", "p99", "ratio", "target"
        )?;
        for row in &self.exchange {
            row_line(f, row.operation.name(), row.records, &row.speed, row.ratio, target(row.operation))?;
        }
        writeln!(f, "\nSET beside a bare loop of lock, pwrite of a record, fsync and unlock:")?;
        for row in &self.set {
            let speed = Compared::new(row.bare, row.daemon);
            row_line(f, "SET / bare", row.records, &speed, row.ratio, "0.70")?;
        }
        self.write_rest(f)
    }
}

impl Report {
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, start) = (self.peak_memory, self.start_up);
        let ratio = real(memory.daemon) / real(memory.null.max(1));
        writeln!(f, "\n{:<34} {:>9} {:>9}  target", "", "null", "daemon")?;
        if self.idle_seconds > 0.0 {
            let what = format!("wake-ups in {} s when idle", self.idle_seconds);
            let wakeups = self.idle_wakeups;
            writeln!(f, "{what:<34} {:>9} {:>9}  0", wakeups.null, wakeups.daemon)?;
        }
        writeln!(
            f,
            "{:<34} {:>9} {:>9}  ratio {ratio:.2}, at most 1.50",
            "peak memory, KiB", memory.null, memory.daemon
        )?;
        writeln!(f, "{:<34} {:>9.2} {:>9.2}  at most 10", "start to registered, ms", start.null, start.daemon)
    }
}

fn target(operation: Operation) -> &'static str {
    match operation {
        Operation::Get | Operation::Enumerate => "0.90",
        Operation::Auto | Operation::IpInfo => "0.80",
        // Its target is relative to the disk, not to a daemon that writes nothing.
        Operation::Set => "",
    }
}

fn row_line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    records: usize,
    speed: &Compared<Speed>,
    ratio: f64,
    target: &str,
) -> fmt::Result {
    let (a, b) = (speed.null, speed.daemon);
    let line = format!(
        "{name:<12} {records:>7} | {:>9.0} {:>8.1} {:>8.1} | {:>9.0} {:>8.1} {:>8.1} | {ratio:>6.2} {target:>6}",
        a.rate, a.p50, a.p99, b.rate, b.p50, b.p99
    );
    writeln!(f, "{}", line.trim_end())
}
