//! Changes pools with the daemon's engine, its locks and the tools' journal. It never writes a pool file
//! itself.

use std::io::{BufRead, Read, stdin};
use std::time::Duration;

use hv_core::kvp::PoolId;
use hv_core::kvp::pool::files::PoolFiles;
use hv_core::kvp::pool::{PoolError, Pools};
use hv_core::runtime::config::Config;
use hv_core::sys::clock;
use nix::unistd::{AccessFlags, access};

use super::item::{Item, checked_key, checked_value};
use super::no_pools;
use crate::cli::Target;
use crate::machine::{self, Machine};
use crate::outcome::{Exit, Failure, Outcome};
use crate::pools::limits;

/// A longer input cannot be a value.
const LONGEST_INPUT: u64 = 64 * 1024;
/// How long to wait for another tool.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this many items an import lets other tools write.
const AT_ONCE: usize = 50;
/// The most lines of an import.
const MOST_LINES: usize = 100_000;

/// Opens the pools for a change, if the target may be changed. Opening recovers and repairs like a start of
/// the daemon.
fn open(config: &Config, target: &Target) -> Result<Pools<PoolFiles>, Failure> {
    let pool = target.pool;
    if pool.0 == PoolId::Auto {
        return Err(Failure::Usage("pool auto is made up by the daemon, nobody writes it".to_owned()));
    }
    if pool.0 != PoolId::Guest && !target.force {
        return Err(Failure::Usage(format!("pool {pool} is the host's, only --force writes it")));
    }
    let dir = &config.kvp.pool_dir;
    match access(dir, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => {}
        Err(nix::errno::Errno::ENOENT) if Machine::look(&machine::facts(config)).hyper_v => {}
        Err(nix::errno::Errno::ENOENT) => return Err(no_pools(config)),
        Err(error) => return Err(Failure::io("write", dir)(error.into())),
    }
    let until = clock::monotonic().saturating_add(PATIENCE);
    loop {
        let (pools, problems) = Pools::open(PoolFiles::for_tool(dir), limits(&config.kvp));
        match problems.into_iter().next() {
            None => return Ok(pools),
            // Another tool has the journal. A daemon would give up in time for its host; a tool can wait.
            Some(PoolError::JournalInUse) if clock::monotonic() < until => {}
            Some(problem) => return Err(problem.into()),
        }
    }
}

pub(super) fn put(config: &Config, key: &str, value: &str, target: &Target) -> Outcome {
    let key = checked_key(key.as_bytes()).map_err(Failure::Usage)?;
    let value = if value == "-" { read_value()? } else { value.as_bytes().to_vec() };
    let value = checked_value(&value).map_err(Failure::Usage)?;
    let mut pools = open(config, target)?;
    pools.set(target.pool.0, &key, &value)?;
    settle(&mut pools);
    Ok(Exit::Ok)
}

/// Reads standard input. A newline at the end comes from echo(1) and is dropped.
fn read_value() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = stdin().lock().take(LONGEST_INPUT).read_to_end(&mut bytes);
    read.map_err(Failure::io("read", "standard input"))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

pub(super) fn delete(config: &Config, key: &str, target: &Target) -> Outcome {
    // Keys of other programs can be removed, even if they are too long for the host.
    let bytes = hv_core::kvp::KvpKey::new(key.as_bytes());
    let key = bytes.ok_or_else(|| Failure::Usage("that is no key".to_owned()))?;
    let mut pools = open(config, target)?;
    let found = pools.delete(target.pool.0, &key)?;
    settle(&mut pools);
    if found {
        Ok(Exit::Ok)
    } else {
        Err(Failure::No(format!("there is no key {key:?} in pool {}", target.pool)))
    }
}

/// Checks all lines before it writes the first item.
pub(super) fn import(config: &Config, target: &Target) -> Outcome {
    let mut pairs = Vec::new();
    for (number, line) in stdin().lock().lines().enumerate() {
        let line = line.map_err(Failure::io("read", "standard input"))?;
        let wrong =
            |what: String| Failure::Usage(format!("line {}: {what}; nothing was written", number + 1));
        if number >= MOST_LINES {
            return Err(wrong(format!("more than {MOST_LINES} lines")));
        }
        if line.trim().is_empty() {
            continue;
        }
        let item: Item = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        pairs.push(item.checked().map_err(wrong)?);
    }
    for (number, part) in pairs.chunks(AT_ONCE).enumerate() {
        let mut pools = open(config, target)?;
        for (at, (key, value)) in part.iter().enumerate() {
            pools.set(target.pool.0, key, value).inspect_err(|_| {
                eprintln!("hvctl: {} of {} items were written", number * AT_ONCE + at, pairs.len());
            })?;
        }
        settle(&mut pools);
    }
    Ok(Exit::Ok)
}

/// Changes that cannot be settled now are safe in the journal.
fn settle(pools: &mut Pools<PoolFiles>) {
    if let Err(error) = pools.settle() {
        log::debug!("{}", hv_core::runtime::error_chain(&error));
    }
}
