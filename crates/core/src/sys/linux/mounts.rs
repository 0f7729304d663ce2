//! The mount table of Linux, for display, and the descriptors of this process that a simulated kernel would
//! object to. Neither is used for a backup of Linux.

use std::ffi::c_int;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::{fs, io};

use crate::sys::mount_table::unescape;
use crate::vss::HeldOpen;
use crate::vss::mounts::{FsId, Mount, mount_of};

/// The mounts of /proc/self/mountinfo, oldest first.
pub(in crate::sys) fn table() -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(mount).collect())
}

/// Parses `36 35 98:0 /root /on rw,noatime master:1 - ext3 /dev/root rw` (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let (major, minor) = left.get(2)?.split_once(':')?;
    let fs_type = (*right.first()?).to_owned();
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        local: !matches!(fs_type.as_str(), "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph"),
        fs_type,
        from: unescape(right.get(1)?),
        on: unescape(left.get(4)?),
        id: FsId([major.parse().ok()?, minor.parse().ok()?]),
        read_only: read_only(left.get(5)?) || right.get(2).is_some_and(|options| read_only(options)),
    })
}

/// See [`crate::sys::system_facts::FactsSource::held_open`]. By path, because a simulated mount is a
/// directory.
pub(in crate::sys) fn held_open(table: &[Mount]) -> io::Result<Vec<HeldOpen>> {
    let mut held = Vec::new();
    // All names are collected first: the descriptor of the listing itself is closed afterwards.
    let names: Vec<_> =
        fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    for name in &names {
        let link = Path::new("/proc/self/fd").join(name);
        let (Some(name), Ok(path)) = (name.to_str(), fs::read_link(link)) else { continue };
        let Ok(descriptor) = name.parse::<c_int>() else { continue };
        let Some(path) = path.to_str().filter(|path| path.starts_with('/') && is_on_disk(name)) else {
            continue;
        };
        if let Some(mount) = mount_of(table, path) {
            let (id, path) = (mount.id, path.to_owned());
            held.push(HeldOpen { descriptor, id, path, writable: is_open_for_writing(name) });
        }
    }
    held.sort_by_key(|held| held.descriptor);
    Ok(held)
}

/// Whether a descriptor is on a disk. A character device is on devfs in a FreeBSD guest, whatever the
/// simulated table says about its path, and a file of a FUSE file system stands for a device.
fn is_on_disk(descriptor: &str) -> bool {
    let metadata = fs::metadata(format!("/proc/self/fd/{descriptor}"));
    metadata.is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_file() || kind.is_dir() || kind.is_fifo()
    })
}

fn is_open_for_writing(descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| c_int::from_str_radix(text.trim(), 8).ok()).unwrap_or(libc::O_RDONLY);
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// Closes all descriptors from this number on.
pub(in crate::sys) fn close_from(first: c_int) {
    // SAFETY: the numbers are plain integers; the caller owns no descriptor yet, so none is closed under
    // anybody's hands.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_parsed() {
        let line = "36 35 98:1 / /mnt\\0401 ro,noatime master:1 shared:2 - nfs4 server:/x rw,vers=4";
        let mount = mount(line).unwrap();
        assert_eq!((mount.fs_type.as_str(), mount.on.as_str()), ("nfs4", "/mnt 1"));
        assert_eq!((mount.from.as_str(), mount.id), ("server:/x", FsId([98, 1])));
        assert!(mount.read_only && !mount.local);
        assert!(super::mount("no such line").is_none());
    }
}
