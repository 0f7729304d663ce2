//! One measurement: a burst of requests of one kind, or of bare writes. It returns times and judges none.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::guest::{MAC, POOL, RECORD, key};
use crate::kvp::{HostRequest, HostValue};
use crate::testing::Machine;

/// The pool of the intrinsic items.
const AUTO_POOL: u8 = 2;
const AUTO_ITEMS: u32 = 10;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// GET over all keys of the pool.
    Get,
    /// ENUMERATE over all indices of the pool.
    Enumerate,
    /// The ten items of the AUTO pool by index.
    Auto,
    /// `GET_IP_INFO`.
    IpInfo,
    /// SET over all keys of the pool, each time with another value.
    Set,
}

impl Operation {
    /// All operations, in the order in which they are measured. The one that writes is last.
    pub const ALL: [Self; 5] = [Self::Get, Self::Enumerate, Self::Auto, Self::IpInfo, Self::Set];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Enumerate => "ENUMERATE",
            Self::Auto => "auto items",
            Self::IpInfo => "GET_IP_INFO",
            Self::Set => "SET",
        }
    }

    /// How many requests of this kind are in a burst. Writes wait for the disk, so there are fewer of them.
    pub(super) fn count(self, exchanges: usize) -> usize {
        if self == Self::Set { exchanges.div_ceil(3) } else { exchanges }
    }

    /// The `number`th request of a measurement.
    fn request(self, records: usize, number: usize) -> HostRequest {
        // The records in a scattered order: the factor has no divisor in common with their number.
        let record = number.wrapping_mul(379) % records;
        let index = u32::try_from(record).unwrap_or(u32::MAX);
        match self {
            Self::Get => HostRequest::Get { pool: POOL, key: key(record) },
            Self::Enumerate => HostRequest::Enumerate { pool: POOL, index },
            Self::Auto => HostRequest::Enumerate { pool: AUTO_POOL, index: index % AUTO_ITEMS },
            Self::IpInfo => HostRequest::GetIpInfo { adapter: MAC.to_owned() },
            Self::Set => {
                let value = HostValue::String(format!("value {number} of the benchmark"));
                HostRequest::Set { pool: POOL, key: key(record), value }
            }
        }
    }
}

/// The speed of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Speed {
    /// Exchanges a second.
    pub rate: f64,
    /// Half of the exchanges took at most this number of microseconds.
    pub p50: f64,
    /// 99 in 100 exchanges took at most this number of microseconds.
    pub p99: f64,
}

impl Speed {
    fn of(mut nanoseconds: Vec<u64>, total: u64) -> Self {
        nanoseconds.sort_unstable();
        let share = |hundredths: usize| {
            let at = (nanoseconds.len() * hundredths / 100).min(nanoseconds.len().saturating_sub(1));
            nanoseconds.get(at).copied().map_or(0.0, |value| real(value) / 1000.0)
        };
        let count = real(u64::try_from(nanoseconds.len()).unwrap_or(u64::MAX));
        Self { rate: count * 1e9 / real(total.max(1)), p50: share(50), p99: share(99) }
    }

    /// The speed of one operation followed by the other.
    pub(super) fn and_then(&self, other: &Self) -> Self {
        let rate = 1.0 / (1.0 / self.rate + 1.0 / other.rate);
        Self { rate, p50: self.p50 + other.p50, p99: self.p99 + other.p99 }
    }

    /// The median of each number over several measurements.
    #[must_use]
    pub fn median(speeds: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| median(speeds.iter().map(number).collect());
        Self { rate: of(|speed| speed.rate), p50: of(|speed| speed.p50), p99: of(|speed| speed.p99) }
    }
}

/// The middle number. 0 if there is none.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds and counts of a benchmark are far below 2^52")]
pub(super) fn real(number: u64) -> f64 {
    number as f64
}

/// The `round`th burst of requests.
pub(super) fn exchange(
    machine: &mut Machine,
    operation: Operation,
    records: usize,
    exchanges: usize,
    round: usize,
) -> Result<Speed, String> {
    let count = operation.count(exchanges);
    let numbers = round * count..(round + 1) * count;
    let requests = numbers.map(|number| operation.request(records, number)).collect();
    let latencies = machine.host().ask_many(requests, count).map_err(|error| error.to_string())?;
    if latencies.failed > 0 {
        return Err(format!("{} of {count} {} requests failed", latencies.failed, operation.name()));
    }
    Ok(Speed::of(latencies.nanoseconds, latencies.total))
}

/// The least cost of a durable SET: lock, write of one record in place, fsync, unlock.
pub(super) fn bare_set(directory: &Path, records: usize, count: usize) -> io::Result<Speed> {
    let path = directory.join("bare-writes");
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
    file.write_all_at(&vec![0; RECORD * records], 0)?;
    file.sync_all()?;
    let mut nanoseconds = Vec::with_capacity(count);
    let start = Instant::now();
    for number in 0..count {
        let begin = Instant::now();
        let offset = u64::try_from(RECORD * (number * 379 % records)).map_err(io::Error::other)?;
        let filler = u8::try_from(number % 251).unwrap_or(0);
        file.lock()?;
        file.write_all_at(&[filler; RECORD], offset)?;
        file.sync_all()?;
        file.unlock()?;
        nanoseconds.push(in_nanoseconds(begin.elapsed()));
    }
    let total = in_nanoseconds(start.elapsed());
    std::fs::remove_file(path)?;
    Ok(Speed::of(nanoseconds, total))
}

fn in_nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_percentiles_come_from_the_latencies() {
        let speed = Speed::of((1..=100).map(|n| n * 1000).collect(), 1_000_000_000);
        assert_eq!(speed, Speed { rate: 100.0, p50: 51.0, p99: 100.0 });
        assert_eq!(Speed::of(vec![], 0), Speed::default());
    }

    #[test]
    fn two_operations_take_the_time_of_both() {
        let speed = |rate, p50, p99| Speed { rate, p50, p99 };
        assert_eq!(speed(40.0, 1.0, 2.0).and_then(&speed(40.0, 3.0, 5.0)), speed(20.0, 4.0, 7.0));
    }

    #[test]
    fn median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn the_bare_loop_writes_and_cleans_up() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(bare_set(scratch.path(), 3, 7).unwrap().rate > 0.0);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
