//! The part of a soak that sends the host's requests. A model of the pools has the expected answers.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::{Counts, Shared, count};
use crate::client::{Client, ClientError};
use crate::kvp::HostRequest;

/// Pools that only the host changes.
const POOLS: [u8; 3] = [0, 3, 4];
const KEYS: u64 = 60;
/// The pause between two requests, for the other parts.
const PAUSE: Duration = Duration::from_millis(2);
const JUMP_EVERY: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

type Contents = BTreeMap<String, String>;

struct Traffic<'a> {
    host: Client,
    pools: BTreeMap<u8, Contents>,
    shared: &'a Shared,
    /// xorshift: the same requests in each run.
    random: u64,
}

pub(super) fn run((host, directory): (Client, PathBuf), shared: &Shared, counts: &Counts) {
    let pools = POOLS.map(|pool| (pool, Contents::new())).into();
    let mut traffic = Traffic { host, pools, shared, random: 0x1234_5678_9abc_def1 };
    let (mut jump_at, mut round) = (Instant::now() + JUMP_EVERY, 0_u64);
    while !shared.is_over() {
        round += 1;
        let result = if round.is_multiple_of(100) { traffic.malformed(counts) } else { traffic.one(round) };
        if let Err(error) = result {
            return shared.complain(format!("request {round}: {error}"));
        }
        count(&counts.requests);
        if Instant::now() >= jump_at {
            jump(&directory, round);
            jump_at = Instant::now() + JUMP_EVERY;
        }
        std::thread::sleep(PAUSE);
    }
    for pool in POOLS {
        if let Err(error) = traffic.compare(pool) {
            shared.complain(format!("pool {pool}: {error}"));
        }
    }
}

/// Sets the file's times to yesterday or tomorrow, as after a jump of the clock.
fn jump(directory: &std::path::Path, round: u64) {
    for pool in POOLS {
        let now = SystemTime::now();
        let then = if round.is_multiple_of(2) { now + DAY } else { now - DAY };
        if let Ok(file) = File::options().append(true).open(directory.join(format!(".kvp_pool_{pool}"))) {
            let _ = file.set_times(FileTimes::new().set_modified(then));
        }
    }
}

impl Traffic<'_> {
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn one(&mut self, round: u64) -> Result<(), ClientError> {
        let pool = POOLS[usize::try_from(self.below(3)).unwrap_or(0)];
        let key = format!("key-{}", self.below(KEYS));
        let known = self.pools.get(&pool).and_then(|pool| pool.get(&key)).cloned();
        match self.below(10) {
            0..=3 => {
                let answer = self.host.get(pool, &key)?;
                self.expect(answer.value().map(str::to_owned) == known, || {
                    format!("GET {pool} {key}: {answer:?}, not {known:?}")
                });
            }
            4..=6 => {
                let length = usize::try_from(self.below(900)).unwrap_or(0);
                let value = format!("{round}-{}", "v".repeat(length));
                let answer = self.host.set(pool, &key, &value)?;
                self.expect(answer.is_ok(), || format!("SET {pool} {key}: {answer:?}"));
                self.pools.entry(pool).or_default().insert(key, value);
            }
            7 => {
                let answer = self.host.delete(pool, &key)?;
                self.expect(answer.is_ok() == known.is_some(), || format!("DELETE {pool} {key}: {answer:?}"));
                self.pools.entry(pool).or_default().remove(&key);
            }
            8 => {
                let index = u32::try_from(self.below(10)).unwrap_or(0);
                let answer = self.host.enumerate_index(2, index)?;
                self.expect(answer.is_ok(), || format!("ENUMERATE 2 {index}: {answer:?}"));
            }
            _ if round.is_multiple_of(50) => self.compare(pool)?,
            _ => {
                let index = u32::try_from(self.below(8)).unwrap_or(0);
                self.host.enumerate_index(1, index)?;
            }
        }
        Ok(())
    }

    fn malformed(&mut self, counts: &Counts) -> Result<(), ClientError> {
        count(&counts.malformed);
        let number = u8::try_from(self.below(256)).unwrap_or(0);
        let body: Vec<u8> = (0..2600).map(|_| u8::try_from(self.below(256)).unwrap_or(0) | 1).collect();
        let (opcode, pool) = match number % 4 {
            0 => (number | 8, 1),
            1 => (1, 5 + number % 200),
            2 => (1, 2),
            _ => (0, 255),
        };
        let answer = self.host.ask(HostRequest::Raw { opcode, pool, body })?;
        self.expect(!answer.is_ok() && !answer.timed_out, || {
            format!("malformed {opcode} {pool}: {answer:?}")
        });
        Ok(())
    }

    fn compare(&mut self, pool: u8) -> Result<(), ClientError> {
        let (items, _) = self.host.enumerate(pool)?;
        let count = items.len();
        let found: Contents = items.into_iter().map(|item| (item.key, item.value)).collect();
        let wanted = self.pools.get(&pool).cloned().unwrap_or_default();
        self.expect(found == wanted && count == found.len(), || {
            format!("pool {pool} has {count} items, not {}", wanted.len())
        });
        Ok(())
    }

    fn expect(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.shared.complain(text());
        }
    }
}
