//! Adjusts the decisions about mounts to what was found on them: programs that store into files through
//! memory, and file systems that are stored in files. Also puts the mounts to suspend in order.
//!
//! It is given the decisions of `mounts` and the findings of a scan. It never looks at the system itself.

use super::mounts::{Decision, FsId, MappedWriters, Mount, Policy, Reason, Treatment, is_below};
use super::scan::{Scan, Writer};
use super::stores::Stores;

/// What is known about programs and devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scanned {
    /// No scan was made yet.
    #[default]
    NotYet,
    /// The scan is complete.
    Done(Scan),
    /// The scan failed, for this reason.
    Failed(String),
}

impl Scanned {
    /// What lies below the mounts, if a scan found it out.
    pub(super) fn stores(&self) -> Option<&Stores> {
        match self {
            Self::Done(scan) => Some(&scan.stores),
            Self::NotYet | Self::Failed(_) => None,
        }
    }

    /// The programs that can store into this mount through shared mappings.
    #[must_use]
    pub fn writers_of(&self, id: FsId) -> Vec<Writer> {
        match self {
            Self::Done(scan) => scan.writers_of(id).cloned().collect(),
            Self::NotYet | Self::Failed(_) => Vec::new(),
        }
    }
}

impl Policy {
    /// What is done with a mount that would be suspended if no program could store into it.
    pub(super) fn mapped_writers_of(&self, mount: &Mount) -> MappedWriters {
        let mut rules = self.rules.iter().filter(|rule| rule.applies_to(mount));
        let own = rules.clone().find_map(|rule| rule.mapped_writers);
        let consent = rules.find_map(|rule| rule.treatment) == Some(Treatment::Suspend);
        own.unwrap_or(if consent { MappedWriters::Suspend } else { self.mapped_writers })
    }

    /// Changes the fate of mounts that would be suspended, where programs can store into them or no scan was
    /// possible.
    pub(super) fn apply_scan(&self, decisions: &mut [Decision], scanned: &Scanned) {
        for decision in decisions.iter_mut().filter(|d| d.treatment == Treatment::Suspend) {
            let mode = self.mapped_writers_of(&decision.mount);
            decision.writers = scanned.writers_of(decision.mount.id);
            decision.accepts_loss = mode == MappedWriters::Suspend;
            let reason = match scanned {
                Scanned::Failed(reason) => Reason::NotScanned(reason.clone()),
                _ if decision.writers.is_empty() => continue,
                _ => Reason::MappedWriters(decision.writers.clone()),
            };
            match mode {
                MappedWriters::Flush => (decision.treatment, decision.reason) = (Treatment::Sync, reason),
                MappedWriters::Refuse => (decision.treatment, decision.reason) = (Treatment::Veto, reason),
                MappedWriters::Suspend => {}
            }
        }
    }
}

/// Puts the mounts to suspend in order, as indices. A mount comes before those that are mounted on it:
/// unmounting one of those holds the covered vnode, which a resume of the covered file system needs. A mount
/// that is stored in a file comes before the mount that holds the file, because its last writes go through
/// it. A mount for which no such order exists is flushed instead.
pub(super) fn arrange(decisions: &mut [Decision], stores: &Stores) -> Vec<usize> {
    let ancestors: Vec<Vec<usize>> = (0..decisions.len()).map(|index| ancestors(decisions, index)).collect();
    let index_of = |id: FsId| decisions.iter().position(|d| d.mount.id == id);
    let held: Vec<(usize, usize)> =
        stores.held.iter().filter_map(|held| Some((index_of(held.mount)?, index_of(held.holder)?))).collect();
    let held = closure(held, decisions.len());
    let unknown: Vec<(usize, String)> =
        stores.unknown.iter().filter_map(|u| Some((index_of(u.holder)?, u.device.clone()))).collect();
    for (holder, device) in unknown {
        flush(&mut decisions[holder], Reason::HoldsUnknown(device));
    }
    for (mount, holder) in &held {
        if ancestors[*mount].contains(holder) {
            let on = decisions[*mount].mount.on.clone();
            flush(&mut decisions[*holder], Reason::HoldsFileOf(on));
        }
    }
    let before = |a: usize, b: usize| ancestors[b].contains(&a) || held.contains(&(a, b));
    let mut order: Vec<usize> = Vec::new();
    loop {
        let is_left =
            |index: &usize| decisions[*index].treatment == Treatment::Suspend && !order.contains(index);
        let left: Vec<usize> = (0..decisions.len()).filter(is_left).collect();
        let free = left.iter().find(|b| !left.iter().any(|a| before(*a, **b)));
        match (free, left.first()) {
            (Some(index), _) => order.push(*index),
            (None, Some(_)) => flush_one_holder(decisions, &left, &held),
            (None, None) => return order,
        }
    }
}

/// Where mounts wait for each other, makes one that holds a file a flushed one.
fn flush_one_holder(decisions: &mut [Decision], left: &[usize], held: &[(usize, usize)]) {
    let pair = held.iter().find(|(mount, holder)| left.contains(mount) && left.contains(holder));
    // Without files the order of the mount tree always exists.
    let (index, on) = pair
        .map_or((left[0], String::new()), |(mount, holder)| (*holder, decisions[*mount].mount.on.clone()));
    flush(&mut decisions[index], Reason::HoldsFileOf(on));
}

fn flush(decision: &mut Decision, reason: Reason) {
    if decision.treatment == Treatment::Suspend {
        (decision.treatment, decision.reason) = (Treatment::Sync, reason);
    }
}

/// Which mount is stored in a file of which other one, directly or through a third one.
fn closure(mut held: Vec<(usize, usize)>, count: usize) -> Vec<(usize, usize)> {
    held.sort_unstable();
    held.dedup();
    for _ in 0..count {
        let further: Vec<(usize, usize)> = held
            .iter()
            .flat_map(|(a, b)| held.iter().filter(move |(c, _)| b == c).map(move |(_, d)| (*a, *d)))
            .filter(|(a, d)| a != d && !held.contains(&(*a, *d)))
            .collect();
        if further.is_empty() {
            break;
        }
        held.extend(further);
        held.sort_unstable();
        held.dedup();
    }
    held
}

/// The mounts whose vnodes are locked while this mount is being unmounted: the mount that it is mounted on,
/// the one below that, and so on. For a nullfs or unionfs they include the mount that it shows.
fn ancestors(decisions: &[Decision], index: usize) -> Vec<usize> {
    let mut found: Vec<usize> = covered(decisions, index).into_iter().collect();
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        next += 1;
        let shown = shown(decisions, above);
        for further in covered(decisions, above).into_iter().chain(shown) {
            if !found.contains(&further) && further != index {
                found.push(further);
            }
        }
    }
    found
}

/// The mount on which the mount point of this one lies.
fn covered(decisions: &[Decision], index: usize) -> Option<usize> {
    let on = &decisions[index].mount.on;
    let above = |candidate: &usize| {
        let other = &decisions[*candidate].mount.on;
        *candidate != index && is_below(on, other) && (other != on || *candidate < index)
    };
    (0..decisions.len())
        .filter(above)
        .max_by_key(|candidate| (decisions[*candidate].mount.on.len(), *candidate < index, *candidate))
}

/// The mount of which a nullfs or unionfs shows a part.
fn shown(decisions: &[Decision], index: usize) -> Option<usize> {
    let mount = &decisions[index].mount;
    if !matches!(mount.fs_type.as_str(), "nullfs" | "unionfs") {
        return None;
    }
    let from = mount.from.strip_prefix("<above>:").or_else(|| mount.from.strip_prefix("<below>:"));
    let from = from.unwrap_or(&mount.from);
    let holds = |candidate: &usize| is_below(from, &decisions[*candidate].mount.on);
    (0..index).filter(holds).max_by_key(|candidate| decisions[*candidate].mount.on.len())
}

#[cfg(test)]
mod tests;
