//! The part of a soak that runs hvctl. It puts items into pool 1 at the same time as the daemon, other tools
//! and other writers.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Counts, Shared, count};
use crate::client::Client;
use crate::testing::program;

/// The keys of each tool.
const KEYS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// The message of a tool that waited too long for others. Nothing was written then.
const BUSY: &str = "is locked by another program";

/// Puts one item after the other, each with a program of its own. At the end the host must see the last ones.
pub(super) fn run(number: usize, config: &Path, mut host: Client, shared: &Shared, counts: &Counts) {
    let mut last = std::collections::BTreeMap::new();
    for round in 0_u64.. {
        if shared.is_over() {
            break;
        }
        let (key, value) = (format!("tool-{number}-{}", round % KEYS), format!("round {round}"));
        let mut command = Command::new(program("hvctl"));
        command.arg("-f").arg(config).args(["kvp", "put", &key, &value]).stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => {
                count(&counts.puts);
                last.insert(key, value);
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if !said.contains(BUSY) {
                    shared.complain(format!("hvctl kvp put: {}: {said}", output.status));
                }
            }
            Err(error) => return shared.complain(format!("hvctl cannot be started: {error}")),
        }
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
