//! A guest under a simulated host, with one real daemon: as a process on the device files, or, where FUSE
//! cannot be used, as the daemon's own loop inside this process. This module has what the sessions of both
//! services share: start, restart, files and end. It knows neither device; [`kvp`] and [`vss`] do.

pub mod kvp;
mod scratch;
pub mod vss;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use self::scratch::Scratch;
use crate::client::Client;
use crate::testing::Machine;

/// The service that a session is about. A value of the type is the part of a session that only this service
/// has.
pub trait Service: Sized {
    /// What a session begins with.
    type Setup;
    /// The daemon's process.
    type Daemon: Debug;
    /// The devices of a session without device files.
    type Devices: Debug;
    /// How the daemon's loop ends inside this process.
    type End: Debug;

    /// The directory of the facts, in the scratch directory.
    const FACTS: &'static str;

    /// Starts a machine with device files.
    ///
    /// # Errors
    /// In one line, why FUSE cannot be used.
    fn start_machine(setup: &Self::Setup) -> Result<Machine, String>;

    /// Writes everything that the daemon reads. Its devices are in the directory `devices`.
    fn prepare(scratch: &Path, setup: &Self::Setup, devices: &Path) -> Self;

    /// Prepares the devices of a machine for the setup.
    fn configure(host: &mut Client, setup: &Self::Setup);

    /// Waits until no process has the device open.
    fn await_closed(host: &mut Client);

    /// Starts the daemon as a process.
    fn spawn(&self, machine: &Machine, config: &Path) -> Self::Daemon;

    /// Waits until the daemon serves.
    fn await_served(host: &mut Client);

    /// Starts the daemon's loop in a thread, with devices inside this process.
    fn start_inside(setup: &Self::Setup, scratch: &Path) -> (Client, Self::Devices, JoinHandle<Self::End>);

    /// Detaches the devices inside this process, which ends the daemon's loop. False if that fails.
    fn detach(host: &mut Client, devices: &Self::Devices) -> bool;

    /// Checks how the daemon's loop has ended.
    fn check_end(end: Self::End);
}

/// A guest under a host.
#[derive(Debug)]
pub struct Session<S: Service> {
    host: Client,
    place: Option<Place<S>>,
    reason: Option<String>,
    scratch: Scratch,
    service: S,
}

/// Where the daemon runs.
#[derive(Debug)]
enum Place<S: Service> {
    // Dropped in this order: the daemon before the machine.
    Device { daemon: Option<S::Daemon>, machine: Box<Machine> },
    InProcess { devices: S::Devices, daemon: JoinHandle<S::End>, _directory: tempfile::TempDir },
}

impl<S: Service> Session<S> {
    /// Starts a guest with its daemon and waits until that serves.
    ///
    /// # Panics
    /// The guest cannot be set up, or with `HVSIM_REQUIRED=1` FUSE cannot be used.
    #[must_use]
    pub fn start(setup: &S::Setup) -> Self {
        match S::start_machine(setup) {
            Ok(machine) => Self::on_device(setup, machine),
            Err(reason) => Self::in_process(setup, reason),
        }
    }

    /// The same with device files only.
    ///
    /// # Errors
    /// In one line, why FUSE cannot be used.
    ///
    /// # Panics
    /// See [`Session::start`].
    pub fn start_on_device(setup: &S::Setup) -> Result<Self, String> {
        S::start_machine(setup).map(|machine| Self::on_device(setup, machine))
    }

    fn on_device(setup: &S::Setup, machine: Machine) -> Self {
        let scratch = Scratch(machine.path(""));
        let service = S::prepare(&scratch.0, setup, &machine.device_dir());
        let mut host = machine.client();
        S::configure(&mut host, setup);
        let place = Some(Place::Device { daemon: None, machine: Box::new(machine) });
        let mut session = Self { host, place, reason: None, scratch, service };
        session.start_daemon();
        session
    }

    fn in_process(setup: &S::Setup, reason: String) -> Self {
        let directory = tempfile::tempdir().expect("no scratch directory");
        let scratch = Scratch(directory.path().to_owned());
        let service = S::prepare(&scratch.0, setup, Path::new("/dev"));
        let (host, devices, daemon) = S::start_inside(setup, &scratch.0);
        let place = Some(Place::InProcess { devices, daemon, _directory: directory });
        Self { host, place, reason: Some(reason), scratch, service }
    }

    /// Starts the daemon again after its end, and waits until it serves. Without a device file nothing ends
    /// it, and nothing is done.
    ///
    /// # Panics
    /// It does not serve in time.
    pub fn start_daemon(&mut self) {
        let Some(Place::Device { daemon, machine }) = &mut self.place else { return };
        // The old daemon must have ended before the new one can open the device.
        *daemon = None;
        S::await_closed(&mut self.host);
        *daemon = Some(self.service.spawn(machine, &self.scratch.config_file()));
        S::await_served(&mut self.host);
    }

    /// Why there is no device file in this session. `None` if there is one.
    #[must_use]
    pub fn without_device(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The host.
    pub fn host(&mut self) -> &mut Client {
        &mut self.host
    }

    /// A file of the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Replaces a file of the facts directory in one step.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn set_fact(&self, name: &str, text: &str) {
        self.scratch.replace(S::FACTS, name, text);
    }

    fn place(&self) -> &Place<S> {
        self.place.as_ref().expect("only a dropped session has none")
    }

    /// The machine with its device files, if there are any.
    fn device_machine(&self) -> Option<&Machine> {
        match self.place() {
            Place::Device { machine, .. } => Some(machine),
            Place::InProcess { .. } => None,
        }
    }

    /// The daemon's process, if it is one.
    fn process(&mut self) -> Option<&mut S::Daemon> {
        match &mut self.place {
            Some(Place::Device { daemon, .. }) => daemon.as_mut(),
            _ => None,
        }
    }
}

impl<S: Service> Drop for Session<S> {
    fn drop(&mut self) {
        let Some(Place::InProcess { devices, daemon, _directory }) = self.place.take() else { return };
        let violations = self.host.take_violations();
        let is_detached = S::detach(&mut self.host, &devices);
        if thread::panicking() {
            return;
        }
        assert!(is_detached, "the device cannot be detached");
        S::check_end(daemon.join().expect("the daemon's loop panicked"));
        let violations = violations.expect("the host is in this process");
        assert!(violations.is_empty(), "the contract was violated:\n{}", violations.join("\n"));
    }
}
