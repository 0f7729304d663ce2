//! `hvsim bench vss`: measures what the backup daemon costs beyond one bare open and one bare call for each
//! file system. It prints numbers and never fails because of one.
//!
//! As for the key-value daemon, a null daemon is the limit, both get requests in turn on one processor, and
//! the ratios are medians over neighbouring bursts. Meanwhile the simulator does not examine its callers,
//! because that costs more than what is measured.

mod costs;
mod null;
mod report;

use std::fmt;
use std::fs;
use std::time::Duration;

use nix::unistd::Pid;

use super::measure::{median, real};
use super::pin_to_one_processor;
use super::report::Compared;
use crate::client::Client;
use crate::session::vss::{Session, Setup};
use crate::vss::{Operation, VssCommand};
use costs::{measure_pauses, measure_scan};
use null::NullGuest;
pub use report::{Holdings, MountsRow, Pause, Report, Row, Scan};

/// Backups in one burst.
const BURST: usize = 10;
/// The numbers of UFS file systems, the numbers of processes, and the milliseconds that buffers take to
/// write. Each is measured on its own.
const MOUNTS: [usize; 4] = [1, 4, 16, 64];
const PROCESSES: [usize; 4] = [0, 10, 100, 1_000];
const FLUSHES: [u64; 3] = [20, 100, 400];
/// The mappings of a process, none of which stores.
const MAPPINGS: usize = 20;

/// What is measured, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Pairs of bursts from which the medians are taken.
    pub rounds: usize,
    /// The UFS file systems of the guest.
    pub mounts: usize,
    /// The backups over which memory and descriptors are observed.
    pub cycles: usize,
    /// How long to count wake-ups.
    pub watch: Duration,
    /// Let the scheduler choose processors.
    pub spread: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rounds: 75, mounts: 32, cycles: 10_000, watch: Duration::from_secs(30), spread: false }
    }
}

/// Measures everything.
///
/// # Errors
/// In one line: FUSE cannot be used, or a daemon does not start or does not answer with success.
pub fn run(plan: &Plan) -> Result<Report, String> {
    if !plan.spread {
        pin_to_one_processor().map_err(|error| format!("cannot choose a processor: {error}"))?;
    }
    let mounts = table(plan.mounts);
    let mut report = Report { mounts: plan.mounts, cycles: plan.cycles, ..Report::default() };
    let setup = Setup { mounts: mounts.clone(), options: vec!["-n"], ..Setup::default() };
    let mut session = Session::start_on_device(&setup)?;
    let mut null = NullGuest::start(&mounts)?;
    scrutinize(&mut null, &mut session, false)?;
    report.rows = measure_speed(plan.rounds, &mut null, &mut session)?;
    measure_wakeups(plan, &mut session, &mut report)?;
    measure_holdings(plan, &mut session, &mut report)?;
    for mounts in MOUNTS {
        session.set_mounts(&table(mounts));
        null.set_mounts(&table(mounts))?;
        scrutinize(&mut null, &mut session, false)?;
        let rows = measure_speed(plan.rounds.div_ceil(3), &mut null, &mut session)?;
        report.series.push(MountsRow { mounts, rows });
    }
    session.set_mounts(&table(1));
    null.set_mounts(&table(1))?;
    report.scans =
        PROCESSES.into_iter().map(|count| measure_scan(count, &mut session)).collect::<Result<_, _>>()?;
    session.set_fact("procs", "");
    report.pauses = measure_pauses(&mut null, &mut session)?;
    Ok(report)
}

fn table(count: usize) -> String {
    let on = |n: usize| if n == 0 { "/".to_owned() } else { format!("/m{n}") };
    (0..count).map(|n| format!("ufs {} /dev/da{n} local {} 7\n", on(n), n + 1)).collect()
}

/// Makes both simulators read their facts again, and switches their examination of callers on or off.
fn scrutinize(null: &mut NullGuest, session: &mut Session, on: bool) -> Result<(), String> {
    for host in [null.machine.host(), session.host()] {
        host.vss::<()>(VssCommand::Scrutinize { on }).map_err(text)?;
    }
    Ok(())
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The median milliseconds of CHECK, FREEZE and THAW in one burst.
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

fn measure_speed(rounds: usize, null: &mut NullGuest, session: &mut Session) -> Result<Vec<Row>, String> {
    let mut pairs: Vec<[[f64; 3]; 2]> = Vec::new();
    // The first pair only warms up. The daemons take turns in beginning.
    for round in 0..=rounds {
        let mut pair = [[0.0; 3]; 2];
        for who in if round.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
            pair[who] = burst(if who == 0 { null.machine.host() } else { session.host() })?;
        }
        pairs.push(pair);
    }
    let pairs = &pairs[1..];
    let row = |(index, operation): (usize, &'static str)| {
        let of = |who: usize| median(pairs.iter().map(|pair| pair[who][index]).collect());
        let ratio = median(pairs.iter().map(|[null, daemon]| daemon[index] / null[index]).collect());
        Row { operation, milliseconds: Compared::new(of(0), of(1)), ratio }
    };
    Ok(["CHECK", "FREEZE", "THAW"].into_iter().enumerate().map(row).collect())
}

fn measure_wakeups(plan: &Plan, session: &mut Session, report: &mut Report) -> Result<(), String> {
    report.watch_seconds = plan.watch.as_secs_f64();
    // Postponed work may be done first.
    std::thread::sleep(Duration::from_secs(1));
    report.idle_wakeups = watch(session.daemon().pid(), plan.watch)?;
    ask(session.host(), Operation::Freeze)?;
    std::thread::sleep(Duration::from_secs(1));
    report.frozen_wakeups = watch(session.daemon().pid(), plan.watch)?;
    ask(session.host(), Operation::Thaw)
}

fn watch(pid: Pid, time: Duration) -> Result<u64, String> {
    let before = context_switches(pid)?;
    std::thread::sleep(time);
    Ok(context_switches(pid)?.saturating_sub(before))
}

fn ask(host: &mut Client, operation: Operation) -> Result<(), String> {
    let answer = host.vss_ask(operation).map_err(text)?;
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

/// A number of `/proc/PID/status`.
fn status(pid: Pid, name: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("{path} lacks {name}"))
}
