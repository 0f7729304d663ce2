//! What a user in the guest could attack: symbolic links in place of pool files while the host writes, and
//! the descriptors and environment of started programs.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{eventually, freebsd_root};

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

#[test]
fn a_link_in_a_race_never_redirects_a_write() {
    let mut session = Session::start(&Setup::default());
    if session.without_device().is_some() {
        return;
    }
    assert!(session.host().set(0, "k", "before").unwrap().is_ok());
    let victim = session.path("victim");
    fs::write(&victim, "the victim's").unwrap();
    let (path, aside) = (session.pool_file(0), session.path("aside"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                fs::rename(&path, &aside).unwrap();
                // The daemon may have created a file there meanwhile.
                let _ = symlink(&victim, &path);
                thread::yield_now();
                fs::rename(&aside, &path).unwrap();
            }
        });
        for round in 0..150 {
            // The change is refused or made, but never elsewhere.
            session.host().set(0, "k", &format!("{round}")).unwrap();
            session.host().get(0, "k").unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "the victim's");
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644 & !mask(), "its mode is its own, too");
    assert!(session.host().set(0, "k", "after").unwrap().is_ok());
}

/// The mask of this process, which no test changes.
fn mask() -> u32 {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("x");
    fs::write(&path, "").unwrap();
    0o666 & !fs::metadata(path).unwrap().mode() & 0o777
}
