//! Programs that fail, hang or are slow at the k-th call, and the log of all calls. It decides nothing about
//! the programs' work.
//!
//! `GUEST/network/faults` has one fault in a line: `TOOL K ACTION`. TOOL may be `*`, and K counts the calls
//! of that tool (of all for `*`) since [`plan_faults`] wrote the file. `GUEST/network/spawns` has one line
//! for each call.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use super::root::Root;

const GATE: &str = "network/gate";

/// A fault of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the program, or `*`.
    pub tool: String,
    /// The number of the call, from 1.
    pub call: u32,
    /// What happens.
    pub action: Action,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No work, and exit status 1.
    Fail,
    /// The work is done, and the exit status is 1.
    FailLate,
    /// No work, and no end.
    Hang,
    /// The work is done, and there is no end.
    HangLate,
    /// The work is done later.
    Delay(Duration),
    /// It is done when the gate is opened (see [`close_gate`]).
    Gate,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.tool, self.call)?;
        match self.action {
            Action::Fail => f.write_str("fail"),
            Action::FailLate => f.write_str("fail-late"),
            Action::Hang => f.write_str("hang"),
            Action::HangLate => f.write_str("hang-late"),
            Action::Delay(time) => write!(f, "delay {}", time.as_millis()),
            Action::Gate => f.write_str("gate"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let error = || format!("{line:?} is no fault");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [tool, call, action @ ..] = words.as_slice() else { return Err(error()) };
        let action = match action {
            ["fail"] => Action::Fail,
            ["fail-late"] => Action::FailLate,
            ["hang"] => Action::Hang,
            ["hang-late"] => Action::HangLate,
            ["gate"] => Action::Gate,
            ["delay", milliseconds] => {
                Action::Delay(Duration::from_millis(milliseconds.parse().map_err(|_| error())?))
            }
            _ => return Err(error()),
        };
        Ok(Self { tool: (*tool).to_owned(), call: call.parse().map_err(|_| error())?, action })
    }
}

/// Replaces all faults, and counts calls from 1 again.
///
/// # Errors
/// A file cannot be written.
pub fn plan_faults(root: &Root, faults: &[Fault]) -> io::Result<()> {
    let _lock = root.lock()?;
    let lines: Vec<String> = faults.iter().map(|fault| format!("{fault}\n")).collect();
    root.replace("network/calls", b"{}")?;
    root.replace("network/faults", lines.concat().as_bytes())
}

/// Closes the gate: a call with [`Action::Gate`] waits from now on.
///
/// # Errors
/// The file cannot be written.
pub fn close_gate(root: &Root) -> io::Result<()> {
    root.replace(GATE, b"")
}

/// Opens the gate: calls that wait there continue.
///
/// # Errors
/// The file cannot be removed.
pub fn open_gate(root: &Root) -> io::Result<()> {
    fs::remove_file(root.path(GATE))
}

/// Waits until the gate is open, or the guest does not exist any more.
pub(super) fn pass_gate(root: &Root) {
    while root.path(GATE).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Clears the log of calls.
///
/// # Errors
/// The file cannot be written.
pub fn forget_spawns(root: &Root) -> io::Result<()> {
    let _lock = root.lock()?;
    root.replace("network/spawns", b"")
}

/// The calls so far, each with its arguments, separated by blanks.
///
/// # Errors
/// The file cannot be read.
pub fn spawns(root: &Root) -> io::Result<Vec<String>> {
    match fs::read_to_string(root.path("network/spawns")) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Logs a call and returns its fault.
pub(super) fn enter(root: &Root, tool: &str, arguments: &[String]) -> io::Result<Option<Action>> {
    let _lock = root.lock()?;
    let mut log = fs::File::options().create(true).append(true).open(root.path("network/spawns"))?;
    writeln!(
        log,
        "{}",
        std::iter::once(tool).chain(arguments.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    )?;
    let Ok(faults) = fs::read_to_string(root.path("network/faults")) else { return Ok(None) };
    if faults.is_empty() {
        return Ok(None);
    }
    let calls = fs::read(root.path("network/calls")).unwrap_or_default();
    let mut calls: BTreeMap<String, u32> = serde_json::from_slice(&calls).unwrap_or_default();
    for name in [tool, "*"] {
        *calls.entry(name.to_owned()).or_default() += 1;
    }
    root.replace("network/calls", &serde_json::to_vec(&calls)?)?;
    let due = |fault: &Fault| {
        calls.get(&fault.tool) == Some(&fault.call) && (fault.tool == tool || fault.tool == "*")
    };
    Ok(faults.lines().filter_map(|line| line.parse().ok()).find(due).map(|fault: Fault| fault.action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_the_same_after_writing_and_parsing() {
        for line in [
            "* 3 fail",
            "ifconfig 1 fail-late",
            "route 2 hang",
            "dhclient 1 hang-late",
            "sysctl 9 delay 250",
            "* 2 gate",
        ] {
            assert_eq!(line.parse::<Fault>().unwrap().to_string(), line);
        }
        for line in ["", "*", "* x fail", "* 1", "* 1 burn", "* 1 delay", "* 1 fail 3"] {
            assert!(line.parse::<Fault>().is_err(), "{line:?}");
        }
    }
}
