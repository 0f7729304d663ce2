//! Which file lies at a path, without the question when it was changed.
//!
//! Linux 6.13 and later give a file whose time was asked for a time of its own at the next write
//! (`fill_mg_cmtime()` of fs/stat.c), which makes its inode dirty: on ext4 the fdatasync(2) behind it took
//! half as long again. FreeBSD's `ufs_getattr()` has no such cost, so plain lstat(2) is right there.

use std::io;
use std::path::Path;

/// Device and inode of what lies at `path`, which is not followed if it is a symbolic link, and its size in
/// bytes.
///
/// # Errors
/// What lstat(2) says.
#[cfg(not(target_os = "linux"))]
pub fn at(path: &Path) -> io::Result<((u64, u64), u64)> {
    by_lstat(path)
}

/// Device and inode of what lies at `path`, which is not followed if it is a symbolic link, and its size in
/// bytes.
///
/// # Errors
/// What statx(2) says.
#[cfg(target_os = "linux")]
pub fn at(path: &Path) -> io::Result<((u64, u64), u64)> {
    use std::os::unix::ffi::OsStrExt;

    let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends with a NUL and the other pointer is to a place for one statx; neither is kept.
    // The structure consists of integers, so it is initialised whether the call succeeds or not.
    let (result, found) = unsafe {
        let result = libc::statx(
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE,
            found.as_mut_ptr(),
        );
        (result, found.assume_init())
    };
    if result == 0 {
        let device = libc::makedev(found.stx_dev_major, found.stx_dev_minor);
        return Ok(((device, found.stx_ino), found.stx_size));
    }
    match io::Error::last_os_error() {
        // Where a sandbox does not know the call.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => by_lstat(path),
        error => Err(error),
    }
}

fn by_lstat(path: &Path) -> io::Result<((u64, u64), u64)> {
    use std::os::unix::fs::MetadataExt;

    let there = std::fs::symlink_metadata(path)?;
    Ok(((there.dev(), there.ino()), there.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_tell_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, link) = (scratch.path().join("file"), scratch.path().join("link"));
        std::fs::write(&file, [1; 2561]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [file.as_path(), &link, scratch.path(), Path::new("/dev/null")] {
            assert_eq!(at(path).unwrap(), by_lstat(path).unwrap(), "{}", path.display());
        }
        assert_eq!(at(&file).unwrap().1, 2561);
        assert_ne!(at(&file).unwrap().0, at(&link).unwrap().0);
        assert_eq!(at(&scratch.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
