//! The scratch directory of a session: writes the files that a daemon reads. What they contain is decided by
//! the sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hv_core::runtime::config::Config;

/// The directory of a session, with the files of its daemon.
///
/// # Panics
/// All functions panic if a file cannot be written.
#[derive(Debug, Clone)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// A file or directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a directory.
    pub(crate) fn make_directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("no scratch directory");
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: &str, text: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("no scratch directory");
        fs::write(path, text).expect("no scratch file");
    }

    /// Writes an executable script.
    pub(crate) fn write_program(&self, name: &str, text: &str) {
        self.write(name, text.as_bytes());
        self.make_accessible(name);
    }

    /// Lets all users read and execute a file or directory, independent of the umask.
    pub(crate) fn make_accessible(&self, name: &str) {
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).expect("no scratch file");
    }

    /// Replaces a file in one step, because a daemon may be reading it.
    pub(crate) fn replace(&self, directory: &str, name: &str, text: &str) {
        let directory = self.path(directory);
        let new = directory.join(format!(".{name}"));
        fs::write(&new, text).expect("no scratch file");
        fs::rename(&new, directory.join(name)).expect("no scratch file");
    }

    /// The path of the daemon's configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.path("hyperv.toml")
    }

    /// The daemon's configuration, which must have been written.
    pub(crate) fn config(&self) -> Config {
        let text = fs::read_to_string(self.config_file()).expect("it was just written");
        Config::parse(&text, Path::new("hyperv.toml")).expect("the configuration is good")
    }

    /// The path of a file as a string of TOML.
    pub(crate) fn quoted(&self, name: &str) -> String {
        quoted(&self.path(name))
    }
}

/// A path as a string of TOML.
pub(crate) fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
