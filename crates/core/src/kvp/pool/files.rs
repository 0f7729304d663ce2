//! The pool directory as real files.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::journal::{SLOT_BYTES, SLOT_SIZE, SLOTS};
use super::storage::{FileId, LockKind, Moment, Stamp, Storage};
use crate::kvp::PoolId;
use crate::sys::file_watch::FileWatches;
use crate::sys::{clock, file_lock};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The files of one pool directory.
#[derive(Debug)]
pub struct PoolFiles {
    dir: PathBuf,
    paths: [PathBuf; 5],
    pools: [Option<File>; 5],
    journal: Option<File>,
    watches: Option<FileWatches>,
    /// The pools whose open file is watched.
    watched: [bool; 5],
}

impl PoolFiles {
    /// The files in `dir`. Nothing is opened or made yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let paths = PoolId::ALL.map(|pool| dir.join(format!(".kvp_pool_{pool}")));
        let watches =
            FileWatches::new().inspect_err(|error| log::debug!("files are not watched: {error}")).ok();
        let pools = Default::default();
        Self { dir: dir.to_owned(), paths, pools, journal: None, watches, watched: [false; 5] }
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        let file = match file {
            FileId::Pool(pool) => self.pools[pool.number()].as_ref(),
            FileId::Journal => self.journal.as_ref(),
        };
        file.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Makes the directory, with its parents, and repairs its mode: old versions of base's daemon left it open.
    fn prepare_dir(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(&self.dir)?;
        if fs::metadata(&self.dir)?.mode() & 0o7777 != DIR_MODE {
            fs::set_permissions(&self.dir, Permissions::from_mode(DIR_MODE))?;
        }
        Ok(())
    }

    fn open_file(&self, path: &Path, create: bool) -> io::Result<File> {
        // A symbolic link is refused, and a FIFO must not block the daemon.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if metadata.mode() & 0o7777 != FILE_MODE {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        Ok(file)
    }

    fn open_journal(&self, create: bool) -> io::Result<File> {
        let file = self.open_file(&self.dir.join(".kvp_journal"), create)?;
        let size = u64::from(SLOTS) * SLOT_BYTES;
        if create && file.metadata()?.len() < size {
            // Written out once, so that an entry never has to be allocated and fdatasync never has a size to record.
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
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: (metadata.dev(), metadata.ino()),
        links: metadata.nlink(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

impl Storage for PoolFiles {
    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(&self.paths[pool.number()]) {
            Ok(metadata) => Ok(Some(stamp_of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn stamp_open(&self, pool: PoolId) -> io::Result<Stamp> {
        Ok(stamp_of(&self.file(FileId::Pool(pool))?.metadata()?))
    }

    fn take_changed(&mut self, pool: PoolId) -> Option<bool> {
        let watches = self.watches.as_mut().filter(|_| self.watched[pool.number()])?;
        Some(watches.take(pool.number()))
    }

    fn open(&mut self, file: FileId, create: bool) -> io::Result<(u64, u64)> {
        if create {
            self.prepare_dir()?;
        }
        let opened = match file {
            FileId::Pool(pool) => {
                // Closed first: a second descriptor of the same file would drop the locks when it goes.
                self.pools[pool.number()] = None;
                let path = &self.paths[pool.number()];
                let opened = self.open_file(path, create)?;
                let watches = self.watches.as_mut();
                self.watched[pool.number()] =
                    watches.is_some_and(|watches| watches.add(pool.number(), &opened, path).is_ok());
                self.pools[pool.number()].insert(opened)
            }
            FileId::Journal => {
                self.journal = None;
                let opened = self.open_journal(create)?;
                self.journal.insert(opened)
            }
        };
        let metadata = opened.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file(file)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
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

    fn set_modified(&mut self, pool: PoolId, (seconds, nanoseconds): Moment) -> io::Result<()> {
        let file = self.file(FileId::Pool(pool))?;
        Ok(futimens(file, &TimeSpec::UTIME_OMIT, &TimeSpec::new(seconds, nanoseconds))?)
    }

    fn lock(&mut self, pool: PoolId, kind: LockKind, wait: Duration) -> io::Result<Option<Duration>> {
        let file = self.file(FileId::Pool(pool))?;
        let until = clock::monotonic().saturating_add(wait);
        let mut pause = Duration::from_millis(1);
        // Asked again and again instead of waiting in the kernel, where only a signal would end the wait in time.
        while !file_lock::try_lock(file, kind == LockKind::Exclusive)? {
            let left = until.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(Some(until.saturating_sub(clock::monotonic())))
    }

    fn unlock(&mut self, pool: PoolId) {
        if let Ok(file) = self.file(FileId::Pool(pool)) {
            file_lock::unlock(file);
        }
    }

    fn now(&self) -> Moment {
        // A clock that cannot be read makes every stamp look fresh: slower, never wrong.
        clock_gettime(ClockId::CLOCK_REALTIME).map_or((0, 0), |now| (now.tv_sec(), now.tv_nsec()))
    }
}
