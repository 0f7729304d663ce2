//! The session of the key-value service: its setup, its device, its daemon and the guest's network. How a
//! session starts and ends is in the module above.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
#[cfg(target_arch = "x86_64")]
use std::time::Duration;

use hv_core::abi::kvp::{MESSAGE_SIZE, Message};
use hv_core::runtime::VERSION;
use hv_core::runtime::config::Config;
use hv_core::sys::signals::Signals;
use kvp_daemon::port::KvpPort;
use kvp_daemon::serve::{ServeError, serve};
use kvp_daemon::service::Service;

use super::Place;
use super::scratch::{Scratch, quoted};
#[cfg(target_arch = "x86_64")]
use crate::client;
use crate::client::Client;
use crate::in_process;
#[cfg(target_arch = "x86_64")]
use crate::kvp::HostAnswer;
use crate::kvp::Settings;
use crate::network::guest::{Guest, SHIPPED_RULES, network_settings};
use crate::network::state::State;
#[cfg(target_arch = "x86_64")]
use crate::syscalls::{Begin, Case, Report, Watch};
use crate::testing::{Machine, Options, PATIENCE, Process, look_for, program};

/// A small FreeBSD guest with one adapter, as the files of a facts directory.
pub const FACTS: [(&str, &str); 3] = [
    (
        "sysctl",
        "kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE-p2\nkern.osreldate:int=1403000\nkern.version=FreeBSD 14.3-RELEASE-p2 \
         GENERIC\nkern.boot_id:hex=3c0f9a51d27e4b868dfe02a7c41b5568\nkern.hostname=guest.example.org\nhw.machine=amd64\n\
         hw.machine_arch=amd64\n",
    ),
    (
        "ifaddrs",
        "lo0 link - up mtu=16384\nlo0 inet 127.0.0.1/8\nlo0 inet6 ::1/128\nhn0 link 00:15:5d:01:02:03 up\n\
         hn0 inet 10.0.0.5/24\nhn0 inet6 fe80::215:5dff:fe01:203%hn0/64\nhn0 inet6 fd00::5/64\n",
    ),
    ("routes", "default 10.0.0.1 hn0\ndefault fe80::1%hn0 hn0\n10.0.0.0/24 - hn0\n"),
];

/// What a session begins with.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// How long the kernel waits for the daemon, instead of 5 seconds.
    pub machine: Options,
    /// Keys of `[kvp]`, except those with paths. `{dir}` in them stands for the scratch directory, see
    /// [`Session::path`].
    pub kvp_settings: String,
    /// Files of the facts directory that replace those of [`FACTS`].
    pub facts: Vec<(&'static str, String)>,
    /// The contents of pool files, by number.
    pub pools: Vec<(u8, Vec<u8>)>,
    /// resolv.conf.
    pub resolv_conf: String,
    /// A stand-in for getent(1), as the text of a script.
    pub getent: Option<String>,
    /// A simulated network that replaces the one of [`FACTS`].
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

/// The key-value service in a session: the log socket, and the guest with its network.
#[derive(Debug)]
pub struct Kvp {
    log: UnixDatagram,
    guest: Option<Guest>,
}

/// A guest whose key-value daemon serves the host.
pub type Session = super::Session<Kvp>;

impl super::Service for Kvp {
    type Setup = Setup;
    type Daemon = Process;
    type Devices = in_process::Machine;
    type End = ServeError;

    const FACTS: &'static str = "guest/facts";

    fn start_machine(setup: &Setup) -> Result<Machine, String> {
        Machine::start_with(&setup.machine)
    }

    fn prepare(scratch: &Path, setup: &Setup, devices: &Path) -> Self {
        prepare(&Scratch(scratch.to_owned()), setup, &devices.join("hv_kvp_dev"))
    }

    fn configure(_: &mut Client, _: &Setup) {}

    /// Linux reports the last close later than the end of the process. A request in between would reach no
    /// daemon.
    fn await_closed(host: &mut Client) {
        let mut is_closed = || host.statistics().expect("hvsim is there").opener == 0;
        let closed = look_for(PATIENCE, || is_closed().then_some(()));
        assert!(closed.is_some(), "another daemon has the device open");
    }

    fn spawn(&self, machine: &Machine, config: &Path) -> Process {
        machine.spawn(program("hv_kvp_daemon"), [Path::new("-n"), Path::new("-d"), Path::new("-f"), config])
    }

    fn await_served(host: &mut Client) {
        assert!(host.wait_registered(PATIENCE).expect("hvsim is there"), "no daemon has registered");
    }

    fn start_inside(setup: &Setup, scratch: &Path) -> (Client, in_process::Machine, JoinHandle<ServeError>) {
        let timeout = setup.machine.timeout.unwrap_or(Settings::default().timeout);
        let machine = in_process::Machine::new(Settings { timeout, adapters: Vec::new() });
        let config = Scratch(scratch.to_owned()).config();
        let port = machine.open_kvp().expect("no other process has it");
        let daemon = thread::spawn(move || serve_in_process(&config, Port(port)));
        let mut host = machine.client().expect("no socket pair").with_limit(PATIENCE);
        <Self as super::Service>::await_served(&mut host);
        (host, machine, daemon)
    }

    fn detach(_: &mut Client, devices: &in_process::Machine) -> bool {
        devices.client().is_ok_and(|mut client| client.detach().is_ok())
    }

    fn check_end(_: ServeError) {}
}

impl Session {
    /// Another connection of the host, for requests at the same time.
    ///
    /// # Panics
    /// The host has ended.
    #[must_use]
    pub fn another_host(&self) -> Client {
        match self.place() {
            Place::Device { machine, .. } => machine.client(),
            Place::InProcess { devices, .. } => {
                devices.client().expect("no socket pair").with_limit(PATIENCE)
            }
        }
    }

    /// The machine with its device file, if there is one.
    #[must_use]
    pub fn machine(&self) -> Option<&Machine> {
        self.device_machine()
    }

    /// The daemon's process, if it is one.
    pub fn daemon(&mut self) -> Option<&mut Process> {
        self.process()
    }

    /// The guest with its simulated network.
    ///
    /// # Panics
    /// The session has none.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        self.service.guest.as_ref().expect("the setup has no network")
    }

    /// A pool file.
    #[must_use]
    pub fn pool_file(&self, pool: u8) -> PathBuf {
        self.pool_dir().join(format!(".kvp_pool_{pool}"))
    }

    /// The directory of the pool files.
    #[must_use]
    pub fn pool_dir(&self) -> PathBuf {
        self.path("var/hyperv/pool")
    }

    /// The lines at the log socket since the last call: those of daemons that detached.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let line = || self.service.log.recv(&mut buffer).ok().map(|size| text(&buffer[..size]));
        std::iter::from_fn(line).collect()
    }

    /// The violations of the device's contract so far. They no longer fail the test.
    ///
    /// # Panics
    /// The host has ended.
    pub fn take_violations(&mut self) -> Vec<String> {
        self.host.take_violations().expect("the host has ended")
    }
}

/// Requests to a daemon whose system calls are observed.
#[cfg(target_arch = "x86_64")]
impl Session {
    /// Asks the daemon, with a fault or none. The answer is `None` if the daemon ended, otherwise whether it was
    /// OK.
    ///
    /// # Panics
    /// The session has no device, or the host has ended.
    pub fn ask_observed(
        &mut self,
        case: Option<Case>,
        ask: impl FnOnce(&mut Client) -> client::Result<HostAnswer> + Send + 'static,
    ) -> (Option<bool>, Report) {
        let pid = self.daemon().expect("the session has no device").pid();
        let watch = Watch::begin(pid, Begin::Now, case).expect("cannot observe the daemon");
        let mut host = self.another_host();
        let asking = thread::spawn(move || ask(&mut host).map(|answer| answer.is_ok()));
        while !asking.is_finished() && !watch.is_over() {
            thread::sleep(Duration::from_millis(1));
        }
        if !watch.is_over() {
            let answer = asking.join().expect("no panic").expect("the host has ended");
            return (Some(answer), watch.end().expect("cannot observe the daemon"));
        }
        let report = watch.wait().expect("cannot observe the daemon");
        // Otherwise the host waits as long as the kernel does.
        self.host().detach().expect("the host has ended");
        let _ = asking.join().expect("no panic");
        self.host().attach().expect("the host has ended");
        (None, report)
    }

    /// Whether the daemon ends because its device failed in this case.
    pub fn gives_up(&mut self, case: &Case) -> bool {
        let limit = Duration::from_millis(300);
        case.call.is_on("hv_kvp_dev") && self.daemon().is_some_and(|daemon| daemon.wait_for(limit).is_some())
    }
}

/// Writes everything that the daemon reads, and listens where it logs.
fn prepare(scratch: &Scratch, setup: &Setup, device: &Path) -> Kvp {
    for (name, text) in FACTS {
        scratch.write(&format!("guest/facts/{name}"), text.as_bytes());
    }
    // A machine has an empty directory for the facts of its kernel and its root, which are the same facts.
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
    Kvp { log, guest }
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

/// The guest's programs are named even without a network: those of this machine must not be started.
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
