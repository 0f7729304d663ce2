//! The directory of simulated device files, by the FUSE protocol. It translates calls; the devices decide
//! their results.
//!
//! Every file is opened for direct I/O, so that size and offset of each `pread` and `pwrite` reach the device
//! unchanged. `poll` is answered by the device and woken by notification. The nodes are regular files,
//! because Linux would pass a character node to its own drivers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, IoctlFlags, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyPoll, ReplyWrite, Request,
    Session, SessionACL, TimeOrNow, WriteFlags,
};

use super::SharedDevice;
use crate::device::{DeviceFile, Handle, Opener, ReadCall, ReadOutcome, Readiness};
use crate::station::{Station, lock};

/// A detached node must be gone at the next lookup.
const NO_CACHING: Duration = Duration::ZERO;

/// The first node's inode number; the root directory has 1.
const FIRST_NODE: u64 = 2;

/// Serves `devices` on `fuse`, the descriptor of a mounted `/dev/fuse`, in a background thread.
///
/// # Errors
/// The kernel's first message could not be read, or has an unknown version.
pub(super) fn serve(devices: Vec<SharedDevice>, fuse: OwnedFd) -> io::Result<BackgroundSession> {
    let nodes = devices.into_iter().map(Node::new).collect();
    let directory = Directory { nodes, next_handle: AtomicU64::new(1) };
    Session::from_fd(directory, fuse, SessionACL::All, Config::default())?.spawn()
}

struct Directory {
    nodes: Vec<Node>,
    next_handle: AtomicU64,
}

struct Node {
    name: &'static str,
    mode: u16,
    station: SharedDevice,
    waiters: Arc<Mutex<Waiters>>,
}

/// The sleeping readers and pollers of a node.
#[derive(Default)]
struct Waiters {
    pollers: BTreeMap<Handle, PollNotifier>,
    readers: Vec<(ReadCall, ReplyData)>,
}

impl Node {
    fn new(station: SharedDevice) -> Self {
        let waiters = Arc::new(Mutex::new(Waiters::default()));
        let (weak, sleeping) = (Arc::downgrade(&station), Arc::clone(&waiters));
        station.listen(Box::new(move || wake(&weak, &sleeping)));
        let (name, mode) = station.peek(|device, _| (device.name(), device.mode()));
        Self { name, mode, station, waiters }
    }

    fn is_present(&self) -> bool {
        self.station.peek(|device, _| device.is_present())
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        attributes(inode, FileType::RegularFile, self.mode)
    }
}

/// Tries everything that sleeps at a node again.
fn wake(station: &Weak<Station<dyn DeviceFile>>, waiters: &Mutex<Waiters>) {
    let Some(station) = station.upgrade() else { return };
    let mut waiters = lock(waiters);
    if waiters.pollers.is_empty() && waiters.readers.is_empty() {
        return;
    }
    let mut awake = Vec::new();
    let mut read = Vec::new();
    station.peek(|device, now| {
        let ready: Vec<Handle> =
            waiters.pollers.keys().copied().filter(|&handle| device.readiness(handle).any()).collect();
        awake.extend(ready.iter().filter_map(|handle| waiters.pollers.remove(handle)));
        for (call, reply) in std::mem::take(&mut waiters.readers) {
            match device.read(ReadCall { again: true, ..call }, now) {
                ReadOutcome::Sleeps => waiters.readers.push((call, reply)),
                outcome => read.push((outcome, reply)),
            }
        }
    });
    drop(waiters);
    for notifier in awake {
        // It fails only when the poller or the mount is gone.
        let _ = notifier.notify();
    }
    read.into_iter().for_each(|(outcome, reply)| reply_read(outcome, reply));
}

fn reply_read(outcome: ReadOutcome, reply: ReplyData) {
    match outcome {
        ReadOutcome::Data(bytes) => reply.data(&bytes),
        ReadOutcome::Failed(error) => reply.error(errno(error)),
        // The caller has put sleepers aside before.
        ReadOutcome::Sleeps => reply.error(Errno::EIO),
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_i32(error as i32)
}

fn attributes(inode: INodeNo, kind: FileType, mode: u16) -> FileAttr {
    FileAttr {
        ino: inode,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: mode,
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Directory {
    fn node(&self, inode: INodeNo) -> Option<&Node> {
        let index = usize::try_from(inode.0.checked_sub(FIRST_NODE)?).ok()?;
        self.nodes.get(index)
    }

    fn present(&self) -> impl Iterator<Item = (INodeNo, &Node)> {
        (FIRST_NODE..)
            .zip(&self.nodes)
            .map(|(inode, node)| (INodeNo(inode), node))
            .filter(|(_, node)| node.is_present())
    }

    fn root() -> FileAttr {
        attributes(INodeNo::ROOT, FileType::Directory, 0o755)
    }
}

impl Filesystem for Directory {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.present().find(|(_, node)| parent == INodeNo::ROOT && name == node.name);
        match found {
            Some((inode, node)) => reply.entry(&NO_CACHING, &node.attributes(inode), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(inode) {
            Some(node) => reply.attr(&NO_CACHING, &node.attributes(inode)),
            None if inode == INodeNo::ROOT => reply.attr(&NO_CACHING, &Self::root()),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Opening with `O_TRUNC` must have no effect, as on a device.
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let own = [(INodeNo::ROOT, FileType::Directory, "."), (INodeNo::ROOT, FileType::Directory, "..")];
        let nodes = self.present().map(|(inode, node)| (inode, FileType::RegularFile, node.name));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (position, (inode, kind, name)) in (1..).zip(own.into_iter().chain(nodes)).skip(skipped) {
            if reply.add(inode, position, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, request: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(node) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let handle = Handle(self.next_handle.fetch_add(1, Ordering::Relaxed));
        let opener = Opener { pid: request.pid() };
        match node.station.with(|device, now| device.open(handle, opener, now)) {
            Ok(()) => reply.opened(FileHandle(handle.0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn release(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(node) = self.node(inode) {
            let handle = Handle(handle.0);
            lock(&node.waiters).pollers.remove(&handle);
            node.station.with(|device, now| device.close(handle, now));
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(node) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let call = ReadCall { handle: Handle(handle.0), offset, size, again: false };
        // Held during the attempt, so that a change right after it wakes the sleeper.
        let mut waiters = lock(&node.waiters);
        let outcome = node.station.peek(|device, now| {
            device.tick(now);
            device.read(call, now)
        });
        if outcome == ReadOutcome::Sleeps {
            waiters.readers.push((call, reply));
            return;
        }
        drop(waiters);
        reply_read(outcome, reply);
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some(node) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let written = node.station.with(|device, now| device.write(Handle(handle.0), offset, data, now));
        match written {
            Ok(len) => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn poll(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        notifier: PollNotifier,
        _events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let Some(node) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let handle = Handle(handle.0);
        let mut waiters = lock(&node.waiters);
        let ready = node.station.peek(|device, now| device.poll(handle, now));
        if !ready.any() && flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY) {
            waiters.pollers.insert(handle, notifier);
        }
        drop(waiters);
        reply.poll(events(ready));
    }

    fn ioctl(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: IoctlFlags,
        command: u32,
        input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        let Some(node) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let done = node.station.with(|device, now| device.ioctl(Handle(handle.0), command, input, now));
        match done {
            Ok(output) => reply.ioctl(0, &output),
            Err(error) => reply.error(errno(error)),
        }
    }
}

fn events(ready: Readiness) -> PollEvents {
    let mut events = PollEvents::empty();
    if ready.readable {
        events |= PollEvents::POLLIN | PollEvents::POLLRDNORM;
    }
    if ready.hung_up {
        events |= PollEvents::POLLHUP;
    }
    events
}
