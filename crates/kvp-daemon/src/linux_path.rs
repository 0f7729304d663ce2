//! Keeps a symbolic link at the path where programs for Linux expect the pools. It never replaces a file or
//! directory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Makes `link` point to the pools. A file or directory at its path is left alone. Missing parents are
/// created.
///
/// # Errors
/// The error of the system, or that the path is in use. Nothing is changed then, except that parents may have
/// been created.
pub(crate) fn keep(link: &Path, pool_dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(metadata) if !metadata.is_symlink() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else lies there"));
        }
        Ok(_) if fs::read_link(link)? == pool_dir => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))?;
        }
        Err(error) => return Err(error),
    }
    // The link never disappears in between, and never replaces a directory, because rename(2) does not
    // replace a directory by a link.
    let new = link.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(pool_dir, &new)?;
    fs::rename(&new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_created_and_updated() {
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("var/lib/hyperv");
        for target in ["/one", "/one", "/two"] {
            keep(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_real_directory_or_file_is_never_touched() {
        let scratch = tempfile::tempdir().unwrap();
        let (directory, file) = (scratch.path().join("directory"), scratch.path().join("file"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(".kvp_pool_1"), "precious").unwrap();
        fs::write(&file, "precious").unwrap();
        for path in [&directory, &file] {
            assert_eq!(keep(path, Path::new("/pool")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(directory.join(".kvp_pool_1")).unwrap(), b"precious");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
}
