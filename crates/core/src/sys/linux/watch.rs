//! Watches by inotify(7). It reports numbers; their meaning is the callers'.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// One inotify instance. An ordinary user may have only 128.
#[derive(Debug)]
pub(in crate::sys) struct Watches {
    inotify: Inotify,
    numbers: Vec<(WatchDescriptor, usize)>,
}

impl Watches {
    pub(in crate::sys) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { inotify, numbers: Vec::new() })
    }

    pub(in crate::sys) fn add(&mut self, number: usize, file: &File, path: &Path) -> io::Result<()> {
        let kinds = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            // For a directory, as NOTE_WRITE of kqueue(2) reports it: files that appear, are replaced or
            // disappear.
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE;
        if let Some(at) = self.numbers.iter().position(|(_, known)| *known == number) {
            // The old file may be removed, and its watch with it.
            let _ = self.inotify.rm_watch(self.numbers.swap_remove(at).0);
        }
        let watch = self.inotify.add_watch(path, kinds)?;
        self.numbers.push((watch, number));
        // inotify takes a path, which must still lead to the open file.
        let (open, there) = (file.metadata()?, fs::symlink_metadata(path)?);
        if (open.dev(), open.ino()) == (there.dev(), there.ino()) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(in crate::sys) fn add_directory(&mut self, number: usize, path: &Path) -> io::Result<()> {
        let kinds = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_ONLYDIR;
        self.numbers.push((self.inotify.add_watch(path, kinds)?, number));
        Ok(())
    }

    /// inotify(7) has no event for mounts.
    #[expect(clippy::unused_self, reason = "FreeBSD's has one")]
    pub(in crate::sys) fn add_mounts(&mut self, _number: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::sys) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    pub(in crate::sys) fn collect(&mut self, mut changed: impl FnMut(usize)) -> io::Result<()> {
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                return Err(io::Error::other("events were lost"));
            }
            let numbers = self.numbers.iter().filter(|(watch, _)| *watch == event.wd);
            numbers.for_each(|(_, number)| changed(*number));
        }
        Ok(())
    }
}
