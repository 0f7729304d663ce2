//! The waiting process: at most one for each interface, the latest. It waits, checks that the VF still
//! exists, and runs ifconfig(8).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hv_core::net::InterfaceName;
use hv_core::runtime::config::Config;
use hv_core::runtime::exec::{Program, ProgramError};
use hv_core::runtime::state_file;
use hv_core::sys::clock;
use hv_core::sys::file_lock::{holder, try_lock};
use hv_core::sys::network::NetworkSource;
use hv_core::vf::attach::Decision;
use hv_core::vf::load::{self, LoadError};
use nix::sys::signal::{Signal, kill};

/// How long a predecessor may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long devd(8) may be kept waiting for that.
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_millis(20);
/// How often its end is checked.
const PAUSE: Duration = Duration::from_millis(2);

/// Why the VF was not brought up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {path}")]
    Lock { path: PathBuf, source: io::Error },
    /// A predecessor did not end.
    #[error("a process that waits for the same interface does not end")]
    Predecessor,
    /// The standard streams cannot be closed.
    #[error("cannot go to the background")]
    Detach(#[source] io::Error),
    /// rc.conf or the kernel's facts cannot be read.
    #[error(transparent)]
    Load(LoadError),
    /// The interfaces cannot be listed.
    #[error("cannot read interfaces")]
    Interfaces(#[source] io::Error),
    /// ifconfig(8) failed.
    #[error(transparent)]
    Program(ProgramError),
}

/// A VF and how to bring it up.
pub(crate) struct Waiter {
    pub(crate) interface: InterfaceName,
    pub(crate) config: Config,
}

impl Waiter {
    /// Waits, and brings the VF up if it still exists. `place` is the lock of [`Self::replace_waiter`].
    pub(crate) fn run(&self, place: File, seconds: u32) -> Result<(), WaitError> {
        let _place = place;
        log::info!("{}: bringing it up in {seconds} s", self.interface);
        std::thread::sleep(Duration::from_secs(seconds.into()));
        if self.is_still_vf()? {
            self.bring_up()
        } else {
            log::info!("{}: no VF any more", self.interface);
            Ok(())
        }
    }

    /// Ends a process that waits for the same interface, and takes its lock. The lock tells its process id,
    /// so no pid file can name another process. `None`: it did not end within `patience`.
    pub(crate) fn replace_waiter(&self, patience: Duration) -> Result<Option<File>, WaitError> {
        let path = self.config.vf.lock_dir.join(format!("hyperv_vfattach.{}.lock", self.interface));
        let error = |source| WaitError::Lock { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = state_file::open(&path, &mut options).map_err(error)?;
        let deadline = clock::monotonic() + patience;
        while !try_lock(&file, true).map_err(error)? {
            if clock::monotonic() >= deadline {
                return Ok(None);
            }
            if let Some(predecessor) = holder(&file).map_err(error)? {
                // It may have ended already.
                let _ = kill(predecessor, Signal::SIGTERM);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Some(file))
    }

    fn is_still_vf(&self) -> Result<bool, WaitError> {
        let source: NetworkSource = load::network_source(&self.config);
        let facts = load::load_vf_facts(&source.facts).map_err(WaitError::Load)?;
        let interfaces = source.snapshot().map_err(WaitError::Interfaces)?.interfaces;
        let exists = interfaces.iter().any(|interface| interface.name == self.interface);
        Ok(exists && facts.decide(&self.interface) == Decision::BringUp)
    }

    fn bring_up(&self) -> Result<(), WaitError> {
        let settings = &self.config.network;
        let program = Program::new(&settings.ifconfig, settings.command_limit());
        program.arg(self.interface.as_str()).arg("up").succeed().map_err(WaitError::Program)?;
        log::info!("{}: brought up", self.interface);
        Ok(())
    }
}
