//! The mount table by getfsstat(2), and the descriptors of this process that would prevent UFSSUSPEND. It
//! judges neither.

use std::ffi::{c_char, c_int, c_long};
use std::mem::MaybeUninit;
use std::{io, ptr};

use crate::sys::freebsd_abi as abi;
use crate::vss::HeldOpen;
use crate::vss::mounts::{FsId, Mount};

/// Higher descriptors are not examined: the programs close inherited ones first and never have so many.
const DESCRIPTORS: c_int = 256;

/// All mounts, oldest first.
pub(in crate::sys) fn table() -> io::Result<Vec<Mount>> {
    let mut room = count()? + 4;
    loop {
        let mut entries: Vec<MaybeUninit<libc::statfs>> = Vec::with_capacity(room);
        let bytes = c_long::try_from(room * abi::STATFS_SIZE).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the vector has room for `bytes` bytes of entries.
        let found = unsafe { libc::getfsstat(entries.as_mut_ptr().cast(), bytes, abi::MNT_NOWAIT) };
        let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
        if found >= room {
            // File systems were mounted meanwhile, so the table may be cut.
            room = found.max(room) * 2;
            continue;
        }
        // SAFETY: the kernel has filled the first `found` entries, which are fewer than there is room for.
        unsafe { entries.set_len(found) };
        // SAFETY: each was filled by the kernel.
        return Ok(entries.iter().map(|entry| mount(unsafe { entry.assume_init_ref() })).collect());
    }
}

fn count() -> io::Result<usize> {
    // SAFETY: without a buffer getfsstat(2) only counts.
    let count = unsafe { libc::getfsstat(ptr::null_mut(), 0, abi::MNT_NOWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn mount(entry: &libc::statfs) -> Mount {
    Mount {
        fs_type: text(&entry.f_fstypename),
        from: text(&entry.f_mntfromname),
        on: text(&entry.f_mntonname),
        id: id(entry),
        read_only: entry.f_flags & abi::MNT_RDONLY != 0,
        local: entry.f_flags & abi::MNT_LOCAL != 0,
    }
}

pub(super) fn id(entry: &libc::statfs) -> FsId {
    // SAFETY: fsid_t is a structure of exactly two i32 (sys/_fsid.h), which libc keeps private; the sizes are
    // the same or this does not compile.
    FsId(unsafe { std::mem::transmute::<libc::fsid_t, [i32; 2]>(entry.f_fsid) })
}

fn text(field: &[c_char]) -> String {
    // c_char is signed on amd64 and unsigned on arm64.
    let bytes: Vec<u8> = field.iter().flat_map(|c| c.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// See [`crate::sys::system_facts::FactsSource::held_open`].
pub(in crate::sys) fn held_open(table: &[Mount]) -> io::Result<Vec<HeldOpen>> {
    let held = (0..DESCRIPTORS).filter_map(|descriptor| {
        let id = file_system_of(descriptor)?;
        let known = table.iter().any(|mount| mount.id == id && mount.fs_type != "devfs");
        let writable = flags(descriptor)? & libc::O_ACCMODE != libc::O_RDONLY;
        known.then(|| HeldOpen { descriptor, id, path: path_of(descriptor), writable })
    });
    Ok(held.collect())
}

fn flags(descriptor: c_int) -> Option<c_int> {
    // SAFETY: F_GETFL takes no pointer; a number that is no descriptor is an error.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    (flags != -1).then_some(flags)
}

/// The file system of a descriptor, if it is a file, a directory or a FIFO.
fn file_system_of(descriptor: c_int) -> Option<FsId> {
    if !is_vnode_that_sleeps(descriptor) {
        return None;
    }
    let mut entry = MaybeUninit::uninit();
    // SAFETY: the pointer is to room for one statfs. A pipe or a socket is an error.
    if unsafe { libc::fstatfs(descriptor, entry.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: fstatfs(2) succeeded, so it filled the structure.
    Some(id(unsafe { entry.assume_init_ref() }))
}

/// Whether closing the descriptor calls `vn_start_write()` (`vn_closefile()` of kern/vfs_vnops.c). Devices
/// are on devfs, which is never suspended. A pipe of pipe(2) has no vnode, though fstat(2) calls it a FIFO.
fn is_vnode_that_sleeps(descriptor: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the pointer is to room for one stat; a number that is no descriptor is an error.
    if unsafe { libc::fstat(descriptor, status.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: fstat(2) succeeded, so it filled the structure.
    match unsafe { status.assume_init_ref() }.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => true,
        libc::S_IFIFO => kind_and_path(descriptor).is_none_or(|(kind, _)| kind != abi::KF_TYPE_PIPE),
        _ => false,
    }
}

fn path_of(descriptor: c_int) -> String {
    kind_and_path(descriptor).map(|(_, path)| path).unwrap_or_default()
}

/// The result of F_KINFO. Kernels before 13.1 do not have it.
fn kind_and_path(descriptor: c_int) -> Option<(c_int, String)> {
    let mut info = MaybeUninit::<libc::kinfo_file>::zeroed();
    let size = c_int::try_from(abi::KINFO_FILE_SIZE).ok()?;
    // SAFETY: the structure begins with its size, which the kernel wants to find there, and all its bytes are
    // zero.
    unsafe { info.as_mut_ptr().cast::<c_int>().write(size) };
    // SAFETY: the pointer is to room for one kinfo_file.
    if unsafe { libc::fcntl(descriptor, libc::F_KINFO, info.as_mut_ptr()) } == -1 {
        return None;
    }
    // SAFETY: all bytes of the structure were zero or were written by the kernel, and every pattern is valid.
    let info = unsafe { info.assume_init_ref() };
    Some((info.kf_type, text(&info.kf_path)))
}

/// Closes all descriptors from this number on.
pub(in crate::sys) fn close_from(first: c_int) {
    // SAFETY: the caller owns no descriptor yet, so none is closed under anybody's hands.
    unsafe { libc::closefrom(first) };
}
