//! The facts of a guest's kernel, read from the files of the facts directory. What follows from them is in
//! `file_systems`.
//!
//! `mounts` and `procs` are also read by the guest's programs. The other two files are the simulator's alone:
//!
//! * `md`: a line `DEVICE FILE` says that file systems on this device, its partitions and labels are stored
//!   in a file, as with md(4) of type vnode. DEVICE is a whole name, or the beginning of a partition's name.
//! * `cache`: `dirty PATH on=MOUNT` is an open file that was changed through a mapping which no longer
//!   exists. `flush MOUNT MS` is the time that the buffers of a mount take to write. `busy MOUNT` means that
//!   growfs(8), a snapshot in the making or an umount has it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::mounts::{FsId, Mount};

/// One mapping of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The file.
    pub path: String,
    /// The mount that it is on. For a file that was opened through nullfs, the mount below.
    pub on: String,
    /// Whether stores through it change the file.
    pub stores: bool,
}

/// A process of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// It ended, but is still listed.
    pub gone: bool,
    /// Its mappings.
    pub mappings: Vec<Mapping>,
}

/// The facts of a guest's kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The mount table, oldest first.
    pub mounts: Vec<Mount>,
    /// The running processes.
    pub processes: Vec<Process>,
    /// Devices, and the files in which they are stored.
    pub images: Vec<(String, String)>,
    /// Files with dirty pages that no process maps, and their mounts.
    pub left_dirty: Vec<(String, String)>,
    /// How long the buffers of a mount take to write.
    pub flush_times: Vec<(String, Duration)>,
    /// Mounts that cannot be suspended now.
    pub busy: Vec<String>,
    /// When processes and files last changed, on the clock of the simulator. `None`: just now.
    pub changed: Option<Duration>,
}

impl Facts {
    /// Reads a directory. A file that cannot be read counts as empty: the guest's programs report it. `clock`
    /// converts a file's time to monotonic time.
    #[must_use]
    pub fn load(directory: &Path, clock: impl Fn(SystemTime) -> Duration) -> Self {
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let changed = ["procs", "cache"]
            .iter()
            .filter_map(|name| fs::metadata(directory.join(name)).and_then(|file| file.modified()).ok())
            .max();
        let mut facts = Self {
            mounts: FactsSource::Directory(directory.to_owned()).mounts().unwrap_or_default(),
            processes: parse_processes(&read("procs")),
            images: parse_images(&read("md")),
            changed: changed.map(clock),
            ..Self::default()
        };
        facts.parse_cache(&read("cache"));
        facts
    }

    fn parse_cache(&mut self, text: &str) {
        for line in text.lines() {
            match words(line).as_slice() {
                ["dirty", path, on] => {
                    self.left_dirty.push((unescape(path), unescape(on.trim_start_matches("on="))));
                }
                ["flush", on, milliseconds] => {
                    let time = Duration::from_millis(milliseconds.parse().unwrap_or(0));
                    self.flush_times.push((unescape(on), time));
                }
                ["busy", on] => self.busy.push(unescape(on)),
                _ => {}
            }
        }
    }

    /// The mappings through which a process stores.
    pub fn mapped_writers(&self) -> impl Iterator<Item = (&Process, &Mapping)> {
        let living = self.processes.iter().filter(|process| !process.gone);
        living.flat_map(|process| {
            process.mappings.iter().filter(|map| map.stores).map(move |map| (process, map))
        })
    }

    /// The file in which a device is stored.
    pub(super) fn file_of(&self, device: &str) -> Option<&str> {
        let name = device.strip_prefix("/dev/").unwrap_or(device);
        let found = self.images.iter().find(|(image, _)| {
            name.strip_prefix(image.as_str())
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        found.map(|(_, file)| file.as_str())
    }

    /// How long the buffers of a mount take to write.
    pub(super) fn flush_time(&self, on: &str) -> Duration {
        self.flush_times.iter().find(|(known, _)| known == on).map_or(Duration::ZERO, |(_, time)| *time)
    }
}

/// A sync(2) or fsync(2) of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyncCall {
    /// The file of an fsync(2). `None` for sync(2).
    pub(super) path: Option<String>,
    /// The time of the call, on CLOCK_MONOTONIC.
    pub(super) at: Duration,
}

/// The file `log`, to which programs write `sync PID NS` and `fsync PID NS PATH`, and how far it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncLog {
    read: usize,
}

impl SyncLog {
    /// The calls since the last read.
    pub(super) fn read(&mut self, directory: &Path) -> Vec<SyncCall> {
        let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
        let new = text.get(self.read..).unwrap_or(&text);
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        self.read = text.len() - new.len() + whole;
        new[..whole].lines().filter_map(parse_call).collect()
    }
}

fn parse_call(line: &str) -> Option<SyncCall> {
    let (path, at) = match *words(line).as_slice() {
        ["sync", _, at] => (None, at),
        ["fsync" | "fdatasync", _, at, path] => (Some(unescape(path)), at),
        _ => return None,
    };
    Some(SyncCall { path, at: Duration::from_nanos(at.parse().ok()?) })
}

/// Removes a mount from the table in a facts directory, in one step.
pub(super) fn remove_mount(directory: &Path, FsId([low, high]): FsId) {
    let table = directory.join("mounts");
    let text = fs::read_to_string(&table).unwrap_or_default();
    let (low, high) = (low.to_string(), high.to_string());
    let other =
        |line: &&str| !matches!(*words(line).as_slice(), [_, _, _, _, a, b, ..] if a == low && b == high);
    let rest: String = text.lines().filter(other).map(|line| format!("{line}\n")).collect();
    let new = directory.join("mounts.new");
    // The scratch directory of a finished test may be removed.
    let _ = fs::write(&new, rest).and_then(|()| fs::rename(&new, &table));
}

/// Sets a sysctl in a facts directory, in one step.
pub(super) fn set_sysctl(directory: &Path, name: &str, number: u64) {
    let file = directory.join("sysctl");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let other = |line: &&str| !line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['=', ':']));
    let mut new: String = text.lines().filter(other).map(|line| format!("{line}\n")).collect();
    new.push_str(&format!("{name}={number}\n"));
    let whole = directory.join("sysctl.new");
    // The scratch directory of a finished test may be removed.
    let _ = fs::write(&whole, new).and_then(|()| fs::rename(&whole, &file));
}

fn words(line: &str) -> Vec<&str> {
    line.split_ascii_whitespace().collect()
}

/// Replaces `\040` by a blank.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
}

fn parse_images(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| match words(line).as_slice() {
        [device, file] if !device.starts_with('#') => Some((unescape(device), unescape(file))),
        _ => None,
    };
    text.lines().filter_map(pair).collect()
}

/// Parses `proc PID COMM [gone]…`, each followed by its `map PATH on=MOUNT [ro] [private] [anon]…`.
fn parse_processes(text: &str) -> Vec<Process> {
    let mut processes: Vec<Process> = Vec::new();
    for line in text.lines() {
        match words(line).as_slice() {
            ["proc", pid, command, options @ ..] => processes.push(Process {
                pid: pid.parse().unwrap_or(0),
                command: unescape(command),
                gone: options.contains(&"gone"),
                mappings: Vec::new(),
            }),
            ["map", path, options @ ..] => {
                let on = options.iter().find_map(|option| option.strip_prefix("on=")).unwrap_or_default();
                let stores = !options.iter().any(|option| matches!(*option, "ro" | "private" | "anon"));
                if let Some(process) = processes.last_mut() {
                    process.mappings.push(Mapping { path: unescape(path), on: unescape(on), stores });
                }
            }
            _ => {}
        }
    }
    processes
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn processes_and_their_mappings_are_parsed() {
        let text = "proc 7 sqlite3 jid=2 uid=1001\nmap /db/x-shm on=/db\nmap /lib/libc.so on=/ ro\nmap /db/y on=/db private max=rwx\nmap - on=- anon\n\
                    proc 8 gone\\040one gone\nmap /db/z on=/db\n";
        let facts = Facts { processes: parse_processes(text), ..Facts::default() };
        assert_eq!(facts.processes.len(), 2);
        assert_eq!((facts.processes[1].command.as_str(), facts.processes[1].gone), ("gone one", true));
        let stored: Vec<&str> = facts.mapped_writers().map(|(_, map)| map.path.as_str()).collect();
        assert_eq!(stored, ["/db/x-shm"]);
    }

    #[test]
    fn partitions_and_labels_of_devices_in_files_are_found() {
        let images = parse_images("# images\nmd1 /vm/a.img\nufs/data /vm/b.img\n");
        let facts = Facts { images, ..Facts::default() };
        assert_eq!(facts.file_of("/dev/md1p2"), Some("/vm/a.img"));
        assert_eq!(facts.file_of("/dev/md1"), Some("/vm/a.img"));
        assert_eq!(facts.file_of("/dev/md1.eli"), Some("/vm/a.img"));
        assert_eq!(facts.file_of("/dev/md12"), None);
        assert_eq!(facts.file_of("/dev/ufs/data"), Some("/vm/b.img"));
    }

    #[test]
    fn each_sync_is_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(directory.path().join("log"), text).unwrap();
        let mut log = SyncLog::default();
        assert_eq!(log.read(directory.path()), []);
        write("sync 7 1000\nfsync 7 2000 /boot/efi\nsync 7 30");
        let sync =
            |path: Option<&str>, at| SyncCall { path: path.map(str::to_owned), at: Duration::from_nanos(at) };
        assert_eq!(log.read(directory.path()), [sync(None, 1_000), sync(Some("/boot/efi"), 2_000)]);
        write("sync 7 1000\nfsync 7 2000 /boot/efi\nsync 7 3000\n");
        assert_eq!(log.read(directory.path()), [sync(None, 3_000)]);
        assert_eq!(log.read(directory.path()), []);
    }

    #[test]
    fn changes_of_the_kernel_keep_other_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("mounts"), "ufs / /dev/da0 local 1 7\nufs /a /dev/da1 local 2 7\n").unwrap();
        remove_mount(directory.path(), FsId([2, 7]));
        assert_eq!(fs::read_to_string(path("mounts")).unwrap(), "ufs / /dev/da0 local 1 7\n");
        fs::write(path("sysctl"), "vfs.runningbufspace:long=9\nhw.ncpu=2\n").unwrap();
        set_sysctl(directory.path(), "vfs.runningbufspace", 5);
        let sysctl = fs::read_to_string(path("sysctl")).unwrap();
        assert_eq!(sysctl, "hw.ncpu=2\nvfs.runningbufspace=5\n");
    }

    #[test]
    fn the_file_cache_is_parsed() {
        let mut facts = Facts::default();
        facts.parse_cache("dirty /a\\040b on=/db\nflush / 250\nbusy /x\nnonsense\n");
        assert_eq!(facts.left_dirty, [("/a b".to_owned(), "/db".to_owned())]);
        assert_eq!(facts.flush_time("/"), Duration::from_millis(250));
        assert_eq!(facts.flush_time("/db"), Duration::ZERO);
        assert_eq!(facts.busy, ["/x"]);
    }
}
