//! Other programs in the guest that write to pool 1 as cloud-init and azure-init do: under a lock of the
//! file, appending or changing in place. The last record of a key is valid.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use hv_core::sys::file_lock;

use super::{Counts, Shared};
use crate::client::Client;
use crate::testing::program;

const KEY: usize = 512;
const RECORD: usize = KEY + 2048;
const KEYS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(40);
/// One change of this many appends although the key exists.
const APPENDS: u64 = 25;

/// Starts the writers.
pub(super) fn start(count: usize, file: &Path) -> Vec<Child> {
    let start = |number: usize| {
        let mut command = Command::new(program("hvsim"));
        command.arg("soak-writer").arg(number.to_string()).arg(file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    };
    (0..count).filter_map(|number| start(number).ok()).collect()
}

/// Ends the writers after a last change each, and checks their records as the host sees them.
pub(super) fn finish(writers: Vec<Child>, host: &mut Client, shared: &Shared, counts: &Counts) {
    for mut writer in writers {
        drop(writer.stdin.take());
        let lines = writer.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        for line in lines.map_while(Result::ok) {
            match line.split_once('=') {
                Some(("writes", number)) => {
                    counts
                        .writes
                        .fetch_add(number.parse().unwrap_or(0), std::sync::atomic::Ordering::Relaxed);
                }
                Some((key, value)) => {
                    let answer = host.get(1, key);
                    let found = answer.as_ref().ok().and_then(|answer| answer.value());
                    if found != Some(value) {
                        shared.complain(format!("{key} of another program is {found:?}, not {value:?}"));
                    }
                }
                None => shared.complain(format!("a writer says {line:?}")),
            }
        }
        if !writer.wait().is_ok_and(|status| status.success()) {
            shared.complain("a writer has failed");
        }
    }
}

/// One writer: changes its keys until standard input ends, then prints them.
///
/// # Errors
/// The pool file cannot be locked, read or written.
pub fn run(number: u64, path: &Path) -> io::Result<()> {
    let over = thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()));
    let file = File::options().read(true).write(true).open(path)?;
    let (mut last, mut round) = (BTreeMap::new(), 0);
    while !over.is_finished() {
        round += 1;
        let (key, value) = (format!("writer-{number}-{}", round % KEYS), format!("value {round}"));
        change(&file, &key, &value, round % APPENDS == number)?;
        last.insert(key, value);
        thread::sleep(PAUSE);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "writes={round}")?;
    last.iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
}

/// Makes one change under the file's lock. From time to time it clears the keys of all further records of the
/// key, as a program does that tidies up.
fn change(file: &File, key: &str, value: &str, append: bool) -> io::Result<()> {
    while !file_lock::try_lock(file, true)? {
        thread::sleep(Duration::from_millis(1));
    }
    let result = change_locked(file, key, value, append);
    file_lock::unlock(file);
    result
}

fn change_locked(file: &File, key: &str, value: &str, append: bool) -> io::Result<()> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0) / RECORD * RECORD;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    let named = |record: &[u8]| record[..KEY].split(|byte| *byte == 0).next() == Some(key.as_bytes());
    let places: Vec<usize> =
        (0..size).step_by(RECORD).filter(|place| named(&bytes[*place..*place + RECORD])).collect();
    let mut record = vec![0; RECORD];
    record[..key.len()].copy_from_slice(key.as_bytes());
    record[KEY..KEY + value.len()].copy_from_slice(value.as_bytes());
    let place = match places.last() {
        // Limited, because a pool is.
        Some(last) if !append || places.len() > 3 => *last,
        _ => size,
    };
    file.write_all_at(&record, place as u64)
}
