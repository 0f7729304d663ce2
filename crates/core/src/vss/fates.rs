//! What the mounts' contents say about suspending them: programs that store through memory, and file systems
//! in files.

use super::mounts::{Decision, FsId, MappedWriters, Mount, Policy, Reason, Treatment, is_below};
use super::scan::{Scan, Writer};
use super::stores::Stores;

/// What is known of programs and devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scanned {
    /// Nobody has looked yet.
    #[default]
    NotYet,
    /// All was looked at.
    Done(Scan),
    /// The look did not come to its end, for this reason.
    Failed(String),
}

impl Scanned {
    /// What lies below the mounts, as far as it is known.
    pub(super) fn stores(&self) -> Option<&Stores> {
        match self {
            Self::Done(scan) => Some(&scan.stores),
            Self::NotYet | Self::Failed(_) => None,
        }
    }

    /// The programs that can store into this mount.
    #[must_use]
    pub fn writers_of(&self, id: FsId) -> Vec<Writer> {
        match self {
            Self::Done(scan) => scan.writers_of(id).cloned().collect(),
            Self::NotYet | Self::Failed(_) => Vec::new(),
        }
    }
}

impl Policy {
    /// What becomes of a mount that would be suspended and that programs can store into.
    pub(super) fn mapped_writers_of(&self, mount: &Mount) -> MappedWriters {
        let mut rules = self.rules.iter().filter(|rule| rule.applies_to(mount));
        let own = rules.clone().find_map(|rule| rule.mapped_writers);
        let consent = rules.find_map(|rule| rule.treatment) == Some(Treatment::Suspend);
        own.unwrap_or(if consent { MappedWriters::Suspend } else { self.mapped_writers })
    }

    /// Takes mounts that programs can store into, or that nobody could look at, from those to suspend.
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

/// Puts the mounts to suspend in order, as indices: a mount before those that are mounted on it (their
/// unmounting holds the covered vnode, which a resume of the covered file system needs), and one in a file
/// before the one that holds the file (its last writes go through it). A mount for which there is no such
/// order is flushed instead.
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
            (None, Some(_)) => give_up_a_holder(decisions, &left, &held),
            (None, None) => return order,
        }
    }
}

/// Of mounts that all wait for each other one that holds a file is flushed.
fn give_up_a_holder(decisions: &mut [Decision], left: &[usize], held: &[(usize, usize)]) {
    let pair = held.iter().find(|(mount, holder)| left.contains(mount) && left.contains(holder));
    // Without files in play the order of the mount tree always exists.
    let (index, on) = pair
        .map_or((left[0], String::new()), |(mount, holder)| (*holder, decisions[*mount].mount.on.clone()));
    flush(&mut decisions[index], Reason::HoldsFileOf(on));
}

fn flush(decision: &mut Decision, reason: Reason) {
    if decision.treatment == Treatment::Suspend {
        (decision.treatment, decision.reason) = (Treatment::Sync, reason);
    }
}

/// Who is in a file of whom, also through a third one.
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

/// The mounts whose vnodes are locked while this one is being unmounted, or while those are: what it is
/// mounted on, what that is mounted on, and where that is a nullfs or unionfs what it shows.
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

/// The mount that the mount point of another one lies on.
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

/// The mount that a nullfs or unionfs shows a part of.
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
