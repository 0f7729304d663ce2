//! Which file is at a path: device, inode and size, without reading its time of change.
//!
//! Linux 6.13 and later give a file whose time was read a time of its own at the next write
//! (`fill_mg_cmtime()` of fs/stat.c). That makes its inode dirty: on ext4 the fdatasync(2) after it took half
//! as long again. FreeBSD's `ufs_getattr()` has no such cost, so plain lstat(2) is used there.

use std::io;
use std::path::Path;

/// Device, inode and size in bytes of the file at `path`. A symbolic link is not followed.
///
/// # Errors
/// The error of lstat(2).
#[cfg(not(target_os = "linux"))]
pub fn at(path: &Path) -> io::Result<((u64, u64), u64)> {
    by_lstat(path)
}

/// Device, inode and size in bytes of the file at `path`. A symbolic link is not followed.
///
/// # Errors
/// The error of statx(2).
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
        // A sandbox may not know the call.
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
    fn statx_and_lstat_agree() {
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
