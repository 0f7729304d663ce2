//! History files: a line of JSON for each of the last events. It appends and shortens; it never reads an
//! event back.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;

use super::state_file;

/// How many events are kept.
const KEPT: usize = 20;
/// A longer file is shortened to [`KEPT`] lines.
const LONGEST: u64 = 64 * 1024;

/// Appends an event. The file is created with its directories, for root alone.
///
/// # Errors
/// The error of the system. A part of a line may be left at the end.
pub fn append(path: &Path, event: &impl Serialize) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > LONGEST) {
        shorten(path)?;
    }
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    state_file::open(path, OpenOptions::new().create(true).append(true))?.write_all(&line)
}

/// Keeps the last lines only.
fn shorten(path: &Path) -> io::Result<()> {
    let old = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let lines: Vec<&str> = old.lines().collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(KEPT - 1)).map(|line| format!("{line}\n"));
    let new = path.with_extension("new");
    let mut file = state_file::open(&new, OpenOptions::new().create(true).truncate(false).write(true))?;
    // It is truncated only now, so that a refused file keeps its contents.
    file.set_len(0)?;
    file.write_all(kept.collect::<String>().as_bytes())?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_last_events_are_kept_and_the_file_stays_small() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("hyperv/events");
        for number in 0..300 {
            let event = (number, "x".repeat(400));
            append(&path, &event).unwrap();
            let lines = fs::read_to_string(&path).unwrap();
            assert_eq!(lines.lines().last().unwrap(), serde_json::to_string(&event).unwrap());
            assert!(lines.lines().count() >= (number + 1).min(KEPT));
        }
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.len() < 2 * LONGEST && metadata.mode() & 0o7777 == 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
