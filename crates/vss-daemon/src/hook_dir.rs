//! Reading the hook directory.

use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hv_core::vss::hooks::{FileFacts, FileKind, Selection, Skipped, select};

/// The hooks of a directory. One that does not exist has none; one that cannot be read is skipped as a whole.
pub(crate) fn list(directory: &Path) -> Selection {
    match read(directory) {
        Ok((facts, entries)) => select(directory, facts, entries, nix::unistd::geteuid().as_raw()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Selection::default(),
        Err(error) => {
            log::debug!("cannot read {}: {error}", directory.display());
            let skipped = Skipped { path: directory.to_owned(), reason: "it cannot be read" };
            Selection { hooks: Vec::new(), skipped: vec![skipped] }
        }
    }
}

fn read(directory: &Path) -> io::Result<(FileFacts, Vec<(OsString, FileFacts)>)> {
    let facts = facts(&fs::metadata(directory)?);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Of a link this tells about the link itself. What vanished meanwhile is no hook.
        if let Ok(metadata) = entry.metadata() {
            entries.push((entry.file_name(), self::facts(&metadata)));
        }
    }
    Ok((facts, entries))
}

fn facts(metadata: &Metadata) -> FileFacts {
    FileFacts { kind: kind(metadata.file_type()), owner: metadata.uid(), mode: metadata.mode() & 0o7777 }
}

fn kind(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::Regular
    } else if file_type.is_dir() {
        FileKind::Directory
    } else if file_type.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_lies_in_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let put = |name: &str, mode: u32| {
            fs::write(path.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        put("20-b", 0o755);
        put("10-a", 0o700);
        put("README", 0o644);
        put("open", 0o777);
        symlink("/bin/sh", path.join("link")).unwrap();
        fs::create_dir(path.join("old")).unwrap();
        let selection = list(path);
        let names: Vec<&str> = selection.hooks.iter().map(|hook| hook.name.as_str()).collect();
        assert_eq!(names, ["10-a", "20-b"]);
        let skipped: Vec<_> = selection.skipped.iter().map(|skipped| skipped.path.clone()).collect();
        assert_eq!(skipped, [path.join("link"), path.join("open")]);
    }

    #[test]
    fn no_directory_means_no_hooks_and_a_file_in_its_place_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list(&directory.path().join("none")), Selection::default());
        fs::write(directory.path().join("file"), "").unwrap();
        assert_eq!(list(&directory.path().join("file")).skipped[0].reason, "it cannot be read");
    }
}
