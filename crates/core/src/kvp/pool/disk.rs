//! A simulated disk: a page cache in front of sectors that reach the disk whole but in any order.
//!
//! It is for tests, and with the feature `testing` for the fuzz targets. It fails, kills the process and
//! loses power at chosen operations. It never touches a real file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::storage::{FileId, LockKind, Moment, Stamp, Storage};
use crate::kvp::PoolId;

/// The pool on a new disk.
pub const POOL: PoolId = PoolId::External;

/// The step of the clock that stamps files. The clock only moves when a test moves it, which is the worst
/// case of a real one.
const TICK: i64 = 10_000_000;
const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails once. A write has written this many of its bytes.
    Error(i32, usize),
    /// The process dies. A write has written this many of its bytes.
    Kill(usize),
}

#[derive(Debug, Default)]
struct Model {
    inode: u64,
    exists: bool,
    data: Vec<u8>,
    modified: Moment,
    /// Every size with its time of change since the last synchronisation, beginning with the synchronised
    /// one. Both are in one sector.
    inodes: Vec<(usize, Moment)>,
    /// Every state of the sectors that were written since the last synchronisation, beginning with the
    /// synchronised one.
    sectors: BTreeMap<usize, Vec<Sector>>,
    sparse_size: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    files: [Model; 7],
    next_inode: u64,
    open_inodes: [u64; 7],
    /// The pools that the system has reported as changed, if it reports changes.
    watches: bool,
    told: [bool; 7],
    boot: u64,
    /// Whether another process has claimed our journal.
    claimed: bool,
    /// Nanoseconds since the epoch.
    clock: i64,
    locked: bool,
    operations: usize,
    writes: usize,
    synchronised: usize,
    bytes_read: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
}

/// A handle on the disk. Clones share it.
#[derive(Debug, Clone)]
pub struct Disk(Rc<RefCell<State>>);

fn number(file: FileId) -> usize {
    match file {
        FileId::Pool(pool) => pool.number(),
        FileId::Journal => 5,
        FileId::OtherJournal => 6,
    }
}

fn killed() -> io::Error {
    io::Error::other("the process is dead")
}

impl Model {
    fn new(inode: u64, data: &[u8], modified: Moment) -> Self {
        let mut model = Self { inode, exists: true, data: data.to_vec(), modified, ..Self::default() };
        model.synchronise();
        model
    }

    /// Brings all of the file to the disk.
    fn synchronise(&mut self) {
        self.inodes = vec![(self.data.len(), self.modified)];
        self.sectors.clear();
    }

    fn sector(&self, number: usize) -> Sector {
        let mut sector = [0; SECTOR];
        let rest = self.data.get(number * SECTOR..).unwrap_or_default();
        let size = rest.len().min(SECTOR);
        sector[..size].copy_from_slice(&rest[..size]);
        sector
    }

    /// Changes the data between `from` and `to`.
    fn become_other(&mut self, from: usize, to: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let touched = from / SECTOR..to.div_ceil(SECTOR);
        let before: Vec<Sector> = touched.clone().map(|number| self.sector(number)).collect();
        change(&mut self.data);
        for (number, before) in touched.zip(before) {
            let now = self.sector(number);
            self.sectors.entry(number).or_insert_with(|| vec![before]).push(now);
        }
    }

    fn set_len(&mut self, len: usize) {
        let (from, to) = (len.min(self.data.len()), len.max(self.data.len()));
        self.become_other(from, to, |data| data.resize(len, 0));
    }

    /// Chooses for each sector and each size which of its states since the last synchronisation is on the
    /// disk.
    fn lose_power(&mut self, mut choose: impl FnMut(usize) -> usize) {
        if self.inodes.is_empty() {
            self.synchronise();
        }
        let (len, modified) = self.inodes[choose(self.inodes.len())];
        self.data.resize(len, 0);
        for (number, states) in &self.sectors {
            let state = states[choose(states.len())];
            let rest = self.data.get_mut(number * SECTOR..).unwrap_or_default();
            let size = rest.len().min(SECTOR);
            rest[..size].copy_from_slice(&state[..size]);
        }
        self.modified = modified;
        self.synchronise();
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            inode: (0, self.inode),
            size: self.sparse_size.unwrap_or(self.data.len() as u64),
            modified: self.modified,
        }
    }
}

impl State {
    fn stamp_time(&self) -> Moment {
        self.clock / TICK * TICK
    }

    fn touch(&mut self, file: usize) {
        let now = self.stamp_time();
        let model = &mut self.files[file];
        model.modified = now;
        model.inodes.push((model.data.len(), now));
        self.told[file] = true;
    }

    /// Counts an operation. The error has the number of bytes that a write still writes.
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
        if bytes.is_empty() {
            return;
        }
        self.files[file].become_other(offset, offset + bytes.len(), |data| {
            data.resize(data.len().max(offset + bytes.len()), 0);
            data[offset..offset + bytes.len()].copy_from_slice(bytes);
        });
        self.writes += 1;
        self.touch(file);
    }
}

impl Disk {
    /// A disk with these bytes in the pool of [`POOL`], synchronised long ago.
    #[must_use]
    pub fn with_pool(bytes: &[u8]) -> Self {
        let mut state =
            State { clock: 1_000_000_000_000_000_000, next_inode: 1, boot: 1, ..State::default() };
        let old = 500_000_000_000_000_123;
        state.files[POOL.number()] = Model::new(77, bytes, old);
        Self(Rc::new(RefCell::new(state)))
    }

    /// The same on a system that reports changes.
    #[must_use]
    pub fn watched(self) -> Self {
        self.0.borrow_mut().watches = true;
        self
    }

    /// The content of the pool of [`POOL`], as every program reads it.
    #[must_use]
    pub fn pool(&self) -> Vec<u8> {
        self.read(FileId::Pool(POOL))
    }

    /// The content of a file, as every program reads it.
    #[must_use]
    pub fn read(&self, file: FileId) -> Vec<u8> {
        self.0.borrow().files[number(file)].data.clone()
    }

    /// How often a file was synchronised.
    #[must_use]
    pub fn synchronised(&self) -> usize {
        self.0.borrow().synchronised
    }

    /// Makes the pool's file sparse with this size.
    pub fn pretend_size(&self, size: u64) {
        let mut state = self.0.borrow_mut();
        state.files[POOL.number()].sparse_size = Some(size);
        state.touch(POOL.number());
    }

    /// Moves the clock that stamps files.
    pub fn pass(&self, time: Duration) {
        self.0.borrow_mut().clock += i64::try_from(time.as_nanos()).unwrap_or_default();
    }

    /// The clock is set back by this much, as an administrator or an NTP client does it.
    pub fn set_clock_back(&self, time: Duration) {
        self.0.borrow_mut().clock -= i64::try_from(time.as_nanos()).unwrap_or_default();
    }

    /// How many operations that can fail were performed.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// How many writes were performed.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    /// How many bytes were read.
    #[must_use]
    pub fn bytes_read(&self) -> usize {
        self.0.borrow().bytes_read
    }

    /// Locks all pool files for another program, or unlocks them.
    pub fn lock_by_another(&self, locked: bool) {
        self.0.borrow_mut().locked = locked;
    }

    /// Claims our journal for another process, or releases it.
    pub fn claim_by_another(&self, claimed: bool) {
        self.0.borrow_mut().claimed = claimed;
    }

    /// Writes a file and brings it to the disk.
    pub fn put(&self, file: FileId, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let (now, inode) = (state.stamp_time(), 1000 + number(file) as u64);
        state.files[number(file)] = Model::new(inode, bytes, now);
    }

    /// Brings everything to the disk, as a proper shutdown does, and starts the system again.
    pub fn reboot(&self) {
        self.restart();
        let mut state = self.0.borrow_mut();
        state.boot += 1;
        state.clock += 60_000_000_000;
        state.files.iter_mut().for_each(Model::synchronise);
    }

    /// Another program rewrites the pool in place.
    pub fn write_by_another(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let model = &mut state.files[POOL.number()];
        let len = model.data.len().max(bytes.len());
        model.become_other(0, len, |data| *data = bytes.to_vec());
        state.touch(POOL.number());
    }

    /// Another program puts another file in the pool's place, or removes it.
    pub fn replace(&self, bytes: Option<&[u8]>) {
        let mut state = self.0.borrow_mut();
        state.next_inode += 1;
        let inode = state.next_inode;
        let exists = bytes.is_some();
        state.files[POOL.number()] = Model { exists, ..Model::new(inode, bytes.unwrap_or_default(), 0) };
        state.touch(POOL.number());
    }

    /// Lets the fault happen at the operation with this number, counted from now.
    pub fn fail_at(&self, operation: usize, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = Some((state.operations + operation, fault));
    }

    /// Whether the process has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Starts a new process. The page cache stays as the dead process left it.
    pub fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.dead = false;
        state.fault = None;
    }

    /// Cuts the power: `seed` chooses which state of each sector and size is on the disk.
    pub fn lose_power(&self, seed: u64) {
        self.restart();
        let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut choose = |count: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % (count as u64)).unwrap_or_default()
        };
        let mut state = self.0.borrow_mut();
        state.boot += 1;
        state.clock += 60_000_000_000;
        state.files.iter_mut().for_each(|model| model.lose_power(&mut choose));
    }
}

impl Storage for Disk {
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn stamp(&self, pool: PoolId) -> io::Result<Option<Stamp>> {
        let state = self.0.borrow();
        if state.dead {
            return Err(killed());
        }
        let model = &state.files[pool.number()];
        Ok(model.exists.then(|| model.stamp()))
    }

    fn size(&self, file: FileId) -> io::Result<u64> {
        let state = self.0.borrow();
        if state.dead {
            return Err(killed());
        }
        let model = &state.files[number(file)];
        // A file that was removed or replaced reads as empty through an old descriptor.
        let there = model.exists && model.inode == state.open_inodes[number(file)];
        Ok(if there { model.data.len() as u64 } else { 0 })
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
            // A new journal is written and synchronised when it is created. A new pool file is empty, so
            // nothing can be lost.
            let data = if file == FileId::Journal { vec![0; 64 * 4096] } else { Vec::new() };
            state.files[number(file)] = Model::new(inode, &data, now);
        }
        let inode = state.files[number(file)].inode;
        state.open_inodes[number(file)] = inode;
        Ok((0, inode))
    }

    fn close(&mut self, _file: FileId) {}

    fn claim(&mut self, journal: FileId, _wait: Duration) -> io::Result<bool> {
        Ok(journal == FileId::OtherJournal || !self.0.borrow().claimed)
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
        state.files[number(file)].set_len(len);
        state.touch(number(file));
        Ok(())
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step().map_err(|(error, _)| error)?;
        state.synchronised += 1;
        state.files[number(file)].synchronise();
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
        // The precise clock moves between two readings. The clock of files moves only with the tick.
        state.clock += 7;
        state.clock
    }

    fn boot(&self) -> Option<u64> {
        Some(self.0.borrow().boot)
    }
}
