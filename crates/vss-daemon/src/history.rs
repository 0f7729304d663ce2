//! The file that tells how the last backups went: a line of JSON for each, the last one at the end.
//!
//! It is written between two backups only, by a write that leaves the lines before it alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use hv_core::report::{Backup, text};

/// Backups that are kept.
const KEPT: usize = 20;
/// A file that is longer is cut down to [`KEPT`] lines.
const LONGEST: u64 = 64 * 1024;

/// Adds a backup.
///
/// # Errors
/// What the system says; a part of a line may be left at the end.
pub(crate) fn append(path: &Path, backup: &Backup) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > LONGEST) {
        shorten(path)?;
    }
    open(path, OpenOptions::new().append(true))?.write_all(&text(backup))
}

/// Keeps the last lines only.
fn shorten(path: &Path) -> io::Result<()> {
    let old = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let lines: Vec<&str> = old.lines().collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(KEPT - 1)).map(|line| format!("{line}\n"));
    let new = path.with_extension("new");
    open(&new, OpenOptions::new().write(true).truncate(true))?
        .write_all(kept.collect::<String>().as_bytes())?;
    fs::rename(&new, path)
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::report::Verdict;
    use std::os::unix::fs::MetadataExt;

    fn backup(at: u64) -> Backup {
        Backup {
            at,
            verdict: Verdict::Failed,
            reason: Some("x".repeat(400)),
            answered_in: 1,
            frozen_for: None,
            mounts: Vec::new(),
            hooks: Vec::new(),
            steps: Vec::new(),
            flushed: Vec::new(),
        }
    }

    #[test]
    fn the_last_backups_are_kept_and_the_file_stays_small() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("hyperv/backups");
        for at in 0..300 {
            append(&path, &backup(at)).unwrap();
            let lines = fs::read_to_string(&path).unwrap();
            let last: Backup = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
            assert_eq!(last, backup(at));
            assert!(lines.lines().count() >= usize::try_from(at + 1).unwrap().min(KEPT));
        }
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.len() < 2 * LONGEST && metadata.mode() & 0o7777 == 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
