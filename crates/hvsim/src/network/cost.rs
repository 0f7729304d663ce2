//! What a hand-over costs: the processes that hyperv_vfup starts, subshells included, and the time that it
//! takes.
//!
//! A fresh process namespace gives its ids in a row, so the difference of two ids counts everything in
//! between. The simulated programs take the place of the base system's; those of FreeBSD need more or less
//! time, but are as many.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::guest::{Guest, SHIPPED_RULES, static_rc_conf};
use super::state::State;
use crate::testing::program;

/// One kind of hand-over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// What is handed over.
    pub case: &'static str,
    /// Processes started, hyperv_vfup included.
    pub processes: u32,
    /// The most that there may be.
    pub most: u32,
    /// From start to end.
    pub time: Duration,
}

/// All kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Costs(pub Vec<Cost>);

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44}  PROCESSES  AT MOST  TIME", "HAND-OVER")?;
        for cost in &self.0 {
            let time = format!("{} ms", cost.time.as_millis());
            writeln!(f, "{:<44}  {:>9}  {:>7}  {time}", cost.case, cost.processes, cost.most)?;
        }
        Ok(())
    }
}

/// Measures all kinds.
///
/// # Errors
/// Why it cannot be measured here, in one line.
pub fn measure() -> Result<Costs, String> {
    let mut fixed = State::default();
    fixed.add_static_hn(0);
    let mut dynamic = State::default();
    dynamic.add_hn(0);
    dynamic.add_dhcp_server();
    let mut costs = Vec::new();
    for (state, rc_conf, names, most) in [
        (
            fixed,
            static_rc_conf(0),
            ["two IPv4, one IPv6, both routes: first", "the same: repeated"],
            [62, 53],
        ),
        (dynamic, "ifconfig_hn0=\"SYNCDHCP\"\n".to_owned(), ["DHCP: first", "the same: repeated"], [54, 52]),
    ] {
        let client = state.dhcp.is_some();
        let measured = twice(state, &rc_conf, client)?;
        let each = names.into_iter().zip(most).zip(measured);
        costs.extend(each.map(|((case, most), (processes, time))| Cost { case, processes, most, time }));
    }
    Ok(Costs(costs))
}

/// The first and the repeated hand-over of hn0 with an mce0 that is up.
fn twice(mut state: State, rc_conf: &str, client: bool) -> Result<Vec<(u32, Duration)>, String> {
    state.attach_vf("mce0", "hn0");
    let error = |error: std::io::Error| error.to_string();
    let scratch = tempfile::Builder::new().prefix("hvsim-").tempdir().map_err(error)?;
    let tools = program("hvsim-tools");
    let programs = tools.parent().unwrap_or(Path::new("/"));
    let guest = Guest::create(scratch.path(), &tools, SHIPPED_RULES, programs, &state).map_err(error)?;
    guest.set_rc_conf(rc_conf).map_err(error)?;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c"])
        .arg(script(&guest, &programs.join("hyperv_vfup"), client))
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    String::from_utf8_lossy(&output.stdout).lines().map(read_line).collect()
}

/// Prints a line for each run: the number of processes and the nanoseconds.
fn script(guest: &Guest, vfup: &Path, client: bool) -> String {
    // The process that asks for the last id is one itself. Where a lease is waited for in the background, the
    // lock file says that work goes on; looking at it starts nothing.
    let lock = guest.root().path("var/run/hyperv.hn0.lock");
    let mut text = format!(
        "set -e\nlast() {{ exec cat /proc/sys/kernel/ns_last_pid; }}\n\
         up() {{ start=$(date +%s%N); before=$(last); '{}' -f '{}' hn0 >/dev/null; \
         while [ -s '{}' ]; do :; done; after=$(last); end=$(date +%s%N); \
         echo $((after - before - 1)) $((end - start)); }}\n",
        vfup.display(),
        guest.config().display(),
        lock.display()
    );
    if client {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "'{}' hn0 2>/dev/null", guest.root().path("sbin/dhclient").display());
    }
    // Only now: hn0 has no carrier any more, and a client would get no lease.
    let _ = writeln!(text, "'{}' mce0 up", guest.root().path("sbin/ifconfig").display());
    text + "up\nup\n"
}

fn read_line(line: &str) -> Result<(u32, Duration), String> {
    let numbers =
        line.split_once(' ').and_then(|(count, time)| Some((count.parse().ok()?, time.parse().ok()?)));
    numbers
        .map(|(count, time)| (count, Duration::from_nanos(time)))
        .ok_or_else(|| format!("{line:?} is no measurement"))
}
