//! Measures what mapped writers and buffers cost: the scan by the number of processes, and the pause of
//! writers by the time that their flush takes.

use std::fs;
use std::time::Instant;

use super::null::NullGuest;
use super::{FLUSHES, MAPPINGS, Pause, Scan, ask, burst, text};
use crate::bench::measure::{median, real};
use crate::bench::report::Compared;
use crate::client::Client;
use crate::session::vss::Session;
use crate::vss::Operation;
use crate::vss::timeline::{Entry, Happening};

/// The facts of this number of processes, none of which stores through a mapping.
fn processes(count: usize) -> String {
    let maps: String = (0..MAPPINGS).map(|n| format!("map /usr/lib/lib{n}.so on=/ ro private\n")).collect();
    (0..count).map(|n| format!("proc {} program{n}\n{maps}", n + 1_000)).collect()
}

pub(super) fn measure_scan(count: usize, session: &mut Session) -> Result<Scan, String> {
    session.set_fact("procs", &processes(count));
    let file = session.path("facts/procs");
    let (mut bursts, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bursts.push(burst(session.host())?);
        let begin = Instant::now();
        let lines = fs::read_to_string(&file).map_err(text)?.lines().count();
        reads.push(begin.elapsed().as_secs_f64() * 1e3);
        std::hint::black_box(lines);
    }
    let of = |operation: usize| median(bursts.iter().map(|burst| burst[operation]).collect());
    Ok(Scan { processes: count, check: of(0), freeze: of(1), read: median(reads) })
}

pub(super) fn measure_pauses(null: &mut NullGuest, session: &mut Session) -> Result<Vec<Pause>, String> {
    for host in [null.machine.host(), session.host()] {
        host.vss_play_writes().map_err(text)?;
    }
    let mut pauses = Vec::new();
    for flush in FLUSHES {
        let cache = format!("flush / {flush}\n");
        session.set_fact("cache", &cache);
        null.set_fact("cache", &cache)?;
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push([pause(null.machine.host())?, pause(session.host())?]);
        }
        let of = |who: usize| median(pairs.iter().map(|pair| pair[who]).collect());
        let ratio = median(pairs.iter().map(|[bare, daemon]| daemon / bare).collect());
        pauses.push(Pause { flush, milliseconds: Compared::new(of(0), of(1)), ratio });
    }
    Ok(pauses)
}

/// Milliseconds from the beginning of the suspension of `/` to the answer of the FREEZE.
fn pause(host: &mut Client) -> Result<f64, String> {
    host.vss_timeline(true).map_err(text)?;
    ask(host, Operation::Freeze)?;
    ask(host, Operation::Thaw)?;
    let entries = host.vss_timeline(true).map_err(text)?;
    let at = |wanted: fn(&Happening) -> bool| {
        entries.iter().find(|entry: &&Entry| wanted(&entry.happening)).map_or(0, |entry| entry.at)
    };
    let begin = at(|happening| matches!(happening, Happening::Suspended { .. }));
    let end = at(|happening| matches!(happening, Happening::Answered { operation: Operation::Freeze, .. }));
    Ok(real(end.saturating_sub(begin)) / 1e6)
}
