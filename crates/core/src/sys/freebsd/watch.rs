//! kqueue(2) with EVFILT_VNODE.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

const AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// One queue for all files. It is not inherited by a child, so it is made after the last fork.
#[derive(Debug)]
pub(in crate::sys) struct Watches {
    queue: Kqueue,
}

impl Watches {
    pub(in crate::sys) fn new() -> io::Result<Self> {
        Ok(Self { queue: Kqueue::new()? })
    }

    /// The watch is the descriptor's and ends with it, so nothing is left of an earlier file of that number.
    pub(in crate::sys) fn add(&mut self, number: usize, file: &File, _path: &Path) -> io::Result<()> {
        let kinds = FilterFlag::NOTE_WRITE
            | FilterFlag::NOTE_EXTEND
            | FilterFlag::NOTE_ATTRIB
            | FilterFlag::NOTE_LINK
            | FilterFlag::NOTE_RENAME
            | FilterFlag::NOTE_DELETE
            | FilterFlag::NOTE_REVOKE;
        let descriptor = usize::try_from(file.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        let number = isize::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        let change = KEvent::new(descriptor, EventFilter::EVFILT_VNODE, flags, kinds, 0, number);
        self.queue.kevent(&[change], &mut [], Some(AT_ONCE))?;
        Ok(())
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
                // Negative only if it was not ours.
                usize::try_from(event.udata()).into_iter().for_each(&mut changed);
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }
}
