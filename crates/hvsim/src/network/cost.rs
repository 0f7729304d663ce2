//! Measures what a hand-over costs: the programs that hyperv_vfup starts, the forks beside them, and its
//! time. It judges none of them.
//!
//! A new process namespace assigns ids in sequence, so the difference of two ids is the number of processes
//! between them: the programs, each of which records its call, the subshells of the shell that reads rc.conf,
//! and the further processes of a program such as dhclient(8). The simulated programs replace those of the
//! base system. FreeBSD's need more or less time, but their number is the same.

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
    /// The kind of hand-over.
    pub case: &'static str,
    /// Programs started (execve), hyperv_vfup included.
    pub programs: u32,
    /// Processes beside them: subshells, and the further processes of a program.
    pub forks: u32,
    /// The allowed maximum of both.
    pub most: Counts,
    /// From start to end.
    pub time: Duration,
}

/// Programs and forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Programs.
    pub programs: u32,
    /// Forks beside them.
    pub forks: u32,
}

/// All kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Costs(pub Vec<Cost>);

impl Costs {
    /// Whether each is within its limit.
    #[must_use]
    pub fn are_within(&self) -> bool {
        let is_within = |cost: &Cost| cost.programs <= cost.most.programs && cost.forks <= cost.most.forks;
        self.0.iter().all(is_within)
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44}  PROGRAMS  AT MOST  FORKS  AT MOST  TIME", "HAND-OVER")?;
        for Cost { case, programs, forks, most, time } in &self.0 {
            let time = format!("{} ms", time.as_millis());
            let (most_programs, most_forks) = (most.programs, most.forks);
            writeln!(
                f,
                "{case:<44}  {programs:>8}  {most_programs:>7}  {forks:>5}  {most_forks:>7}  {time}"
            )?;
        }
        Ok(())
    }
}

/// Measures all kinds.
///
/// # Errors
/// In one line, why it cannot be measured.
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
            [(14, 16), (5, 16)],
        ),
        (
            dynamic,
            "ifconfig_hn0=\"SYNCDHCP\"\n".to_owned(),
            ["DHCP: first", "the same: repeated"],
            [(9, 16), (5, 16)],
        ),
    ] {
        let client = state.dhcp.is_some();
        let measured = twice(state, &rc_conf, client)?;
        for ((case, (programs, forks)), (measured, time)) in names.into_iter().zip(most).zip(measured) {
            let most = Counts { programs, forks };
            costs.push(Cost { case, programs: measured.programs, forks: measured.forks, most, time });
        }
    }
    Ok(Costs(costs))
}

/// The first and the repeated hand-over of hn0 with an mce0 that is up.
fn twice(mut state: State, rc_conf: &str, client: bool) -> Result<Vec<(Counts, Duration)>, String> {
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

/// The script that prints a line for each run: the numbers of processes and of programs, and the nanoseconds.
fn script(guest: &Guest, vfup: &Path, client: bool) -> String {
    // The process that reads the last id is counted, too. If a lease is waited for in the background, the
    // lock file shows that work continues; reading it starts no process.
    let lock = guest.root().path("var/run/hyperv.hn0.lock");
    let network = guest.root().path("network");
    let mut text = format!(
        "set -e\nlast() {{ exec cat /proc/sys/kernel/ns_last_pid; }}\n\
         up() {{ : >'{network}/spawns'; : >'{network}/shells'; \
         start=$(date +%s%N); before=$(last); '{}' -f '{}' hn0 >/dev/null; \
         while [ -s '{}' ]; do :; done; after=$(last); end=$(date +%s%N); \
         echo $((after - before - 1)) $(cat '{network}/spawns' '{network}/shells' | wc -l) $((end - start)); }}\n",
        vfup.display(),
        guest.config().display(),
        lock.display(),
        network = network.display()
    );
    if client {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "'{}' hn0 2>/dev/null", guest.root().path("sbin/dhclient").display());
    }
    // Only now: hn0 has no carrier afterwards, and its client would get no lease.
    let _ = writeln!(text, "'{}' mce0 up", guest.root().path("sbin/ifconfig").display());
    text + "up\nup\n"
}

fn read_line(line: &str) -> Result<(Counts, Duration), String> {
    let numbers: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
    let [processes, noted, time] = numbers[..] else { return Err(format!("{line:?} is no measurement")) };
    let count = |count: u64| u32::try_from(count).map_err(|_| format!("{line:?} has too large a number"));
    // hyperv_vfup itself records no call.
    let programs = count(noted)? + 1;
    let forks = count(processes)?.saturating_sub(programs);
    Ok((Counts { programs, forks }, Duration::from_nanos(time)))
}
