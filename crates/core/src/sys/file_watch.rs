//! Notifications of the kernel that a file was changed: kqueue(2) on FreeBSD, inotify(7) on Linux. They are
//! exact where time stamps are too coarse.
//!
//! Every write, truncation, rename and removal by any process is reported before the call that makes it
//! returns. Writes through a mapping of the file are not. The daemons do not poll the descriptor, so an idle
//! one is never woken.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::os;

/// The watches of one process.
#[derive(Debug)]
pub struct FileWatches {
    watches: os::watch::Watches,
    changed: Vec<bool>,
}

/// The number under which changes of the directories and mounts are reported. They may concern every file.
const PLACE: usize = usize::MAX >> 1;

impl FileWatches {
    /// A set without a watch.
    ///
    /// # Errors
    /// The error of kqueue(2) or inotify_init(2): there are too many, or the system has none.
    pub fn new() -> io::Result<Self> {
        Ok(Self { watches: os::watch::Watches::new()?, changed: Vec::new() })
    }

    /// Watches an open file, which is at `path`, under a small number that the caller chooses. An earlier
    /// watch of that number ends. Changes from now on are reported.
    ///
    /// # Errors
    /// The system's limit of watches is reached, or the file system does not support them.
    pub fn add(&mut self, number: usize, file: &File, path: &Path) -> io::Result<()> {
        self.watches.add(number, file, path)?;
        if self.changed.len() <= number {
            self.changed.resize(number + 1, false);
        }
        self.changed[number] = false;
        Ok(())
    }

    /// Watches a directory above the files. When it is renamed or removed, every file counts as changed.
    ///
    /// # Errors
    /// The system's limit of watches is reached, or the directory cannot be opened.
    pub fn add_directory(&mut self, path: &Path) -> io::Result<()> {
        self.watches.add_directory(PLACE, path)
    }

    /// Watches the mount table, if the system can. When a file system is mounted or unmounted, every file
    /// counts as changed.
    ///
    /// # Errors
    /// The error of the system. `Unsupported` if it has no such watch.
    pub fn add_mounts(&mut self) -> io::Result<()> {
        self.watches.add_mounts(PLACE)
    }

    /// The descriptor that becomes readable with a change.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.watches.descriptor()
    }

    /// Whether the file with that number was changed since the last call. Changes of other files are kept, but
    /// the descriptor does not report them again: who waits on it uses [`Self::take_all`].
    pub fn take(&mut self, number: usize) -> bool {
        self.collect();
        self.changed.get_mut(number).is_none_or(std::mem::take)
    }

    /// Which files were changed since the last call, by number.
    pub fn take_all(&mut self) -> Vec<bool> {
        self.collect();
        let none = vec![false; self.changed.len()];
        std::mem::replace(&mut self.changed, none)
    }

    fn collect(&mut self) {
        let changed = &mut self.changed;
        let told = self.watches.collect(|number| match changed.get_mut(number) {
            Some(flag) => *flag = true,
            None => changed.fill(true),
        });
        if told.is_err() {
            // Some notifications are lost, so every file may have changed.
            self.changed.fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn every_kind_of_change_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
        let mut watches = FileWatches::new().unwrap();
        watches.add(3, &file, &path).unwrap();
        assert!(!watches.take(3));
        let changes: [(&str, &dyn Fn()); 5] = [
            ("write", &|| File::options().write(true).open(&path).unwrap().write_all(b"x").unwrap()),
            ("append", &|| File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap()),
            ("truncate", &|| drop(File::create(&path).unwrap())),
            ("rename", &|| std::fs::rename(&path, dir.path().join("moved")).unwrap()),
            ("remove", &|| std::fs::remove_file(dir.path().join("moved")).unwrap()),
        ];
        for (what, change) in changes {
            if what == "truncate" {
                file.write_all_at(b"something", 0).unwrap();
                watches.take(3);
            }
            change();
            assert!(watches.take(3), "{what}");
            assert!(!watches.take(3), "{what}");
        }
    }

    #[test]
    fn changes_of_all_files_are_taken_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut watches = FileWatches::new().unwrap();
        let files = [0, 2].map(|number| {
            let path = dir.path().join(number.to_string());
            let file = File::create(&path).unwrap();
            watches.add(number, &file, &path).unwrap();
            file
        });
        files[1].write_all_at(b"x", 0).unwrap();
        assert_eq!(watches.take_all(), [false, false, true]);
        files[0].write_all_at(b"x", 0).unwrap();
        files[1].write_all_at(b"x", 0).unwrap();
        assert!(watches.take(2));
        // The change of the other file was read from the kernel with that.
        assert_eq!(watches.take_all(), [true, false, false]);
        assert_eq!(watches.take_all(), [false; 3]);
    }

    #[test]
    fn a_moved_directory_is_reported_for_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let (above, below) = (dir.path().join("above"), dir.path().join("above/below"));
        std::fs::create_dir_all(&below).unwrap();
        let path = below.join("file");
        let file = File::create(&path).unwrap();
        let mut watches = FileWatches::new().unwrap();
        for number in [0, 1] {
            watches.add(number, &file, &path).unwrap();
        }
        watches.add_directory(&below).unwrap();
        watches.add_directory(&above).unwrap();
        File::create(above.join("another")).unwrap();
        assert!(!watches.take(0) && !watches.take(1));
        std::fs::rename(&above, dir.path().join("moved")).unwrap();
        assert!(watches.take(0) && watches.take(1));
        assert!(!watches.take(0));
        std::fs::rename(dir.path().join("moved/below"), dir.path().join("below")).unwrap();
        assert!(watches.take(1));
    }

    #[test]
    fn reading_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        let mut watches = FileWatches::new().unwrap();
        let files = paths.each_ref().map(|path| File::create(path).unwrap());
        for (number, (file, path)) in files.iter().zip(&paths).enumerate() {
            watches.add(number, file, path).unwrap();
        }
        std::fs::read(&paths[0]).unwrap();
        assert!(!watches.take(0));
        files[1].write_all_at(b"x", 0).unwrap();
        assert!(!watches.take(0));
        assert!(watches.take(1));
        // A number without a watch counts as changed.
        assert!(watches.take(9));
    }
}
