//! What a backup does with each mount, and why.
//!
//! Only UFS can be frozen (ufs/ffs/ffs_suspend.c). ZFS needs no freeze: what its last transaction group holds is
//! consistent. All the rest either has nothing on this guest's disks or stands in the way of a backup.

mod glob;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

pub use glob::{BadGlob, Glob};

/// `f_fsid` of statfs(2): names a mounted file system while it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FsId(pub [i32; 2]);

impl fmt::Display for FsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        write!(f, "{low:08x}:{high:08x}")
    }
}

/// One mounted file system, as getfsstat(2) tells it. Texts that are not UTF-8 are lossy: they are shown and compared
/// with patterns, but no path is ever opened by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `f_fstypename`: `ufs`, `zfs`, `fusefs.ntfs`.
    pub fs_type: String,
    /// `f_mntfromname`: a device, a dataset, or the directory that nullfs shows.
    pub from: String,
    /// `f_mntonname`: the mount point.
    pub on: String,
    /// `f_fsid`.
    pub id: FsId,
    /// MNT_RDONLY.
    pub read_only: bool,
    /// MNT_LOCAL.
    pub local: bool,
}

/// What a backup does with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Writes to it stop from the freeze to the thaw.
    Suspend,
    /// What it holds is committed to disk before the freeze is answered.
    Sync,
    /// Nothing: it does not matter for the backup.
    Ignore,
    /// It stands in the way: no backup while it is mounted.
    Veto,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Suspend => "suspend",
            Self::Sync => "sync",
            Self::Ignore => "ignore",
            Self::Veto => "veto",
        })
    }
}

/// Why a mount is treated as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// MNT_RDONLY.
    ReadOnly,
    /// On the list `vss.exclude`, by this pattern.
    Excluded(Glob),
    /// By the n-th `[[vss.mounts]]`, from 1.
    Configured(usize),
    /// A rule says suspend, but it is no UFS.
    NotSuspendable(usize),
    /// A writable, local UFS.
    Ufs,
    /// The same on a volume of ZFS, whose pool is synced before the suspension writes the last of it.
    UfsOnZvol,
    /// ZFS.
    Zfs,
    /// The EFI system partition.
    EfiPartition,
    /// A file system of the kernel's own making, or one in memory.
    NothingOnDisk,
    /// Not MNT_LOCAL.
    OtherMachine,
    /// nullfs or unionfs over a mount that is itself dealt with.
    ShowsPartOf(String),
    /// nullfs or unionfs over a mount that vetoes.
    ShowsPartOfVeto(String),
    /// nullfs or unionfs over something that is in no mount of the table.
    ShowsUnknown(String),
    /// Everything else.
    CannotFreeze,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Excluded(glob) => write!(f, "excluded by {:?}", glob.as_str()),
            Self::Configured(number) => write!(f, "rule {number} of vss.mounts"),
            Self::NotSuspendable(number) => {
                write!(f, "rule {number} of vss.mounts wants it suspended, which only ufs can be")
            }
            Self::Ufs => f.write_str("writes to it stop during the freeze"),
            Self::UfsOnZvol => f.write_str(
                "writes to it stop during the freeze, but it is on a zvol: in the backup as after a power cut",
            ),
            Self::Zfs => f.write_str("always consistent on disk"),
            Self::EfiPartition => f.write_str("the EFI system partition, hardly ever written"),
            Self::NothingOnDisk => f.write_str("it has nothing on disk"),
            Self::OtherMachine => f.write_str("its data is on another machine"),
            Self::ShowsPartOf(on) => write!(f, "it shows a part of {on}"),
            Self::ShowsPartOfVeto(on) => write!(f, "it shows a part of {on}, which vetoes"),
            Self::ShowsUnknown(from) => write!(f, "it shows {from}, which is in no known mount"),
            Self::CannotFreeze => f.write_str("a file system of this type cannot be frozen"),
        }
    }
}

/// One mount with what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The mount.
    pub mount: Mount,
    /// What a backup does with it.
    pub treatment: Treatment,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Decision {
    /// `/mnt (ext2fs): a file system of this type cannot be frozen`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.mount.on, self.mount.fs_type, self.reason)
    }
}

/// One `[[vss.mounts]]`: what it names is treated as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The exact name of a file system type; any where `None`.
    pub fs_type: Option<String>,
    /// A pattern of the mount point; any where `None`.
    pub mount_point: Option<Glob>,
    /// What is done.
    pub treatment: Treatment,
}

impl Rule {
    fn applies_to(&self, mount: &Mount) -> bool {
        self.fs_type.as_ref().is_none_or(|fs_type| *fs_type == mount.fs_type)
            && self.mount_point.as_ref().is_none_or(|glob| glob.matches(&mount.on))
    }
}

/// The administrator's rules. An empty policy means the defaults for every mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Mount points that a backup ignores.
    pub exclude: Vec<Glob>,
    /// Rules, the first that applies wins.
    pub rules: Vec<Rule>,
}

/// What is done with every mount of a table, in the table's order: oldest mount first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One for each mount.
    pub decisions: Vec<Decision>,
}

/// What must be brought to disk before the freeze.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// ZFS pools, each once.
    pub pools: Vec<String>,
    /// Mount points of other file systems.
    pub directories: Vec<String>,
}

impl Policy {
    /// Decides about every mount of `table`, which must be in getfsstat(2)'s order.
    #[must_use]
    pub fn judge(&self, table: &[Mount]) -> Verdict {
        let mut decisions: Vec<Decision> = Vec::with_capacity(table.len());
        for mount in table {
            let (treatment, reason) = self.decide(mount, &decisions);
            decisions.push(Decision { mount: mount.clone(), treatment, reason });
        }
        Verdict { decisions }
    }

    /// `older` are the decisions about the mounts that were there before this one.
    fn decide(&self, mount: &Mount, older: &[Decision]) -> (Treatment, Reason) {
        if mount.read_only {
            return (Treatment::Ignore, Reason::ReadOnly);
        }
        if let Some(glob) = self.exclude.iter().find(|glob| glob.matches(&mount.on)) {
            return (Treatment::Ignore, Reason::Excluded(glob.clone()));
        }
        if let Some(index) = self.rules.iter().position(|rule| rule.applies_to(mount)) {
            return match self.rules[index].treatment {
                Treatment::Suspend if mount.fs_type != "ufs" => {
                    (Treatment::Veto, Reason::NotSuspendable(index + 1))
                }
                treatment => (treatment, Reason::Configured(index + 1)),
            };
        }
        decide_by_type(mount, older)
    }
}

fn decide_by_type(mount: &Mount, older: &[Decision]) -> (Treatment, Reason) {
    match mount.fs_type.as_str() {
        "ufs" if mount.local && is_below(&mount.from, "/dev/zvol") => (Treatment::Suspend, Reason::UfsOnZvol),
        "ufs" if mount.local => (Treatment::Suspend, Reason::Ufs),
        "zfs" => (Treatment::Sync, Reason::Zfs),
        "devfs" | "fdescfs" | "procfs" | "linprocfs" | "linsysfs" | "lindebugfs" | "tmpfs" | "mqueuefs"
        | "autofs" => (Treatment::Ignore, Reason::NothingOnDisk),
        "nullfs" => decide_stacked(older, &[&mount.from]),
        // Its f_mntfromname says whether the directory lies above or below what the mount point covers.
        "unionfs" => {
            let from = mount.from.strip_prefix("<above>:").or_else(|| mount.from.strip_prefix("<below>:"));
            decide_stacked(older, &[from.unwrap_or(&mount.from), &mount.on])
        }
        "msdosfs" if is_efi_partition(mount) => (Treatment::Sync, Reason::EfiPartition),
        // fuse(4) never sets MNT_LOCAL, because the kernel cannot know where the data is; nor can we.
        fuse if fuse == "fusefs" || fuse.starts_with("fusefs.") => (Treatment::Veto, Reason::CannotFreeze),
        _ if !mount.local => (Treatment::Ignore, Reason::OtherMachine),
        _ => (Treatment::Veto, Reason::CannotFreeze),
    }
}

/// bsdinstall(8) mounts the partition on /boot/efi, by its GPT label or by the volume label that it gives it.
fn is_efi_partition(mount: &Mount) -> bool {
    let numbered = |prefix: &str| {
        mount
            .from
            .strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    mount.on == "/boot/efi" || mount.from == "/dev/msdosfs/EFISYS" || numbered("/dev/gpt/efiboot")
}

/// A file system that shows others: as good as the worst of them. Nothing can be mounted over a mount that is
/// younger than itself, so only the older ones are looked at.
fn decide_stacked(older: &[Decision], paths: &[&str]) -> (Treatment, Reason) {
    let mut shown = None;
    for path in paths {
        match holder(older, path) {
            None => return (Treatment::Veto, Reason::ShowsUnknown((*path).to_owned())),
            Some(below) if below.treatment == Treatment::Veto => {
                return (Treatment::Veto, Reason::ShowsPartOfVeto(below.mount.on.clone()));
            }
            Some(below) => shown = shown.or(Some(below)),
        }
    }
    let on = shown.map(|below| below.mount.on.clone()).unwrap_or_default();
    (Treatment::Ignore, Reason::ShowsPartOf(on))
}

/// The mount that a path lies on: the one with the longest mount point above it, the youngest where several are equal.
fn holder<'a>(decisions: &'a [Decision], path: &str) -> Option<&'a Decision> {
    decisions.iter().filter(|d| is_below(path, &d.mount.on)).max_by_key(|d| d.mount.on.len())
}

/// Whether `path` is `directory` or lies in it, by whole components: `/devel` is not in `/dev`.
#[must_use]
pub fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The mount of `table` that `path` lies on.
#[must_use]
pub fn mount_of<'a>(table: &'a [Mount], path: &str) -> Option<&'a Mount> {
    table.iter().filter(|mount| is_below(path, &mount.on)).max_by_key(|mount| mount.on.len())
}

impl Verdict {
    /// Whether a backup can be made.
    #[must_use]
    pub fn allows_backup(&self) -> bool {
        self.vetoes().next().is_none()
    }

    /// The mounts that stand in the way.
    pub fn vetoes(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|d| d.treatment == Treatment::Veto)
    }

    /// The mounts to suspend in the order of suspending: newest first, so that a file system that is stored on another
    /// one comes before it and `/` comes last.
    pub fn to_suspend(&self) -> impl Iterator<Item = &Mount> {
        self.decisions.iter().rev().filter(|d| d.treatment == Treatment::Suspend).map(|d| &d.mount)
    }

    /// What must be on disk before the freeze is answered.
    #[must_use]
    pub fn sync_plan(&self) -> SyncPlan {
        let mut plan = SyncPlan::default();
        for Decision { mount, .. } in self.decisions.iter().filter(|d| d.treatment == Treatment::Sync) {
            match pool_of(mount) {
                Some(pool) if plan.pools.iter().any(|known| known == pool) => {}
                Some(pool) => plan.pools.push(pool.to_owned()),
                None => plan.directories.push(mount.on.clone()),
            }
        }
        plan
    }
}

impl SyncPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.directories.is_empty()
    }
}

/// The pool of a ZFS dataset. Names begin with a letter (zpoolconcepts(7)), so none can be taken for an option.
fn pool_of(mount: &Mount) -> Option<&str> {
    let pool = mount.from.split(['/', '@']).next()?;
    (mount.fs_type == "zfs" && pool.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(pool)
}
