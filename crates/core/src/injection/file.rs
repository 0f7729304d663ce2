//! Reads and replaces small files. A replacement is complete or has no effect, also after a power cut. It
//! writes through no symbolic link: whoever means a link's file asks for its name first.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::runtime::state_file;

/// The largest file that is read, in bytes. Any rc.conf is much smaller.
const MAX_SIZE: u64 = 1024 * 1024;

/// A file with the properties that a replacement keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner and group. `None` for those of this process.
    pub owner: Option<(u32, u32)>,
}

/// Why a file cannot be read or replaced. A file that could not be replaced is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The path of the file that `path` leads to: an administrator's file may be a symbolic link.
#[must_use]
pub fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The file at `path`, or that a symbolic link there leads to. `None` if there is none.
///
/// # Errors
/// It cannot be read, is no regular file or larger than 1 MiB.
pub fn load(path: &Path) -> Result<Option<Content>, FileError> {
    read(path, OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path))
}

/// A file that only this program writes. `None` if there is none.
///
/// # Errors
/// It cannot be read, is larger than 1 MiB, or is none of this user's own, see [`state_file::open`].
pub fn load_own(path: &Path) -> Result<Option<Content>, FileError> {
    read(path, state_file::open(path, OpenOptions::new().read(true)))
}

fn read(path: &Path, file: io::Result<File>) -> Result<Option<Content>, FileError> {
    let error = |source| FileError { doing: "read", path: path.to_owned(), source };
    let file = match file {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(error(other)),
    };
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() || metadata.len() > MAX_SIZE {
        return Err(error(io::Error::other("it is no regular file of at most 1 MiB")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut bytes).map_err(error)?;
    Ok(Some(Content { bytes, mode: metadata.mode() & 0o7777, owner: Some((metadata.uid(), metadata.gid())) }))
}

/// Replaces the file at `path` by `content`, or removes it if that is `None`. After a power cut it is the old
/// or the new file, complete. A symbolic link is replaced itself. A missing directory is created for root
/// alone.
///
/// # Errors
/// The file is unchanged.
pub fn store(path: &Path, content: Option<&Content>) -> Result<(), FileError> {
    let error = |source| FileError { doing: "write", path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("/"));
    match content {
        Some(content) => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(error)?;
            replace(path, content).map_err(error)?;
        }
        None => match fs::remove_file(path) {
            Err(other) if other.kind() != io::ErrorKind::NotFound => return Err(error(other)),
            _ => {}
        },
    }
    // The name is safe on disk only when the directory is.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(error)
}

/// Removes the new file that a killed process had begun to prepare for `path`, if there is one.
///
/// # Errors
/// It cannot be removed.
pub fn clear(path: &Path) -> Result<(), FileError> {
    let error = |source| FileError { doing: "clear", path: path.to_owned(), source };
    match fs::remove_file(new_beside(path)) {
        Err(other) if other.kind() != io::ErrorKind::NotFound => Err(error(other)),
        _ => Ok(()),
    }
}

/// The new file is beside the old one, so that both are on one file system. Its name is hidden, because rc(8)
/// sources all other files of a directory such as rc.conf.d/network.
fn new_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.hv_kvp_daemon"))
}

fn replace(path: &Path, content: &Content) -> io::Result<()> {
    let new = new_beside(path);
    // A crash may have left one behind. If it cannot be removed, the new one cannot be created.
    let _ = fs::remove_file(&new);
    let written = write_new(&new, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It did not exist before. An error of the removal would only hide the first error.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(path: &Path, content: &Content) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&content.bytes)?;
    if let Some((user, group)) = content.owner {
        fchown(&file, Some(user), Some(group))?;
    }
    // After the owner, because a change of owner clears set-id bits.
    file.set_permissions(fs::Permissions::from_mode(content.mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, mode: u32) -> Content {
        Content { bytes: text.into(), mode, owner: None }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn mode_and_owner_survive_a_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        store(&path, Some(&content("a=1\n", 0o640))).unwrap();
        let mut held = load(&path).unwrap().unwrap();
        assert_eq!((held.mode, held.bytes.as_slice()), (0o640, &b"a=1\n"[..]));
        let before = held.owner;
        held.bytes = b"a=2\n".to_vec();
        store(&path, Some(&held)).unwrap();
        let after = load(&path).unwrap().unwrap();
        assert_eq!((after.mode, after.owner, after.bytes.as_slice()), (0o640, before, &b"a=2\n"[..]));
        assert_eq!(names(dir.path()), ["rc.conf"]);
    }

    #[test]
    fn a_file_is_created_with_its_directory_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/hn0.toml");
        assert_eq!(load(&path).unwrap(), None);
        store(&path, Some(&content("x", 0o600))).unwrap();
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o700);
        store(&path, None).unwrap();
        store(&path, None).unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }

    #[test]
    fn only_what_a_killed_process_has_prepared_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        store(&path, Some(&content("a=1\n", 0o644))).unwrap();
        fs::write(dir.path().join(".rc.conf.hv_kvp_daemon"), "half").unwrap();
        clear(&path).unwrap();
        clear(&path).unwrap();
        assert_eq!(names(dir.path()), ["rc.conf"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        store(&super::real(&link), Some(&content("new", 0o644))).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_planted_link_is_replaced_and_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("hn0.toml"));
        fs::write(&victim, "theirs").unwrap();
        let plants: [fn(&Path, &Path) -> io::Result<()>; 2] =
            [|from, to| std::os::unix::fs::symlink(from, to), |from, to| fs::hard_link(from, to)];
        for plant in plants {
            plant(&victim, &path).unwrap();
            assert!(load_own(&path).is_err());
            store(&path, Some(&content("ours", 0o600))).unwrap();
            assert_eq!(load_own(&path).unwrap().unwrap().bytes, b"ours");
            assert_eq!(fs::read(&victim).unwrap(), b"theirs");
            store(&path, None).unwrap();
        }
        assert_eq!(load_own(&path).unwrap(), None);
    }

    #[test]
    fn leftovers_of_a_crash_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        fs::write(dir.path().join(".rc.conf.hv_kvp_daemon"), "half").unwrap();
        store(&path, Some(&content("whole", 0o644))).unwrap();
        assert_eq!(names(dir.path()), ["rc.conf"]);
    }

    #[test]
    fn a_failure_leaves_the_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        let error = store(&path, Some(&content("new", 0o644))).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
        assert_eq!(names(dir.path()), ["rc.conf"]);
        assert!(load(&path).is_err());
    }

    #[test]
    fn only_regular_files_up_to_one_mebibyte_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        let file = File::create(&path).unwrap();
        for (length, is_read) in [(1_048_576, true), (1_048_577, false)] {
            file.set_len(length).unwrap();
            assert_eq!(load(&path).is_ok(), is_read, "{length}");
        }
        assert!(load(&path.join("below")).is_err(), "a file is no directory");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(load(&fifo).is_err());
    }

    #[test]
    fn what_cannot_be_removed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rc.conf");
        for occupied in [path.clone(), new_beside(&path)] {
            fs::create_dir(&occupied).unwrap();
        }
        assert_eq!(store(&path, None).unwrap_err().to_string(), format!("cannot write {}", path.display()));
        assert_eq!(clear(&path).unwrap_err().to_string(), format!("cannot clear {}", path.display()));
        assert!(store(&path, Some(&content("new", 0o644))).is_err());
    }
}
