//! A disk in memory: a page cache in front of sectors that reach the disk whole but in any order.
//!
//! For tests, and with the feature `testing` for the fuzz targets: it fails, dies and loses power where it is told to.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::storage::{FileId, LockKind, Moment, Stamp, Storage};
use crate::kvp::PoolId;

/// The pool that a new disk holds.
pub const POOL: PoolId = PoolId::External;

/// Files are stamped with a clock that moves only when a test says so: the worst that a real one can do.
const TICK: i64 = 10_000_000;
const SECTOR: usize = 512;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails once; a write leaves this many of its bytes behind.
    Error(i32, usize),
    /// The process dies in it; a write leaves this many of its bytes behind.
    Kill(usize),
}

#[derive(Debug, Default)]
struct Model {
    inode: u64,
    exists: bool,
    data: Vec<u8>,
    /// Every state since the last synchronisation, that one first.
    states: Vec<Vec<u8>>,
    modified: Moment,
    changed: Moment,
}

#[derive(Debug, Default)]
struct State {
    files: [Model; 6],
    next_inode: u64,
    open_inodes: [u64; 6],
    /// Whether the system tells of changes, and of which pools it did.
    watches: bool,
    told: [bool; 6],
    /// Nanoseconds since the epoch.
    clock: i64,
    locked: bool,
    operations: usize,
    writes: usize,
    bytes_read: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
}

/// A handle on the disk; clones share it.
#[derive(Debug, Clone)]
pub struct Disk(Rc<RefCell<State>>);

fn number(file: FileId) -> usize {
    match file {
        FileId::Pool(pool) => pool.number(),
        FileId::Journal => 5,
    }
}

fn killed() -> io::Error {
    io::Error::other("the process is dead")
}

impl Model {
    fn stamp(&self) -> Stamp {
        Stamp {
            inode: (0, self.inode),
            links: 1,
            size: self.data.len() as u64,
            modified: self.modified,
            changed: self.changed,
        }
    }
}

impl State {
    fn stamp_time(&self) -> Moment {
        let ticked = self.clock / TICK * TICK;
        (ticked / 1_000_000_000, ticked % 1_000_000_000)
    }

    fn touch(&mut self, file: usize) {
        let now = self.stamp_time();
        let model = &mut self.files[file];
        model.modified = now;
        model.changed = now;
        let data = model.data.clone();
        model.states.push(data);
        self.told[file] = true;
    }

    /// Counts an operation; `Some` bytes of a write are to be left behind by its fault.
    fn step(&mut self) -> Result<(), (io::Error, usize)> {
        if self.dead {
            return Err((killed(), 0));
        }
        let step = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Error(errno, left))) if at == step => {
                self.fault = None;
                Err((io::Error::from_raw_os_error(errno), left))
            }
            Some((at, Fault::Kill(left))) if at == step => {
                self.dead = true;
                Err((killed(), left))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        let model = &mut self.files[file];
        if bytes.is_empty() {
            return;
        }
        if model.data.len() < offset + bytes.len() {
            model.data.resize(offset + bytes.len(), 0);
        }
        model.data[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.writes += 1;
        self.touch(file);
    }
}

impl Disk {
    /// A disk on which the pool of [`POOL`] holds these bytes, durably, since long ago.
    #[must_use]
    pub fn with_pool(bytes: &[u8]) -> Self {
        let mut state = State { clock: 1_000_000_000_000_000_000, next_inode: 1, ..State::default() };
        let old = (500_000_000, 123);
        state.files[POOL.number()] = Model {
            inode: 77,
            exists: true,
            data: bytes.to_vec(),
            states: vec![bytes.to_vec()],
            modified: old,
            changed: old,
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// The same on a system that tells of changes.
    #[must_use]
    pub fn watched(self) -> Self {
        self.0.borrow_mut().watches = true;
        self
    }

    /// What the pool of [`POOL`] holds now, for every program.
    #[must_use]
    pub fn pool(&self) -> Vec<u8> {
        self.read(FileId::Pool(POOL))
    }

    /// What a file holds now, for every program.
    #[must_use]
    pub fn read(&self, file: FileId) -> Vec<u8> {
        self.0.borrow().files[number(file)].data.clone()
    }

    /// Lets time pass on the clock that stamps files.
    pub fn pass(&self, time: Duration) {
        self.0.borrow_mut().clock += i64::try_from(time.as_nanos()).unwrap_or_default();
    }

    /// How many operations that can fail there have been.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// How many writes there have been.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    /// How many bytes were read.
    #[must_use]
    pub fn bytes_read(&self) -> usize {
        self.0.borrow().bytes_read
    }

    /// Another program holds its lock on all pool files from now on, or no longer.
    pub fn lock_by_another(&self, locked: bool) {
        self.0.borrow_mut().locked = locked;
    }

    /// Another program rewrites the pool in place.
    pub fn write_by_another(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.files[POOL.number()].data = bytes.to_vec();
        state.touch(POOL.number());
    }

    /// Another program puts another file in the pool's place, or none.
    pub fn replace(&self, bytes: Option<&[u8]>) {
        let mut state = self.0.borrow_mut();
        state.next_inode += 1;
        let inode = state.next_inode;
        let exists = bytes.is_some();
        state.files[POOL.number()] =
            Model { inode, exists, data: bytes.unwrap_or_default().to_vec(), ..Model::default() };
        state.touch(POOL.number());
    }

    /// The fault comes at the operation with this number, counted from now.
    pub fn fail_at(&self, operation: usize, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = Some((state.operations + operation, fault));
    }

    /// Whether the process died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// A new process finds the page cache as the dead one left it.
    pub fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.dead = false;
        state.fault = None;
    }

    /// Each sector and each size since the last synchronisation may have reached the disk, or not, as `seed` says.
    pub fn lose_power(&self, seed: u64) {
        self.restart();
        let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut choose = |count: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % (count as u64)).unwrap_or_default()
        };
        for model in &mut self.0.borrow_mut().files {
            if model.states.is_empty() {
                model.states.push(Vec::new());
            }
            let len = model.states[choose(model.states.len())].len();
            let mut data = vec![0; len];
            for (number, sector) in data.chunks_mut(SECTOR).enumerate() {
                let state = &model.states[choose(model.states.len())];
                let from = (number * SECTOR).min(state.len());
                let to = (from + sector.len()).min(state.len());
                sector[..to - from].copy_from_slice(&state[from..to]);
            }
            model.states = vec![data.clone()];
            model.data = data;
        }
    }
}

impl Storage for Disk {
    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>> {
        let state = self.0.borrow();
        if state.dead {
            return Err(killed());
        }
        let model = &state.files[pool.number()];
        Ok(model.exists.then(|| model.stamp()))
    }

    fn stamp_open(&self, pool: PoolId) -> io::Result<Stamp> {
        let state = self.0.borrow();
        if state.dead {
            return Err(killed());
        }
        let model = &state.files[pool.number()];
        let inode = state.open_inodes[pool.number()];
        if model.exists && model.inode == inode {
            return Ok(model.stamp());
        }
        // A file that was removed or replaced has no name left.
        Ok(Stamp { inode: (0, inode), links: 0, size: 0, modified: (0, 0), changed: (0, 0) })
    }

    fn take_changed(&mut self, pool: PoolId) -> Option<bool> {
        let mut state = self.0.borrow_mut();
        let told = std::mem::take(&mut state.told[pool.number()]);
        state.watches.then_some(told)
    }

    fn open(&mut self, file: FileId, create: bool) -> io::Result<(u64, u64)> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        if !state.files[number(file)].exists {
            if !create {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.next_inode += 1;
            let inode = state.next_inode;
            let now = state.stamp_time();
            // The journal is written out and synchronised when it is made; an empty pool file loses nothing.
            let data = if file == FileId::Journal { vec![0; 64 * 4096] } else { Vec::new() };
            let states = vec![data.clone()];
            state.files[number(file)] =
                Model { inode, exists: true, data, states, modified: now, changed: now };
        }
        let inode = state.files[number(file)].inode;
        state.open_inodes[number(file)] = inode;
        Ok((0, inode))
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        let data = &state.files[number(file)].data;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let count = buffer.len().min(data.len() - from);
        buffer[..count].copy_from_slice(&data[from..from + count]);
        state.bytes_read += count;
        Ok(count)
    }

    fn write_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let (outcome, written) = match state.step() {
            Ok(()) => (Ok(()), bytes.len()),
            Err((error, left)) => (Err(error), left.min(bytes.len())),
        };
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        state.write(number(file), offset, &bytes[..written]);
        outcome
    }

    fn set_len(&mut self, file: FileId, len: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.files[number(file)].data.resize(len, 0);
        state.touch(number(file));
        Ok(())
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        let model = &mut state.files[number(file)];
        model.states = vec![model.data.clone()];
        Ok(())
    }

    fn set_modified(&mut self, pool: PoolId, moment: Moment) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        state.files[pool.number()].modified = moment;
        Ok(())
    }

    fn lock(&mut self, _pool: PoolId, _kind: LockKind, wait: Duration) -> io::Result<Option<Duration>> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        Ok((!state.locked).then_some(wait))
    }

    fn unlock(&mut self, _pool: PoolId) {}

    fn now(&self) -> Moment {
        let mut state = self.0.borrow_mut();
        // The precise clock moves between two readings, the one of the files only with the tick.
        state.clock += 7;
        (state.clock / 1_000_000_000, state.clock % 1_000_000_000)
    }
}
