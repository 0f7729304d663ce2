//! Brings data to disk that the kernel holds in memory: sync(2), waiting for its writes, and fsync(2) of
//! single mounts. These calls can hang, so a daemon makes them in a helper process.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use super::freebsd_abi::EINVAL;
use super::simulated;
use super::system_facts::FactsSource;
use crate::sys::clock;
use crate::vss::mounts::Mount;

/// The sysctl with the bytes of writes that are under way.
const RUNNING: &str = "vfs.runningbufspace";
/// How often it is read.
const LOOK: Duration = Duration::from_millis(2);
/// If it has not fallen for this long, the writes are those of other programs.
const SETTLED: Duration = Duration::from_millis(200);

impl FactsSource {
    /// sync(2): starts to write everything that is in memory, mapped pages included, and does not wait for
    /// the end (`sys_sync()` of kern/vfs_syscalls.c). It walks all mounts, and can sleep for ever on a dead
    /// file server.
    ///
    /// In a directory of facts it writes a line `sync PID NS` to the file `log`, if that exists, after the
    /// number of milliseconds in the file `sync-takes`.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn sync(&self) -> io::Result<()> {
        let Self::Directory(directory) = self else {
            // SAFETY: sync(2) takes no argument and touches no memory of this process.
            unsafe { libc::sync() };
            return Ok(());
        };
        let takes = simulated::read(directory, "sync-takes")?.and_then(|text| text.trim().parse().ok());
        thread::sleep(Duration::from_millis(takes.unwrap_or(0)));
        log(directory, "sync", "")
    }

    /// Waits until the started writes are done, or until they become no fewer because other programs write.
    /// UFSSUSPEND waits for the writes of its own file system in any case.
    ///
    /// # Errors
    /// The sysctl cannot be read.
    pub fn wait_for_writes(&self) -> io::Result<()> {
        let mut writes = Writes::default();
        loop {
            let running = self.sysctl_number(RUNNING)?.unwrap_or(0);
            if writes.are_done(running, clock::monotonic()) {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
    }

    /// fsync(2) of the mount point of `mount`, after a [`Self::sync`].
    ///
    /// The root directory of an msdosfs returns EINVAL after everything is written, because `deupdat()` of
    /// fs/msdosfs/msdosfs_denode.c has no directory entry for it. That counts as success.
    ///
    /// In a directory of facts it writes a line `fsync PID NS PATH` to the file `log`, if that exists.
    ///
    /// # Errors
    /// The error of open(2) or fsync(2).
    pub fn sync_mount(&self, mount: &Mount) -> io::Result<()> {
        match self {
            Self::System => tolerate(mount, File::open(&mount.on)?.sync_all()),
            Self::Directory(directory) => {
                log(directory, "fsync", &mount.on)?;
                let root_of_msdosfs = mount.fs_type == "msdosfs";
                tolerate(mount, if root_of_msdosfs { Err(invalid()) } else { Ok(()) })
            }
        }
    }
}

/// The writes under way, as they were read so far.
#[derive(Debug, Default)]
struct Writes {
    most: i64,
    /// The least since the most.
    least: i64,
    since: Duration,
}

impl Writes {
    /// Whether the writes are done or become no fewer. While they grow, they are still being started.
    fn are_done(&mut self, running: i64, now: Duration) -> bool {
        if running > self.most {
            (self.most, self.least, self.since) = (running, running, now);
        } else if running < self.least {
            (self.least, self.since) = (running, now);
        }
        running <= 0 || now.saturating_sub(self.since) >= SETTLED
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(EINVAL)
}

fn tolerate(mount: &Mount, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if mount.fs_type == "msdosfs" && error.raw_os_error() == Some(EINVAL) => Ok(()),
        result => result,
    }
}

fn log(directory: &Path, call: &str, path: &str) -> io::Result<()> {
    let file = match fs::File::options().append(true).open(directory.join("log")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file,
    };
    let now = clock::monotonic().as_nanos();
    let line = format!("{call} {} {now} {path}", std::process::id());
    file?.write_all(format!("{}\n", line.trim_end()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vss::mounts::FsId;

    fn mount(fs_type: &str, on: &str) -> Mount {
        let (fs_type, from, on) = (fs_type.into(), "x".into(), on.into());
        Mount { fs_type, from, on, id: FsId([1, 1]), read_only: false, local: true }
    }

    #[test]
    fn einval_is_ignored_only_for_an_msdosfs_root() {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        assert!(tolerate(&mount("msdosfs", "/boot/efi"), error(EINVAL)).is_ok());
        assert!(tolerate(&mount("msdosfs", "/boot/efi"), error(5)).is_err());
        assert!(tolerate(&mount("ext2fs", "/linux"), error(EINVAL)).is_err());
    }

    #[test]
    fn a_directory_of_facts_gets_a_line_for_each_call() {
        let directory = tempfile::tempdir().unwrap();
        let source = FactsSource::Directory(directory.path().to_owned());
        // Without the file nothing is written.
        source.sync().unwrap();
        assert!(!directory.path().join("log").exists());
        fs::write(directory.path().join("log"), "").unwrap();
        source.sync().unwrap();
        source.sync_mount(&mount("msdosfs", "/boot/efi")).unwrap();
        let text = fs::read_to_string(directory.path().join("log")).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!((lines[0][0], lines[0].len()), ("sync", 3));
        assert_eq!((lines[1][0], lines[1][3]), ("fsync", "/boot/efi"));
    }

    #[test]
    fn a_missing_directory_cannot_be_synced() {
        let directory = tempfile::tempdir().unwrap();
        let on = directory.path().to_str().unwrap();
        FactsSource::System.sync_mount(&mount("ufs", on)).unwrap();
        assert!(FactsSource::System.sync_mount(&mount("ufs", "/nonexistent")).is_err());
    }

    #[test]
    fn the_wait_lasts_while_writes_grow_or_shrink() {
        let look = Duration::from_millis(100);
        let done_at = |values: &[i64]| {
            let mut writes = Writes::default();
            let mut now = Duration::from_secs(1000);
            values.iter().position(|running| {
                now += look;
                writes.are_done(*running, now)
            })
        };
        assert_eq!(done_at(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]), Some(9));
        // Low for a moment, before all writes were started.
        assert_eq!(done_at(&[1, 5, 9, 8, 6, 5, 4, 3, 2, 0]), Some(9));
        // Other programs write as much as is completed.
        assert_eq!(done_at(&[9, 5, 6, 5, 6, 5, 6]), Some(3));
        assert_eq!(done_at(&[0]), Some(0));
    }

    #[test]
    fn the_wait_ends_when_writes_stop_shrinking() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sysctl"), "vfs.runningbufspace=8192\n").unwrap();
        let source = FactsSource::Directory(directory.path().to_owned());
        let before = clock::monotonic();
        source.wait_for_writes().unwrap();
        assert!(clock::monotonic() - before >= SETTLED);
        fs::write(directory.path().join("sysctl"), "").unwrap();
        source.wait_for_writes().unwrap();
    }
}
