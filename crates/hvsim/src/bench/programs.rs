//! `hvsim bench programs`: what hvctl costs over the size of a pool, and an injection over the number of
//! interfaces. Each has a limit that is measured in the same run, in turns: the bare start of hvctl, and as
//! many bare starts of a simulated ifconfig(8) as the injection starts programs. It judges none of them.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;

use super::POOL_SIZES;
use super::guest::record;
use super::measure::median;
use crate::kvp::IpInfo;
use crate::network::State;
use crate::network::faults;
use crate::network::guest::{mac_of, static_rc_conf};
use crate::session::kvp::{NetworkSetup, Session, Setup};
use crate::testing::program;

/// The numbers of interfaces beside the one that is configured.
pub const INTERFACES: [usize; 4] = [1, 30, 100, 300];
/// The pool that hvctl reads and writes.
const POOL: u8 = 1;

/// A cost and its limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: &'static str,
    /// Records of the pool, or interfaces.
    pub size: usize,
    /// The median of the bare starts, in milliseconds.
    pub bare: f64,
    /// The median of the work, in milliseconds.
    pub time: f64,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Report(pub Vec<Row>);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}  {:>6}  {:>9}  {:>9}  RATIO", "WHAT", "SIZE", "BARE", "TIME")?;
        for Row { what, size, bare, time } in &self.0 {
            let ratio = if *bare > 0.0 { time / bare } else { 0.0 };
            writeln!(f, "{what:<28}  {size:>6}  {bare:>6.1} ms  {time:>6.1} ms  {ratio:.2}")?;
        }
        Ok(())
    }
}

/// Measures everything, each `rounds` times.
///
/// # Errors
/// In one line: FUSE cannot be used, or a program fails.
pub fn run(rounds: usize) -> Result<Report, String> {
    let mut rows = Vec::new();
    for records in POOL_SIZES {
        rows.extend(hvctl(records, rounds)?);
    }
    for interfaces in INTERFACES {
        rows.push(injection(interfaces, rounds)?);
    }
    Ok(Report(rows))
}

fn start(setup: &Setup) -> Result<Session, String> {
    let session = Session::start(setup);
    match session.without_device() {
        Some(reason) => Err(reason.to_owned()),
        None => Ok(session),
    }
}

/// Milliseconds of a command, which must succeed.
fn timed(command: &mut Command) -> Result<f64, String> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let time = begin.elapsed().as_secs_f64() * 1000.0;
    match output.status.success() {
        true => Ok(time),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn hvctl(records: usize, rounds: usize) -> Result<[Row; 2], String> {
    let pool = (0..records).flat_map(record).collect();
    let session = start(&Setup { pools: vec![(POOL, pool)], ..Setup::default() })?;
    let config = session.path("hyperv.toml");
    let last = super::guest::key(records - 1);
    let run = |words: &[&str]| timed(Command::new(program("hvctl")).arg("-f").arg(&config).args(words));
    let [mut bare, mut get, mut put] = [const { Vec::new() }; 3];
    for round in 0..rounds {
        bare.push(timed(Command::new(program("hvctl")).arg("--version"))?);
        get.push(run(&["kvp", "get", "guest", &last])?);
        put.push(run(&["kvp", "put", &last, &format!("value {round}")])?);
    }
    let bare = median(bare);
    let row = |what, times| Row { what, size: records, bare, time: median(times) };
    Ok([row("hvctl kvp get", get), row("hvctl kvp put", put)])
}

fn injection(interfaces: usize, rounds: usize) -> Result<Row, String> {
    let mut state = State::default();
    state.add_static_hn(0);
    for number in 0..interfaces {
        state.attach(&format!("tap{number}"), mac_of(200));
    }
    let network = Some(NetworkSetup { state, rc_conf: static_rc_conf(0) });
    let mut session = start(&Setup { network, ..Setup::default() })?;
    let root = session.guest().root().clone();
    let (mut bare, mut times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Another network each time, so that all of it is changed.
        let address = format!("10.{}.1.5/24", 1 + round % 200);
        let info = IpInfo::with_addresses("hn0", &[&address]).map_err(|error| format!("{error:?}"))?;
        faults::forget_spawns(&root).map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let answer = session.host().set_ip_info(info).map_err(|error| error.to_string())?;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        if !answer.is_ok() {
            let said = session.daemon().map(|daemon| daemon.output()).unwrap_or_default();
            return Err(format!("an injection was refused with {:#010x}: {said}", answer.code));
        }
        let started = faults::spawns(&root).map_err(|error| error.to_string())?.len();
        let mut sum = 0.0;
        for _ in 0..started {
            sum += timed(Command::new(root.path("sbin/ifconfig")).arg("lo0"))?;
        }
        bare.push(sum);
    }
    Ok(Row { what: "injection of one address", size: interfaces, bare: median(bare), time: median(times) })
}
