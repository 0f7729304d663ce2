//! Many writers of one pool at once: tools, the host through the daemon, and a program that appends under
//! flock(2). No record may be lost, doubled or torn.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hvsim::client::Client;
use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{Options, command, freebsd_root};

use crate::support::record;

const TOOLS: usize = 8;
/// Changes of each tool.
const PUTS: usize = 1250;
/// The host finds and removes each of them, which makes three operations.
const APPENDED: usize = 2000;
/// Changes of the host.
const SETS: usize = 4000;

const _: () = assert!(TOOLS * PUTS + 3 * APPENDED + SETS >= 20_000);

/// The keys of one writer, whose values change repeatedly.
const KEYS: usize = 4;

/// A value that crosses sectors and shows if it is torn.
fn value(writer: &str, step: usize) -> String {
    format!("{writer}.{step}.").repeat(60)
}

/// The items of all steps of a tool, as lines for an import.
fn lines(tool: usize) -> String {
    let line = |step: usize| {
        let item = serde_json::json!({ "key": format!("tool{tool}.{}", step % KEYS), "value": value(&format!("t{tool}"), step) });
        format!("{item}\n")
    };
    (0..PUTS).map(line).collect()
}

fn start_tool(session: &Session, tool: usize) -> Child {
    let input = session.path(&format!("lines{tool}"));
    fs::write(&input, lines(tool)).unwrap();
    let mut command = command("hvctl", &session.path(""));
    command.arg("-f").arg(session.path("hyperv.toml")).args(["kvp", "import"]);
    command.stdin(fs::File::open(input).unwrap()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Appends under flock(2), and sends the number of each record to the host.
fn append(file: &Path, told: &std::sync::mpsc::SyncSender<usize>) {
    for step in 0..APPENDED {
        let mut other = OpenOptions::new().append(true).open(file).unwrap();
        other.lock().unwrap();
        other.write_all(&record(&format!("app.{step}"), &value("a", step))).unwrap();
        other.unlock().unwrap();
        told.send(step).unwrap();
    }
}

/// Reads and removes each appended item, and sets items of its own. Returns the expected values of those.
fn play_host(mut host: Client, appended: &Receiver<usize>) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    for step in 0..SETS.max(APPENDED) {
        if step < SETS {
            let (key, value) = (format!("host.{}", step % KEYS), value("h", step));
            assert!(host.set(1, &key, &value).unwrap().is_ok(), "{key}");
            own.insert(key, value);
        }
        if step < APPENDED {
            let number = appended.recv().unwrap();
            let key = format!("app.{number}");
            assert_eq!(
                host.get(1, &key).unwrap().value(),
                Some(value("a", number).as_str()),
                "{key} is lost"
            );
            assert!(host.delete(1, &key).unwrap().is_ok(), "{key}");
            assert!(!host.get(1, &key).unwrap().is_ok(), "{key} was there twice");
        }
    }
    own
}

/// The key and value of each record.
fn contents(file: &PathBuf) -> Vec<(String, String)> {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes.len() % 2560, 0, "the file is torn");
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    bytes.chunks(2560).map(|record| (text(&record[..512]), text(&record[512..]))).collect()
}

#[test]
fn no_record_of_many_writers_is_lost_doubled_or_torn() {
    if freebsd_root().is_some() {
        return;
    }
    // In memory: the test is about the order of writers, not about the disk.
    let scratch = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    let machine = Options { timeout: Some(Duration::from_secs(120)), scratch, ..Options::default() };
    let settings = "lock-wait-ms = 4000".to_owned();
    let session = Session::start(&Setup { machine, kvp_settings: settings, ..Setup::default() });
    if let Some(reason) = session.without_device() {
        return eprintln!("skipped: {reason}");
    }
    let file = session.pool_file(1);
    let tools: Vec<Child> = (0..TOOLS).map(|tool| start_tool(&session, tool)).collect();
    let (told, appended) = std::sync::mpsc::sync_channel(1);
    let appending = file.clone();
    let appender = std::thread::spawn(move || append(&appending, &told));
    let host = session.another_host();
    let host = std::thread::spawn(move || play_host(host, &appended));
    let mut wanted = host.join().unwrap();
    appender.join().unwrap();
    for (tool, mut child) in tools.into_iter().enumerate() {
        // A tool that waited too long for the lock is refused and says so. Running it again does no harm.
        let again = || start_tool(&session, tool).wait().unwrap().success();
        assert!(child.wait().unwrap().success() || again(), "tool {tool}");
        for step in PUTS - KEYS..PUTS {
            wanted.insert(format!("tool{tool}.{}", step % KEYS), value(&format!("t{tool}"), step));
        }
    }
    let found = contents(&file);
    let keys: BTreeMap<String, String> = found.iter().cloned().collect();
    assert_eq!(keys.len(), found.len(), "no key twice");
    assert_eq!(keys, wanted);
}
