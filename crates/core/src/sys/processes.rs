//! The files that all processes have mapped, and the devices below the mounts. It collects both for a scan,
//! which `vss::scan` and `vss::stores` evaluate.

use std::io;

use super::system_facts::FactsSource;
use super::{os, simulated};
use crate::vss::mounts::{FsId, Mount};
use crate::vss::scan::{MappedFile, Process, Scan, attribute, obstacles};
use crate::vss::stores::{Graph, find, locate_by_path};

impl FactsSource {
    /// All processes except the kernel's own, each with the files that it can store into through memory.
    ///
    /// It takes locks of the processes' maps and of the files in them. A file on a dead file server can block
    /// it for ever and uninterruptibly, so it must be called in a child process that can be left behind.
    ///
    /// In a directory of facts they are in the file `procs`, with lines `proc PID COMM [jid=N] [gone]
    /// [slow=MS]`, each followed by its lines `map PATH on=MOUNTPOINT [ro] [private] [anon]`; `\040` is a
    /// blank. Without the file there are none.
    ///
    /// # Errors
    /// sysctl(3) failed, its records have another layout, or a process may not be read.
    pub fn mapped_files(&self, table: &[Mount]) -> io::Result<Vec<(Process, Vec<MappedFile>)>> {
        match self {
            Self::System => os::processes::mapped_files(),
            Self::Directory(directory) => simulated::mapped_files(directory, table),
        }
    }

    /// The `st_dev` of each mount, in the table's order. `None` if it is unknown, because another mount
    /// covers the mount and its device has no name. It can block like [`Self::mapped_files`].
    #[must_use]
    pub fn device_numbers(&self, table: &[Mount]) -> Vec<Option<u64>> {
        match self {
            Self::System => os::processes::device_numbers(table),
            Self::Directory(_) => table.iter().map(|mount| Some(simulated::device_number(mount))).collect(),
        }
    }

    /// Scans all processes and all devices. `vdevs` are the devices of ZFS pools, by pool. It must be called
    /// in a child process, see [`Self::mapped_files`].
    ///
    /// # Errors
    /// As [`Self::mapped_files`], or the devices cannot be read.
    pub fn scan(&self, table: &[Mount], vdevs: &[(String, String)]) -> io::Result<Scan> {
        let graph = self.sysctl_text("kern.geom.confxml")?.unwrap_or_default();
        // Only UFS can be suspended, and stat(2) on the mount point of a dead file server would block.
        let ufs: Vec<Mount> = table.iter().filter(|mount| mount.fs_type == "ufs").cloned().collect();
        let devices = self.device_numbers(&ufs);
        let mapped = self.mapped_files(table)?;
        let at_work = obstacles(mapped.iter().map(|(process, _)| process));
        let locate = |file: &str| self.locate(table, &ufs, &devices, file);
        let stores = find(&Graph::parse(&graph), table, vdevs, locate);
        Ok(Scan { writers: attribute(&ufs, &devices, mapped), stores, at_work })
    }

    /// The mounts that a file may be on: by its device, and by its name if that gives another mount.
    fn locate(&self, table: &[Mount], ufs: &[Mount], devices: &[Option<u64>], file: &str) -> Vec<FsId> {
        let mut found: Vec<FsId> = locate_by_path(table, file).into_iter().collect();
        if let (Self::System, Some(device)) = (self, os::processes::device_number_of(file)) {
            let by_device = ufs.iter().zip(devices).filter(|(_, known)| **known == Some(device));
            found.extend(by_device.map(|(mount, _)| mount.id));
            found.sort_unstable_by_key(|id| id.0);
            found.dedup();
        }
        found
    }
}

/// While this exists, the kernel does not count resident pages for kern.proc.vmmap, which takes longer than
/// the rest of the call. The switch concerns the whole system, so it must be short.
#[derive(Debug)]
pub struct WithoutResidentCounts {
    restore: bool,
}

const SKIP: &str = "kern.proc_vmmap_skip_resident_count";

impl WithoutResidentCounts {
    /// Sets the switch. No effect if the kernel has none, or if it is already set.
    #[must_use]
    pub fn begin(source: &FactsSource) -> Self {
        let off = *source == FactsSource::System && matches!(source.sysctl_number(SKIP), Ok(Some(0)));
        Self { restore: off && os::processes::set_sysctl(SKIP, 1).is_ok() }
    }

    /// No effect.
    #[must_use]
    pub fn none() -> Self {
        Self { restore: false }
    }
}

impl Drop for WithoutResidentCounts {
    fn drop(&mut self) {
        if self.restore {
            // It was set from 0 to 1 before, so it can be reset. A failure leaves counts out of procstat -v.
            let _ = os::processes::set_sysctl(SKIP, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(procs: &str, sysctl: &str) -> io::Result<Scan> {
        let directory = tempfile::tempdir().unwrap();
        let mounts =
            "ufs / /dev/da0p2 local 7 1\nufs /db\\0401 /dev/da1 local -9 1\nufs /box /dev/md0 local 5 1\n";
        std::fs::write(directory.path().join("mounts"), mounts).unwrap();
        std::fs::write(directory.path().join("procs"), procs).unwrap();
        std::fs::write(directory.path().join("sysctl"), sysctl).unwrap();
        let source = FactsSource::Directory(directory.path().to_owned());
        source.scan(&source.mounts().unwrap(), &[])
    }

    #[test]
    fn processes_of_a_directory_are_scanned() {
        let text = "# a guest\nproc 1 init\nproc 812 sql\\040ite jid=3 uid=5\nmap /db\\0401/x on=/db\\0401\n\
                    map /etc/ro on=/ ro\nmap /lib/c on=/ private\nmap - on=/ anon\nproc 900 late gone\nmap /y on=/\n\
                    proc 901 umount\nmap /z on=/nowhere\nmap /n/x on=/n\n";
        let scan = scan(text, "").unwrap();
        let writers: Vec<String> = scan.writers.iter().map(|w| format!("{} {w}", w.on)).collect();
        assert_eq!(writers, ["fffffff7:00000001 sql ite (pid 812, jail 3) maps /db 1/x"]);
        assert_eq!(scan.at_work.len(), 1);
    }

    #[test]
    fn devices_of_a_directory_are_scanned() {
        let xml = "<mesh><class id=\"1\"><name>MD</name><geom id=\"2\"><class ref=\"1\"/><name>md0</name><provider id=\"3\">\
                   <mode>r1w1e1</mode><name>md0</name><config><type>vnode</type><file>/box.img</file></config></provider></geom></class></mesh>";
        let scan = scan("", &format!("kern.geom.confxml:str={xml}\n")).unwrap();
        assert_eq!((scan.stores.held.len(), scan.stores.held[0].holder), (1, FsId([7, 1])));
    }

    #[test]
    fn a_malformed_line_is_an_error_that_quotes_it() {
        for text in ["proc", "proc x y", "map /x on=/", "proc 1 a\nmap /x", "thread 1 a", "proc 1 a slow=x"] {
            assert!(scan(text, "").unwrap_err().to_string().contains("is no line of procs"), "{text}");
        }
    }

    #[test]
    fn the_running_system_can_be_scanned() {
        let table = FactsSource::System.mounts().unwrap();
        assert_eq!(FactsSource::System.device_numbers(&table).len(), table.len());
        drop(WithoutResidentCounts::begin(&FactsSource::System));
    }
}
