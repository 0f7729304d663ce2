//! A guest whose key-value daemon serves the simulated host: the real program on the device file, or, where
//! FUSE cannot be used, the same loop inside this process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use hv_core::abi::kvp::{MESSAGE_SIZE, Message};
use hv_core::runtime::VERSION;
use hv_core::runtime::config::Config;
use hv_core::sys::signals::Signals;
use kvp_daemon::port::KvpPort;
use kvp_daemon::serve::{ServeError, serve};
use kvp_daemon::service::Service;

use crate::client::Client;
use crate::in_process;
use crate::kvp::Settings;
use crate::network::guest::{Guest, SHIPPED_RULES, network_settings};
use crate::network::state::State;
use crate::scratch::{Scratch, quoted};
use crate::testing::{Machine, Options, PATIENCE, Process, look_for, program};

/// A small FreeBSD guest with one adapter, as the files of a facts directory.
pub const FACTS: [(&str, &str); 3] = [
    (
        "sysctl",
        "kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE-p2\nkern.osreldate:int=1403000\nkern.version=FreeBSD 14.3-RELEASE-p2 \
         GENERIC\nkern.hostname=guest.example.org\nhw.machine=amd64\nhw.machine_arch=amd64\n",
    ),
    (
        "ifaddrs",
        "lo0 link - up mtu=16384\nlo0 inet 127.0.0.1/8\nlo0 inet6 ::1/128\nhn0 link 00:15:5d:01:02:03 up\n\
         hn0 inet 10.0.0.5/24\nhn0 inet6 fe80::215:5dff:fe01:203%hn0/64\nhn0 inet6 fd00::5/64\n",
    ),
    ("routes", "default 10.0.0.1 hn0\ndefault fe80::1%hn0 hn0\n10.0.0.0/24 - hn0\n"),
];

/// What a session finds when it begins.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// How long the kernel waits for the daemon, instead of 5 seconds.
    pub machine: Options,
    /// Keys of `[kvp]` besides those that say where things are; `{dir}` in them stands for the scratch
    /// directory, see [`Session::path`].
    pub kvp_settings: String,
    /// Files of the facts directory, in place of those of the usual guest.
    pub facts: Vec<(&'static str, String)>,
    /// What pool files hold, by number.
    pub pools: Vec<(u8, Vec<u8>)>,
    /// resolv.conf.
    pub resolv_conf: String,
    /// A program that stands for getent(1), as the text of a script.
    pub getent: Option<String>,
    /// A simulated network in place of the facts of the usual guest.
    pub network: Option<NetworkSetup>,
}

/// A guest with a simulated network.
#[derive(Debug, Clone, Default)]
pub struct NetworkSetup {
    /// The network.
    pub state: State,
    /// rc.conf.
    pub rc_conf: String,
}

/// A guest under a host.
#[derive(Debug)]
pub struct Session {
    host: Client,
    place: Option<Place>,
    reason: Option<String>,
    log: UnixDatagram,
    scratch: Scratch,
    guest: Option<Guest>,
}

#[derive(Debug)]
enum Place {
    // Dropped in this order: the daemon before the machine.
    Device { daemon: Option<Process>, machine: Box<Machine> },
    InProcess { machine: in_process::Machine, daemon: JoinHandle<ServeError>, _directory: tempfile::TempDir },
}

impl Session {
    /// Starts a guest with its daemon and waits until that is registered.
    ///
    /// # Panics
    /// The guest cannot be set up, or with `HVSIM_REQUIRED=1` FUSE cannot be used.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        match Machine::start_with(&setup.machine) {
            Ok(machine) => Self::on_device(setup, machine),
            Err(reason) => Self::in_process(setup, reason),
        }
    }

    fn on_device(setup: &Setup, machine: Machine) -> Self {
        let scratch = Scratch(machine.path(""));
        let (log, guest) = prepare(&scratch, setup, &machine.kvp_device());
        let host = machine.client();
        let machine = Box::new(machine);
        let place = Some(Place::Device { daemon: None, machine });
        let mut session = Self { host, place, reason: None, log, scratch, guest };
        session.start_daemon();
        session
    }

    fn in_process(setup: &Setup, reason: String) -> Self {
        let directory = tempfile::tempdir().expect("no scratch directory");
        let scratch = Scratch(directory.path().to_owned());
        let (log, guest) = prepare(&scratch, setup, Path::new("/dev/hv_kvp_dev"));
        let timeout = setup.machine.timeout.unwrap_or(Settings::default().timeout);
        let machine = in_process::Machine::new(Settings { timeout, adapters: Vec::new() });
        let config = scratch.config();
        let port = machine.open_kvp().expect("nobody else has it");
        let daemon = thread::spawn(move || serve_in_process(&config, Port(port)));
        let mut host = machine.client().expect("no socket pair").with_limit(PATIENCE);
        assert!(host.wait_registered(PATIENCE).expect("the host is in this process"), "nobody registered");
        let place = Some(Place::InProcess { machine, daemon, _directory: directory });
        Self { host, place, reason: Some(reason), log, scratch, guest }
    }

    /// Why there is no device file in this session; `None` when there is one.
    #[must_use]
    pub fn without_device(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The host.
    pub fn host(&mut self) -> &mut Client {
        &mut self.host
    }

    /// Another connection of the host's, for requests at the same time.
    ///
    /// # Panics
    /// The host is gone.
    #[must_use]
    pub fn another_host(&self) -> Client {
        match self.place() {
            Place::Device { machine, .. } => machine.client(),
            Place::InProcess { machine, .. } => {
                machine.client().expect("no socket pair").with_limit(PATIENCE)
            }
        }
    }

    /// The machine with its device file, where there is one.
    #[must_use]
    pub fn machine(&self) -> Option<&Machine> {
        match self.place() {
            Place::Device { machine, .. } => Some(machine),
            Place::InProcess { .. } => None,
        }
    }

    /// The daemon's process, where it is one.
    pub fn daemon(&mut self) -> Option<&mut Process> {
        match self.place.as_mut() {
            Some(Place::Device { daemon, .. }) => daemon.as_mut(),
            _ => None,
        }
    }

    /// The guest with its simulated network.
    ///
    /// # Panics
    /// The session has none.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        self.guest.as_ref().expect("the setup has no network")
    }

    /// Starts the daemon again after its end. Without a device file nothing ends it.
    ///
    /// # Panics
    /// It does not register.
    pub fn start_daemon(&mut self) {
        let config = self.scratch.config_file();
        if let Some(Place::Device { daemon, machine }) = self.place.as_mut() {
            // The old one must be gone before the new one can have the device.
            *daemon = None;
            // The kernel of Linux tells of the last close later than of the process's end. A request that
            // comes in between would go to nobody.
            let host = &mut self.host;
            let mut opened = || host.statistics().expect("hvsim is there").opener != 0;
            assert!(
                look_for(PATIENCE, || (!opened()).then_some(())).is_some(),
                "another daemon has the device open"
            );
            let arguments = [Path::new("-n"), Path::new("-d"), Path::new("-f"), &config];
            *daemon = Some(machine.spawn(program("hv_kvp_daemon"), arguments));
            machine.wait_registered();
        }
    }

    /// A file of the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// A pool file.
    #[must_use]
    pub fn pool_file(&self, pool: u8) -> PathBuf {
        self.pool_dir().join(format!(".kvp_pool_{pool}"))
    }

    /// The directory of the pool files.
    #[must_use]
    pub fn pool_dir(&self) -> PathBuf {
        self.scratch.path("var/hyperv/pool")
    }

    /// Puts another file into the facts directory, whole at once.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn set_fact(&self, name: &str, text: &str) {
        self.scratch.replace("guest/facts", name, text);
    }

    /// The lines that reached the log socket so far: those of daemons that detached.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| self.log.recv(&mut buffer).ok().map(|size| text(&buffer[..size]))).collect()
    }

    /// Violations of the device's contract so far, which then do not fail the test.
    ///
    /// # Panics
    /// The host is gone.
    pub fn take_violations(&mut self) -> Vec<String> {
        self.host.take_violations().expect("the host is gone")
    }

    fn place(&self) -> &Place {
        self.place.as_ref().expect("only a session that is dropped has none")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(Place::InProcess { machine, daemon, _directory }) = self.place.take() else { return };
        let violations = self.host.take_violations();
        let detached = machine.client().map(|mut client| client.detach());
        if thread::panicking() {
            return;
        }
        assert!(matches!(detached, Ok(Ok(()))), "the device cannot be detached");
        daemon.join().expect("the daemon's loop panicked");
        let violations = violations.expect("the host is gone");
        assert!(violations.is_empty(), "the contract was violated:\n{}", violations.join("\n"));
    }
}

/// Writes everything that the daemon reads, and listens where it logs.
fn prepare(scratch: &Scratch, setup: &Setup, device: &Path) -> (UnixDatagram, Option<Guest>) {
    for (name, text) in FACTS {
        scratch.write(&format!("guest/facts/{name}"), text.as_bytes());
    }
    // A machine has an empty directory for what its kernel and its root say; theirs are the same facts.
    if fs::remove_dir(scratch.path("facts")).is_ok() {
        symlink("guest/facts", scratch.path("facts")).expect("no scratch link");
    }
    let guest = setup.network.as_ref().map(|network| make_guest(&scratch.path("guest"), network));
    for (name, text) in &setup.facts {
        scratch.write(&format!("guest/facts/{name}"), text.as_bytes());
    }
    for (pool, bytes) in &setup.pools {
        scratch.write(&format!("var/hyperv/pool/.kvp_pool_{pool}"), bytes);
    }
    scratch.write("guest/etc/resolv.conf", setup.resolv_conf.as_bytes());
    let script = setup.getent.as_deref().unwrap_or("#!/bin/sh\nexit 2\n");
    scratch.write_program("getent", script);
    scratch.write("hyperv.toml", config(scratch, setup, device).as_bytes());
    let log = UnixDatagram::bind(scratch.path("log")).expect("no scratch socket");
    log.set_nonblocking(true).expect("a fresh socket");
    (log, guest)
}

fn make_guest(dir: &Path, network: &NetworkSetup) -> Guest {
    let mut state = network.state.clone();
    for (name, value) in FACTS[0].1.lines().filter_map(|line| line.split_once('=')) {
        state.sysctls.insert(name.to_owned(), value.to_owned());
    }
    let tools = program("hvsim-tools");
    let programs = tools.parent().unwrap_or(Path::new("/"));
    let guest = Guest::create(dir, &tools, SHIPPED_RULES, programs, &state).expect("no scratch guest");
    guest.set_rc_conf(&network.rc_conf).expect("no scratch file");
    guest
}

/// The guest's programs are named even where there is no network: those of this machine must not be reached.
fn config(scratch: &Scratch, setup: &Setup, device: &Path) -> String {
    format!(
        "[log]\nsockets = [{}]\n{}[kvp]\ndevice = {}\npool-dir = {}\ngetent = {}\nrc-conf = {}\nip-injection-dir = {}\n\
         control-socket = {}\n{}\n",
        scratch.quoted("log"),
        network_settings(&scratch.path("guest").display().to_string()),
        quoted(device),
        scratch.quoted("var/hyperv/pool"),
        scratch.quoted("getent"),
        scratch.quoted("guest/etc/rc.conf"),
        scratch.quoted("var/hyperv/injection"),
        scratch.quoted("hv_kvp_daemon.sock"),
        setup.kvp_settings.replace("{dir}", &scratch.0.display().to_string()),
    )
}

fn serve_in_process(config: &Config, mut port: Port) -> ServeError {
    let signals = Signals::unhandled().expect("the mask can be read");
    let mut service = Service::open(config);
    port.register(&Message::registration(VERSION)).expect("the device takes a registration");
    loop {
        if let Err(error) = serve(&mut port, &mut service, &signals) {
            return error;
        }
    }
}

/// The in-process device as the daemon's port.
struct Port(in_process::KvpPort);

impl KvpPort for Port {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn register(&mut self, registration: &Message) -> io::Result<()> {
        self.0.write_message(registration.bytes()).map(|_| ())
    }

    fn read_request(&mut self, buffer: &mut [u8; MESSAGE_SIZE]) -> io::Result<usize> {
        let message = self.0.read_message()?;
        let size = message.len().min(MESSAGE_SIZE);
        buffer[..size].copy_from_slice(&message[..size]);
        Ok(size)
    }

    fn write_answer(&mut self, answer: &Message) -> io::Result<()> {
        self.0.write_message(answer.bytes()).map(|_| ())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
