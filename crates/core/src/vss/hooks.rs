//! Decides which files of the hook directory are run, and in what order. It is given the entries with their
//! owners and permissions; it reads no directory and runs nothing.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Write permission for group or others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Only its owner, and that of the directory, can rename or remove an entry (`ufs_delete_denied` of
/// sys/ufs/ufs/ufs_lookup.c).
const STICKY: u32 = 0o1000;
/// Execute permission for owner, group or others.
const EXECUTABLE: u32 = 0o111;

/// Why a hook is run. The word is its only argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before a freeze: the application shall bring its data to rest.
    Freeze,
    /// After a good backup: the file systems are writable again.
    Thaw,
    /// After a failed backup: the file systems are writable again, or were never frozen.
    Abort,
}

impl Phase {
    /// The argument.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Abort => "abort",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A program to run around a freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its file name, which decides the order and is shown in log lines.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
}

/// What lstat(2) says about the directory or an entry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its type.
    pub kind: FileKind,
    /// Its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// A type of file, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, device or pipe.
    Other,
}

/// A file in the directory that is not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hook {}: {}", self.path.display(), self.reason)
    }
}

/// The programs of a hook directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is run, by name: this order before the freeze, the reverse one after it.
    pub hooks: Vec<Hook>,
    /// Files that should perhaps be run but cannot be trusted. Without them an application may not be at
    /// rest, so they prevent a backup.
    pub faults: Vec<Skipped>,
    /// Files that are not meant to be run.
    pub passed_over: Vec<Skipped>,
}

impl Selection {
    /// The selection for a directory that cannot be used: no hooks and one fault.
    #[must_use]
    pub fn unusable(directory: &Path, reason: String) -> Self {
        let fault = Skipped { path: directory.to_owned(), reason };
        Self { faults: vec![fault], ..Self::default() }
    }
}

/// Chooses the hooks of `directory` from its entries. `user` is the user that the daemon runs as. Files of
/// that user are trusted like root's, because the user can change what the daemon runs anyway.
///
/// Leftovers of editors and package tools, and files that are not executable, are passed over. A link is a
/// fault, because a user who can write its target could exchange the program.
#[must_use]
pub fn select(
    directory: &Path,
    facts: FileFacts,
    entries: impl IntoIterator<Item = (OsString, Result<FileFacts, String>)>,
    user: u32,
) -> Selection {
    let mut selection = Selection::default();
    if let Some(reason) = distrust_directory(facts, user) {
        return Selection::unusable(directory, reason.to_owned());
    }
    for (name, facts) in entries {
        let path = directory.join(&name);
        match judge(&name, facts, user) {
            Candidate::Run(name) => selection.hooks.push(Hook { name, path }),
            Candidate::Fault(reason) => selection.faults.push(Skipped { path, reason }),
            Candidate::PassOver(reason) => {
                selection.passed_over.push(Skipped { path, reason: reason.to_owned() })
            }
        }
    }
    selection.hooks.sort_by(|a, b| a.name.cmp(&b.name));
    selection.faults.sort_by(|a, b| a.path.cmp(&b.path));
    selection.passed_over.sort_by(|a, b| a.path.cmp(&b.path));
    selection
}

enum Candidate {
    Run(String),
    Fault(String),
    PassOver(&'static str),
}

fn judge(name: &OsString, facts: Result<FileFacts, String>, user: u32) -> Candidate {
    if is_leftover(&name.to_string_lossy()) {
        return Candidate::PassOver("not run, by its name it is a leftover or a sample");
    }
    let facts = match facts {
        Ok(facts) => facts,
        Err(reason) => return Candidate::Fault(reason),
    };
    let fault = |reason: &str| Candidate::Fault(reason.to_owned());
    match facts.kind {
        FileKind::Directory => return Candidate::PassOver("not run, it is a directory"),
        FileKind::Link => return fault("it is a symbolic link"),
        FileKind::Other => return fault("it is not a regular file"),
        FileKind::Regular if facts.mode & EXECUTABLE == 0 => {
            return Candidate::PassOver("not run, it is not executable");
        }
        FileKind::Regular => {}
    }
    match (distrust(facts, user), name.to_str()) {
        (Some(reason), _) => fault(reason),
        (None, None) => fault("its name is not UTF-8"),
        (None, Some(name)) => Candidate::Run(name.to_owned()),
    }
}

/// Whether a name is a hidden file or one that editors, version control or package tools leave behind. The
/// list follows rc.subr(8) and dpkg.
fn is_leftover(name: &str) -> bool {
    const ENDS: [&str; 10] =
        ["~", ".bak", ".orig", ".rej", ",v", ".sample", ".pkgsave", ".pkgnew", ".dist", ".swp"];
    name.starts_with('.')
        || (name.starts_with('#') && name.ends_with('#'))
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// Why a directory above the hook directory, or a link on the way, cannot be trusted: somebody else could put
/// another directory in the place of what lies below it. In a sticky directory such as /tmp only the owner of
/// an entry can. `root` is the owner of `/`, who could exchange everything.
#[must_use]
pub fn distrust_above(facts: FileFacts, user: u32, root: u32) -> Option<&'static str> {
    let owner = if facts.owner == root { 0 } else { facts.owner };
    // The mode of a link means nothing; whoever can write its directory can exchange it.
    let is_safe = facts.kind == FileKind::Link || facts.mode & STICKY != 0;
    distrust(FileFacts { owner, mode: if is_safe { 0 } else { facts.mode }, ..facts }, user)
}

fn distrust_directory(facts: FileFacts, user: u32) -> Option<&'static str> {
    match facts.kind {
        FileKind::Link => Some("it is a symbolic link"),
        FileKind::Directory => distrust(facts, user),
        FileKind::Regular | FileKind::Other => Some("it is not a directory"),
    }
}

fn distrust(facts: FileFacts, user: u32) -> Option<&'static str> {
    if facts.owner != 0 && facts.owner != user {
        Some("it is not owned by root")
    } else if facts.mode & WRITABLE_BY_OTHERS != 0 {
        Some("others than its owner can write it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: FileFacts = FileFacts { kind: FileKind::Directory, owner: 0, mode: 0o755 };

    fn file(owner: u32, mode: u32) -> FileFacts {
        FileFacts { kind: FileKind::Regular, owner, mode }
    }

    fn selected(directory: FileFacts, entries: &[(&str, FileFacts)]) -> (Vec<String>, Vec<String>) {
        let selection = selection(directory, entries);
        let faults = selection.faults.iter().map(ToString::to_string).collect();
        (selection.hooks.into_iter().map(|hook| hook.name).collect(), faults)
    }

    fn selection(directory: FileFacts, entries: &[(&str, FileFacts)]) -> Selection {
        let entries = entries.iter().map(|(name, facts)| (OsString::from(*name), Ok(*facts)));
        select(Path::new("/d"), directory, entries, 1001)
    }

    #[test]
    fn hooks_are_ordered_by_name() {
        let good = file(0, 0o755);
        let (hooks, faults) =
            selected(DIRECTORY, &[("50-b", good), ("10-z", good), ("A", good), ("9", good)]);
        assert_eq!(hooks, ["10-z", "50-b", "9", "A"]);
        assert!(faults.is_empty());
    }

    #[test]
    fn a_file_that_others_can_change_is_a_fault() {
        let link = FileFacts { kind: FileKind::Link, owner: 0, mode: 0o777 };
        let fifo = FileFacts { kind: FileKind::Other, owner: 0, mode: 0o755 };
        let (hooks, faults) = selected(
            DIRECTORY,
            &[
                ("own", file(1001, 0o700)),
                ("alien", file(1002, 0o755)),
                ("group", file(0, 0o775)),
                ("others", file(0, 0o757)),
                ("link", link),
                ("fifo", fifo),
            ],
        );
        assert_eq!(hooks, ["own"]);
        assert_eq!(
            faults,
            [
                "hook /d/alien: it is not owned by root",
                "hook /d/fifo: it is not a regular file",
                "hook /d/group: others than its owner can write it",
                "hook /d/link: it is a symbolic link",
                "hook /d/others: others than its owner can write it",
            ]
        );
    }

    #[test]
    fn leftovers_samples_notes_and_directories_are_passed_over() {
        let (run, link) = (file(0, 0o755), FileFacts { kind: FileKind::Link, owner: 0, mode: 0o777 });
        let entries = [
            ("10-db~", run),
            ("10-db.bak", run),
            ("10-db.orig", run),
            ("10-db.rej", run),
            ("10-db,v", run),
            ("10-db.sample", run),
            ("10-db.pkgsave", run),
            ("10-db.pkgnew", run),
            ("10-db.dist", run),
            ("#10-db#", run),
            (".10-db.swp", run),
            // A lock of emacs(1) is a link.
            (".#10-db", link),
            ("README", file(0, 0o644)),
            ("old", DIRECTORY),
        ];
        let selection = selection(DIRECTORY, &entries);
        assert_eq!((selection.hooks.len(), selection.faults.len()), (0, 0), "{selection:?}");
        assert_eq!(selection.passed_over.len(), entries.len());
        assert!(
            selection
                .passed_over
                .iter()
                .any(|s| s.to_string() == "hook /d/README: not run, it is not executable")
        );
    }

    #[test]
    fn only_a_name_in_two_hashes_is_a_leftover() {
        let (hooks, _) = selected(DIRECTORY, &["#a", "a#", "#a#"].map(|name| (name, file(0, 0o755))));
        assert_eq!(hooks, ["#a", "a#"]);
    }

    #[test]
    fn a_directory_that_others_can_write_runs_nothing() {
        for directory in [
            FileFacts { mode: 0o777, ..DIRECTORY },
            FileFacts { mode: 0o1777, ..DIRECTORY },
            FileFacts { owner: 1002, ..DIRECTORY },
            FileFacts { kind: FileKind::Link, ..DIRECTORY },
            FileFacts { kind: FileKind::Regular, ..DIRECTORY },
        ] {
            let (hooks, faults) = selected(directory, &[("good", file(0, 0o755))]);
            assert!(hooks.is_empty());
            assert_eq!(faults.len(), 1);
        }
    }

    #[test]
    fn what_is_above_belongs_to_root_or_is_sticky() {
        let trusted = |facts: FileFacts| distrust_above(facts, 1001, 7).is_none();
        for mode in [0o755, 0o1777, 0o700] {
            for owner in [0, 1001, 7] {
                assert!(trusted(FileFacts { owner, mode, ..DIRECTORY }), "{owner} {mode:o}");
            }
            assert!(!trusted(FileFacts { owner: 1002, mode, ..DIRECTORY }), "{mode:o}");
        }
        assert!(!trusted(FileFacts { mode: 0o775, ..DIRECTORY }));
        assert!(!trusted(FileFacts { mode: 0o757, ..DIRECTORY }));
        let link = FileFacts { kind: FileKind::Link, owner: 0, mode: 0o777 };
        assert!(trusted(link) && !trusted(FileFacts { owner: 1002, ..link }));
    }

    #[test]
    fn strange_names_and_unreadable_files_are_faults() {
        use std::os::unix::ffi::OsStringExt;
        let entries = [
            (OsString::from_vec(vec![b'a', 0xff]), Ok(file(0, 0o755))),
            (OsString::from("b"), Err("it cannot be looked at".to_owned())),
        ];
        let selection = select(Path::new("/d"), DIRECTORY, entries, 0);
        assert!(selection.hooks.is_empty());
        let reasons: Vec<&str> = selection.faults.iter().map(|fault| fault.reason.as_str()).collect();
        assert_eq!(reasons, ["its name is not UTF-8", "it cannot be looked at"]);
    }
}
