//! An attacker who can write the directories of a program, and exchanges its files for links to a victim, FIFOs
//! and directories while it works. It never touches what lies in the files.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// What the victim has.
const TEXT: &str = "the victim's";
/// Its mode, which no program gives to its files.
const MODE: u32 = 0o604;

/// A file that must stay as it is, and the place for files that are out of the way.
#[derive(Debug)]
pub struct Victim {
    directory: tempfile::TempDir,
    owner: u32,
}

type Plant = fn(&Path, &Path) -> io::Result<()>;

/// Hard links are not among them. One that is removed at the moment of the look at it cannot be told from a
/// file of the program's own, see `hv_core::runtime::state_file`.
const PLANTS: [Plant; 3] = [
    |victim, path| symlink(victim, path),
    |_, path| Ok(mkfifo(path, Mode::S_IRWXU)?),
    |_, path| fs::create_dir(path),
];

impl Victim {
    /// A victim on the file system of this directory, as the program's own files are.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn beside(place: &Path) -> Self {
        let directory = tempfile::tempdir_in(place).expect("the directory can be written");
        let path = directory.path().join("victim");
        fs::write(&path, TEXT).expect("the directory can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(MODE);
        fs::set_permissions(&path, mode).expect("it was made just now");
        let owner = fs::metadata(&path).expect("it was made just now").uid();
        Self { directory, owner }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("victim")
    }

    /// Works while all these names are exchanged without a pause. At least one round is complete before this
    /// returns, and each file that was put out of the way is back.
    ///
    /// # Panics
    /// The victim was changed, or `work` panicked.
    pub fn attacked<T>(&self, names: &[PathBuf], work: impl FnOnce() -> T) -> T {
        let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let result = thread::scope(|scope| {
            let attack = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    names.iter().for_each(|name| self.exchange(name));
                    begun.store(true, Ordering::Relaxed);
                }
            });
            let _end = End(&over);
            while !begun.load(Ordering::Relaxed) && !attack.is_finished() {
                thread::yield_now();
            }
            work()
        });
        self.check();
        result
    }

    fn exchange(&self, name: &Path) {
        for plant in PLANTS {
            let aside = self.directory.path().join("aside");
            let was_there = fs::rename(name, &aside).is_ok();
            // The program may have made the file anew meanwhile, and may do so at any time.
            let _ = plant(&self.path(), name);
            thread::yield_now();
            if fs::symlink_metadata(name).is_ok_and(|there| is_planted(&there)) {
                let _ = fs::remove_file(name).or_else(|_| fs::remove_dir(name));
            }
            if was_there {
                let _ = fs::rename(&aside, name);
            }
        }
    }

    /// Fails if the victim is not as it was.
    ///
    /// # Panics
    /// It was changed.
    pub fn check(&self) {
        let now = fs::metadata(self.path()).expect("the victim is there");
        let seen = (fs::read_to_string(self.path()).ok(), now.mode() & 0o7777, now.uid(), now.nlink());
        assert_eq!(seen, (Some(TEXT.to_owned()), MODE, self.owner, 1), "text, mode, owner, names");
    }
}

fn is_planted(there: &Metadata) -> bool {
    let kind = there.file_type();
    kind.is_symlink() || kind.is_fifo() || kind.is_dir()
}

/// Ends the attack, also after a panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
