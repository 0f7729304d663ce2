//! The files of a simulated guest: its state behind a lock, and the facts files for programs of the guest.
//! The rules of the network are in `kernel`.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::state::State;
use super::{facts, process_list};

/// The directory of a simulated guest, which is `/` for its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The guest at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The guest of the program that was started as `program`: two directories above it.
    #[must_use]
    pub fn of_program(program: &Path) -> Option<Self> {
        program.parent()?.parent().map(Self::new)
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A path in the guest.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates the files of a new guest.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn create(&self, state: &State) -> io::Result<()> {
        for directory in ["network", "facts", "var/run/dhclient", "etc"] {
            fs::create_dir_all(self.path(directory))?;
        }
        let _lock = self.lock()?;
        self.store(state)
    }

    /// The present state.
    ///
    /// # Errors
    /// There is no guest, or its file is damaged.
    pub fn read(&self) -> io::Result<State> {
        let _lock = self.lock()?;
        self.load()
    }

    /// Changes the state under the lock.
    ///
    /// # Errors
    /// There is no guest, or a file cannot be written.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let _lock = self.lock()?;
        let mut state = self.load()?;
        let before = state.clone();
        let result = change(&mut state);
        if state != before {
            self.store(&state)?;
        }
        Ok(result)
    }

    /// Writes the facts files again, after something other than the state has changed.
    pub(super) fn refresh_facts(&self) -> io::Result<()> {
        let _lock = self.lock()?;
        self.store(&self.load()?)
    }

    /// Locks the state until the result is dropped.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file = File::options().create(true).append(true).open(self.path("network/lock"))?;
        file.lock()?;
        if self.path("network/unfinished").exists() {
            // A program may have been killed while it wrote, so the facts may be older than the state.
            self.store(&self.load()?)?;
        }
        Ok(file)
    }

    fn load(&self) -> io::Result<State> {
        let text = fs::read(self.path("network/state.json"))?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    fn store(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::from)?;
        fs::write(self.path("network/unfinished"), "")?;
        self.replace("network/state.json", &text)?;
        self.replace("facts/ifaddrs", facts::ifaddrs(state).as_bytes())?;
        self.replace("facts/routes", facts::routes(state).as_bytes())?;
        let (procs, arguments) = process_list::facts(&self.0);
        self.replace("facts/procs", procs.as_bytes())?;
        self.replace("facts/sysctl", (facts::sysctls(state) + &arguments).as_bytes())?;
        fs::remove_file(self.path("network/unfinished"))?;
        self.tell_readers();
        Ok(())
    }

    /// Sends a message to every routing socket (route(4)): something has changed.
    fn tell_readers(&self) {
        const MESSAGE: [u8; 8] = [8, 0, 5, 14, 0, 0, 0, 0];
        let Ok(sender) = UnixDatagram::unbound() else { return };
        let _ = sender.set_nonblocking(true);
        for file in fs::read_dir(self.path("facts")).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with("route.sock.") {
                // A reader with a full queue, or that has ended, misses it.
                let _ = sender.send_to(&MESSAGE, file.path());
            }
        }
    }

    /// In one step, because readers take no lock.
    pub(super) fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, self.path(name))
    }
}
