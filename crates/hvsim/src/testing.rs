//! For tests of whole programs: a simulated machine with its devices, scratch files and processes.
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

pub use patience::{PATIENCE, eventually, look_for};

/// How long a killed program may take to be gone. One that sleeps in a read is not before the machine is:
/// as on FreeBSD, no signal wakes it.
const DEATH: Duration = Duration::from_secs(2);

/// What can be chosen about a machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long the kernel waits for a daemon, instead of 5 seconds.
    pub timeout: Option<Duration>,
    /// The network adapters that the kernel knows, each as `hnN=GUID`.
    pub adapters: Vec<String>,
    /// Where the scratch directory is made, instead of the system's place for temporary files.
    pub scratch: Option<PathBuf>,
}

/// A simulated machine: a server in a scratch directory, and the programs that run in its namespaces.
///
/// When it goes, every process in its namespaces is killed, the files are removed, and violations of a
/// device's contract that no one took make the test fail.
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
    /// Why FUSE or namespaces cannot be used here, in one line.
    ///
    /// # Panics
    /// The program `hvsim` is not there, or `HVSIM_REQUIRED=1` is set and FUSE cannot be used.
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

    /// The directory that stands for `/dev`, as programs of the machine see it.
    #[must_use]
    pub fn device_dir(&self) -> PathBuf {
        device_dir(&self.dir())
    }

    /// `/dev/hv_kvp_dev`, as programs of the machine see it.
    #[must_use]
    pub fn kvp_device(&self) -> PathBuf {
        self.device_dir().join("hv_kvp_dev")
    }

    /// Where pools belong. Neither it nor its parent exists yet, as on a new guest.
    #[must_use]
    pub fn pool_dir(&self) -> PathBuf {
        self.path("pool-parent/hyperv/pool")
    }

    /// An empty directory for the facts about the simulated guest.
    #[must_use]
    pub fn facts_dir(&self) -> PathBuf {
        self.path("facts")
    }

    /// Where [`Machine::write_config`] puts the configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path("hyperv.toml")
    }

    /// Where a test may listen for log lines; nothing is there yet.
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

    /// Another connection of the host's, for requests at the same time.
    ///
    /// # Panics
    /// The server has gone.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.dir()).expect("hvsim has gone").with_limit(PATIENCE)
    }

    /// A command that runs `program` in the machine, ready for arguments, environment and redirections. One
    /// of the suite's programs runs in the machine's root directory where it has one.
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

    /// Starts a program in the machine; its standard output and error go to files, see [`Process`].
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

    /// Starts a command made by [`Machine::command`].
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
    /// None is after [`PATIENCE`].
    pub fn wait_registered(&mut self) {
        let registered = self.host.wait_registered(PATIENCE).expect("hvsim has gone");
        assert!(registered, "no daemon has registered");
    }

    /// What the programs did against the contract so far; it is forgotten then, so that the end of the
    /// machine is no panic.
    ///
    /// # Panics
    /// The server has gone.
    pub fn take_violations(&mut self) -> Vec<String> {
        self.host.take_violations().expect("hvsim has gone")
    }

    /// By what path the test reaches `path` of a program's view, mounts of the machine included.
    #[must_use]
    pub fn reach(&self, path: impl AsRef<Path>) -> PathBuf {
        let view = PathBuf::from(format!("/proc/{}/root", self.server.id()));
        let outside = outside(path);
        view.join(outside.strip_prefix("/").unwrap_or(&outside))
    }

    /// The processes in the machine's namespaces, the server left out.
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
        // Before the server: its end makes their calls fail, which they would log about.
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

/// A program in the machine. It is killed when this goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Its process number, which is the program's own.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Sends a signal; none if it has ended.
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
    /// It runs after [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(PATIENCE)
            .unwrap_or_else(|| panic!("a program still runs; it printed:\n{}", self.output()))
    }

    /// Waits for its end, not longer than `limit`.
    ///
    /// # Panics
    /// The system cannot tell.
    pub fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        look_for(limit, || self.child.try_wait().expect("cannot wait for a child"))
    }

    /// Its exit code, after waiting for its end.
    ///
    /// # Panics
    /// It does not end, or a signal ended it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("signal {:?} ended a program", status.signal()))
    }

    /// What it has printed so far, standard output and error together.
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

/// The next line that reaches a log socket.
///
/// # Panics
/// None does, within the socket's time limit.
#[must_use]
pub fn next_line(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer) {
            // A receive with a time limit is never restarted by the kernel.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            size => return String::from_utf8_lossy(&buffer[..size.expect("no line")]).into_owned(),
        }
    }
}

/// The template of the root directories in which FreeBSD's executables run instead of this system's.
///
/// # Panics
/// The variable names what is no directory.
#[must_use]
pub fn freebsd_root() -> Option<PathBuf> {
    let template = std::env::var_os(root::VARIABLE)?;
    Some(fs::canonicalize(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display())))
}

/// Where the suite's programs are installed.
const INSTALLED: [&str; 2] = ["/usr/sbin", "/usr/libexec/hyperv"];

fn is_installed(program: &Path) -> bool {
    program.parent().is_some_and(|dir| INSTALLED.iter().any(|installed| dir == Path::new(installed)))
}

/// What `path` of a program's view is called outside: the same, but for one that runs in a root directory.
#[must_use]
pub fn outside(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match freebsd_root() {
        // A mount that another namespace has is called by where it is mounted there.
        Some(root) => root.join("tmp").join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

/// A command that runs one of the suite's programs outside of any machine; it sees the scratch files in
/// `dir`.
#[must_use]
pub fn command(name: &str, dir: &Path) -> Command {
    let words = words(name, dir);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// The words of [`command`].
#[must_use]
pub fn words(name: &str, dir: &Path) -> Vec<PathBuf> {
    let Some(root) = freebsd_root() else { return vec![program(name)] };
    let hvsim = program("hvsim");
    // The simulated tools of this system, which programs run, lie beside it.
    let tools = hvsim.parent().unwrap_or(Path::new("/")).to_owned();
    let mut words: Vec<PathBuf> = vec![hvsim, "run".into(), "--root".into(), root];
    words.extend(["--share".into(), dir.to_owned(), "--share".into(), tools]);
    if dir.join("facts").is_dir() {
        words.extend(["--facts".into(), dir.join("facts")]);
    }
    words.extend(["--".into(), program(name)]);
    words
}

/// A program of this workspace, found beside the running test: in the directory of its build profile. With a
/// root for FreeBSD's executables an installed program is called by its path there.
///
/// # Panics
/// It is not there; the text says how to build it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    // Only the simulator itself stays native.
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
