//! The open descriptors of a process, read from /proc. It reports them; the rules about them are in
//! `file_systems`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use hv_core::vss::mounts::{FsId, Mount, mount_of};

/// The object of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A regular file, directory or FIFO on a mounted file system.
    File {
        /// The file system.
        on: FsId,
        /// The path.
        path: String,
        /// Whether a regular file is open for writing.
        writes: bool,
    },
    /// The simulator's `/dev/ufssuspend`.
    Suspender,
    /// A device, a socket or a pipe, which no suspension affects.
    Other,
}

/// One open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// Its object.
    pub target: Target,
}

impl Descriptor {
    pub(super) fn is_file(&self) -> bool {
        matches!(self.target, Target::File { .. })
    }

    pub(super) fn path(&self) -> &str {
        match &self.target {
            Target::File { path, .. } => path,
            Target::Suspender => "/dev/ufssuspend",
            Target::Other => "",
        }
    }

    /// Whether it is open for writing on this file system.
    pub(super) fn writes_on(&self, id: FsId) -> bool {
        matches!(&self.target, Target::File { on, writes: true, .. } if *on == id)
    }
}

/// All descriptors of a process, in ascending order. A simulated file system is the directory at its mount
/// point; the simulated devices are on none. `None` if the process has ended or is ending.
pub(super) fn of(pid: u32, table: &[Mount]) -> Option<Vec<Descriptor>> {
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| PathBuf::from("/"));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let simulators: Vec<&str> = mounts.lines().filter_map(simulators_mount).collect();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut found: Vec<Descriptor> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().into_string().ok()?.parse().ok()?;
            let target = target(pid, number, &entry.path(), &simulators, &root, table);
            Some(Descriptor { number, target })
        })
        .collect();
    found.sort_by_key(|held| held.number);
    (!found.is_empty()).then_some(found)
}

/// The number that a process gets for the file that it is opening: the lowest free one.
pub(super) fn next_free(pid: u32) -> i32 {
    let numbers = |entries: fs::ReadDir| -> Vec<i32> {
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok()).collect()
    };
    let taken = fs::read_dir(format!("/proc/{pid}/fd")).map(numbers).unwrap_or_default();
    (0..).find(|number| !taken.contains(number)).unwrap_or(-1)
}

/// The id of a mount, if it is one of the simulator's (proc_pid_mountinfo(5)).
fn simulators_mount(line: &str) -> Option<&str> {
    let (left, right) = line.split_once(" - ")?;
    right.starts_with("fuse hvsim ").then(|| left.split(' ').next()).flatten()
}

/// The object of a descriptor. A file of the simulator must not be examined in another way: this thread would
/// have to answer the call.
fn target(pid: u32, number: i32, link: &Path, simulators: &[&str], root: &Path, table: &[Mount]) -> Target {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let field = |name: &str| info.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
    let path = fs::read_link(link).unwrap_or_default();
    if field("mnt_id:").is_some_and(|id| simulators.contains(&id)) {
        return if path.ends_with("ufssuspend") { Target::Suspender } else { Target::Other };
    }
    let Some(kind) =
        path.is_absolute().then(|| fs::metadata(link).ok()).flatten().map(|file| file.file_type())
    else {
        return Target::Other;
    };
    if !(kind.is_file() || kind.is_dir() || kind.is_fifo()) {
        return Target::Other;
    }
    // The path as the process itself sees it.
    let inside = path.strip_prefix(root).map_or(path.clone(), |rest| Path::new("/").join(rest));
    let text = inside.to_string_lossy();
    let Some(mount) = mount_of(table, &text) else { return Target::Other };
    let flags = field("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok()).unwrap_or(0);
    Target::File { on: mount.id, path: text.into_owned(), writes: kind.is_file() && flags & 0o3 != 0 }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_simulators_own_mounts_are_recognised() {
        let fuse = "171 163 0:52 / /tmp/x/dev rw,nosuid,nodev,noatime - fuse hvsim rw,user_id=0";
        assert_eq!(simulators_mount(fuse), Some("171"));
        assert_eq!(simulators_mount("30 1 0:25 / / rw,relatime - fuse sshfs rw"), None);
        assert_eq!(simulators_mount("30 1 0:25 / /hvsim rw,relatime - ext4 hvsim rw"), None);
    }

    #[test]
    fn own_files_and_directories_are_found_on_their_mount() {
        let pid = std::process::id();
        let directory = tempfile::tempdir().unwrap();
        let on = directory.path().to_str().unwrap().to_owned();
        let (fs_type, from) = ("ufs".into(), "/dev/da0".into());
        let mount = Mount { fs_type, from, on, id: FsId([7, 7]), read_only: false, local: true };
        let table = [mount];
        let found = || -> Vec<(String, bool)> {
            let here = |held: Descriptor| match held.target {
                Target::File { path, writes, .. } => Some((path, writes)),
                _ => None,
            };
            of(pid, &table).unwrap().into_iter().filter_map(here).collect()
        };
        let path = directory.path().join("log");
        let text = path.to_str().unwrap().to_owned();
        let file = fs::File::create(&path).unwrap();
        assert_eq!(found(), [(text.clone(), true)]);
        drop(file);
        let _reader = fs::File::open(&path).unwrap();
        assert_eq!(found(), [(text, false)]);
        let _itself = fs::File::open(directory.path()).unwrap();
        assert_eq!(found().len(), 2);
    }

    #[test]
    fn a_missing_process_has_no_descriptors() {
        // Larger than any pid_max.
        assert_eq!(of(1 << 30, &[]), None);
    }
}
