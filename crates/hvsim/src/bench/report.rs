//! The results of `hvsim bench`: a table for users, or the same as data. It is given numbers and measures
//! none.

use std::fmt;

use serde::Serialize;

use super::measure::{Operation, Speed, median, real};

/// A number of both daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Compared<T> {
    /// That of the null daemon.
    pub null: T,
    /// That of the daemon.
    pub daemon: T,
}

impl<T> Compared<T> {
    /// A pair of numbers.
    pub fn new(null: T, daemon: T) -> Self {
        Self { null, daemon }
    }
}

/// One operation with one size of the pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExchangeRow {
    /// The operation.
    pub operation: Operation,
    /// Records in the pool.
    pub records: usize,
    /// The speeds.
    #[serde(flatten)]
    pub speed: Compared<Speed>,
    /// The daemon's rate divided by the null daemon's: the median over neighbouring bursts.
    pub ratio: f64,
    /// The same for the median latencies, which other programs on the machine affect less.
    pub ratio_p50: f64,
}

/// SET and its limit: the exchange of the null daemon, followed by a bare durable write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetRow {
    /// Records in the pool.
    pub records: usize,
    /// The null daemon's SET followed by lock, write of a record, fsync and unlock.
    pub limit: Speed,
    /// The daemon's SET.
    pub daemon: Speed,
    /// The daemon's rate divided by the limit's: the median over neighbouring bursts.
    pub ratio: f64,
    /// The same for the median latencies, which other programs on the machine affect less.
    pub ratio_p50: f64,
}

/// All results.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Pairs of bursts from which the medians were taken.
    pub rounds: usize,
    /// Requests in one burst. SET has a third of it.
    pub exchanges: usize,
    /// Each operation at each size.
    pub exchange: Vec<ExchangeRow>,
    /// SET at each size.
    pub set: Vec<SetRow>,
    /// How long the idle daemons were observed. 0 if they were not.
    pub idle_seconds: f64,
    /// How often they woke up or were put to sleep in that time.
    pub idle_wakeups: Compared<u64>,
    /// Peak resident memory in KiB after all operations on the largest pool.
    pub peak_memory: Compared<u64>,
    /// Milliseconds from the start of the program to its registration, with the largest pool.
    pub start_up: Compared<f64>,
}

impl ExchangeRow {
    /// The row for these pairs of the null daemon's and the daemon's speed.
    pub(super) fn new(operation: Operation, records: usize, pairs: &[(Speed, Speed)]) -> Self {
        let (null, daemon, [ratio, ratio_p50]) = medians(pairs);
        Self { operation, records, speed: Compared { null, daemon }, ratio, ratio_p50 }
    }
}

impl SetRow {
    /// The row for these pairs of the limit's and the daemon's speed.
    pub(super) fn new(records: usize, pairs: &[(Speed, Speed)]) -> Self {
        let (limit, daemon, [ratio, ratio_p50]) = medians(pairs);
        Self { records, limit, daemon, ratio, ratio_p50 }
    }
}

fn medians(pairs: &[(Speed, Speed)]) -> (Speed, Speed, [f64; 2]) {
    let (limits, daemons): (Vec<Speed>, Vec<Speed>) = pairs.iter().copied().unzip();
    let ratio = median(pairs.iter().map(|(limit, daemon)| daemon.rate / limit.rate).collect());
    let ratio_p50 = median(pairs.iter().map(|(limit, daemon)| limit.p50 / daemon.p50).collect());
    (Speed::median(&limits), Speed::median(&daemons), [ratio, ratio_p50])
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {} pairs of bursts of {} exchanges ({} for SET), one processor; latencies in microseconds.\n",
            self.rounds,
            self.exchanges,
            Operation::Set.count(self.exchanges)
        )?;
        writeln!(
            f,
            "{:<12} {:>7} | {:>9} {:>8} {:>8} | {:>9} {:>8} {:>8} | {:>6} {:>6} {:>6}",
            "operation",
            "records",
            "null/s",
            "p50",
            "p99",
            "daemon/s",
            "p50",
            "p99",
            "ratio",
            "of p50",
            "target"
        )?;
        for row in &self.exchange {
            row_line(
                f,
                row.operation.name(),
                row.records,
                &row.speed,
                [row.ratio, row.ratio_p50],
                target(row.operation),
            )?;
        }
        writeln!(
            f,
            "\nSET beside its limit: the null daemon's exchange plus lock, pwrite of a record, fsync and unlock:"
        )?;
        for row in &self.set {
            let speed = Compared::new(row.limit, row.daemon);
            row_line(f, "SET / limit", row.records, &speed, [row.ratio, row.ratio_p50], "0.85")?;
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
        // Its target depends on the disk, not on a daemon that writes nothing.
        Operation::Set => "",
    }
}

fn row_line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    records: usize,
    speed: &Compared<Speed>,
    ratios: [f64; 2],
    target: &str,
) -> fmt::Result {
    let (a, b) = (speed.null, speed.daemon);
    let line = format!(
        "{name:<12} {records:>7} | {:>9.0} {:>8.1} {:>8.1} | {:>9.0} {:>8.1} {:>8.1} | {:>6.2} {:>6.2} {target:>6}",
        a.rate, a.p50, a.p99, b.rate, b.p50, b.p99, ratios[0], ratios[1]
    );
    writeln!(f, "{}", line.trim_end())
}
