//! The mount table by getfsstat(2), and which of this process's descriptors stand in the way of UFSSUSPEND.

use std::ffi::{c_char, c_int, c_long};
use std::mem::MaybeUninit;
use std::{io, ptr};

use crate::sys::freebsd_abi as abi;
use crate::vss::HeldOpen;
use crate::vss::mounts::{FsId, Mount};

/// More descriptors are not looked at: the programs close inherited ones first and never hold so many.
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
            // File systems were mounted meanwhile: the table may be cut.
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

fn id(entry: &libc::statfs) -> FsId {
    // SAFETY: fsid_t is a structure of exactly two i32 (sys/_fsid.h), which libc keeps private; the sizes are the same
    // or this does not compile.
    FsId(unsafe { std::mem::transmute::<libc::fsid_t, [i32; 2]>(entry.f_fsid) })
}

fn text(field: &[c_char]) -> String {
    // c_char is signed on amd64 and unsigned on arm64.
    let bytes: Vec<u8> = field.iter().flat_map(|c| c.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// See [`crate::sys::system_facts::FactsSource::held_open_for_writing`].
pub(in crate::sys) fn held_open_for_writing(table: &[Mount]) -> io::Result<Vec<HeldOpen>> {
    let held = (0..DESCRIPTORS).filter_map(|descriptor| {
        let id = written_file_system(descriptor)?;
        table.iter().any(|mount| mount.id == id).then_some(HeldOpen { descriptor, id })
    });
    Ok(held.collect())
}

/// Where a descriptor writes, if it is a file that is open for writing.
fn written_file_system(descriptor: c_int) -> Option<FsId> {
    // SAFETY: F_GETFL takes no pointer; a number that is no descriptor is an error.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY || !is_regular_file(descriptor) {
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

/// The kernel minds only files: a directory cannot be open for writing, devices are on devfs, and a fifo is no vnode to it.
fn is_regular_file(descriptor: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the pointer is to room for one stat; a number that is no descriptor is an error.
    if unsafe { libc::fstat(descriptor, status.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: fstat(2) succeeded, so it filled the structure.
    let mode = unsafe { status.assume_init_ref() }.st_mode;
    mode & libc::S_IFMT == libc::S_IFREG
}

/// Closes all descriptors from this one on.
pub(in crate::sys) fn close_from(first: c_int) {
    // SAFETY: the caller owns no descriptor yet, so none is closed under anybody's hands.
    unsafe { libc::closefrom(first) };
}
