//! The devices as character devices of a FreeBSD kernel, by cuse(3). It translates calls; the devices decide
//! their results.
//!
//! cuse(3) does not report everything. The opening process is unknown, so detaching a device kills none. The
//! offset of a read or write is unknown and counts as 0. Few error numbers can be passed on; all others
//! become ENXIO. A detached device keeps its node, and opening it fails with ENXIO.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use hv_core::sys::freebsd_abi as abi;
use nix::errno::Errno;

use super::SharedDevice;
use crate::device::{Handle, Opener, ReadCall, ReadOutcome, Readiness};
use crate::station::lock;

/// Each worker serves one call at a time. A sleeping read occupies one.
const WORKERS: usize = 8;

/// A call of the guest's program on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// The device's index.
    pub(crate) device: usize,
    /// The open file's number. 0 before it has one.
    pub(crate) handle: u64,
    /// `CUSE_CMD_…`.
    pub(crate) kind: u64,
    /// Bytes of a read or write, the number of an ioctl.
    pub(crate) argument: u64,
    /// The address of the caller's data.
    pub(crate) data: u64,
}

/// The kernel's side. A call belongs to the thread that took it, until the thread finishes it.
pub(crate) trait Kernel: Send + Sync + 'static {
    /// Waits for a call.
    fn next(&self) -> io::Result<Call>;
    /// Assigns a number to the open file of this thread's call.
    fn set_handle(&self, handle: usize) -> io::Result<()>;
    /// Reads the caller's data.
    fn copy_in(&self, call: &Call, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes the caller's data.
    fn copy_out(&self, call: &Call, bytes: &[u8]) -> io::Result<()>;
    /// Ends the call.
    fn finish(&self, result: i32) -> io::Result<()>;
    /// Makes every poll(2) ask for readiness again.
    fn wake_pollers(&self) -> io::Result<()>;
}

/// Serves `devices` with threads in the background until the process ends.
pub(crate) fn serve(devices: Vec<SharedDevice>, kernel: impl Kernel) {
    let server = Arc::new(Server {
        nodes: devices.into_iter().map(Node::new).collect(),
        next_handle: AtomicUsize::new(1),
        kernel,
    });
    for node in &server.nodes {
        let (changes, weak) = (Arc::clone(&node.changes), Arc::downgrade(&server));
        node.device.listen(Box::new(move || {
            changes.announce();
            if let Some(server) = weak.upgrade() {
                // It fails only when the kernel removes the devices.
                let _ = server.kernel.wake_pollers();
            }
        }));
    }
    for _ in 0..WORKERS {
        let server = Arc::clone(&server);
        thread::spawn(move || server.work());
    }
}

struct Server<K> {
    nodes: Vec<Node>,
    next_handle: AtomicUsize,
    kernel: K,
}

struct Node {
    device: SharedDevice,
    changes: Arc<Changes>,
}

impl Node {
    fn new(device: SharedDevice) -> Self {
        Self { device, changes: Arc::default() }
    }
}

/// Counts the changes of a device, for threads that sleep until the next one.
#[derive(Default)]
struct Changes {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Changes {
    fn count(&self) -> u64 {
        *lock(&self.count)
    }

    fn announce(&self) {
        *lock(&self.count) += 1;
        self.changed.notify_all();
    }

    fn wait_beyond(&self, seen: u64) {
        let count = lock(&self.count);
        drop(self.changed.wait_while(count, |count| *count == seen).unwrap_or_else(PoisonError::into_inner));
    }
}

impl<K: Kernel> Server<K> {
    fn work(&self) {
        loop {
            match self.kernel.next() {
                Ok(call) => {
                    let result = self.perform(&call).unwrap_or_else(result_of);
                    // The caller may have ended.
                    let _ = self.kernel.finish(result);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The result of the call: bytes, events or nothing.
    fn perform(&self, call: &Call) -> Result<i32, Errno> {
        let node = self.nodes.get(call.device).ok_or(Errno::ENXIO)?;
        let handle = Handle(call.handle);
        match call.kind {
            abi::CUSE_CMD_OPEN => self.open(node),
            abi::CUSE_CMD_CLOSE => {
                node.device.with(|device, now| device.close(handle, now));
                Ok(0)
            }
            abi::CUSE_CMD_READ => {
                let bytes = read(node, handle, size(call.argument))?;
                self.kernel.copy_out(call, &bytes).map_err(errno)?;
                Ok(count(bytes.len()))
            }
            abi::CUSE_CMD_WRITE => {
                let bytes = self.copy_in(call, size(call.argument))?;
                node.device.with(|device, now| device.write(handle, 0, &bytes, now)).map(count)
            }
            abi::CUSE_CMD_IOCTL => self.ioctl(node, call),
            abi::CUSE_CMD_POLL => Ok(events(node.device.peek(|device, now| {
                device.tick(now);
                device.poll(handle, now)
            }))),
            // Usually a signal to the caller, which wakes no one in the real drivers, either.
            _ => Ok(0),
        }
    }

    fn open(&self, node: &Node) -> Result<i32, Errno> {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let handle = Handle(u64::try_from(number).unwrap_or(u64::MAX));
        node.device.with(|device, now| {
            if !device.is_present() {
                return Err(Errno::ENXIO);
            }
            device.open(handle, Opener { pid: 0 }, now)
        })?;
        if let Err(error) = self.kernel.set_handle(number) {
            node.device.with(|device, now| device.close(handle, now));
            return Err(errno(error));
        }
        Ok(0)
    }

    /// The number says how many bytes are copied in each direction. The kernel has them in a buffer of its
    /// own.
    fn ioctl(&self, node: &Node, call: &Call) -> Result<i32, Errno> {
        let command = u32::try_from(call.argument).map_err(|_| Errno::ENOTTY)?;
        let size = usize::try_from((command >> 16) & IOCPARM_MASK).unwrap_or(0);
        let input = if command & IOC_IN == 0 { Vec::new() } else { self.copy_in(call, size)? };
        let handle = Handle(call.handle);
        let mut output = node.device.with(|device, now| device.ioctl(handle, command, &input, now))?;
        if command & IOC_OUT != 0 {
            output.resize(size, 0);
            self.kernel.copy_out(call, &output).map_err(errno)?;
        }
        Ok(0)
    }

    fn copy_in(&self, call: &Call, size: usize) -> Result<Vec<u8>, Errno> {
        if size > LARGEST_WRITE {
            return Err(Errno::ENOMEM);
        }
        let mut bytes = vec![0; size];
        self.kernel.copy_in(call, &mut bytes).map_err(errno)?;
        Ok(bytes)
    }
}

/// Much more than any message has.
const LARGEST_WRITE: usize = 1 << 20;

/// FreeBSD's sys/ioccom.h: the bits of an ioctl's number.
const IOC_OUT: u32 = 0x4000_0000;
const IOC_IN: u32 = 0x8000_0000;
const IOCPARM_MASK: u32 = 0x1fff;

fn read(node: &Node, handle: Handle, size: usize) -> Result<Vec<u8>, Errno> {
    let mut call = ReadCall { handle, offset: 0, size, again: false };
    loop {
        // Before the attempt, so that a change right after it wakes the sleeper.
        let seen = node.changes.count();
        let outcome = node.device.peek(|device, now| {
            device.tick(now);
            device.read(call, now)
        });
        match outcome {
            ReadOutcome::Data(mut bytes) => {
                bytes.truncate(size);
                return Ok(bytes);
            }
            ReadOutcome::Failed(error) => return Err(error),
            ReadOutcome::Sleeps => node.changes.wait_beyond(seen),
        }
        call.again = true;
    }
}

fn events(ready: Readiness) -> i32 {
    let mut events = 0;
    if ready.readable {
        events |= abi::CUSE_POLL_READ;
    }
    if ready.hung_up {
        events |= abi::CUSE_POLL_ERROR;
    }
    events
}

fn size(argument: u64) -> usize {
    usize::try_from(argument).unwrap_or(usize::MAX)
}

fn count(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn result_of(error: Errno) -> i32 {
    match error {
        Errno::EBUSY => abi::CUSE_ERR_BUSY,
        Errno::EAGAIN => abi::CUSE_ERR_WOULDBLOCK,
        Errno::EINVAL => abi::CUSE_ERR_INVALID,
        Errno::ENOMEM => abi::CUSE_ERR_NO_MEMORY,
        Errno::EFAULT => abi::CUSE_ERR_FAULT,
        _ => abi::CUSE_ERR_OTHER,
    }
}

#[cfg(test)]
mod tests;
