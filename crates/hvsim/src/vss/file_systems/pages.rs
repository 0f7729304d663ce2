//! Data that is stored and not yet on disk: pages of mappings, and buffers. It knows when they are written
//! and what a resume discards.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::vss::facts::Facts;

/// A page that a program stored in a file through a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) on: String,
    pub(super) path: String,
    pub(super) program: String,
    pub(super) pid: u32,
    /// Since when no process stores there. `None` while one does.
    since: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    dirty: Vec<Page>,
    /// When a file was last saved, or its pages were dropped.
    settled: BTreeMap<String, Duration>,
    /// When the last sync(2) began to write a mount's buffers. Removed when the mount takes writes again.
    synced: BTreeMap<String, Duration>,
}

impl Pages {
    /// Records the present mappings, and which former ones no longer exist.
    pub(super) fn look(&mut self, facts: &Facts, now: Duration) {
        let mapped: Vec<Page> = facts
            .mapped_writers()
            .map(|(process, map)| Page {
                on: map.on.clone(),
                path: map.path.clone(),
                program: process.command.clone(),
                pid: process.pid,
                since: None,
            })
            .collect();
        for page in &mut self.dirty {
            let still = mapped.iter().any(|other| other.pid == page.pid && other.path == page.path);
            if still {
                page.since = None;
            } else if page.since.is_none() {
                page.since = Some(facts.changed.unwrap_or(now).min(now));
            }
        }
        let new = mapped
            .into_iter()
            .filter(|page| !self.dirty.iter().any(|known| known.pid == page.pid && known.path == page.path));
        let mut new: Vec<Page> = new.collect();
        self.dirty.append(&mut new);
        self.look_at_left_open(facts, now);
    }

    /// Files that were unmapped but are still open are in no list of the guest.
    fn look_at_left_open(&mut self, facts: &Facts, now: Duration) {
        for (path, on) in &facts.left_dirty {
            let at = facts.changed.unwrap_or(now).min(now);
            let settled = self.settled.get(path).is_some_and(|settled| *settled >= at);
            if !settled && !self.dirty.iter().any(|page| page.path == *path) {
                let (on, path, program) = (on.clone(), path.clone(), "a program".to_owned());
                self.dirty.push(Page { on, path, program, pid: 0, since: Some(at) });
            }
        }
    }

    /// sync(2) at `now`. It passes over suspended file systems.
    pub(super) fn synced(&mut self, facts: &Facts, suspended: &[String], now: Duration) {
        let reaches = |on: &String| !suspended.contains(on);
        self.save(now, |page| reaches(&page.on));
        for mount in facts.mounts.iter().filter(|mount| reaches(&mount.on)) {
            // Buffers that are being written are not started again.
            let length = facts.flush_time(&mount.on);
            let old = self.synced.get(&mount.on).copied();
            if old.is_none_or(|old| old + length <= now) {
                self.synced.insert(mount.on.clone(), now);
            }
        }
    }

    /// Pages that no process stores to become clean.
    fn save(&mut self, now: Duration, reached: impl Fn(&Page) -> bool) {
        let clean = |page: &mut Page| reached(page) && page.since.is_some_and(|since| since <= now);
        for page in self.dirty.extract_if(.., clean) {
            self.settled.insert(page.path, now);
        }
    }

    /// fsync(2) of one file.
    pub(super) fn file_synced(&mut self, path: &str, now: Duration) {
        self.save(now, |page| page.path == path);
    }

    /// How long UFSSUSPEND sleeps for the buffers of a mount.
    pub(super) fn flush(&mut self, facts: &Facts, on: &str, now: Duration) -> Duration {
        let length = facts.flush_time(on);
        let left = self.synced.remove(on).map_or(length, |begun| (begun + length).saturating_sub(now));
        left.min(length)
    }

    /// How long the writes of the last sync(2) still take, or those of a sync(2) that begins now.
    pub(super) fn still_writing(&self, facts: &Facts, now: Duration) -> Duration {
        let left = |(on, length): &(String, Duration)| match self.synced.get(on) {
            Some(begun) => (*begun + *length).saturating_sub(now),
            None => *length,
        };
        facts.flush_times.iter().map(left).max().unwrap_or_default()
    }

    /// Removes and returns all dirty pages of a mount.
    pub(super) fn drop_of(&mut self, on: &str) -> Vec<Page> {
        let dropped: Vec<Page> = self.dirty.extract_if(.., |page| page.on == on).collect();
        for page in &dropped {
            let at = page.since.unwrap_or_default();
            self.settled.insert(page.path.clone(), at);
        }
        dropped
    }
}
