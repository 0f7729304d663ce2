//! The driver for stable Rust: mutates seeds, keeps what behaves in a new way, and makes a failure small.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::{Random, mutate};

/// One input that takes longer is a failure of its own.
const LIMIT: Duration = Duration::from_secs(20);
/// The most inputs that are kept to go on from.
const KEPT: usize = 2000;

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Time for each target.
    pub time: Duration,
    /// Inputs for each target.
    pub inputs: u64,
    /// Where the generator of mutations begins.
    pub seed: u64,
}

/// What was done with a target.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Inputs that were tried.
    pub inputs: u64,
    /// Different behaviours that they led to.
    pub behaviours: usize,
    /// Time that it took.
    pub took: Duration,
}

/// An input that breaks a promise.
#[derive(Debug)]
pub struct Broken {
    /// The input, as small as it could be made.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

/// The committed inputs of a target, smallest first.
///
/// # Errors
/// The directory cannot be read.
pub fn seeds(target: &Target, root: &Path) -> io::Result<Vec<Vec<u8>>> {
    let directory = root.join("seeds").join(target.name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let mut seeds = paths.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    seeds.sort_by_key(Vec::len);
    Ok(seeds)
}

/// Tries the seeds and what mutation makes of them.
///
/// # Errors
/// The first input that breaks the promise.
pub fn run(target: &Target, seeds: &[Vec<u8>], budget: Budget) -> Result<Report, Broken> {
    let begin = Instant::now();
    let mut random = Random::new(budget.seed);
    let (mut kept, mut seen, mut inputs) = (vec![Vec::new()], HashSet::new(), 0);
    for seed in seeds {
        seen.insert(attempt(target, seed)?);
        kept.push(seed.clone());
        inputs += 1;
    }
    while inputs < budget.inputs && begin.elapsed() < budget.time {
        let mut input = kept[random.below(kept.len())].clone();
        mutate(&mut input, &kept[random.below(kept.len())], target.words, &mut random);
        if seen.insert(attempt(target, &input)?) {
            if kept.len() < KEPT {
                kept.push(input);
            } else {
                let place = random.below(KEPT);
                kept[place] = input;
            }
        }
        inputs += 1;
    }
    Ok(Report { inputs, behaviours: seen.len(), took: begin.elapsed() })
}

fn attempt(target: &Target, input: &[u8]) -> Result<u64, Broken> {
    try_one(target, input).map_err(|message| {
        let input = shrink(input, |smaller| try_one(target, smaller).is_err());
        Broken { input, message }
    })
}

fn try_one(target: &Target, input: &[u8]) -> Result<u64, String> {
    watchdog::begin(target.name, input);
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    watchdog::end();
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// Leaves parts out, larger ones first, while it still fails.
fn shrink(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut smaller = input.clone();
            drop(smaller.drain(at..(at + size).min(input.len())));
            if fails(&smaller) { input = smaller } else { at += size }
        }
        size /= 2;
    }
    input
}

/// Ends the program when one input takes too long.
pub mod watchdog {
    use super::{Duration, Instant, LIMIT, Mutex};

    type Current = Option<(&'static str, Vec<u8>, Instant)>;
    static CURRENT: Mutex<Current> = Mutex::new(None);

    pub(super) fn begin(name: &'static str, input: &[u8]) {
        if let Ok(mut current) = CURRENT.lock() {
            *current = Some((name, input.to_vec(), Instant::now()));
        }
    }

    pub(super) fn end() {
        if let Ok(mut current) = CURRENT.lock() {
            *current = None;
        }
    }

    /// Starts to watch. `late` gets the target and the input that never ended, and ends the program.
    pub fn start(late: impl Fn(&'static str, &[u8]) + Send + 'static) {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let current = CURRENT.lock().ok().and_then(|current| current.clone());
                if let Some((name, input, since)) = current
                    && since.elapsed() > LIMIT
                {
                    late(name, &input);
                }
            }
        });
    }
}
