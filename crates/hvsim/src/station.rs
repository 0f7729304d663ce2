//! A lock around a device that the host side, the file system and in-process ports share. It wakes waiters
//! and knows no device.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::device::DeviceFile;

/// Called after every change of a device, without its lock. Wakes pollers and sleeping readers.
pub type Listener = Box<dyn Fn() + Send + Sync>;

/// A device behind a lock, with its waiters.
///
/// The host side keeps an `Arc<Station<MyDevice>>`, which coerces to the `Arc<Station<dyn DeviceFile>>` of
/// the file system.
pub struct Station<D: DeviceFile + ?Sized> {
    changed: Condvar,
    listeners: Mutex<Vec<Listener>>,
    device: Mutex<D>,
}

impl<D: DeviceFile> Station<D> {
    /// Puts `device` behind a lock.
    #[must_use]
    pub fn new(device: D) -> Self {
        Self { changed: Condvar::new(), listeners: Mutex::new(Vec::new()), device: Mutex::new(device) }
    }

    /// Blocks until `ready` returns a value. It is tried again after every change and at every deadline of
    /// the device. `None` when `limit` has passed first.
    pub fn wait<R>(
        &self,
        limit: Option<Duration>,
        mut ready: impl FnMut(&mut D, Instant) -> Option<R>,
    ) -> Option<R> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut device = lock(&self.device);
        loop {
            let now = Instant::now();
            let due = device.next_deadline().is_some_and(|deadline| deadline <= now);
            if due {
                device.tick(now);
            }
            let found = ready(&mut device, now);
            if due {
                // Other threads may have waited for the same time-out.
                drop(device);
                self.announce();
                device = lock(&self.device);
            }
            if found.is_some() {
                return found;
            }
            if end.is_some_and(|end| end <= now) {
                return None;
            }
            if due {
                continue;
            }
            let until = device.next_deadline().into_iter().chain(end).min();
            device = match until {
                Some(until) => {
                    let pause = until.saturating_duration_since(now);
                    self.changed.wait_timeout(device, pause).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(device).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl<D: DeviceFile + ?Sized> Station<D> {
    /// Registers `listener`, which is called after every change. It must take no lock that is held while
    /// [`Station::with`] or [`Station::wait`] is called.
    pub fn listen(&self, listener: Listener) {
        lock(&self.listeners).push(listener);
    }

    /// Performs due time-outs, runs `act` on the device, then wakes all waiters.
    pub fn with<R>(&self, act: impl FnOnce(&mut D, Instant) -> R) -> R {
        let result = {
            let mut device = lock(&self.device);
            let now = Instant::now();
            device.tick(now);
            act(&mut device, now)
        };
        self.announce();
        result
    }

    /// Runs `look` on the device without waking anyone, for queries.
    pub fn peek<R>(&self, look: impl FnOnce(&mut D, Instant) -> R) -> R {
        let mut device = lock(&self.device);
        look(&mut device, Instant::now())
    }

    fn announce(&self) {
        self.changed.notify_all();
        for listener in lock(&self.listeners).iter() {
            listener();
        }
    }
}

impl<D: DeviceFile + ?Sized> fmt::Debug for Station<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").finish_non_exhaustive()
    }
}

/// Locks, also after a thread panicked with the lock held. The states of devices are plain values, and a
/// simulator that continues helps a failing test more than a second panic.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
