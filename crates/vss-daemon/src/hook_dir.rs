//! Reads the hook directory. It hands the entries with their owners and permissions to `hv_core`, which
//! decides what is run. It never opens or runs a file.

use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hv_core::vss::hooks::{FileFacts, FileKind, Hook, Selection, distrust_above, select};

/// The hooks of a directory. A directory that does not exist has none. One that cannot be read is a fault.
pub(crate) fn list(directory: &Path) -> Selection {
    let user = nix::unistd::geteuid().as_raw();
    match read(directory).and_then(|found| Ok((found, distrust_place(directory, user)?))) {
        Ok((_, Some(reason))) => Selection::unusable(directory, reason),
        Ok(((facts, entries), None)) => select(directory, facts, entries, user),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Selection::default(),
        Err(error) => Selection::unusable(directory, format!("it cannot be read: {error}")),
    }
}

/// Why a hook that was listed before is not run now. It may have waited for others meanwhile.
pub(crate) fn distrust(hook: &Hook) -> Option<String> {
    let directory = hook.path.parent().unwrap_or(Path::new("/"));
    let now = list(directory);
    if now.hooks.contains(hook) {
        return None;
    }
    let is_about = |path: &Path| path == hook.path || path == directory;
    let mut reasons = now.faults.into_iter().chain(now.passed_over).filter(|skipped| is_about(&skipped.path));
    Some(reasons.next().map_or_else(|| format!("{} is gone", hook.path.display()), |why| why.to_string()))
}

/// Why the directories above cannot be trusted, on the way that the configuration names and on the real one.
fn distrust_place(directory: &Path, user: u32) -> io::Result<Option<String>> {
    let root = fs::metadata("/")?.uid();
    for way in [directory, &fs::canonicalize(directory)?] {
        for above in way.ancestors().skip(1) {
            let facts = facts(&fs::symlink_metadata(above)?);
            if let Some(reason) = distrust_above(facts, user, root) {
                return Ok(Some(format!("{} above it: {reason}", above.display())));
            }
        }
    }
    Ok(None)
}

type Entry = (OsString, Result<FileFacts, String>);

fn read(directory: &Path) -> io::Result<(FileFacts, Vec<Entry>)> {
    let facts = facts(&fs::symlink_metadata(directory)?);
    if facts.kind != FileKind::Directory {
        return Ok((facts, Vec::new()));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // For a link this describes the link itself. A file that vanished meanwhile is no hook.
        let facts = match entry.metadata() {
            Ok(metadata) => Ok(self::facts(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(format!("it cannot be looked at: {error}")),
        };
        entries.push((entry.file_name(), facts));
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
    fn entries_become_hooks_faults_or_are_passed_over() {
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
        let paths = |list: &[hv_core::vss::hooks::Skipped]| -> Vec<_> {
            list.iter().map(|skipped| skipped.path.clone()).collect()
        };
        assert_eq!(paths(&selection.faults), [path.join("link"), path.join("open")]);
        assert_eq!(paths(&selection.passed_over), [path.join("README"), path.join("old")]);
    }

    #[test]
    fn no_directory_means_no_hooks_and_files_are_faults() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list(&directory.path().join("none")), Selection::default());
        fs::write(directory.path().join("file"), "").unwrap();
        assert_eq!(list(&directory.path().join("file")).faults[0].reason, "it is not a directory");
        // A link to a directory is refused, too.
        symlink(directory.path(), directory.path().join("link")).unwrap();
        assert_eq!(list(&directory.path().join("link")).faults[0].reason, "it is a symbolic link");
    }
}
