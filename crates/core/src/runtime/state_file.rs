//! Opening the files in which the programs keep state, in directories such as /var/run and /var/db/hyperv. It
//! never follows a link and never waits; it neither reads nor writes.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The permissions of a file that is created.
pub const MODE: u32 = 0o600;

/// Opens a file of this user; `options` are those of the call, and a new file gets [`MODE`].
///
/// # Errors
/// The error of open(2), in particular for a symbolic link; `InvalidInput` for what is no regular file, has a
/// second name or belongs to another user.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let (file, metadata) = open_of_anybody(path, options)?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    Ok(file)
}

/// The same for a file of any owner.
///
/// # Errors
/// See [`open`].
pub fn open_of_anybody(path: &Path, options: &mut OpenOptions) -> io::Result<(File, Metadata)> {
    // A FIFO must not block, and a terminal not become this process's own.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.mode(MODE).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    // FreeBSD lets anybody make a hard link to a file of root's in a directory that is open to others
    // (security.bsd.hardlink_check_uid; `can_hardlink` of sys/kern/vfs_syscalls.c). A link that was removed
    // after open(2) shows in the path, which must still lead to the file and be its only name. A link that is
    // being removed during this look does not show: Linux lowers the number of names before the name is gone.
    is_only_name(&metadata, &fs::symlink_metadata(path)?)?;
    Ok((file, metadata))
}

/// Whether what is at the path now is the opened file, without another name.
fn is_only_name(opened: &Metadata, there: &Metadata) -> io::Result<()> {
    if there.nlink() > 1 {
        return Err(refused("it has another name, a hard link"));
    }
    if (there.dev(), there.ino()) != (opened.dev(), opened.ino()) {
        return Err(refused("something else has taken its place"));
    }
    Ok(())
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_that_has_lost_or_shares_its_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let look = |name: &str| fs::symlink_metadata(path(name)).unwrap();
        fs::write(path("state"), "").unwrap();
        fs::write(path("other"), "").unwrap();
        assert!(is_only_name(&look("state"), &look("state")).is_ok());
        assert!(is_only_name(&look("state"), &look("other")).is_err());
        fs::hard_link(path("state"), path("second")).unwrap();
        assert!(is_only_name(&look("state"), &look("second")).is_err());
    }

    #[test]
    fn only_a_file_of_its_own_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let open = |name: &str| open(&path(name), OpenOptions::new().write(true).create(true));
        fs::write(path("victim"), "theirs").unwrap();
        symlink(path("victim"), path("link")).unwrap();
        fs::hard_link(path("victim"), path("second name")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "second name", "fifo"] {
            assert!(open(name).is_err(), "{name}");
        }
        assert_eq!(open("new").unwrap().metadata().unwrap().mode() & 0o7777, MODE);
        assert_eq!(fs::read_to_string(path("victim")).unwrap(), "theirs");
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(path("new"), Some(1), None).unwrap();
            assert!(open("new").is_err());
        }
    }
}
