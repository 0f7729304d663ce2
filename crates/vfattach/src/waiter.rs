//! The waiting half: at most one process for each interface, the latest.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use hv_core::net::InterfaceName;
use hv_core::runtime::config::Config;
use hv_core::runtime::exec::{Program, ProgramError};
use hv_core::sys::clock;
use hv_core::sys::file_lock::{holder, try_lock};
use hv_core::sys::network::NetworkSource;
use hv_core::vf::attach::Decision;
use hv_core::vf::load::{self, LoadError};
use nix::sys::signal::{Signal, kill};

/// How long a predecessor may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The part of it for which devd(8) may be kept waiting.
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_millis(20);
/// How often is looked whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// Why the VF was not brought up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {path}")]
    Lock { path: PathBuf, source: io::Error },
    /// A predecessor does not end.
    #[error("a process that waits for the same interface does not end")]
    Predecessor,
    /// The standard streams cannot be let go.
    #[error("cannot go to the background")]
    Detach(#[source] io::Error),
    /// The kernel cannot be asked.
    #[error(transparent)]
    Load(LoadError),
    /// The list of interfaces cannot be had.
    #[error("cannot read interfaces")]
    Interfaces(#[source] io::Error),
    /// ifconfig(8).
    #[error(transparent)]
    Program(ProgramError),
}

/// A VF and how to bring it up.
pub(crate) struct Waiter {
    pub(crate) interface: InterfaceName,
    pub(crate) config: Config,
}

impl Waiter {
    /// Waits and brings the VF up if it is still one. `place` is what [`Self::replace_waiter`] gave.
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

    /// Takes the place of a process that waits for the same interface and ends it. The lock tells its process
    /// id, so no pid file can name a stranger. `None`: it did not end within `patience`.
    pub(crate) fn replace_waiter(&self, patience: Duration) -> Result<Option<File>, WaitError> {
        let path = self.config.vf.lock_dir.join(format!("hyperv_vfattach.{}.lock", self.interface));
        let error = |source| WaitError::Lock { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(error)?;
        let deadline = clock::monotonic() + patience;
        while !try_lock(&file, true).map_err(error)? {
            if clock::monotonic() >= deadline {
                return Ok(None);
            }
            if let Some(predecessor) = holder(&file).map_err(error)? {
                // It may have ended in this moment, which is just as well.
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
