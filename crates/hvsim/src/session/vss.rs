//! The session of the backup service: its setup, its devices, its daemon, and what the daemon has run. How a
//! session starts and ends is in the module above.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hv_core::sys::signals::Signals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vss_daemon::serve::{Driver, End};

use super::Service;
use super::scratch::{Scratch, quoted};
use crate::client::Client;
use crate::station::lock;
use crate::testing::{Machine, PATIENCE, freebsd_root, look_for, program};
use crate::vss::in_process::{self, Port, SuspendDevices};
use crate::vss::{Devices, KERNEL_TIMEOUT, Settings, Side};

/// The mounts of a common guest: ZFS, two UFS, the EFI partition, tmpfs, and a jail with nullfs and devfs.
/// Base's daemon would veto a backup because of several of them.
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

/// What a session begins with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The mount table.
    pub mounts: String,
    /// Keys of `[vss]`, except those with paths.
    pub settings: String,
    /// Other sections of the configuration.
    pub sections: String,
    /// Names and scripts of the hooks, without the first line. `$CALLS` in them is the file that
    /// [`Session::calls`] reads.
    pub hooks: Vec<(&'static str, String)>,
    /// How long the kernel waits for an answer.
    pub timeout: Duration,
    /// Options of the daemon. `-n` keeps it in the foreground, with its output in a pipe.
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

/// The backup service in a session: the options of its daemon.
#[derive(Debug)]
pub struct Vss {
    options: Vec<&'static str>,
}

/// A guest whose backup daemon serves the host.
pub type Session = super::Session<Vss>;

impl Service for Vss {
    type Setup = Setup;
    type Daemon = Daemon;
    type Devices = ();
    type End = End;

    const FACTS: &'static str = "facts";

    fn start_machine(_: &Setup) -> Result<Machine, String> {
        Machine::start()
    }

    fn prepare(scratch: &Path, setup: &Setup, devices: &Path) -> Self {
        prepare(&Scratch(scratch.to_owned()), setup, devices);
        Self { options: setup.options.clone() }
    }

    fn configure(host: &mut Client, setup: &Setup) {
        host.vss_set_timeout(setup.timeout).expect("hvsim is there");
    }

    fn await_closed(host: &mut Client) {
        let closed = host.vss_wait_closed(Side::FileSystem, PATIENCE).expect("hvsim is there");
        assert!(closed, "another process has the device open");
    }

    fn spawn(&self, machine: &Machine, config: &Path) -> Daemon {
        let mut command = machine.command(program("hv_vss_daemon"));
        command.args(&self.options).arg("-f").arg(config);
        Daemon::spawn(command)
    }

    fn await_served(host: &mut Client) {
        let open = host.vss_wait_open(Side::FileSystem, PATIENCE).expect("hvsim is there");
        assert!(open, "the daemon does not open its device");
    }

    fn start_inside(setup: &Setup, scratch: &Path) -> (Client, (), JoinHandle<End>) {
        let scratch = Scratch(scratch.to_owned());
        let facts = Some(scratch.path("facts"));
        let devices = Devices::new(Settings { timeout: setup.timeout, facts });
        let host = in_process::client(&devices).expect("no socket pair").with_limit(PATIENCE);
        let config = scratch.config();
        let port = Port::open(&devices).expect("no other process has it");
        let daemon = thread::spawn(move || {
            let signals = Signals::unhandled().expect("the mask can be read");
            let mut driver = Driver::new(&config, port, SuspendDevices(devices));
            driver.serve(&signals).expect("the loop waits")
        });
        (host, (), daemon)
    }

    fn detach(host: &mut Client, (): &()) -> bool {
        host.vss_detach().is_ok()
    }

    fn check_end(end: End) {
        assert_eq!(end, End::DeviceGone);
    }
}

impl Session {
    /// The machine with its device files.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.device_machine().expect("this session has no device files")
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// There is none.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.process().expect("the daemon is no process")
    }

    /// Replaces the mount table in one step.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn set_mounts(&self, text: &str) {
        self.set_fact("mounts", text);
    }

    /// The programs that ran so far: hooks with their phase, and zpool(8).
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The calls of sync(2) and fsync(2) so far, such as `sync` and `fsync /boot/efi`.
    #[must_use]
    pub fn syncs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.path("facts/log")).unwrap_or_default();
        let call = |line: &str| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            [words.first(), words.get(3)].into_iter().flatten().copied().collect::<Vec<_>>().join(" ")
        };
        text.lines().map(call).collect()
    }

    /// Waits until this number of programs ran.
    ///
    /// # Panics
    /// They have not after [`PATIENCE`].
    #[must_use]
    pub fn wait_calls(&self, count: usize) -> Vec<String> {
        look_for(PATIENCE, || Some(self.calls()).filter(|calls| calls.len() >= count))
            .unwrap_or_else(|| panic!("only these programs were run: {:?}", self.calls()))
    }
}

/// The daemon as a process. Its output goes to a pipe, because an open file could prevent a freeze. Dropping
/// this kills it.
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
        // The command has the write end, which must be closed for the pipe to end.
        drop(command);
        let output = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&output);
        let collector = Some(thread::spawn(move || collect(reader, &collected)));
        Self { child, output, collector }
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Sends a signal, if it has not ended.
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

    /// Waits for its end and all its output. Returns its exit code, or the negative number of the signal that
    /// ended it.
    ///
    /// # Panics
    /// It still runs after [`PATIENCE`].
    pub fn exit_code(&mut self) -> i32 {
        let status = look_for(PATIENCE, || self.child.try_wait().expect("cannot wait for a child"))
            .unwrap_or_else(|| panic!("the daemon still runs; it printed:\n{}", self.output()));
        // It leaves no process behind that would hold the pipe open.
        if let Some(Err(panic)) = self.collector.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// Its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        lock(&self.output).clone()
    }

    /// Waits until it prints a text.
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
    // The output of `zpool list` is in a file, if the test has written one.
    let zpool =
        "[ \"$1\" = list ] && { cat \"$CALLS.pools\" 2>/dev/null; exit 0; }\necho zpool \"$@\" >>\"$CALLS\"";
    script("bin/zpool", zpool);
    scratch.make_directory("vss.d");
    scratch.make_accessible("vss.d");
    for (name, text) in &setup.hooks {
        script(&format!("vss.d/{name}"), text);
    }
    scratch.write("facts/mounts", setup.mounts.as_bytes());
    // The calls of sync(2) and fsync(2) are recorded there.
    scratch.write("facts/log", b"");
    scratch.write("hyperv.toml", config(scratch, setup, devices).as_bytes());
}

fn config(scratch: &Scratch, setup: &Setup, devices: &Path) -> String {
    let here = |name: &str| scratch.quoted(name);
    // FreeBSD's executables read the system's facts, which their root takes from the same files.
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
