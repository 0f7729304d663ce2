//! For tests of whole programs: a simulated machine with its devices, scratch files and processes. Daemons
//! and guests are in `session`.
//!
//! ```no_run
//! use hvsim::testing::Machine;
//!
//! let mut machine = match Machine::start() {
//!     Ok(machine) => machine,
//!     // The reason is one line. With HVSIM_REQUIRED=1 this is a panic instead.
//!     Err(reason) => return eprintln!("skipped: {reason}"),
//! };
//! machine.write_config("[kvp]\n");
//! let device = machine.kvp_device();
//! let daemon = machine.spawn("/usr/sbin/hv_kvp_daemon", ["-n".as_ref(), device.as_os_str()]);
//! machine.wait_registered();
//! assert!(machine.host().get(0, "key").unwrap().is_ok());
//! # drop(daemon);
//! ```

mod patience;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::control::{device_dir, socket_path};
use crate::root;

pub use patience::{PATIENCE, await_one_of, eventually, look_for};

/// How long a killed program may take to end. A program that sleeps in a read does not end before the machine
/// does, because no signal wakes it, as on FreeBSD.
const DEATH: Duration = Duration::from_secs(2);

/// The options of a machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long the kernel waits for a daemon, instead of 5 seconds.
    pub timeout: Option<Duration>,
    /// The network adapters of the kernel, each as `hnN=GUID`.
    pub adapters: Vec<String>,
    /// The parent of the scratch directory, instead of the system's directory for temporary files.
    pub scratch: Option<PathBuf>,
}

/// A simulated machine: a server in a scratch directory, and the programs that run in its namespaces.
///
/// Dropping it kills every process in its namespaces and removes the files. Violations of a device's contract
/// that were not taken make the test fail.
#[derive(Debug)]
pub struct Machine {
    // Dropped in this order: the scratch files last.
    host: Client,
    server: Child,
    _alive: Option<ChildStdin>,
    scratch: tempfile::TempDir,
}

impl Machine {
    /// Starts a machine as [`Options::default`] describes it.
    ///
    /// # Errors
    /// In one line, why FUSE or namespaces cannot be used.
    ///
    /// # Panics
    /// The program `hvsim` does not exist, or `HVSIM_REQUIRED=1` is set and FUSE cannot be used.
    pub fn start() -> Result<Self, String> {
        Self::start_with(&Options::default())
    }

    /// Starts a machine.
    ///
    /// # Errors
    /// See [`Machine::start`].
    ///
    /// # Panics
    /// See [`Machine::start`].
    pub fn start_with(options: &Options) -> Result<Self, String> {
        Self::try_start(options).inspect_err(|reason| {
            let required = std::env::var_os("HVSIM_REQUIRED").is_some_and(|value| value == "1");
            assert!(!required, "HVSIM_REQUIRED=1, but {reason}");
        })
    }

    fn try_start(options: &Options) -> Result<Self, String> {
        let parent = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch =
            tempfile::Builder::new().prefix("hvsim-").tempdir_in(parent).expect("no scratch directory");
        let dir = scratch.path();
        for name in ["facts", "pool-parent"] {
            fs::create_dir(dir.join(name)).expect("no scratch directory");
        }
        let errors = dir.join("hvsim.err");
        let mut command = Command::new(program("hvsim"));
        command.arg("serve").arg("--while-stdin").arg("--dir").arg(dir.join("host"));
        command.arg("--facts").arg(dir.join("facts"));
        if let Some(timeout) = options.timeout {
            command.arg("--timeout").arg(timeout.as_secs_f64().to_string());
        }
        if let Some(root) = freebsd_root() {
            command.arg("--root").arg(root);
        }
        for adapter in &options.adapters {
            command.arg("--adapter").arg(adapter);
        }
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).expect("no scratch file"))
            .spawn()
            .expect("cannot start hvsim");
        let alive = server.stdin.take();
        let mut line = String::new();
        let out = server.stdout.take().expect("standard output is piped");
        BufReader::new(out).read_line(&mut line).expect("cannot listen to hvsim");
        if !line.starts_with("ready ") {
            let _ = server.wait();
            let reason = fs::read_to_string(&errors).unwrap_or_default();
            return Err(reason.trim().trim_start_matches("hvsim: ").to_owned());
        }
        let host = Client::connect(&dir.join("host")).expect("hvsim is ready").with_limit(PATIENCE);
        Ok(Self { host, server, _alive: alive, scratch })
    }

    /// A file or directory in the scratch directory.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The server's directory, the `--dir` of `hvsim`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.path("host")
    }

    /// The directory that replaces `/dev`, as programs of the machine see it.
    #[must_use]
    pub fn device_dir(&self) -> PathBuf {
        device_dir(&self.dir())
    }

    /// `/dev/hv_kvp_dev`, as programs of the machine see it.
    #[must_use]
    pub fn kvp_device(&self) -> PathBuf {
        self.device_dir().join("hv_kvp_dev")
    }

    /// The directory of the pools. Neither it nor its parent exists yet, as in a new guest.
    #[must_use]
    pub fn pool_dir(&self) -> PathBuf {
        self.path("pool-parent/hyperv/pool")
    }

    /// An empty directory for the facts of the simulated guest.
    #[must_use]
    pub fn facts_dir(&self) -> PathBuf {
        self.path("facts")
    }

    /// The path of the configuration of [`Machine::write_config`].
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path("hyperv.toml")
    }

    /// The path where a test may listen for log lines. It does not exist yet.
    #[must_use]
    pub fn log_socket(&self) -> PathBuf {
        self.path("log")
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config_file(), text).expect("cannot write the configuration");
    }

    /// The host.
    pub fn host(&mut self) -> &mut Client {
        &mut self.host
    }

    /// Another connection of the host, for requests at the same time.
    ///
    /// # Panics
    /// The server has ended.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.dir()).expect("hvsim has gone").with_limit(PATIENCE)
    }

    /// A command that runs `program` in the machine, without arguments, environment and redirections. A
    /// program of the suite runs in the machine's root directory, if the machine has one.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(self::program("hvsim"));
        command.arg("run").arg("--dir").arg(self.dir());
        let program = program.as_ref();
        if let Some(root) = freebsd_root().filter(|_| is_installed(Path::new(program))) {
            command.arg("--root").arg(root);
        }
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Starts a program in the machine. Its standard output and error go to a file, see [`Process`].
    ///
    /// # Panics
    /// It cannot be started.
    pub fn spawn<I, S>(&self, program: impl AsRef<OsStr>, arguments: I) -> Process
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(program);
        command.args(arguments);
        self.spawn_command(command)
    }

    /// Starts a command of [`Machine::command`].
    ///
    /// # Panics
    /// It cannot be started.
    pub fn spawn_command(&self, mut command: Command) -> Process {
        let output = tempfile::NamedTempFile::new_in(self.scratch.path()).expect("no scratch file");
        let (file, output) = output.keep().expect("no scratch file");
        let both = file.try_clone().expect("no second descriptor");
        let child = command.stdout(file).stderr(both).spawn().expect("cannot start hvsim");
        Process { child, output }
    }

    /// Waits until a key-value daemon is registered.
    ///
    /// # Panics
    /// No daemon is registered after [`PATIENCE`].
    pub fn wait_registered(&mut self) {
        let registered = self.host.wait_registered(PATIENCE).expect("hvsim has gone");
        assert!(registered, "no daemon has registered");
    }

    /// The violations so far. They are cleared, so they no longer fail the test.
    ///
    /// # Panics
    /// The server has ended.
    pub fn take_violations(&mut self) -> Vec<String> {
        self.host.take_violations().expect("hvsim has gone")
    }

    /// The path by which the test reaches `path` of a program's view, through mounts of the machine.
    #[must_use]
    pub fn reach(&self, path: impl AsRef<Path>) -> PathBuf {
        let view = PathBuf::from(format!("/proc/{}/root", self.server.id()));
        let outside = outside(path);
        view.join(outside.strip_prefix("/").unwrap_or(&outside))
    }

    /// The processes in the machine's namespaces, without the server.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let server = Pid::from_raw(i32::try_from(self.server.id()).unwrap_or(0));
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let Some(own) = namespace(&server.to_string()) else { return Vec::new() };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
            .filter_map(|name| Some((name.parse().ok()?, namespace(&name)?)))
            .filter(|(pid, namespace)| *namespace == own && *pid != server.as_raw())
            .map(|(pid, _)| Pid::from_raw(pid))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let violations = self.host.take_violations();
        // Before the server: its end would make their calls fail, and they would log that.
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_file(socket_path(&self.dir()));
        if std::thread::panicking() {
            return;
        }
        let violations = violations.expect("hvsim ended before the test did");
        assert!(violations.is_empty(), "the contract was violated:\n{}", violations.join("\n"));
    }
}

/// A program in the machine. Dropping this kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Sends a signal, if it has not ended.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// The system cannot tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("cannot wait for a child").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It still runs after [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(PATIENCE)
            .unwrap_or_else(|| panic!("a program still runs; it printed:\n{}", self.output()))
    }

    /// Waits for its end, at most for `limit`.
    ///
    /// # Panics
    /// The system cannot tell.
    pub fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        look_for(limit, || self.child.try_wait().expect("cannot wait for a child"))
    }

    /// Waits for its end and returns its exit code.
    ///
    /// # Panics
    /// It does not end, or a signal ended it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("signal {:?} ended a program", status.signal()))
    }

    /// Its output so far, standard output and error together.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = look_for(DEATH, || self.child.try_wait().transpose());
    }
}

/// The next line at a log socket.
///
/// # Panics
/// None arrives within the socket's time limit.
#[must_use]
pub fn next_line(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer) {
            // The kernel does not restart a receive with a time limit.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            size => return String::from_utf8_lossy(&buffer[..size.expect("no line")]).into_owned(),
        }
    }
}

/// The template of the root directories for FreeBSD's executables, if tests run those.
///
/// # Panics
/// The variable names something else than a directory.
#[must_use]
pub fn freebsd_root() -> Option<PathBuf> {
    let template = std::env::var_os(root::VARIABLE)?;
    Some(fs::canonicalize(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display())))
}

/// The directories of the suite's installed programs.
const INSTALLED: [&str; 2] = ["/usr/sbin", "/usr/libexec/hyperv"];

fn is_installed(program: &Path) -> bool {
    program.parent().is_some_and(|dir| INSTALLED.iter().any(|installed| dir == Path::new(installed)))
}

/// The path of a program's `path` outside: the same, unless programs run in a root directory.
#[must_use]
pub fn outside(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match freebsd_root() {
        // A mount of another namespace is named by its mount point there.
        Some(root) => root.join("tmp").join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

/// A command that runs a program of the suite outside of any machine. It sees the scratch files in `dir`.
#[must_use]
pub fn command(name: &str, dir: &Path) -> Command {
    command_that_sees(name, &[dir])
}

/// The same with the scratch files in each of `dirs`. The facts are those of the first.
#[must_use]
pub fn command_that_sees(name: &str, dirs: &[&Path]) -> Command {
    let words = words(name, dirs);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// The words of [`command_that_sees`].
#[must_use]
pub fn words(name: &str, dirs: &[&Path]) -> Vec<PathBuf> {
    let Some(root) = freebsd_root() else { return vec![program(name)] };
    let hvsim = program("hvsim");
    // The simulated tools of this system, which programs run, are beside it.
    let tools = hvsim.parent().unwrap_or(Path::new("/")).to_owned();
    let mut words: Vec<PathBuf> = vec![hvsim, "run".into(), "--root".into(), root];
    for dir in dirs.iter().copied().chain([tools.as_path()]) {
        words.extend(["--share".into(), dir.to_owned()]);
    }
    let facts = dirs.first().map(|dir| dir.join("facts")).filter(|facts| facts.is_dir());
    words.extend(facts.into_iter().flat_map(|facts| ["--facts".into(), facts]));
    words.extend(["--".into(), program(name)]);
    words
}

/// The path of a program of this workspace: in the directory of the running test's build profile. With a root
/// for FreeBSD's executables it is the installed path there.
///
/// # Panics
/// It does not exist. The text says how to build it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    // Only the simulator stays native.
    if let Some(root) = freebsd_root().filter(|_| !name.starts_with("hvsim")) {
        let places = INSTALLED.iter().map(|dir| Path::new(dir).join(name));
        let mut found = places.filter(|path| root.join(path.strip_prefix("/").unwrap_or(path)).is_file());
        return found.next().unwrap_or_else(|| panic!("{name} is not installed in {}", root.display()));
    }
    let test = std::env::current_exe().expect("the running program has a path");
    let profile = test.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
    let path = profile.unwrap_or(Path::new("/")).join(name);
    let release = if path.parent().is_some_and(|dir| dir.ends_with("release")) { " --release" } else { "" };
    assert!(path.is_file(), "{} is missing: run cargo build --workspace{release}", path.display());
    path
}
