//! Decides which programs can store into which mounts through shared mappings. It is given the mappings of
//! all processes and the device numbers of all mounts; it reads neither itself.
//!
//! Such stores matter because a resume drops the cached pages of the file system, dirty ones too
//! (`ffs_reload()` of ufs/ffs/ffs_vfsops.c calls `vinvalbuf()` without V_SAVE). A store through mmap(2) does
//! not sleep while the file system is suspended, so it would be lost in the running guest.

use super::mounts::{FsId, Mount};
use super::stores::Stores;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The number of its jail; 0 outside jails.
    pub jail: u32,
    /// The name of its command.
    pub program: String,
}

/// A file that a process can store into through a shared mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedFile {
    /// `st_dev` of the file. For a file of a nullfs(4) it is that of the file below it.
    pub device: u64,
    /// A path of it. Empty if the kernel knows none.
    pub path: String,
}

/// A program that can store into a file through memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The file system of the file.
    pub on: FsId,
    /// The program.
    pub process: Process,
    /// A path of the file.
    pub file: String,
}

impl std::fmt::Display for Writer {
    /// `sqlite3 (pid 812, jail 3) maps /var/db/x.db-shm`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Process { pid, jail, program } = &self.process;
        write!(f, "{program} (pid {pid}")?;
        if *jail != 0 {
            write!(f, ", jail {jail}")?;
        }
        let file = if self.file.is_empty() { "a file without a name" } else { &self.file };
        write!(f, ") maps {file}")
    }
}

/// The result of one scan of all processes and devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Which program can store into which mount; each pair once.
    pub writers: Vec<Writer>,
    /// What lies below the mounts.
    pub stores: Stores,
    /// Running programs that make a suspension fail.
    pub at_work: Vec<Process>,
}

/// Commands that suspend or unmount file systems. While one of them runs, a suspension can fail with EBUSY.
const OBSTACLES: [&str; 4] = ["umount", "growfs", "mksnap_ffs", "dump"];

impl Scan {
    /// The programs that can store into this mount.
    pub fn writers_of(&self, id: FsId) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(move |writer| writer.on == id)
    }

    /// Adds the result of another scan.
    pub fn merge(&mut self, other: Self) {
        self.writers.extend(other.writers);
        self.writers.sort();
        self.writers.dedup();
        self.at_work = other.at_work;
        self.stores = other.stores;
    }
}

/// Assigns the mapped files of all processes to the mounts of `table`. `devices` has the `st_dev` of each
/// mount, in the table's order, where it is known.
///
/// A file whose device is not in `devices` may be on any mount whose device is unknown, so it counts for each
/// of them. Where the id of such a mount begins with the number of the device, it counts for that mount only:
/// `vn_stat()` of kern/vfs_vnops.c takes the number from the id for file systems that give none of their own.
#[must_use]
pub fn attribute(
    table: &[Mount],
    devices: &[Option<u64>],
    mapped: Vec<(Process, Vec<MappedFile>)>,
) -> Vec<Writer> {
    let known = |device: u64| table.iter().zip(devices).find(|(_, known)| **known == Some(device));
    let unknown: Vec<&Mount> =
        table.iter().zip(devices).filter(|(_, device)| device.is_none()).map(|(mount, _)| mount).collect();
    let mut writers = Vec::new();
    for (process, files) in mapped {
        for file in files {
            let on: Vec<FsId> = match known(file.device) {
                Some((mount, _)) => vec![mount.id],
                None => by_own_number(&unknown, file.device),
            };
            let writer = |on| Writer { on, process: process.clone(), file: file.path.clone() };
            writers.extend(on.into_iter().map(writer));
        }
    }
    writers.sort();
    writers.dedup();
    writers
}

fn by_own_number(mounts: &[&Mount], device: u64) -> Vec<FsId> {
    let own = |mount: &&&Mount| u64::from(mount.id.0[0].cast_unsigned()) == device;
    match mounts.iter().find(own) {
        Some(mount) => vec![mount.id],
        None => mounts.iter().map(|mount| mount.id).collect(),
    }
}

/// The processes that make a suspension fail while they run.
#[must_use]
pub fn obstacles<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Vec<Process> {
    let at_work = |process: &&Process| OBSTACLES.contains(&process.program.as_str());
    processes.into_iter().filter(at_work).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(on: &str, number: i32) -> Mount {
        crate::vss::fixtures::mount("ufs", "/dev/da0", on, number)
    }

    fn process(pid: u32, program: &str) -> Process {
        Process { pid, jail: 0, program: program.into() }
    }

    fn file(device: u64, path: &str) -> MappedFile {
        MappedFile { device, path: path.into() }
    }

    #[test]
    fn a_file_belongs_to_the_mount_with_its_device() {
        let table = [mount("/", 1), mount("/db", 2)];
        let mapped = vec![
            (process(9, "b"), vec![file(20, "/db/x"), file(20, "/db/x"), file(99, "/tmp/y")]),
            (process(7, "a"), vec![file(10, "")]),
        ];
        let writers = attribute(&table, &[Some(10), Some(20)], mapped);
        let texts: Vec<String> = writers.iter().map(|w| format!("{:?} {w}", w.on.0[0])).collect();
        assert_eq!(texts, ["1 a (pid 7) maps a file without a name", "2 b (pid 9) maps /db/x"]);
    }

    #[test]
    fn a_file_on_no_known_device_counts_for_unknown_mounts() {
        let table = [mount("/", 1), mount("/db", 2), mount("/x", 3)];
        let mapped = vec![(process(9, "b"), vec![file(99, "/y"), file(10, "/z")])];
        let on: Vec<i32> =
            attribute(&table, &[Some(10), None, None], mapped).iter().map(|w| w.on.0[0]).collect();
        assert_eq!(on, [1, 2, 3]);
        let mapped = vec![(process(9, "b"), vec![file(3, "/y")])];
        let on: Vec<i32> =
            attribute(&table, &[Some(10), None, None], mapped).iter().map(|w| w.on.0[0]).collect();
        assert_eq!(on, [3]);
    }

    #[test]
    fn a_writer_names_its_jail() {
        let process = Process { pid: 812, jail: 3, program: "sqlite3".into() };
        let writer = Writer { on: FsId([1, 1]), process, file: "/var/db/x.db-shm".into() };
        assert_eq!(writer.to_string(), "sqlite3 (pid 812, jail 3) maps /var/db/x.db-shm");
    }

    #[test]
    fn merged_scans_have_the_writers_of_both() {
        let writer = |pid| Writer { on: FsId([1, 1]), process: process(pid, "p"), file: "/f".into() };
        let mut scan = Scan { writers: vec![writer(2)], ..Scan::default() };
        scan.merge(Scan { writers: vec![writer(1), writer(2)], ..Scan::default() });
        assert_eq!(scan.writers, [writer(1), writer(2)]);
        assert_eq!(obstacles(&[process(4, "umount"), process(5, "umountx")]), [process(4, "umount")]);
    }
}
