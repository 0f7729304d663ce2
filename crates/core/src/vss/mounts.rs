//! Decides what a backup does with each mount, and why. It is given the mount table, the administrator's
//! policy and the findings of a scan; it never calls the system.
//!
//! Only UFS can be frozen (ufs/ffs/ffs_suspend.c). ZFS needs no freeze, because its last transaction group is
//! always consistent. Every other file system either has nothing on this guest's disks or prevents a backup.

mod glob;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

use super::fates::{Scanned, arrange};
use super::scan::Writer;
use super::stores::Stores;
pub use glob::{BadGlob, Glob};

/// `f_fsid` of statfs(2). It identifies a file system while it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsId(pub [i32; 2]);

impl fmt::Display for FsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        write!(f, "{low:08x}:{high:08x}")
    }
}

/// One mounted file system as getfsstat(2) describes it. Texts that are not UTF-8 are converted with loss:
/// they are shown and compared with patterns, but never used to open a path.
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
    /// Its data is committed to disk before the freeze is answered.
    Sync,
    /// Nothing is done: it does not matter for the backup.
    Ignore,
    /// It prevents a backup while it is mounted.
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

/// What is done with a mount that could be suspended, but that programs can store into through shared
/// mappings. What they store while it is suspended is lost in the running guest when it is resumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MappedWriters {
    /// It is flushed and not suspended.
    #[default]
    Flush,
    /// It prevents a backup.
    Refuse,
    /// It is suspended nevertheless.
    Suspend,
}

/// Why a mount gets its treatment.
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
    /// The same on a volume of ZFS. Its pool is synced before the suspension, so the last writes of the
    /// suspension are not committed.
    UfsOnZvol,
    /// ZFS.
    Zfs,
    /// The EFI system partition.
    EfiPartition,
    /// A file system of the kernel's own making, or one in memory.
    NothingOnDisk,
    /// Not MNT_LOCAL.
    OtherMachine,
    /// nullfs or unionfs over a mount that is treated itself.
    ShowsPartOf(String),
    /// nullfs or unionfs over a mount that vetoes.
    ShowsPartOfVeto(String),
    /// nullfs or unionfs over a path that is on no mount of the table.
    ShowsUnknown(String),
    /// Everything else.
    CannotFreeze,
    /// It would be suspended, but these programs can store into it through memory.
    MappedWriters(Vec<Writer>),
    /// It would be suspended, but the scan for programs that store into it failed, for this reason.
    NotScanned(String),
    /// It would be suspended, but it holds the file in which this mount is stored, and this mount is mounted
    /// on it or below.
    HoldsFileOf(String),
    /// It would be suspended, but it holds the file of this device, whose use is unknown.
    HoldsUnknown(String),
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
            Self::MappedWriters(writers) => write_writers(f, writers),
            Self::NotScanned(reason) => {
                write!(f, "it is not known which programs store into it through memory: {reason}")
            }
            Self::HoldsFileOf(on) => write!(f, "it holds the file of {on}, which is mounted on it"),
            Self::HoldsUnknown(device) => write!(f, "it holds the file of {device}, of which the use is unknown"),
        }
    }
}

/// How many programs are named. The rest is counted.
const NAMED_WRITERS: usize = 3;

fn write_writers(f: &mut fmt::Formatter<'_>, writers: &[Writer]) -> fmt::Result {
    f.write_str("programs store into it through memory: ")?;
    for (index, writer) in writers.iter().take(NAMED_WRITERS).enumerate() {
        write!(f, "{}{writer}", if index == 0 { "" } else { ", " })?;
    }
    match writers.len().saturating_sub(NAMED_WRITERS) {
        0 => Ok(()),
        more => write!(f, ", and {more} more"),
    }
}

/// One mount with its treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The mount.
    pub mount: Mount,
    /// What a backup does with it.
    pub treatment: Treatment,
    /// Why.
    pub reason: Reason,
    /// The programs that can store into it through memory, if it would otherwise be suspended.
    pub writers: Vec<Writer>,
    /// It is to be suspended although programs can store into it.
    pub accepts_loss: bool,
}

impl fmt::Display for Decision {
    /// `/mnt (ext2fs): a file system of this type cannot be frozen`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.mount.on, self.mount.fs_type, self.reason)
    }
}

/// One `[[vss.mounts]]`: mounts that match get its treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The exact name of a file system type. `None`: any.
    pub fs_type: Option<String>,
    /// A pattern of the mount point. `None`: any.
    pub mount_point: Option<Glob>,
    /// The treatment. `None`: as without this rule.
    pub treatment: Option<Treatment>,
    /// The treatment when programs can store into it. `None`: as without this rule.
    pub mapped_writers: Option<MappedWriters>,
}

impl Rule {
    pub(super) fn applies_to(&self, mount: &Mount) -> bool {
        self.fs_type.as_ref().is_none_or(|fs_type| *fs_type == mount.fs_type)
            && self.mount_point.as_ref().is_none_or(|glob| glob.matches(&mount.on))
    }
}

/// The administrator's rules. An empty policy means the defaults for every mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Mount points that a backup ignores.
    pub exclude: Vec<Glob>,
    /// Rules. The first that applies wins.
    pub rules: Vec<Rule>,
    /// What is done with mounts that programs can store into through memory, where no rule applies.
    pub mapped_writers: MappedWriters,
}

/// The decisions about all mounts of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One for each mount, in the table's order: oldest mount first.
    pub decisions: Vec<Decision>,
    /// Indices of the mounts to suspend, in the order of suspending.
    order: Vec<usize>,
}

/// What must be brought to disk before the freeze.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// ZFS pools, each once.
    pub pools: Vec<String>,
    /// Other file systems, which need fsync(2) after sync(2).
    pub mounts: Vec<Mount>,
    /// Mount points of file systems that are flushed because suspending them would do harm. sync(2) is enough
    /// for them.
    pub flushed: Vec<String>,
}

impl Policy {
    /// Decides about every mount of `table` by the table alone. It must be in getfsstat(2)'s order.
    #[must_use]
    pub fn judge(&self, table: &[Mount]) -> Verdict {
        self.judge_with(table, &Scanned::NotYet)
    }

    /// The same with what is known about programs and devices.
    #[must_use]
    pub fn judge_with(&self, table: &[Mount], scanned: &Scanned) -> Verdict {
        let nothing = Stores::default();
        let stores = scanned.stores().unwrap_or(&nothing);
        let mut decisions: Vec<Decision> = Vec::with_capacity(table.len());
        for mount in table {
            let (treatment, reason) = self.decide(mount, &decisions, stores);
            let mount = mount.clone();
            decisions.push(Decision { mount, treatment, reason, writers: Vec::new(), accepts_loss: false });
        }
        self.apply_scan(&mut decisions, scanned);
        let order = arrange(&mut decisions, stores);
        Verdict { decisions, order }
    }

    /// `older` are the decisions about the mounts that come earlier in the table.
    fn decide(&self, mount: &Mount, older: &[Decision], stores: &Stores) -> (Treatment, Reason) {
        if mount.read_only {
            return (Treatment::Ignore, Reason::ReadOnly);
        }
        if let Some(glob) = self.exclude.iter().find(|glob| glob.matches(&mount.on)) {
            return (Treatment::Ignore, Reason::Excluded(glob.clone()));
        }
        let mut rules = self.rules.iter().enumerate().filter(|(_, rule)| rule.applies_to(mount));
        match rules.find_map(|(index, rule)| Some((index + 1, rule.treatment?))) {
            Some((number, Treatment::Suspend)) if mount.fs_type != "ufs" => {
                (Treatment::Veto, Reason::NotSuspendable(number))
            }
            Some((number, treatment)) => (treatment, Reason::Configured(number)),
            None => decide_by_type(mount, older, stores),
        }
    }
}

fn decide_by_type(mount: &Mount, older: &[Decision], stores: &Stores) -> (Treatment, Reason) {
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
        "msdosfs" if is_efi_partition(mount) || stores.efi.contains(&mount.id) => {
            (Treatment::Sync, Reason::EfiPartition)
        }
        // fuse(4) never sets MNT_LOCAL, because the kernel cannot know where the data is. Some programs are
        // known by name.
        fuse if is_network_fuse(fuse) => (Treatment::Ignore, Reason::OtherMachine),
        fuse if fuse == "fusefs" || fuse.starts_with("fusefs.") => (Treatment::Veto, Reason::CannotFreeze),
        _ if !mount.local => (Treatment::Ignore, Reason::OtherMachine),
        _ => (Treatment::Veto, Reason::CannotFreeze),
    }
}

/// Programs that show files of other machines. The name is the subtype that they give to mount_fusefs(8);
/// f_fstypename has it after `fusefs.`.
const NETWORK_FUSE: [&str; 24] = [
    "sshfs",
    "rclone",
    "s3fs",
    "s3backer",
    "s3ql",
    "goofys",
    "gcsfuse",
    "geesefs",
    "blobfuse",
    "blobfuse2",
    "curlftpfs",
    "ftpfs",
    "davfs",
    "davfs2",
    "httpdirfs",
    "httpfs2",
    "smbnetfs",
    "glusterfs",
    "ceph-fuse",
    "mfs",
    "moosefs",
    "juicefs",
    "seaweedfs",
    "google-drive-ocamlfuse",
];

fn is_network_fuse(fs_type: &str) -> bool {
    // f_fstypename holds 15 characters, so a longer name is cut.
    let subtype = fs_type.strip_prefix("fusefs.").filter(|subtype| !subtype.is_empty());
    subtype.is_some_and(|subtype| {
        NETWORK_FUSE.iter().any(|name| *name == subtype || (fs_type.len() == 15 && name.starts_with(subtype)))
    })
}

/// bsdinstall(8) mounts the partition on /boot/efi, by its GPT label or by the volume label that bsdinstall
/// gives it.
fn is_efi_partition(mount: &Mount) -> bool {
    let numbered = |prefix: &str| {
        mount
            .from
            .strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    mount.on == "/boot/efi" || mount.from == "/dev/msdosfs/EFISYS" || numbered("/dev/gpt/efiboot")
}

/// Decides about a file system that shows others: a veto of one of them counts. A mount can only show older
/// mounts, so only `older` is searched.
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

/// The mount that a path lies on: the one with the longest matching mount point. Of equal ones it is the
/// youngest.
fn holder<'a>(decisions: &'a [Decision], path: &str) -> Option<&'a Decision> {
    decisions.iter().filter(|d| is_below(path, &d.mount.on)).max_by_key(|d| d.mount.on.len())
}

/// Whether `path` is `directory` or lies in it. Whole components are compared: `/devel` is not in `/dev`.
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

    /// The mounts that prevent a backup.
    pub fn vetoes(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|d| d.treatment == Treatment::Veto)
    }

    /// The mounts to suspend, in the order of suspending: parents before their children, and a mount that is
    /// stored in a file before the mount that holds the file. They are resumed in reverse order.
    pub fn to_suspend(&self) -> impl Iterator<Item = &Mount> {
        self.suspended_decisions().map(|decision| &decision.mount)
    }

    /// The same with the reasons.
    pub fn suspended_decisions(&self) -> impl Iterator<Item = &Decision> {
        self.order.iter().filter_map(|index| self.decisions.get(*index))
    }

    /// Whether a scan of programs and devices can change a decision: a mount would be suspended, or a mount
    /// that vetoes may be an EFI partition.
    #[must_use]
    pub fn wants_scan(&self) -> bool {
        !self.order.is_empty() || self.may_be_efi()
    }

    /// Whether an msdosfs vetoes only because the type of its partition is not known yet.
    #[must_use]
    pub fn may_be_efi(&self) -> bool {
        self.vetoes().any(|d| d.mount.fs_type == "msdosfs" && d.reason == Reason::CannotFreeze)
    }

    /// What must be on disk before the freeze is answered.
    #[must_use]
    pub fn sync_plan(&self) -> SyncPlan {
        let mut plan = SyncPlan::default();
        for Decision { mount, reason, .. } in self.decisions.iter().filter(|d| d.treatment == Treatment::Sync)
        {
            match pool_of(mount) {
                // sync(2) is enough for a UFS.
                _ if is_fallback(reason) => plan.flushed.push(mount.on.clone()),
                Some(pool) if plan.pools.iter().any(|known| known == pool) => {}
                Some(pool) => plan.pools.push(pool.to_owned()),
                None => plan.mounts.push(mount.clone()),
            }
        }
        plan
    }
}

/// Whether the mount is flushed because suspending it would do harm.
fn is_fallback(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::MappedWriters(_) | Reason::NotScanned(_) | Reason::HoldsFileOf(_) | Reason::HoldsUnknown(_)
    )
}

/// The pool of a ZFS dataset. Names begin with a letter (zpoolconcepts(7)), so zpool(8) cannot take one for
/// an option.
fn pool_of(mount: &Mount) -> Option<&str> {
    let pool = mount.from.split(['/', '@']).next()?;
    (mount.fs_type == "zfs" && pool.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(pool)
}
