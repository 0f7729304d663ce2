//! The results of `hvsim bench vss` and their tables. It is given numbers and measures none.

use std::fmt;

use serde::Serialize;

use super::MAPPINGS;
use crate::bench::report::Compared;

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub operation: &'static str,
    /// Median milliseconds of each daemon.
    pub milliseconds: Compared<f64>,
    /// The daemon's time divided by the null daemon's: the median over neighbouring bursts.
    pub ratio: f64,
}

/// The resources of the daemon's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Holdings {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Heap and other private data in KiB.
    pub data: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// The results for one number of file systems.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MountsRow {
    /// The number of file systems.
    pub mounts: usize,
    /// CHECK, FREEZE and THAW.
    pub rows: Vec<Row>,
}

/// How long a writer sleeps until the FREEZE is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pause {
    /// Milliseconds that the dirty buffers take to write.
    pub flush: u64,
    /// Milliseconds from the suspension to the answer. The bare calls do no sync before.
    pub milliseconds: Compared<f64>,
    /// The daemon's pause divided by that of the bare calls.
    pub ratio: f64,
}

/// The cost of a number of processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scan {
    /// The number of processes. All have the same number of mappings.
    pub processes: usize,
    /// Milliseconds of a CHECK, which scans each of them once.
    pub check: f64,
    /// Milliseconds of a FREEZE, which scans twice.
    pub freeze: f64,
    /// Milliseconds of reading the text of all mappings once, which the simulator has in place of a kernel.
    pub read: f64,
}

/// All results.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// UFS file systems of the guest.
    pub mounts: usize,
    /// CHECK, FREEZE and THAW.
    pub rows: Vec<Row>,
    /// The same for other numbers of file systems.
    pub series: Vec<MountsRow>,
    /// The pause of writers, by the time that a flush takes.
    pub pauses: Vec<Pause>,
    /// The scan, by the number of processes.
    pub scans: Vec<Scan>,
    /// How long the daemon was observed, each time.
    pub watch_seconds: f64,
    /// How often it woke up while idle.
    pub idle_wakeups: u64,
    /// How often it woke up while frozen.
    pub frozen_wakeups: u64,
    /// Backups between the next two rows.
    pub cycles: usize,
    /// After a tenth of the cycles.
    pub early: Holdings,
    /// After all of them.
    pub late: Holdings,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hv_vss_daemon beside bare calls, {} UFS file systems\n", self.mounts)?;
        write_rows(f, &self.rows)?;
        for MountsRow { mounts, rows } in &self.series {
            writeln!(f, "\n{mounts} UFS file systems")?;
            write_rows(f, rows)?;
        }
        writeln!(
            f,
            "\nFREEZE: how long writers sleep until the answer, without (bare) and with a sync before"
        )?;
        writeln!(f, "{:>12}{:>12}{:>12}{:>8}", "flush ms", "bare ms", "daemon ms", "ratio")?;
        for Pause { flush, milliseconds: Compared { null, daemon }, ratio } in &self.pauses {
            writeln!(f, "{flush:>12}{null:>12.3}{daemon:>12.3}{ratio:>8.2}")?;
        }
        writeln!(f, "\nprocesses with {MAPPINGS} mappings each, one UFS file system")?;
        writeln!(f, "{:>12}{:>12}{:>12}{:>14}", "processes", "CHECK ms", "FREEZE ms", "bare read ms")?;
        for Scan { processes, check, freeze, read } in &self.scans {
            writeln!(f, "{processes:>12}{check:>12.3}{freeze:>12.3}{read:>14.3}")?;
        }
        writeln!(
            f,
            "\nwake-ups in {} s: idle {}, frozen {}",
            self.watch_seconds, self.idle_wakeups, self.frozen_wakeups
        )?;
        let line = |f: &mut fmt::Formatter<'_>, cycles: usize, held: Holdings| {
            let Holdings { resident, data, descriptors } = held;
            writeln!(
                f,
                "after {cycles:>6} more backups: {resident} KiB resident, {data} KiB of data, {descriptors} descriptors"
            )
        };
        line(f, self.cycles / 10, self.early)?;
        line(f, self.cycles - self.cycles / 10, self.late)
    }
}

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    writeln!(f, "{:8}{:>12}{:>12}{:>8}", "", "bare ms", "daemon ms", "ratio")?;
    for row in rows {
        let Compared { null, daemon } = row.milliseconds;
        writeln!(f, "{:8}{null:>12.3}{daemon:>12.3}{:>8.2}", row.operation, row.ratio)?;
    }
    Ok(())
}
