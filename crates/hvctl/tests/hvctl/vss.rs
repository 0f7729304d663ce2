//! `hvctl vss`, with the real backup daemon where a device file is possible. Otherwise those tests are
//! skipped.

use std::fs;

use std::process::Output;

use hvsim::session::vss::{Session, Setup};
use hvsim::testing::{command, eventually, freebsd_root, program};
use hvsim::vss::{Operation, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{HYPER_V, settings, without_daemons};

#[test]
fn check_prints_the_result_of_the_daemon() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for (mounts, code) in
        [("ufs / /dev/da0 local 1 7\n", 0), ("ufs / /dev/da0 local 1 7\next2fs /l /dev/da1 local 2 7\n", 1)]
    {
        fs::write(place.dir.join("facts/mounts"), mounts).unwrap();
        let said = place.hvctl(&["vss", "check"]);
        let mut daemon = command("hv_vss_daemon", &place.dir);
        let daemon = daemon.arg("-c").arg("-f").arg(&place.config).output().unwrap();
        assert_eq!((said.code, daemon.status.code()), (code, Some(code)));
        assert_eq!(said.out.as_bytes(), daemon.stdout);
        let json = place.hvctl(&["vss", "check", "--json"]).json();
        assert_eq!((&json["version"], &json["possible"]), (&1.into(), &(code == 0).into()));
        assert_eq!(json["refusals"].as_array().unwrap().len(), usize::try_from(code).unwrap());
        assert_eq!(json["mounts"][0]["action"], "suspend");
    }
}

#[test]
fn history_shows_the_last_backups_newest_first() {
    let (_scratch, place) = without_daemons(HYPER_V);
    assert!(place.hvctl(&["vss", "history"]).good().starts_with("no backup was asked for"));
    let line = |at: u32, rest: &str| format!("{{\"at\":{at},{rest}}}\n");
    let good = r#""verdict":"good","reason":null,"answered-in":812000,"frozen-for":1234567,"mounts":[{"mount":"/","took":9000}],
        "hooks":[{"name":"10-db","phase":"freeze","took":42000,"failed":null}],"steps":[{"what":"sync","took":700000,"failed":null}]"#;
    let failed = r#""verdict":"failed","reason":"it took too long","answered-in":10000000,"frozen-for":null,"mounts":[],"hooks":[],"steps":[]"#;
    let text =
        format!("{}not json\n{}", line(1_700_000_000, &good.replace('\n', "")), line(1_700_100_000, failed));
    fs::write(place.dir.join("backups"), text).unwrap();
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("vss-history", place.hvctl(&["vss", "history"]).good());
        insta::assert_snapshot!("vss-history-json", place.hvctl(&["vss", "history", "--json"]).good());
    });
}

const HOOK: &str = "echo \"$1\" >>\"$CALLS\"";

/// A guest with a running daemon and one hook.
fn guest() -> Option<Session> {
    if freebsd_root().is_some() {
        return None;
    }
    let setup = Setup { hooks: vec![("10-db", HOOK.into())], ..Setup::default() };
    Session::start_on_device(&setup).map_err(|reason| eprintln!("skipped: {reason}")).ok()
}

/// The program inside the machine that has the device. Its output goes to pipes, because a terminal holds no
/// file open.
fn trial(session: &Session, arguments: &[&str]) -> std::process::Command {
    let mut command = session.machine().command(program("hvctl"));
    command.arg("-f").arg(session.path("hyperv.toml")).args(["vss", "test"]).args(arguments);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn a_test_freezes_and_thaws_like_a_backup() {
    let Some(mut session) = guest() else { return };
    let output = trial(&session, &["--seconds", "0", "--yes", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let backup = &json["test"];
    assert_eq!((&backup["verdict"], &json["version"]), (&"good".into(), &1.into()));
    assert_eq!(backup["mounts"].as_array().unwrap().len(), 2);
    assert!(backup["frozen-for"].as_u64().unwrap() > 0);
    let statistics = session.host().vss_statistics().unwrap();
    assert_eq!((statistics.open_suspenders, statistics.suspended, statistics.resumed), (0, 2, 2));
    let calls = session.calls();
    assert_eq!(
        (calls.first().map(String::as_str), calls.last().map(String::as_str)),
        (Some("freeze"), Some("thaw"))
    );
    assert!(!session.path("backups").exists(), "a test is no backup");
    // The daemon continues to serve.
    assert!(session.host().vss_backup(std::time::Duration::ZERO).unwrap().is_ok());
}

#[test]
fn a_test_is_refused_during_a_backup() {
    let Some(mut session) = guest() else { return };
    let unasked = trial(&session, &[]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(64), "{}", text(&unasked));
    assert_eq!(session.host().vss_ask(Operation::Freeze).unwrap().outcome, Outcome::Success);
    let refused = trial(&session, &["--yes"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("the host has a backup under way"));
    assert_eq!(session.host().vss_ask(Operation::Thaw).unwrap().outcome, Outcome::Success);
    assert_eq!(session.host().vss_statistics().unwrap().suspended, 2, "only the host's own");
}

#[test]
fn an_interrupted_test_thaws_at_once() {
    let Some(mut session) = guest() else { return };
    let mut command = trial(&session, &["--seconds", "50", "--yes"]);
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("the freeze", || session.host().vss_suspended().unwrap().len() == 2);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("void"), "{}", text(&output));
    assert_eq!(session.host().vss_suspended().unwrap().len(), 0);
}
