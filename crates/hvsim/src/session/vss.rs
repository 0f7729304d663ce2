//! A guest whose backup daemon serves the simulated host: the real program on the device files, or, where
//! FUSE cannot be used, the same loop inside this process.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hv_core::sys::signals::Signals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vss_daemon::serve::{Driver, End};

use super::in_process::{self, Port, SuspendDevices};
use super::machine::Settings;
use super::node::Devices;
use super::{Side, driver::KERNEL_TIMEOUT};
use crate::client::Client;
use crate::scratch::{Scratch, quoted};
use crate::station::lock;
use crate::testing::{Machine, PATIENCE, freebsd_root, look_for, program};

/// The mounts of a guest that base's daemon would veto many times over: ZFS, two UFS, the EFI partition,
/// tmpfs and a jail with nullfs and devfs.
pub const USUAL_MOUNTS: &str = "\
ufs / /dev/gpt/rootfs local,rootfs,soft-updates 1598032081 101
devfs /dev devfs local 67174656 102
msdosfs /boot/efi /dev/gpt/efiboot0 local 1598032082 103
zfs /tank tank local 1598032083 104
zfs /jails tank/jails local 1598032084 105
ufs /var/db/data /dev/da1p1 local,soft-updates 1598032085 106
tmpfs /tmp tmpfs local 1598032086 107
nullfs /jails/www/data /var/db/data local 1598032087 108
devfs /jails/www/dev devfs local 1598032088 109
";

/// What a session finds when it begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The mount table.
    pub mounts: String,
    /// Keys of `[vss]` besides those that say where things are.
    pub settings: String,
    /// Further sections.
    pub sections: String,
    /// Hooks: names and scripts without their first line; `$CALLS` in them is a file that [`Session::calls`]
    /// reads.
    pub hooks: Vec<(&'static str, String)>,
    /// How long the kernel waits for an answer.
    pub timeout: Duration,
    /// Options of the daemon; `-n` keeps it in the foreground with its output in a pipe.
    pub options: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mounts: USUAL_MOUNTS.to_owned(),
            settings: String::new(),
            sections: String::new(),
            hooks: Vec::new(),
            timeout: KERNEL_TIMEOUT,
            options: vec!["-n", "-d"],
        }
    }
}

/// A guest under a host.
#[derive(Debug)]
pub struct Session {
    host: Client,
    place: Option<Place>,
    reason: Option<String>,
    scratch: Scratch,
    options: Vec<&'static str>,
}

#[derive(Debug)]
enum Place {
    // Dropped in this order: the daemon before the machine.
    Device { daemon: Option<Daemon>, machine: Box<Machine> },
    InProcess { daemon: JoinHandle<End>, _directory: tempfile::TempDir },
}

impl Session {
    /// Starts a guest with its daemon and waits until that has the device open.
    ///
    /// # Panics
    /// The guest cannot be set up, or with `HVSIM_REQUIRED=1` FUSE cannot be used.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        match Machine::start() {
            Ok(machine) => Self::on_device(setup, machine),
            Err(reason) => Self::in_process(setup, reason),
        }
    }

    /// The same with device files, or why there can be none.
    ///
    /// # Errors
    /// In one line, why FUSE cannot be used.
    ///
    /// # Panics
    /// See [`Session::start`].
    pub fn start_on_device(setup: &Setup) -> Result<Self, String> {
        Machine::start().map(|machine| Self::on_device(setup, machine))
    }

    fn on_device(setup: &Setup, machine: Machine) -> Self {
        let scratch = Scratch(machine.path(""));
        prepare(&scratch, setup, &machine.device_dir());
        let mut host = machine.client();
        host.vss_set_timeout(setup.timeout).expect("hvsim is there");
        let place = Some(Place::Device { daemon: None, machine: Box::new(machine) });
        let mut session = Self { host, place, reason: None, scratch, options: setup.options.clone() };
        session.start_daemon();
        session
    }

    fn in_process(setup: &Setup, reason: String) -> Self {
        let directory = tempfile::tempdir().expect("no scratch directory");
        let scratch = Scratch(directory.path().to_owned());
        prepare(&scratch, setup, Path::new("/dev"));
        let facts = Some(scratch.path("facts"));
        let devices = Devices::new(Settings { timeout: setup.timeout, facts });
        let host = in_process::client(&devices).expect("no socket pair").with_limit(PATIENCE);
        let config = scratch.config();
        let port = Port::open(&devices).expect("nobody else has it");
        let daemon = thread::spawn(move || {
            let signals = Signals::unhandled().expect("the mask can be read");
            let mut driver = Driver::new(&config, port, SuspendDevices(devices));
            driver.serve(&signals).expect("the loop waits")
        });
        let place = Some(Place::InProcess { daemon, _directory: directory });
        Self { host, place, reason: Some(reason), scratch, options: Vec::new() }
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

    /// The machine with its device files.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        match &self.place {
            Some(Place::Device { machine, .. }) => machine,
            _ => panic!("this session has no device files"),
        }
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// There is none.
    pub fn daemon(&mut self) -> &mut Daemon {
        match &mut self.place {
            Some(Place::Device { daemon: Some(daemon), .. }) => daemon,
            _ => panic!("the daemon is no process"),
        }
    }

    /// Starts the daemon, again where it had ended, and waits until it has the device open.
    ///
    /// # Panics
    /// It does not open the device.
    pub fn start_daemon(&mut self) {
        let Some(Place::Device { daemon, machine }) = &mut self.place else { return };
        // The old one must be gone before the new one can have the device.
        *daemon = None;
        let closed = self.host.vss_wait_closed(Side::FileSystem, PATIENCE).expect("hvsim is there");
        assert!(closed, "somebody else has the device open");
        let mut command = machine.command(program("hv_vss_daemon"));
        command.args(&self.options).arg("-f").arg(self.scratch.config_file());
        *daemon = Some(Daemon::spawn(command));
        let open = self.host.vss_wait_open(Side::FileSystem, PATIENCE).expect("hvsim is there");
        assert!(open, "the daemon does not open its device");
    }

    /// A file of the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Puts another mount table into the facts directory, whole at once.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn set_mounts(&self, text: &str) {
        self.scratch.replace("facts", "mounts", text);
    }

    /// The programs that were run so far: hooks with their phase, and what brings file systems to disk.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What was brought to disk so far by sync(2) and fsync(2): `sync`, `fsync /boot/efi`.
    #[must_use]
    pub fn syncs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.path("facts/log")).unwrap_or_default();
        let call = |line: &str| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            [words.first(), words.get(3)].into_iter().flatten().copied().collect::<Vec<_>>().join(" ")
        };
        text.lines().map(call).collect()
    }

    /// Puts another file into the facts directory, whole at once.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn set_fact(&self, name: &str, text: &str) {
        self.scratch.replace("facts", name, text);
    }

    /// Waits until programs were run, this many in all.
    ///
    /// # Panics
    /// They are not after [`PATIENCE`].
    #[must_use]
    pub fn wait_calls(&self, count: usize) -> Vec<String> {
        look_for(PATIENCE, || Some(self.calls()).filter(|calls| calls.len() >= count))
            .unwrap_or_else(|| panic!("only these programs were run: {:?}", self.calls()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(Place::InProcess { daemon, _directory }) = self.place.take() else { return };
        let violations = self.host.take_violations();
        let detached = self.host.vss_detach();
        if thread::panicking() {
            return;
        }
        assert!(detached.is_ok(), "the devices cannot be detached");
        let end = daemon.join().expect("the daemon's loop panicked");
        assert_eq!(end, End::DeviceGone);
        let violations = violations.expect("the host is in this process");
        assert!(violations.is_empty(), "the contract was violated:\n{}", violations.join("\n"));
    }
}

/// The daemon as a process; its output comes through a pipe, for a file may be in the way of a freeze. It is
/// killed when this goes.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    output: Arc<Mutex<String>>,
    /// Reads the pipe to its end.
    collector: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts a command with its output in a pipe.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn spawn(mut command: std::process::Command) -> Self {
        let (reader, writer) = io::pipe().expect("no pipe");
        let both = writer.try_clone().expect("no second descriptor");
        let child =
            command.stdin(Stdio::null()).stdout(writer).stderr(both).spawn().expect("cannot start hvsim");
        // Or the pipe never ends.
        drop(command);
        let output = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&output);
        let collector = Some(thread::spawn(move || collect(reader, &collected)));
        Self { child, output, collector }
    }

    /// Its process number, which is the program's own.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Sends a signal; none if it has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// The system cannot tell.
    pub fn is_gone(&mut self) -> bool {
        self.child.try_wait().expect("cannot wait for a child").is_some()
    }

    /// Its exit code, after waiting for its end and for all its output; a negative number of a signal that
    /// ended it.
    ///
    /// # Panics
    /// It runs after [`PATIENCE`].
    pub fn exit_code(&mut self) -> i32 {
        let status = look_for(PATIENCE, || self.child.try_wait().expect("cannot wait for a child"))
            .unwrap_or_else(|| panic!("the daemon still runs; it printed:\n{}", self.output()));
        // A process that it left behind would hold the pipe open; it has none.
        if let Some(Err(panic)) = self.collector.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        lock(&self.output).clone()
    }

    /// Waits until it has printed a text.
    ///
    /// # Panics
    /// It has not after [`PATIENCE`].
    pub fn wait_output(&self, text: &str) {
        look_for(PATIENCE, || self.output().contains(text).then_some(()))
            .unwrap_or_else(|| panic!("the daemon did not print {text:?}, but:\n{}", self.output()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut reader: impl Read, output: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = reader.read(&mut buffer) {
        lock(output).push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
}

/// Writes everything that the daemon reads.
fn prepare(scratch: &Scratch, setup: &Setup, devices: &Path) {
    let calls = scratch.path("calls");
    let script = |name: &str, text: &str| {
        scratch.write_program(name, &format!("#!/bin/sh\nCALLS='{}'\n{text}\n", calls.display()));
    };
    // What `zpool list` says is in a file, if a test has put it there.
    let zpool =
        "[ \"$1\" = list ] && { cat \"$CALLS.pools\" 2>/dev/null; exit 0; }\necho zpool \"$@\" >>\"$CALLS\"";
    script("bin/zpool", zpool);
    scratch.make_directory("vss.d");
    scratch.make_accessible("vss.d");
    for (name, text) in &setup.hooks {
        script(&format!("vss.d/{name}"), text);
    }
    scratch.write("facts/mounts", setup.mounts.as_bytes());
    // What is brought to disk is noted there.
    scratch.write("facts/log", b"");
    scratch.write("hyperv.toml", config(scratch, setup, devices).as_bytes());
}

fn config(scratch: &Scratch, setup: &Setup, devices: &Path) -> String {
    let here = |name: &str| scratch.quoted(name);
    // FreeBSD's executables ask the system, and their root serves the same files.
    let facts = if freebsd_root().is_some() { String::new() } else { format!("dir = {}", here("facts")) };
    format!(
        "[log]\nsockets = [{}]\n[facts]\n{facts}\n[vss]\ndevice = {}\nsuspend-device = {}\nhook-dir = {}\n\
         zpool = {}\ncontrol-socket = {}\nhistory = {}\n{}\n{}\n",
        here("log"),
        quoted(&devices.join(Side::FileSystem.node())),
        quoted(&devices.join("ufssuspend")),
        here("vss.d"),
        here("bin/zpool"),
        here("hv_vss_daemon.sock"),
        here("backups"),
        setup.settings,
        setup.sections,
    )
}
