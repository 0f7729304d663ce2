//! The control socket of the daemon: its report, and that no connection delays a request.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hv_core::report::KvpReport;
use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::PATIENCE;
use nix::sys::signal::Signal;

/// A session with the daemon as a process. `None` where that is impossible; the reason is printed.
fn start(setup: &Setup) -> Option<Session> {
    let session = Session::start(setup);
    if let Some(reason) = session.without_device() {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(session)
}

fn socket(session: &Session) -> PathBuf {
    session.path("hv_kvp_daemon.sock")
}

fn connect(session: &Session) -> UnixStream {
    let stream = UnixStream::connect(socket(session)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn report_text(session: &Session) -> String {
    let mut text = String::new();
    connect(session).read_to_string(&mut text).unwrap();
    text
}

fn report(session: &Session) -> KvpReport {
    serde_json::from_str(&report_text(session)).unwrap()
}

#[test]
fn the_report_counts_requests_and_has_no_values() {
    let Some(mut session) = start(&Setup::default()) else { return };
    assert_eq!(fs::metadata(socket(&session)).unwrap().mode() & 0o7777, 0o600);
    for value in ["secret-one", "secret-two"] {
        assert!(session.host().set(0, "a-key", value).unwrap().is_ok());
    }
    assert_eq!(session.host().get(0, "a-key").unwrap().value(), Some("secret-two"));
    session.host().get(0, "nothing").unwrap();
    session.host().ip_info("00:00:00:00:00:09").unwrap();
    session.host().delete(0, "a-key").unwrap();
    let text = report_text(&session);
    assert!(text.ends_with("}\n") && !text.contains("secret"), "{text}");
    let report: KvpReport = serde_json::from_str(&text).unwrap();
    let pid = u32::try_from(session.daemon().unwrap().pid().as_raw()).unwrap();
    if hvsim::testing::freebsd_root().is_none() {
        assert_eq!(report.common.pid, pid);
    }
    assert_eq!(report.common.config.as_deref(), session.path("hyperv.toml").to_str());
    assert!(report.registered);
    let counts: Vec<_> = report.requests.counts.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(counts, [("delete", 1), ("get", 2), ("get-ip-info", 1), ("set", 2)]);
    assert_eq!(report.requests.last.unwrap().request, "delete");
    assert!(report.requests.slowest.unwrap().took > 0);
    assert_eq!(report.requests.refused, 1);
    let reason = report.requests.last_refused.unwrap().reason;
    assert!(reason.starts_with("network not reported: "), "{reason}");
}

#[test]
fn a_stale_socket_is_replaced_and_removed_at_the_end() {
    let Some(mut session) = start(&Setup::default()) else { return };
    session.daemon().unwrap().signal(Signal::SIGKILL);
    session.daemon().unwrap().wait();
    assert!(socket(&session).exists());
    UnixStream::connect(socket(&session)).unwrap_err();
    session.host().detach().unwrap();
    session.host().attach().unwrap();
    session.start_daemon();
    assert_eq!(report(&session).requests.counts.len(), 0);
    session.daemon().unwrap().signal(Signal::SIGTERM);
    assert_eq!(session.daemon().unwrap().exit_code(), 0);
    assert!(!socket(&session).exists());
}

#[test]
fn a_file_at_the_sockets_path_is_left_alone() {
    let Some(mut session) = start(&Setup::default()) else { return };
    session.daemon().unwrap().signal(Signal::SIGTERM);
    session.daemon().unwrap().wait();
    fs::write(socket(&session), "precious").unwrap();
    session.start_daemon();
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    let output = session.daemon().unwrap().output();
    assert!(output.contains("no reports for hvctl(8): cannot make "), "{output}");
    session.daemon().unwrap().signal(Signal::SIGTERM);
    session.daemon().unwrap().wait();
    assert_eq!(fs::read(socket(&session)).unwrap(), b"precious");
}

#[test]
fn the_path_of_linux_leads_to_the_pools() {
    let setup =
        Setup { kvp_settings: "linux-path = \"{dir}/var/lib/hyperv\"".to_owned(), ..Setup::default() };
    let Some(mut session) = start(&setup) else { return };
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    let file = session.path("var/lib/hyperv/.kvp_pool_0");
    assert!(fs::read(file).unwrap().starts_with(b"k\0"));
    assert!(fs::symlink_metadata(session.path("var/lib/hyperv")).unwrap().is_symlink());
}

#[test]
fn many_connections_delay_no_request() {
    let Some(mut session) = start(&Setup::default()) else { return };
    assert!(session.host().set(0, "k", "v").unwrap().is_ok());
    // Some that never read, and one that never stops writing.
    let silent: Vec<UnixStream> = (0..20).map(|_| connect(&session)).collect();
    let stop = AtomicBool::new(false);
    let path = socket(&session);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = UnixStream::connect(&path) {
                        let _ = stream.write_all(&[b'x'; 4096]);
                    }
                }
            });
        }
        for _ in 0..300 {
            assert_eq!(session.host().get(0, "k").unwrap().value(), Some("v"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(silent);
    assert_eq!(report(&session).requests.counts["get"], 300);
}
