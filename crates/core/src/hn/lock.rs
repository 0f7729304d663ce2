//! The lock under which an adapter is changed, and the memory of a change that was killed: `hyperv.hn0.lock`
//! in `lock-dir` (/var/run), named by the device. hyperv_vfup and the injection of hv_kvp_daemon share it. It
//! knows nothing about the changes.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Adapter;
use crate::net::{InterfaceAddress, InterfaceName, NetworkSnapshot, StaticRoute};
use crate::runtime::state_file;
use crate::sys::clock;
use crate::sys::file_lock::try_lock;

const PAUSE: Duration = Duration::from_millis(20);
/// The prefix of a lock file's name. The device and `.lock` follow.
const PREFIX: &str = "hyperv.";
const SUFFIX: &str = ".lock";
/// The content of the file while a plan runs. The next start of the system empties /var/run, and resets the
/// network, too.
const MARK: &str = "at work";
/// Behind the mark: the routes that are in danger, each as `route 10.20.0.0/16 10.0.0.254`. No file has those
/// that an administrator has set by hand.
const ROUTE: &str = "route ";
/// The file is read up to this size, which is enough for some thousand routes.
const MOST_BYTES: u64 = 256 * 1024;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened or locked.
    #[error("cannot use the lock file {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("another change of the interface was still at work after {} s", waited.as_secs())]
    Busy {
        /// How long this process waited.
        waited: Duration,
    },
}

/// The permission to change an interface. Dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// The mark that [`Self::begin`] wrote.
    mark: String,
}

impl Lock {
    /// Waits at most `patience` for the lock of `hn`. The file stays: removing it would let a third process
    /// in beside the second.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path, hn: &Adapter, patience: Duration) -> Result<Self, LockError> {
        let path = directory.join(format!("{PREFIX}{}{SUFFIX}", hn.device()));
        let error = |source| LockError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = state_file::open(&path, &mut options).map_err(error)?;
        let lock = Self { file, path, mark: String::new() };
        lock.wait(patience)?;
        Ok(lock)
    }

    fn wait(&self, patience: Duration) -> Result<(), LockError> {
        let deadline = clock::monotonic().saturating_add(patience);
        while !try_lock(&self.file, true).map_err(|source| self.error(source))? {
            if clock::monotonic() >= deadline {
                return Err(LockError::Busy { waited: patience });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Takes the lock over in a child of the process that has it and is about to end, because locks are not
    /// inherited. `false` if another process was quicker and has continued or done the work.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn inherit(&mut self, patience: Duration) -> Result<bool, LockError> {
        self.wait(patience)?;
        let text = self.text()?;
        Ok(text.lines().next() == Some(self.mark.as_str()))
    }

    fn text(&self) -> Result<String, LockError> {
        let mut text = Vec::new();
        let read = (&self.file).rewind().and_then(|()| (&self.file).take(MOST_BYTES).read_to_end(&mut text));
        read.map_err(|source| self.error(source))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The routes that the last run noted as in danger, through `interface`. The file does not name it.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn routes(&self, interface: &InterfaceName) -> Result<Vec<StaticRoute>, LockError> {
        let text = self.text()?;
        let parse = |line: &str| {
            let (destination, gateway) = line.strip_prefix(ROUTE)?.split_once(' ')?;
            let (destination, gateway): (InterfaceAddress, IpAddr) =
                (destination.parse().ok()?, gateway.parse().ok()?);
            Some(StaticRoute { destination, gateway, interface: interface.clone() })
        };
        Ok(text.lines().filter_map(parse).collect())
    }

    /// The adapter whose lock file has this name, under the name of its device.
    #[must_use]
    pub fn interface(file_name: &str) -> Option<Adapter> {
        file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
    }

    /// Whether the last process began to work and did not finish.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn is_interrupted(&self) -> Result<bool, LockError> {
        self.file.metadata().map(|metadata| metadata.len() > 0).map_err(|source| self.error(source))
    }

    /// Notes that work begins which puts the routes through `hn` and its lagg in danger. Those of a run that
    /// was killed stay noted.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn begin(&mut self, hn: &Adapter, network: &NetworkSnapshot) -> Result<(), LockError> {
        self.mark = format!("{MARK} {}", std::process::id());
        let mut routes = self.routes(hn.name())?;
        let through = |route: &&StaticRoute| [hn.name(), hn.lagg()].contains(&&route.interface);
        for route in network.static_routes.iter().filter(through) {
            routes.retain(|noted| noted.destination != route.destination);
            routes.push(route.clone());
        }
        let mut text = format!("{}\n", self.mark);
        for StaticRoute { destination, gateway, .. } in routes {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{ROUTE}{destination} {gateway}");
        }
        // Never empty in between: a process that is killed here may have done a part of its work.
        let written = self.file.write_all_at(text.as_bytes(), 0);
        let cut = written.and_then(|()| self.file.set_len(text.len() as u64));
        cut.map_err(|source| self.error(source))
    }

    /// Marks that no work is left half-done.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn finish(&mut self) -> Result<(), LockError> {
        self.file.set_len(0).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> LockError {
        LockError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: &str, interface: &str) -> StaticRoute {
        StaticRoute {
            destination: destination.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            interface: interface.parse().unwrap(),
        }
    }

    /// Takes the lock. A child that another test has forked has the file open, and with it the lock, until it
    /// runs its program.
    fn lock(directory: &Path) -> Lock {
        Lock::take(directory, &"hn0".parse().unwrap(), Duration::from_secs(600)).unwrap()
    }

    #[test]
    fn routes_of_a_killed_run_are_known_until_work_ends() {
        let directory = tempfile::tempdir().unwrap();
        let hn: Adapter = "hn0".parse().unwrap();
        let routes = vec![
            route("10.20.0.0/16", "10.0.0.254", "hn0"),
            route("fd20::/32", "fd00::fe", "lagg0"),
            route("10.30.0.0/16", "10.3.0.1", "em0"),
        ];
        let before = NetworkSnapshot { static_routes: routes, ..NetworkSnapshot::default() };
        lock(directory.path()).begin(&hn, &before).unwrap();
        // The next run is killed, too, and finds a route that has another gateway meanwhile.
        let changed = route("10.20.0.0/16", "10.0.0.253", "lagg0");
        let between = NetworkSnapshot { static_routes: vec![changed], ..NetworkSnapshot::default() };
        let mut next = lock(directory.path());
        assert!(next.is_interrupted().unwrap());
        next.begin(&hn, &between).unwrap();
        drop(next);
        let mut last = lock(directory.path());
        let lagg = "lagg0".parse().unwrap();
        let wanted = [route("fd20::/32", "fd00::fe", "lagg0"), route("10.20.0.0/16", "10.0.0.253", "lagg0")];
        assert_eq!(last.routes(&lagg).unwrap(), wanted);
        last.finish().unwrap();
        assert!(last.routes(&lagg).unwrap().is_empty() && !last.is_interrupted().unwrap());
    }

    #[test]
    fn a_lock_file_is_named_by_its_device() {
        let hn10 = Lock::interface("hyperv.hn10.lock").unwrap();
        assert_eq!((hn10.device().as_str(), hn10.name().as_str()), ("hn10", "hn10"));
        for other in ["hyperv.hn10", "hn10.lock", "hyperv.lagg10.lock", "hyperv..lock", "hyperv.pid", ""] {
            assert_eq!(Lock::interface(other), None, "{other:?}");
        }
    }

    #[test]
    fn some_thousand_routes_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let hn: Adapter = "hn0".parse().unwrap();
        let static_routes: Vec<StaticRoute> =
            (0..4000).map(|n| route(&format!("fd20:{n:x}::/32"), "fd00::fe", "hn0")).collect();
        let network = NetworkSnapshot { static_routes: static_routes.clone(), ..NetworkSnapshot::default() };
        lock(directory.path()).begin(&hn, &network).unwrap();
        assert_eq!(lock(directory.path()).routes(hn.name()).unwrap(), static_routes);
    }

    #[test]
    fn the_lock_is_waited_for_and_not_taken_twice() {
        let directory = tempfile::tempdir().unwrap();
        let hn: Adapter = "hn0".parse().unwrap();
        drop(lock(directory.path()));
        let other = File::open(directory.path().join("hyperv.hn0.lock")).unwrap();
        other.lock().unwrap();
        let busy = Lock::take(directory.path(), &hn, Duration::ZERO);
        assert!(matches!(busy, Err(LockError::Busy { .. })), "{busy:?}");
        let waited = PAUSE * 2;
        let error = Lock::take(directory.path(), &hn, waited).unwrap_err();
        assert!(matches!(error, LockError::Busy { waited: told } if told == waited), "{error}");
        let release = std::thread::spawn(move || other.unlock().unwrap());
        Lock::take(directory.path(), &hn, Duration::from_secs(600)).unwrap();
        release.join().unwrap();
    }

    #[test]
    fn a_lock_file_of_nobody_knows_no_routes() {
        let directory = tempfile::tempdir().unwrap();
        let text = b"at work 7\nroute\nroute 10.0.0.0/16\nroute x y\n\xff\nroute 10.1.0.0/16 10.0.0.1\n";
        std::fs::write(directory.path().join("hyperv.hn0.lock"), text).unwrap();
        let wanted = [route("10.1.0.0/16", "10.0.0.1", "hn0")];
        assert_eq!(lock(directory.path()).routes(&"hn0".parse().unwrap()).unwrap(), wanted);
    }

    #[test]
    fn work_is_taken_over_only_if_no_other_began() {
        let directory = tempfile::tempdir().unwrap();
        let hn: Adapter = "hn0".parse().unwrap();
        let mut first = lock(directory.path());
        first.begin(&hn, &NetworkSnapshot::default()).unwrap();
        assert!(first.inherit(Duration::ZERO).unwrap());
        std::fs::write(directory.path().join("hyperv.hn0.lock"), "at work 1\n").unwrap();
        assert!(!first.inherit(Duration::ZERO).unwrap());
    }
}
