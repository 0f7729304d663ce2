//! `hvsim bench vss`: what the backup daemon costs beyond one bare open and one bare call for each file system.
//!
//! As with the key-value daemon, a null daemon is the limit, both are asked in turns on one processor, and the ratios
//! are medians over neighbours in time. The simulator does not look at its callers meanwhile, for that costs more than
//! what is measured.

use std::fmt;
use std::fs;
use std::time::Duration;

use nix::unistd::Pid;
use serde::Serialize;

use super::measure::{median, real};
use super::pin_to_one_processor;
use super::report::Compared;
use crate::client::Client;
use crate::testing::{Machine, PATIENCE, Process, program};
use crate::vss::session::{Session, Setup};
use crate::vss::{Operation, Side, VssCommand};

/// Backups in one burst.
const BURST: usize = 10;

/// What is measured, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Pairs of bursts of which the medians are taken.
    pub rounds: usize,
    /// UFS file systems of the guest.
    pub mounts: usize,
    /// Whole backups over which memory and descriptors are watched.
    pub cycles: usize,
    /// How long to watch for wake-ups.
    pub watch: Duration,
    /// Leave the choice of processors to the scheduler.
    pub spread: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rounds: 75, mounts: 32, cycles: 10_000, watch: Duration::from_secs(30), spread: false }
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub operation: &'static str,
    /// Median milliseconds of each daemon.
    pub milliseconds: Compared<f64>,
    /// The daemon's time divided by the null daemon's: the median over neighbours in time.
    pub ratio: f64,
}

/// What the daemon's process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Holdings {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Heap and other private data in KiB.
    pub data: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// UFS file systems of the guest.
    pub mounts: usize,
    /// CHECK, FREEZE and THAW.
    pub rows: Vec<Row>,
    /// How long the daemon was watched, each time.
    pub watch_seconds: f64,
    /// How often it woke up when idle.
    pub idle_wakeups: u64,
    /// How often it woke up when frozen.
    pub frozen_wakeups: u64,
    /// Whole backups between the two next ones.
    pub cycles: usize,
    /// After a tenth of the cycles.
    pub early: Holdings,
    /// After all of them.
    pub late: Holdings,
}

/// Measures everything.
///
/// # Errors
/// One line: FUSE cannot be used here, or a daemon does not start or does not say yes.
pub fn run(plan: &Plan) -> Result<Report, String> {
    if !plan.spread {
        pin_to_one_processor().map_err(|error| format!("cannot choose a processor: {error}"))?;
    }
    let on = |n: usize| if n == 0 { "/".to_owned() } else { format!("/m{n}") };
    let mounts: String =
        (0..plan.mounts).map(|n| format!("ufs {} /dev/da{n} local {} 7\n", on(n), n + 1)).collect();
    let mut report = Report { mounts: plan.mounts, cycles: plan.cycles, ..Report::default() };
    let setup = Setup { mounts: mounts.clone(), options: vec!["-n"], ..Setup::default() };
    let mut session = Session::start_on_device(&setup)?;
    let mut null = NullGuest::start(&mounts)?;
    for host in [null.machine.host(), session.host()] {
        host.vss::<()>(VssCommand::Scrutinize { on: false }).map_err(text)?;
    }
    measure_speed(plan, &mut null, &mut session, &mut report)?;
    measure_wakeups(plan, &mut session, &mut report)?;
    measure_holdings(plan, &mut session, &mut report)?;
    Ok(report)
}

/// A machine whose daemon makes only the bare calls.
struct NullGuest {
    // Dropped before the machine.
    _daemon: Process,
    machine: Machine,
}

impl NullGuest {
    fn start(mounts: &str) -> Result<Self, String> {
        let mut machine = Machine::start()?;
        let facts = machine.facts_dir();
        fs::write(facts.join("mounts"), mounts).map_err(|error| error.to_string())?;
        let device = machine.device_dir().join(Side::FileSystem.node());
        let suspender = machine.device_dir().join("ufssuspend");
        let arguments = [device.as_os_str(), "0".as_ref(), suspender.as_os_str(), facts.as_os_str()];
        let daemon = machine.spawn(program("hvsim-null-vss-daemon"), arguments);
        if machine.host().vss_wait_open(Side::FileSystem, PATIENCE).map_err(text)? {
            return Ok(Self { _daemon: daemon, machine });
        }
        Err(format!("the null daemon does not start: {}", daemon.output()))
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Median milliseconds of CHECK, FREEZE and THAW in one burst.
fn burst(host: &mut Client) -> Result<[f64; 3], String> {
    let operations = vec![Operation::Check, Operation::Freeze, Operation::Thaw];
    let latencies = host.vss_ask_many(operations, 3 * BURST).map_err(text)?;
    if latencies.failed > 0 {
        return Err(format!("{} of {} requests were answered with no", latencies.failed, 3 * BURST));
    }
    let of = |operation: usize| {
        let times = latencies.nanoseconds.iter().skip(operation).step_by(3);
        median(times.map(|nanoseconds| real(*nanoseconds) / 1e6).collect())
    };
    Ok([of(0), of(1), of(2)])
}

fn measure_speed(
    plan: &Plan,
    null: &mut NullGuest,
    session: &mut Session,
    report: &mut Report,
) -> Result<(), String> {
    let mut pairs: Vec<[[f64; 3]; 2]> = Vec::new();
    // The first pair is for warming up. Who begins alternates, so that being second is no advantage.
    for round in 0..=plan.rounds {
        let mut pair = [[0.0; 3]; 2];
        for who in if round.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
            pair[who] = burst(if who == 0 { null.machine.host() } else { session.host() })?;
        }
        pairs.push(pair);
    }
    let pairs = &pairs[1..];
    for (index, operation) in ["CHECK", "FREEZE", "THAW"].into_iter().enumerate() {
        let of = |who: usize| median(pairs.iter().map(|pair| pair[who][index]).collect());
        let ratio = median(pairs.iter().map(|[null, daemon]| daemon[index] / null[index]).collect());
        report.rows.push(Row { operation, milliseconds: Compared::new(of(0), of(1)), ratio });
    }
    Ok(())
}

fn measure_wakeups(plan: &Plan, session: &mut Session, report: &mut Report) -> Result<(), String> {
    report.watch_seconds = plan.watch.as_secs_f64();
    // What is left for after an answer may be done.
    std::thread::sleep(Duration::from_secs(1));
    report.idle_wakeups = watch(session.daemon().pid(), plan.watch)?;
    ask(session, Operation::Freeze)?;
    std::thread::sleep(Duration::from_secs(1));
    report.frozen_wakeups = watch(session.daemon().pid(), plan.watch)?;
    ask(session, Operation::Thaw)
}

fn watch(pid: Pid, time: Duration) -> Result<u64, String> {
    let before = context_switches(pid)?;
    std::thread::sleep(time);
    Ok(context_switches(pid)?.saturating_sub(before))
}

fn ask(session: &mut Session, operation: Operation) -> Result<(), String> {
    let answer = session.host().vss_ask(operation).map_err(text)?;
    if answer.is_ok() {
        Ok(())
    } else {
        Err(format!("a {} ended with {:?}", operation.word(), answer.outcome))
    }
}

fn measure_holdings(plan: &Plan, session: &mut Session, report: &mut Report) -> Result<(), String> {
    let backups = |session: &mut Session, count: usize| {
        let operations = vec![Operation::Check, Operation::Freeze, Operation::Thaw];
        session.host().vss_ask_many(operations, 3 * count).map(drop).map_err(text)
    };
    let pid = session.daemon().pid();
    backups(session, plan.cycles / 10)?;
    report.early = holdings(pid)?;
    backups(session, plan.cycles - plan.cycles / 10)?;
    report.late = holdings(pid)?;
    Ok(())
}

fn context_switches(pid: Pid) -> Result<u64, String> {
    Ok(status(pid, "voluntary_ctxt_switches:")? + status(pid, "nonvoluntary_ctxt_switches:")?)
}

fn holdings(pid: Pid) -> Result<Holdings, String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_err(text)?.count();
    let descriptors = u64::try_from(descriptors).unwrap_or(u64::MAX);
    Ok(Holdings { resident: status(pid, "VmRSS:")?, data: status(pid, "VmData:")?, descriptors })
}

/// A number in `/proc/PID/status`.
fn status(pid: Pid, name: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("{path} lacks {name}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hv_vss_daemon beside bare calls, {} UFS file systems\n", self.mounts)?;
        writeln!(f, "{:8}{:>12}{:>12}{:>8}", "", "bare ms", "daemon ms", "ratio")?;
        for row in &self.rows {
            let Compared { null, daemon } = row.milliseconds;
            writeln!(f, "{:8}{null:>12.3}{daemon:>12.3}{:>8.2}", row.operation, row.ratio)?;
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
