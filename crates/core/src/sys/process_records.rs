//! Parses the records of kern.proc: struct kinfo_proc and struct kinfo_vmentry of sys/user.h. Pure, so that
//! it is tested on every platform.

use super::freebsd_abi as abi;
use crate::vss::scan::MappedFile;

/// A process as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub pid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// The number of its jail; 0 outside jails.
    pub jail: u32,
    /// The name of its command.
    pub program: String,
}

/// Parses the records of kern.proc.proc. The kernel's own processes are left out, and so are those that have
/// ended: until its parent collects it, the kernel keeps such a process in the list with its arguments
/// (`proc_reap()` of sys/kern/kern_exit.c drops them). `None` if the layout of the records is unknown.
#[must_use]
pub fn processes(bytes: &[u8]) -> Option<Vec<Entry>> {
    let all: Vec<(Entry, bool)> = bytes.chunks(abi::KINFO_PROC_SIZE).map(process).collect::<Option<_>>()?;
    Some(all.into_iter().filter(|(_, is_left_out)| !is_left_out).map(|(entry, _)| entry).collect())
}

/// A process. The second value is true for one of the kernel's own and for one that has ended.
fn process(record: &[u8]) -> Option<(Entry, bool)> {
    let size = usize::try_from(int(record, 0)?).ok()?;
    if size != abi::KINFO_PROC_SIZE || record.len() != size {
        return None;
    }
    let flags = long(record, abi::KI_FLAG)?;
    let comm = record.get(abi::KI_COMM..abi::KI_COMM + abi::COMMLEN)?;
    let entry = Entry {
        pid: u32::try_from(int(record, abi::KI_PID)?).ok()?,
        parent: u32::try_from(int(record, abi::KI_PPID)?).unwrap_or(0),
        jail: u32::try_from(int(record, abi::KI_JID)?).unwrap_or(0),
        program: text(comm),
    };
    let has_ended = *record.get(abi::KI_STAT)? == abi::SZOMB;
    Some((entry, has_ended || flags & abi::P_SYSTEM != 0))
}

/// The number of threads of a process, from its record of kern.proc.pid.
#[must_use]
pub fn threads(record: &[u8]) -> Option<u32> {
    u32::try_from(int(record, abi::KI_NUMTHREADS)?).ok()
}

/// The files in kern.proc.vmmap that the process can store into: writable shared mappings of files. `None` if
/// the layout of the records is unknown.
#[must_use]
pub fn mapped_files(mut bytes: &[u8]) -> Option<Vec<MappedFile>> {
    let mut files = Vec::new();
    while !bytes.is_empty() {
        let size = usize::try_from(int(bytes, abi::KVE_STRUCTSIZE)?).ok()?;
        if size <= abi::KVE_PATH {
            return None;
        }
        let record = bytes.get(..size)?;
        bytes = bytes.get(size..)?;
        let is_file = int(record, abi::KVE_TYPE)? == abi::KVME_TYPE_VNODE;
        let is_written = int(record, abi::KVE_PROTECTION)? & abi::KVME_PROT_WRITE != 0;
        let is_shared = int(record, abi::KVE_FLAGS)? & abi::KVME_FLAG_COW == 0;
        if is_file && is_written && is_shared {
            let device = long(record, abi::KVE_VN_FSID)?;
            let path = match text(record.get(abi::KVE_PATH..)?) {
                // The kernel has no name for it, because `vn_fullpath()` only uses the name cache. find -inum
                // can find it.
                name if name.is_empty() => format!("inode {}", long(record, abi::KVE_VN_FILEID)?),
                name => name,
            };
            files.push(MappedFile { device, path });
        }
    }
    files.sort();
    files.dedup();
    Some(files)
}

fn int(bytes: &[u8], offset: usize) -> Option<i32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(i32::from_ne_bytes(field.try_into().ok()?))
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..offset + 8)?;
    Some(u64::from_ne_bytes(field.try_into().ok()?))
}

fn text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(record: &mut [u8], offset: usize, bytes: &[u8]) {
        record[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn process_record(pid: i32, jail: i32, comm: &str, flags: u64) -> Vec<u8> {
        let mut record = vec![0; abi::KINFO_PROC_SIZE];
        put(&mut record, 0, &1088_i32.to_ne_bytes());
        put(&mut record, abi::KI_PID, &pid.to_ne_bytes());
        put(&mut record, abi::KI_PPID, &1_i32.to_ne_bytes());
        put(&mut record, abi::KI_JID, &jail.to_ne_bytes());
        put(&mut record, abi::KI_NUMTHREADS, &3_i32.to_ne_bytes());
        put(&mut record, abi::KI_COMM, comm.as_bytes());
        put(&mut record, abi::KI_FLAG, &flags.to_ne_bytes());
        record
    }

    fn mapping(kind: i32, protection: i32, flags: i32, device: u64, path: &str) -> Vec<u8> {
        // The kernel rounds each record up to eight bytes.
        let size = (abi::KVE_PATH + path.len() + 1).next_multiple_of(8);
        let mut record = vec![0; size];
        put(&mut record, abi::KVE_STRUCTSIZE, &i32::try_from(size).unwrap().to_ne_bytes());
        put(&mut record, abi::KVE_TYPE, &kind.to_ne_bytes());
        put(&mut record, abi::KVE_PROTECTION, &protection.to_ne_bytes());
        put(&mut record, abi::KVE_FLAGS, &flags.to_ne_bytes());
        put(&mut record, abi::KVE_VN_FSID, &device.to_ne_bytes());
        put(&mut record, abi::KVE_VN_FILEID, &4711_u64.to_ne_bytes());
        put(&mut record, abi::KVE_PATH, path.as_bytes());
        record
    }

    #[test]
    fn processes_of_the_kernel_and_ended_ones_are_left_out() {
        let mut ended = process_record(900, 0, "dhclient", 0);
        put(&mut ended, abi::KI_STAT, &[abi::SZOMB]);
        let bytes = [
            process_record(0, 0, "kernel", abi::P_SYSTEM),
            ended,
            process_record(812, 3, "a-command-name-19ch", 0x1000_4000),
        ]
        .concat();
        let process = Entry { pid: 812, parent: 1, jail: 3, program: "a-command-name-19ch".into() };
        assert_eq!(processes(&bytes), Some(vec![process]));
        assert_eq!(threads(&bytes), Some(3));
        assert_eq!(processes(&[]), Some(vec![]));
    }

    #[test]
    fn records_of_another_size_are_refused() {
        let mut bytes = process_record(1, 0, "init", 0);
        assert_eq!(processes(&bytes[..1000]), None);
        put(&mut bytes, 0, &1096_i32.to_ne_bytes());
        assert_eq!(processes(&bytes), None);
    }

    #[test]
    fn only_shared_writable_mappings_of_files_are_kept() {
        const READ: i32 = 1;
        const WRITE: i32 = 2;
        let bytes = [
            mapping(2, READ | WRITE, 0, 77, "/db/x"),
            mapping(2, READ | WRITE, 0, 77, "/db/x"),
            mapping(2, READ, 0, 77, "/bin/sh"),
            mapping(2, READ | WRITE, 1, 77, "/lib/libc.so.7"),
            mapping(1, READ | WRITE, 0, 77, ""),
            mapping(2, WRITE, 0, 1 << 40, ""),
        ]
        .concat();
        let file = |device, path: &str| MappedFile { device, path: path.into() };
        assert_eq!(mapped_files(&bytes), Some(vec![file(77, "/db/x"), file(1 << 40, "inode 4711")]));
    }

    #[test]
    fn a_mapping_that_is_cut_or_empty_is_refused() {
        let bytes = mapping(2, 3, 0, 77, "/db/x");
        for end in 1..bytes.len() {
            assert_eq!(mapped_files(&bytes[..end]), None, "{end}");
        }
        let mut short = bytes;
        put(&mut short, 0, &100_i32.to_ne_bytes());
        assert_eq!(mapped_files(&short), None);
    }
}
