//! Watches by kqueue(2) with EVFILT_VNODE, and of the mount table with EVFILT_FS. It reports numbers; their
//! meaning is the callers'.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

const AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// VQ_MOUNT and VQ_UNMOUNT (sys/mount.h), which `vfs_domount_first` and `dounmount` send
/// (sys/kern/vfs_mount.c).
const MOUNTS: u32 = 0x8 | 0x10;

/// One queue for all files. A child does not inherit it, so it is created after the last fork.
#[derive(Debug)]
pub(in crate::sys) struct Watches {
    queue: Kqueue,
    /// The directories, kept open: a watch of a directory needs a descriptor.
    directories: Vec<File>,
}

impl Watches {
    pub(in crate::sys) fn new() -> io::Result<Self> {
        Ok(Self { queue: Kqueue::new()?, directories: Vec::new() })
    }

    /// The watch belongs to the descriptor and ends with it, so an earlier file of that number leaves nothing
    /// behind.
    pub(in crate::sys) fn add(&mut self, number: usize, file: &File, _path: &Path) -> io::Result<()> {
        let kinds = FilterFlag::NOTE_WRITE
            | FilterFlag::NOTE_EXTEND
            | FilterFlag::NOTE_ATTRIB
            | FilterFlag::NOTE_LINK
            | FilterFlag::NOTE_RENAME
            | FilterFlag::NOTE_DELETE
            | FilterFlag::NOTE_REVOKE;
        self.register(descriptor(file)?, EventFilter::EVFILT_VNODE, kinds, number)
    }

    pub(in crate::sys) fn add_directory(&mut self, number: usize, path: &Path) -> io::Result<()> {
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        let kinds = FilterFlag::NOTE_RENAME | FilterFlag::NOTE_DELETE | FilterFlag::NOTE_REVOKE;
        self.register(descriptor(&directory)?, EventFilter::EVFILT_VNODE, kinds, number)?;
        self.directories.push(directory);
        Ok(())
    }

    pub(in crate::sys) fn add_mounts(&mut self, number: usize) -> io::Result<()> {
        self.register(0, EventFilter::EVFILT_FS, FilterFlag::from_bits_retain(MOUNTS), number)
    }

    fn register(
        &self,
        identifier: usize,
        filter: EventFilter,
        kinds: FilterFlag,
        number: usize,
    ) -> io::Result<()> {
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        let number = isize::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        let change = KEvent::new(identifier, filter, flags, kinds, 0, number);
        self.queue.kevent(&[change], &mut [], Some(AT_ONCE))?;
        Ok(())
    }

    pub(in crate::sys) fn descriptor(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    pub(in crate::sys) fn collect(&mut self, mut changed: impl FnMut(usize)) -> io::Result<()> {
        let none = KEvent::new(0, EventFilter::EVFILT_VNODE, EvFlags::empty(), FilterFlag::empty(), 0, 0);
        let mut events = [none; 8];
        loop {
            let count = match self.queue.kevent(&[], &mut events, Some(AT_ONCE)) {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            for event in events.iter().take(count) {
                // A negative number is not one of ours.
                usize::try_from(event.udata()).into_iter().for_each(&mut changed);
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }
}

fn descriptor(file: &File) -> io::Result<usize> {
    usize::try_from(file.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
