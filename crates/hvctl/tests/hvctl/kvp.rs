//! `hvctl kvp` and `hvctl host`, with and without the daemon. The pools are scratch files.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{PATIENCE, command};

use crate::support::{HYPER_V, Place, record, settings, without_daemons};

fn beside(session: &Session) -> Place {
    Place { dir: session.path(""), config: session.path("hyperv.toml") }
}

#[test]
fn host_and_tool_read_each_others_items() {
    let mut session = Session::start(&Setup::default());
    let place = beside(&session);
    assert_eq!(place.hvctl(&["kvp", "put", "AppState", "healthy"]).good(), "");
    assert_eq!(place.hvctl_with(&["kvp", "put", "Größe", "-"], "日本\n").good(), "");
    assert_eq!(session.host().get(1, "AppState").unwrap().value(), Some("healthy"));
    assert_eq!(session.host().get(1, "Größe").unwrap().value(), Some("日本"));
    assert!(session.host().set(0, "Owner", "Zürich").unwrap().is_ok());
    assert!(session.host().set(3, "VirtualMachineName", "web1").unwrap().is_ok());
    assert!(session.host().set(3, "HostName", "HV-07").unwrap().is_ok());
    assert_eq!(place.hvctl(&["kvp", "get", "0", "Owner"]).good(), "Zürich\n");
    assert_eq!(place.hvctl(&["kvp", "put", "AppState", "ill"]).good(), "");
    assert_eq!(session.host().get(1, "AppState").unwrap().value(), Some("ill"));
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("kvp-list", place.hvctl(&["kvp", "list"]).good());
        insta::assert_snapshot!("kvp-list-json", place.hvctl(&["kvp", "list", "guest", "--json"]).good());
        insta::assert_snapshot!("host", place.hvctl(&["host"]).good());
        insta::assert_snapshot!("host-json", place.hvctl(&["--json", "host"]).good());
    });
    assert_eq!(place.hvctl(&["kvp", "delete", "AppState"]).good(), "");
    assert!(!session.host().get(1, "AppState").unwrap().is_ok());
}

#[test]
fn a_missing_key_exits_with_1() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for arguments in [&["kvp", "get", "guest", "k"][..], &["kvp", "delete", "k"]] {
        let said = place.hvctl(arguments);
        assert_eq!((said.code, said.err.as_str()), (1, "hvctl: there is no key \"k\" in pool guest\n"));
    }
    assert_eq!(place.hvctl(&["host"]).code, 1);
}

#[test]
fn limits_are_checked_before_anything_is_written() {
    let (_scratch, place) = without_daemons(HYPER_V);
    for (key, value, said) in [
        ("k".repeat(255), "v".to_owned(), "the key has 255 UTF-16 units, the host gets at most 254"),
        ("k".to_owned(), "v".repeat(1023), "the value has 1023 UTF-16 units, the host gets at most 1022"),
        (String::new(), "v".to_owned(), "a key must not be empty"),
    ] {
        let run = place.hvctl(&["kvp", "put", &key, &value]);
        assert_eq!((run.code, run.err), (64, format!("hvctl: {said}\n")));
    }
    assert_eq!(fs::read_dir(place.dir.join("pool")).unwrap().count(), 0, "nothing is made");
}

#[test]
fn pools_of_the_host_need_force() {
    let (_scratch, place) = without_daemons(HYPER_V);
    let said = place.hvctl(&["kvp", "put", "k", "v", "--pool", "external"]);
    assert_eq!((said.code, said.err.contains("--force")), (64, true), "{said:?}");
    assert_eq!(place.hvctl(&["kvp", "put", "k", "v", "--pool", "auto", "--force"]).code, 64);
    assert_eq!(fs::read_dir(place.dir.join("pool")).unwrap().count(), 0, "nothing is made");
    place.hvctl(&["kvp", "put", "k", "v", "--pool", "external", "--force"]).good();
    assert_eq!(place.hvctl(&["kvp", "get", "external", "k"]).good(), "v\n");
}

#[test]
fn put_replaces_all_records_of_a_key() {
    let (_scratch, place) = without_daemons(HYPER_V);
    let file = place.dir.join("pool/.kvp_pool_1");
    let records = [record("a", "1"), record("b", "1"), record("a", "2"), record("a", "3")];
    fs::write(&file, records.concat()).unwrap();
    place.hvctl(&["kvp", "put", "a", "4"]).good();
    let bytes = fs::read(&file).unwrap();
    let of_a = bytes.chunks(2560).filter(|record| record.starts_with(b"a\0")).count();
    assert_eq!((bytes.len(), of_a), (2 * 2560, 1));
    assert_eq!(place.hvctl(&["kvp", "get", "guest", "a"]).good(), "4\n");
}

#[test]
fn export_and_import_lose_nothing() {
    let (_scratch, place) = without_daemons(HYPER_V);
    let file = place.dir.join("pool/.kvp_pool_1");
    let mut odd = record("odd", "");
    odd[512..515].copy_from_slice(b"\xff\n\x01");
    fs::write(&file, [record("größe", "日本 😀"), odd].concat()).unwrap();
    let lines = place.hvctl(&["kvp", "export"]).good();
    assert_eq!(
        lines,
        "{\"key\":\"größe\",\"value\":\"日本 😀\"}\n{\"key\":\"odd\",\"value-hex\":\"ff0a01\"}\n"
    );
    let before = fs::read(&file).unwrap();
    let bad = place.hvctl_with(
        &["kvp", "import"],
        "{\"key\":\"new\",\"value\":\"1\"}\n{\"key\":\"\",\"value\":\"1\"}\n",
    );
    assert_eq!((bad.code, bad.err.contains("line 2: a key must not be empty")), (64, true), "{bad:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::write(&file, "").unwrap();
    place.hvctl_with(&["kvp", "import"], &lines).good();
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn list_auto_equals_the_hosts_enumeration() {
    let mut session = Session::start(&Setup::default());
    let told: Vec<(String, String)> =
        session.host().enumerate(2).unwrap().0.into_iter().map(|item| (item.key, item.value)).collect();
    let listed = beside(&session).hvctl(&["kvp", "list", "auto", "--json"]).json();
    let items = listed["pools"][0]["items"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let listed: Vec<(String, String)> =
        items.map(|item| (text(&item["key"]), text(&item["value"]))).collect();
    assert_eq!(listed, told);
}

/// A running `hvctl kvp watch` and its lines. Dropping it ends the process.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(place: &Place) -> Self {
        let mut command = command("hvctl", &place.dir);
        command.arg("-f").arg(&place.config).args(["--json", "kvp", "watch"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
        });
        Self { child, lines }
    }

    /// The next change within the limit: kind, key, value.
    fn next(&self, limit: Duration) -> Option<[String; 3]> {
        let line = self.lines.recv_timeout(limit).ok()?;
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["version"], &json["pool"]), (&1.into(), &"guest".into()));
        Some(["change", "key", "value"].map(|name| json[name].as_str().unwrap().to_owned()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watch_prints_a_line_for_each_change() {
    let (_scratch, place) = without_daemons(HYPER_V);
    let watch = Watch::start(&place);
    // The file is created when the watch may have begun already. Its first record is changed until the watch
    // reports a change.
    let file = place.dir.join("pool/.kvp_pool_1");
    fs::write(&file, [record("old", "1"), record("begin", "0")].concat()).unwrap();
    let other = OpenOptions::new().write(true).open(&file).unwrap();
    let told = (1..2000).find_map(|round| {
        other.write_all_at(&record("begin", &format!("{round}")), 2560).unwrap();
        watch.next(Duration::from_millis(50))
    });
    assert!(told.is_some());
    place.hvctl(&["kvp", "put", "state", "ill"]).good();
    place.hvctl(&["kvp", "delete", "old"]).good();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let change = watch.next(PATIENCE).expect("a change is not told");
        if change[1] != "begin" && change != ["set", "old", "1"].map(str::to_owned) {
            seen.push(change);
        }
    }
    seen.sort();
    assert_eq!(seen, [["delete", "old", "1"], ["set", "state", "ill"]]);
}

#[test]
fn without_pools_the_reason_is_printed() {
    let (_scratch, place) = without_daemons("kern.vm_guest=none\n");
    fs::remove_dir(place.dir.join("pool")).unwrap();
    for arguments in [&["kvp", "list", "guest"][..], &["kvp", "put", "a", "b"], &["host"], &["kvp", "watch"]]
    {
        let said = place.hvctl(arguments);
        assert_eq!(said.code, 69, "{arguments:?} {said:?}");
        assert!(said.err.ends_with("pool does not exist: this is no guest of Hyper-V\n"), "{said:?}");
        assert_eq!(said.err.lines().count(), 1);
    }
}
