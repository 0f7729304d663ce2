//! The part of a soak that runs hvctl. It puts items into pool 1 at the same time as the daemon, other tools
//! and other writers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Counts, Shared};
use crate::client::Client;
use crate::testing::program;

/// Keys of each tool, which an import writes all at once.
const KEYS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// What a tool says when others have had the pool for longer than it waits.
const BUSY: &str = "is locked by another program";

/// What a loop runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// `hvctl kvp put`, one item a run.
    Put,
    /// `hvctl kvp import`.
    Import,
}

/// Runs hvctl again and again, each time as a program of its own; at the end the host must see what was
/// written last.
pub(super) fn run(tool: Tool, config: &Path, mut host: Client, shared: &Shared, counts: &Counts) {
    let mut last = BTreeMap::new();
    for round in 0_u64.. {
        if shared.is_over() {
            break;
        }
        let items = items(tool, round);
        let output = match write(tool, config, &items) {
            Ok(output) => output,
            Err(error) => return shared.complain(format!("hvctl: {error}")),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && !said.contains(BUSY) {
            shared.complain(format!("hvctl kvp: {}: {said}", output.status));
        }
        let written = if output.status.success() { items.len() } else { written(&said) };
        counts.puts.fetch_add(u64::try_from(written).unwrap_or(0), Ordering::Relaxed);
        last.extend(items.into_iter().take(written));
        shared.pause(PAUSE);
    }
    for (key, value) in last {
        let answer = host.get(1, &key);
        let found = answer.as_ref().ok().and_then(|answer| answer.value());
        if found != Some(value.as_str()) {
            shared.complain(format!("{key} of hvctl is {found:?}, not {value:?}"));
        }
    }
}

fn items(tool: Tool, round: u64) -> Vec<(String, String)> {
    let keys = match tool {
        Tool::Put => round % KEYS..round % KEYS + 1,
        Tool::Import => 0..KEYS,
    };
    keys.map(|number| (format!("{tool:?}-{number}"), format!("round {round}"))).collect()
}

fn write(tool: Tool, config: &Path, items: &[(String, String)]) -> io::Result<Output> {
    let mut command = Command::new(program("hvctl"));
    command.arg("-f").arg(config).arg("kvp").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut lines = String::new();
    match tool {
        Tool::Put => {
            command.arg("put").args(items.iter().flat_map(|(key, value)| [key, value]));
        }
        Tool::Import => {
            command.arg("import");
            for (key, value) in items {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
            }
        }
    }
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    // One that ends without reading says why.
    let _ = child.stdin.take().map(|mut input| input.write_all(lines.as_bytes()));
    child.wait_with_output()
}

/// How many items an import that failed has written: it says "3 of 4 items were written".
fn written(said: &str) -> usize {
    let line = said.lines().find(|line| line.ends_with(" items were written"));
    let count = line.and_then(|line| line.strip_prefix("hvctl: ")?.split(' ').next()?.parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_failed_half_way_is_believed() {
        let said = "hvctl: 3 of 4 items were written\nhvctl: pool 1 is locked by another program\n";
        assert_eq!((written(said), written("hvctl: pool 1 is locked by another program\n")), (3, 0));
        assert_eq!(items(Tool::Put, 5), [("Put-1".to_owned(), "round 5".to_owned())]);
        assert_eq!(items(Tool::Import, 5).len(), 4);
    }
}
