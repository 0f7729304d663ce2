//! What an attacker in the guest can reach: links in the place of the daemon's files, planted and racing, its
//! socket, the modes of its files under any mask, and what the programs that it starts get from it.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hvsim::attacker::Victim;
use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{Process, eventually, freebsd_root, program};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

/// Records its descriptors and its environment.
const LOOK: &str =
    "#!/bin/sh\n{ ls -l /proc/self/fd; echo; env | sort; } >'{out}.new'\nmv '{out}.new' '{out}'\nexit 2\n";

#[test]
fn a_child_gets_no_descriptor_and_a_clean_environment() {
    if freebsd_root().is_some() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("seen");
    let getent = Some(LOOK.replace("{out}", path.to_str().unwrap()));
    let host = "kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE\nkern.hostname=guest\n".to_owned();
    let mut session = Session::start(&Setup { getent, facts: vec![("sysctl", host)], ..Setup::default() });
    if session.without_device().is_some() {
        // The daemon is in this process, which has descriptors of other tests.
        return;
    }
    session.host().get(2, "FullyQualifiedDomainName").unwrap();
    eventually("the child", || path.exists());
    let seen = fs::read_to_string(&path).unwrap();
    let (descriptors, environment) = seen.split_once("\n\n").unwrap();
    let numbers = descriptors
        .lines()
        .filter_map(|line| line.split(" -> ").next()?.rsplit(' ').next()?.parse::<u32>().ok());
    // Standard input, output and error, the shell's copy of one of them, and the directory that ls(1) reads.
    let strange: Vec<u32> = numbers.filter(|number| ![0, 1, 2, 3, 10].contains(number)).collect();
    assert!(strange.is_empty(), "{strange:?} in {seen}");
    for own in ["hv_kvp_dev", "kvp_pool", "kvp_journal", "inotify", "socket:", "eventfd"] {
        assert!(!descriptors.contains(own), "{seen}");
    }
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        // The shell's own variables and the daemon's.
        assert!(["PATH", "LC_ALL", "LANG", "PWD", "OLDPWD", "SHLVL", "_", "HOME"].contains(&name), "{line}");
    }
}

/// Ends the session's daemon.
fn stop(session: &mut Session) {
    let daemon = session.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    eventually("the end of the daemon before", || session.host().statistics().unwrap().opener == 0);
}

/// Starts the daemon with a mask of file modes that its caller has.
fn start_with_mask(session: &Session, mask: &str) -> Process {
    let machine = session.machine().unwrap();
    let mut daemon = machine.command(program("hv_kvp_daemon"));
    daemon.args([Path::new("-n"), Path::new("-f"), &session.path("hyperv.toml")]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("umask {mask}; exec \"$@\""), "sh"]).arg(daemon.get_program());
    machine.spawn_command({
        command.args(daemon.get_args());
        command
    })
}

/// All that lies below a directory, with its mode.
fn modes(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        all.push((path.clone(), metadata.mode() & 0o7777));
        if metadata.is_dir() {
            all.extend(modes(&path));
        }
    }
    all
}

#[test]
fn modes_are_the_promised_ones_under_any_mask() {
    for mask in ["000", "022", "077"] {
        let out = tempfile::tempdir().unwrap();
        let seen = out.path().join("mask");
        let script = format!("#!/bin/sh\numask >'{0}.new'; mv '{0}.new' '{0}'; exit 2\n", seen.display());
        let host = "kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE\nkern.hostname=guest\n".to_owned();
        let setup = Setup { getent: Some(script), facts: vec![("sysctl", host)], ..Setup::default() };
        let mut session = Session::start(&setup);
        if session.without_device().is_some() {
            return;
        }
        stop(&mut session);
        fs::remove_dir_all(session.path("var")).unwrap();
        let _ = fs::remove_file(&seen);
        let daemon = start_with_mask(&session, mask);
        eventually("the daemon", || session.host().statistics().unwrap().registered);
        assert!(session.host().set(0, "k", "v").unwrap().is_ok());
        session.host().get(2, "FullyQualifiedDomainName").unwrap();
        for (path, mode) in modes(&session.path("var")) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{} under mask {mask}", path.display());
        }
        let socket = fs::symlink_metadata(session.path("hv_kvp_daemon.sock")).unwrap();
        assert_eq!(socket.mode() & 0o7777, 0o600, "the socket under mask {mask}");
        eventually("the child", || seen.exists());
        assert_eq!(fs::read_to_string(&seen).unwrap().trim(), "0022", "a child's mask under mask {mask}");
        drop(daemon);
    }
}

#[test]
fn links_in_place_of_its_files_are_not_followed() {
    type Plant = fn(&Path, &Path);
    let plant: [(&str, Plant); 3] = [
        ("symbolic link", |victim, path| symlink(victim, path).unwrap()),
        ("hard link", |victim, path| fs::hard_link(victim, path).unwrap()),
        ("FIFO", |_, path| mkfifo(path, Mode::S_IRWXU).unwrap()),
    ];
    let names = ["var/hyperv/pool/.kvp_pool_0", "var/hyperv/pool/.kvp_journal", "hv_kvp_daemon.sock"];
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() {
        return;
    }
    let victim = session.path("victim");
    for name in names {
        for (kind, plant) in plant {
            stop(&mut session);
            let path = session.path(name);
            let _ = fs::remove_file(&path);
            fs::write(&victim, "the victim's").unwrap();
            fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
            plant(&victim, &path);
            session.start_daemon();
            // Refused or done, but never there.
            session.host().set(0, "k", "v").unwrap();
            let metadata = fs::metadata(&victim).unwrap();
            let now = (fs::read_to_string(&victim).unwrap(), metadata.mode() & 0o777);
            assert_eq!(now, ("the victim's".to_owned(), 0o644), "{kind} at {name}");
            stop(&mut session);
            fs::remove_file(&path).unwrap();
            session.start_daemon();
            assert!(session.host().set(0, "k", "v").unwrap().is_ok(), "after a {kind} at {name}");
        }
    }
}

#[test]
fn a_pool_file_of_another_user_becomes_roots_own() {
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() || !geteuid().is_root() {
        return;
    }
    assert!(session.host().set(1, "k", "v").unwrap().is_ok());
    stop(&mut session);
    let path = session.pool_file(1);
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    session.start_daemon();
    let found = session.host().get(1, "k").unwrap();
    assert_eq!(found.value(), Some("v"));
    assert_eq!(fs::metadata(&path).unwrap().uid(), geteuid().as_raw());
}

/// What [`nobody_else_reaches_the_socket`] runs as another user: succeeds if it can connect.
const SOCKET: &str = "HV_TEST_SOCKET";

#[test]
fn connects_where_the_variable_says() {
    if let Some(path) = std::env::var_os(SOCKET) {
        UnixStream::connect(path).unwrap();
    }
}

#[test]
fn nobody_else_reaches_the_socket() {
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() || !geteuid().is_root() {
        return;
    }
    // The way there is open for everybody, so that only the socket's own mode is in it.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(session.path(""), open).unwrap();
    let connect = |user: u32| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "connects_where_the_variable_says"]).uid(user).gid(user).current_dir("/");
        command.env(SOCKET, session.path("hv_kvp_daemon.sock")).output()
    };
    let Ok(other) = connect(65_534) else {
        return eprintln!("skipped: the test's own program is not there for other users");
    };
    assert!(connect(0).unwrap().status.success(), "root connects");
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(!other.status.success() && said.contains("PermissionDenied"), "{said}");
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
}

#[test]
fn an_attacker_in_a_race_never_redirects_a_write() {
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() {
        return;
    }
    assert!(session.host().set(0, "k", "before").unwrap().is_ok());
    let victim = Victim::beside(&session.path(""));
    let names = [session.pool_file(0), session.path("var/hyperv/pool/.kvp_journal")];
    victim.attacked(&names, || {
        for round in 0..150 {
            // The change is refused or made, but never elsewhere.
            session.host().set(0, "k", &format!("{round}")).unwrap();
            session.host().get(0, "k").unwrap();
        }
    });
    assert!(session.host().set(0, "k", "after").unwrap().is_ok());
}

#[test]
fn an_attacker_at_a_start_gets_no_mode_changed() {
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() {
        return;
    }
    let victim = Victim::beside(&session.path(""));
    let names = ["hv_kvp_daemon.sock", "hv_kvp_daemon.sock.new"].map(|name| session.path(name));
    victim.attacked(&names, || {
        for _ in 0..10 {
            stop(&mut session);
            session.start_daemon();
            assert!(session.host().set(0, "k", "v").unwrap().is_ok(), "it serves without its socket");
        }
    });
}
