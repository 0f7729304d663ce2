//! Which files of the hook directory are run, and in what order.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Write permission for group or others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Execute permission for anybody.
const EXECUTABLE: u32 = 0o111;

/// What a program is run for; the word is its only argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Bring the application's data to rest.
    Freeze,
    /// The file systems are back after a backup.
    Thaw,
    /// The file systems are back, or never were frozen, and there is no backup.
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
    /// Its file name: decides the order and stands in log lines.
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

/// Something in the directory that should perhaps be run but is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hook skipped path={}: {}", self.path.display(), self.reason)
    }
}

/// The programs of a hook directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is run, by name: this order before the freeze, the reverse one after it.
    pub hooks: Vec<Hook>,
    /// What the administrator should know about.
    pub skipped: Vec<Skipped>,
}

/// Chooses the hooks of `directory` from its entries. `user` is whom the daemon runs as: its files are as good as root's,
/// for it can change what it runs anyway.
///
/// Files that are hidden or not executable are passed over in silence, so samples and notes can lie there. A link is
/// skipped, because whoever can write where it leads could exchange the program.
#[must_use]
pub fn select(
    directory: &Path,
    facts: FileFacts,
    entries: impl IntoIterator<Item = (OsString, FileFacts)>,
    user: u32,
) -> Selection {
    let mut selection = Selection::default();
    if let Some(reason) = distrust(facts, user) {
        selection.skipped.push(Skipped { path: directory.to_owned(), reason });
        return selection;
    }
    for (name, facts) in entries {
        let path = directory.join(&name);
        match judge(&name, facts, user) {
            Candidate::Run(name) => selection.hooks.push(Hook { name, path }),
            Candidate::Warn(reason) => selection.skipped.push(Skipped { path, reason }),
            Candidate::PassOver => {}
        }
    }
    selection.hooks.sort_by(|a, b| a.name.cmp(&b.name));
    selection.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    selection
}

enum Candidate {
    Run(String),
    Warn(&'static str),
    PassOver,
}

fn judge(name: &OsString, facts: FileFacts, user: u32) -> Candidate {
    let Some(name) = name.to_str() else {
        return Candidate::Warn("its name is not UTF-8");
    };
    if name.starts_with('.') || facts.kind == FileKind::Directory {
        return Candidate::PassOver;
    }
    match facts.kind {
        FileKind::Link => return Candidate::Warn("it is a symbolic link"),
        FileKind::Other | FileKind::Directory => return Candidate::Warn("it is not a regular file"),
        FileKind::Regular => {}
    }
    if facts.mode & EXECUTABLE == 0 {
        return Candidate::PassOver;
    }
    distrust(facts, user).map_or_else(|| Candidate::Run(name.to_owned()), Candidate::Warn)
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
        let entries = entries.iter().map(|(name, facts)| (OsString::from(*name), *facts));
        let selection = select(Path::new("/d"), directory, entries, 1001);
        let skipped = selection.skipped.iter().map(ToString::to_string).collect();
        (selection.hooks.into_iter().map(|hook| hook.name).collect(), skipped)
    }

    #[test]
    fn hooks_come_in_the_order_of_their_names() {
        let good = file(0, 0o755);
        let (hooks, skipped) =
            selected(DIRECTORY, &[("50-b", good), ("10-z", good), ("A", good), ("9", good)]);
        assert_eq!(hooks, ["10-z", "50-b", "9", "A"]);
        assert!(skipped.is_empty());
    }

    #[test]
    fn only_what_root_alone_can_change_is_run() {
        let link = FileFacts { kind: FileKind::Link, owner: 0, mode: 0o777 };
        let fifo = FileFacts { kind: FileKind::Other, owner: 0, mode: 0o755 };
        let (hooks, skipped) = selected(
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
            skipped,
            [
                "hook skipped path=/d/alien: it is not owned by root",
                "hook skipped path=/d/fifo: it is not a regular file",
                "hook skipped path=/d/group: others than its owner can write it",
                "hook skipped path=/d/link: it is a symbolic link",
                "hook skipped path=/d/others: others than its owner can write it",
            ]
        );
    }

    #[test]
    fn samples_notes_and_hidden_files_are_passed_over() {
        let entries = [
            ("README", file(0, 0o644)),
            (".swp", file(0, 0o755)),
            ("old", DIRECTORY),
            ("x.sample", file(0, 0o644)),
        ];
        assert_eq!(selected(DIRECTORY, &entries), (vec![], vec![]));
    }

    #[test]
    fn nothing_of_a_directory_that_others_can_write_is_run() {
        for directory in [
            FileFacts { mode: 0o777, ..DIRECTORY },
            FileFacts { mode: 0o1777, ..DIRECTORY },
            FileFacts { owner: 1002, ..DIRECTORY },
        ] {
            let (hooks, skipped) = selected(directory, &[("good", file(0, 0o755))]);
            assert!(hooks.is_empty());
            assert_eq!(skipped.len(), 1);
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_skipped_with_a_warning() {
        use std::os::unix::ffi::OsStringExt;
        let entries = [(OsString::from_vec(vec![b'a', 0xff]), file(0, 0o755))];
        let selection = select(Path::new("/d"), DIRECTORY, entries, 0);
        assert!(selection.hooks.is_empty());
        assert_eq!(selection.skipped[0].reason, "its name is not UTF-8");
    }
}
