//! `hvsim serve`: creates the devices, and performs the commands of clients until a signal ends it. What a
//! command does is in `host`.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use crate::control::{Reply, device_dir, socket_path};
use crate::host::Host;
use crate::kvp::{KvpDevice, Settings};
use crate::nodes::{Place, PlaceError};
use crate::station::Station;
use crate::vss;

/// The options of a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory for the control socket and the devices. It is created if it does not exist.
    pub dir: PathBuf,
    /// The key-value device's settings.
    pub kvp: Settings,
    /// The settings of the devices of a live backup.
    pub vss: vss::Settings,
    /// A template for a root directory for FreeBSD's executables. The parent of `dir` appears in the root,
    /// and the root has the guest's facts.
    pub root: Option<PathBuf>,
    /// End when standard input ends, which happens when the process that started the server dies.
    pub while_stdin: bool,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directories or the socket cannot be created.
    #[error("cannot {step} {path}")]
    Prepare {
        /// The operation.
        step: &'static str,
        /// Its object.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The devices have no place.
    #[error(transparent)]
    Place(PlaceError),
    /// The signals that end the server cannot be blocked.
    #[error("cannot block signals")]
    Signals(#[source] Errno),
}

/// Serves until SIGTERM, SIGINT or SIGHUP. `ready` is called when clients and programs can connect.
///
/// It must be called while the process has one thread.
///
/// # Errors
/// The server does not run. The process may be half moved into a namespace.
pub fn serve(options: &Options, ready: impl FnOnce(&Path)) -> Result<(), ServeError> {
    // An absolute path, because programs that enter have other working directories.
    let dir = make_dir(&options.dir)?;
    make_dir(&device_dir(&dir))?;
    let place = Place::prepare(options, &dir).map_err(ServeError::Place)?;

    // Before the first thread, which inherits the mask, so that the signals stay pending for `wait_for_end`.
    let signals = end_signals();
    signals.thread_block().map_err(ServeError::Signals)?;

    let kvp = Arc::new(Station::new(KvpDevice::new(options.kvp.clone())));
    let devices = place.devices().to_owned();
    let host = Host::new(devices, kvp, vss::Devices::new(options.vss.clone()));
    let _served = place.serve(host.shared_devices()).map_err(ServeError::Place)?;
    let socket = socket_path(&dir);
    let listener = listen(&socket)?;
    thread::spawn(move || accept(&listener, &host));
    if options.while_stdin {
        thread::spawn(end_with_stdin);
    }
    ready(&dir);
    wait_for_end(&signals);
    // The mount disappears with the namespace; the socket would stay.
    let _ = fs::remove_file(socket);
    Ok(())
}

fn make_dir(path: &Path) -> Result<PathBuf, ServeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::canonicalize(path))
        .map_err(|source| ServeError::Prepare { step: "make the directory", path: path.to_owned(), source })
}

fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |step, source| ServeError::Prepare { step, path: path.to_owned(), source };
    // A socket of a server that was killed. Two servers that start in one directory at the same time are not
    // detected.
    if UnixStream::connect(path).is_ok() {
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        return Err(failed("listen, because another server does, at", source));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the old socket", error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|source| failed("listen at", source))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|source| failed("restrict the socket", source))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, host: &Host) {
    for stream in listener.incoming().map_while(Result::ok) {
        let host = host.clone();
        thread::spawn(move || converse(&stream, &host));
    }
}

/// Serves one connection until the client closes it or breaks the protocol.
pub(crate) fn converse(stream: &UnixStream, host: &Host) {
    let mut writer = stream;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let reply = match serde_json::from_str(&line) {
            Ok(command) => host.perform(command).map_or_else(Reply::Refused, Reply::Done),
            Err(error) => Reply::Refused(format!("no command: {error}")),
        };
        let Ok(mut text) = serde_json::to_string(&reply) else { return };
        text.push('\n');
        if writer.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn end_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
}

fn wait_for_end(signals: &SigSet) {
    while let Err(Errno::EINTR) = signals.wait() {}
}

fn end_with_stdin() {
    let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), Signal::SIGTERM);
}
