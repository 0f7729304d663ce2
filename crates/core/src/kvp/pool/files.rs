//! The pool directory as real files: the implementation of `Storage` that the programs use. It opens, locks,
//! watches and synchronises files. It never looks at records.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::journal::{RING_BYTES, SLOT_BYTES, SLOT_SIZE, SLOTS};
use super::storage::{FileId, LockKind, Moment, Place, Stamp, Storage};
use crate::kvp::PoolId;
use crate::runtime::state_file;
use crate::sys::file_watch::FileWatches;
use crate::sys::{clock, file_lock, file_place};

const DIR_MODE: u32 = 0o700;
/// The prefix of our files, which other programs also use for their files beside the pools.
const PREFIX: &str = ".kvp_";
const STICKY: u32 = 0o1000;

/// How often the path of an open file is checked for changes that the system does not report. A file system
/// that was mounted over the path is one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of one pool directory.
#[derive(Debug)]
pub struct PoolFiles {
    dir: PathBuf,
    paths: [PathBuf; 5],
    /// The journal of this process, and that of the other kind of process.
    journal_paths: [PathBuf; 2],
    pools: [Option<OpenPool>; 5],
    journals: [Option<File>; 2],
    watches: Option<FileWatches>,
    boot: Option<u64>,
}

#[derive(Debug)]
struct OpenPool {
    file: File,
    inode: (u64, u64),
    watched: bool,
    /// When the path was checked last, by the monotonic clock.
    looked: Duration,
}

impl PoolFiles {
    /// The files in `dir` for the daemon. Nothing is opened or created yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self::with_journals(dir, [".kvp_journal", ".kvp_journal_tools"])
    }

    /// The files in `dir` for a tool, which may run beside the daemon. It uses the tools' journal, and waits
    /// for other tools.
    #[must_use]
    pub fn for_tool(dir: &Path) -> Self {
        Self::with_journals(dir, [".kvp_journal_tools", ".kvp_journal"])
    }

    fn with_journals(dir: &Path, journals: [&str; 2]) -> Self {
        Self {
            dir: dir.to_owned(),
            paths: PoolId::ALL.map(|pool| dir.join(format!(".kvp_pool_{pool}"))),
            journal_paths: journals.map(|name| dir.join(name)),
            pools: Default::default(),
            journals: Default::default(),
            watches: None,
            boot: clock::boot_id(),
        }
    }

    fn pool(&self, pool: PoolId) -> io::Result<&OpenPool> {
        self.pools[pool.number()].as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        match file {
            FileId::Pool(pool) => Ok(&self.pool(pool)?.file),
            journal => {
                self.journals[slot(journal)].as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
            }
        }
    }

    /// Refuses a directory that other programs use: the mode that pools need would lock them out.
    fn examine_dir(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.dir)?;
        let mode = metadata.mode() & 0o7777;
        let refused = |reason: &str| {
            let text = format!("{} (mode {mode:o}) {reason}", self.dir.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        };
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return refused("belongs to another user");
        }
        if mode & STICKY != 0 {
            return refused("is shared by all users; name a directory of its own");
        }
        if mode == DIR_MODE {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir)? {
            if !entry?.file_name().to_string_lossy().starts_with(PREFIX) {
                return refused(
                    "is shared with other files; name a directory of its own, or make it mode 700",
                );
            }
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(DIR_MODE))?;
        log::warn!("mode of the pool directory repaired path={} from={mode:o} to=700", self.dir.display());
        Ok(())
    }

    fn open_file(&self, path: &Path, create: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false);
        let (file, metadata) = state_file::open_of_anybody(path, &mut options)?;
        let own = nix::unistd::geteuid().as_raw();
        if metadata.uid() != own {
            // Its owner could give the file any mode.
            fchown(&file, Some(own), None)?;
            log::warn!(
                "owner of a pool file repaired path={} from={} to={own}",
                path.display(),
                metadata.uid()
            );
        }
        let mode = metadata.mode() & 0o7777;
        if mode != state_file::MODE {
            file.set_permissions(Permissions::from_mode(state_file::MODE))?;
            log::warn!("mode of a pool file repaired path={} from={mode:o} to=600", path.display());
        }
        Ok(file)
    }

    fn open_pool(&mut self, pool: PoolId, create: bool) -> io::Result<(u64, u64)> {
        let path = &self.paths[pool.number()];
        let file = self.open_file(path, create)?;
        let metadata = file.metadata()?;
        let inode = (metadata.dev(), metadata.ino());
        if self.watches.is_none() {
            self.watches = watch_place(&self.dir).inspect_err(not_watched).ok();
        }
        let watches = self.watches.as_mut();
        let watched = watches.is_some_and(|watches| watches.add(pool.number(), &file, path).is_ok());
        let opened = OpenPool { file, inode, watched, looked: clock::monotonic() };
        self.pools[pool.number()] = Some(opened);
        Ok(inode)
    }

    fn open_journal(&self, path: &Path, create: bool) -> io::Result<File> {
        let file = self.open_file(path, create)?;
        if create && file.metadata()?.len() < RING_BYTES {
            // The journal is filled with zeros, so that no write of an entry allocates blocks or changes the
            // size, which fdatasync(2) would have to record.
            let page = [0; SLOT_SIZE];
            for slot in 0..u64::from(SLOTS) {
                if file.read_at(&mut [0], slot * SLOT_BYTES)? == 0 {
                    file.write_all_at(&page, slot * SLOT_BYTES)?;
                }
            }
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(file)
    }

    /// Whether the path may lead to another file now. Checked at most once each [`LOOK_EVERY`].
    fn is_elsewhere(&mut self, pool: PoolId) -> bool {
        let path = &self.paths[pool.number()];
        let Some(open) = &mut self.pools[pool.number()] else { return true };
        let now = clock::monotonic();
        if now.saturating_sub(open.looked) < LOOK_EVERY {
            return false;
        }
        open.looked = now;
        !file_place::at(path).is_ok_and(|(inode, _)| inode == open.inode)
    }
}

fn slot(journal: FileId) -> usize {
    usize::from(journal == FileId::OtherJournal)
}

/// Watches the directory and all directories above it, which can be renamed, removed or mounted over.
fn watch_place(dir: &Path) -> io::Result<FileWatches> {
    let mut watches = FileWatches::new()?;
    if let Err(error) = watches.add_mounts() {
        log::debug!("mounts are not watched: {error}");
    }
    for directory in dir.ancestors() {
        if let Err(error) = watches.add_directory(directory) {
            log::debug!("directory not watched path={}: {error}", directory.display());
        }
    }
    Ok(watches)
}

fn not_watched(error: &io::Error) {
    log::warn!("pool files are not watched, so each request reads them anew: {error}");
}

const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The pause after this one: longer, so that a lock that is held for long costs little, but no longer than a
/// host notices.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(Duration::from_millis(20))
}

/// Tries to lock repeatedly instead of waiting in the kernel: only a signal could end that wait in time.
/// Returns the time that is left.
fn lock_in_time(file: &File, exclusive: bool, wait: Duration) -> io::Result<Option<Duration>> {
    if file_lock::try_lock(file, exclusive)? {
        return Ok(Some(wait));
    }
    let until = clock::monotonic().saturating_add(wait);
    let mut pause = FIRST_PAUSE;
    loop {
        let left = until.saturating_sub(clock::monotonic());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = longer(pause);
        if file_lock::try_lock(file, exclusive)? {
            return Ok(Some(until.saturating_sub(clock::monotonic())));
        }
    }
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: (metadata.dev(), metadata.ino()),
        size: metadata.len(),
        modified: moment(metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn moment(seconds: i64, nanoseconds: i64) -> Moment {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

impl Storage for PoolFiles {
    fn prepare(&mut self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(&self.dir)?;
        self.examine_dir()
    }

    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(&self.paths[pool.number()]) {
            Ok(metadata) => Ok(Some(stamp_of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place(&self, pool: PoolId) -> io::Result<Option<Place>> {
        match file_place::at(&self.paths[pool.number()]) {
            Ok((inode, size)) => Ok(Some(Place { inode, size })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn size(&self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn take_changed(&mut self, pool: PoolId) -> Option<bool> {
        if !self.pool(pool).is_ok_and(|pool| pool.watched) {
            return None;
        }
        let told = self.watches.as_mut().is_none_or(|watches| watches.take(pool.number()));
        Some(told || self.is_elsewhere(pool))
    }

    fn open(&mut self, file: FileId, create: bool) -> io::Result<(u64, u64)> {
        if create {
            self.prepare()?;
        }
        // Closed first: closing another descriptor of the same file later would drop the locks.
        self.close(file);
        let FileId::Pool(pool) = file else {
            let opened = self.open_journal(&self.journal_paths[slot(file)], create)?;
            let metadata = opened.metadata()?;
            self.journals[slot(file)] = Some(opened);
            return Ok((metadata.dev(), metadata.ino()));
        };
        self.open_pool(pool, create)
    }

    fn close(&mut self, file: FileId) {
        match file {
            FileId::Pool(pool) => self.pools[pool.number()] = None,
            journal => self.journals[slot(journal)] = None,
        }
        if self.pools.iter().all(Option::is_none) {
            // The directories above may be others when the files are opened again.
            self.watches = None;
        }
    }

    fn claim(&mut self, journal: FileId, wait: Duration) -> io::Result<bool> {
        Ok(lock_in_time(self.file(journal)?, true, wait)?.is_some())
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_up_to(self.file(file)?, offset, buffer)
    }

    fn write_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, file: FileId, len: u64) -> io::Result<()> {
        self.file(file)?.set_len(len)
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn lock(&mut self, pool: PoolId, kind: LockKind, wait: Duration) -> io::Result<Option<Duration>> {
        lock_in_time(self.file(FileId::Pool(pool))?, kind == LockKind::Exclusive, wait)
    }

    fn unlock(&mut self, pool: PoolId) {
        if let Ok(file) = self.file(FileId::Pool(pool)) {
            file_lock::unlock(file);
        }
    }

    fn now(&self) -> Moment {
        clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |now| moment(now.tv_sec(), now.tv_nsec()))
    }

    fn boot(&self) -> Option<u64> {
        self.boot
    }
}

/// Reads into `buffer` from `offset` on until it is full or the file ends. Returns the number of bytes.
///
/// # Errors
/// Those of pread(2), except EINTR, after which it continues.
pub fn read_up_to(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    fill(buffer, |rest, filled| file.read_at(rest, offset + filled))
}

/// Reads until `buffer` is full or `read` has no more. `read` is told how many bytes it has read before.
fn fill(buffer: &mut [u8], mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut filled = 0;
    while !buffer[filled..].is_empty() {
        match read(&mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
