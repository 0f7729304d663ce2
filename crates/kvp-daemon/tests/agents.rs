//! Programs in the guest append reports to pool 1, as cloud-init and azure-init do, while the host enumerates
//! items and changes some. The code is the test's; the file operations and locks are those of the programs.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::Options;

const REPORTS: usize = 150;
/// The longest value of one record of azure-init, in bytes: what the host reads of a value.
const AZURE_VALUE: usize = 1022;

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 2560];
    bytes[..key.len()].copy_from_slice(key.as_bytes());
    bytes[512..512 + value.len()].copy_from_slice(value);
    bytes
}

/// One report of cloud-init's handler (`HyperVKvpReportingHandler._append_kvp_item`). The file is opened for
/// appending and locked with flock(2). Each record is written on its own, and closing the file releases the
/// lock.
fn append_as_cloud_init(path: &Path, records: &[Vec<u8>]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.lock().unwrap();
    for record in records {
        file.write_all(record).unwrap();
    }
    file.flush().unwrap();
    file.unlock().unwrap();
}

/// One report of azure-init's library. A value that is too long is cut into records with the same key, which
/// are written at once under flock(2).
fn append_as_azure_init(path: &Path, key: &str, value: &str) {
    let records: Vec<u8> =
        value.as_bytes().chunks(AZURE_VALUE).flat_map(|chunk| record(key, chunk)).collect();
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.lock().unwrap();
    file.write_all(&records).unwrap();
    file.unlock().unwrap();
}

/// Each event has its own key, as in cloud-init. The state of the provisioning is reported repeatedly under
/// one key.
fn cloud_init(path: &Path, done: &AtomicUsize) {
    for number in 0..REPORTS {
        let event = record(&format!("CLOUD_INIT|1|finish|stage-{number}"), b"{\"result\":\"SUCCESS\"}");
        let state = record("CLOUD_INIT|state", number.to_string().as_bytes());
        append_as_cloud_init(path, &[event, state]);
    }
    done.fetch_add(1, Ordering::Release);
}

/// Reports errors and finally success. Some reports take two records.
fn azure_init(path: &Path, done: &AtomicUsize) {
    for number in 0..REPORTS {
        let result = if number + 1 == REPORTS { "success" } else { "error" };
        let long = "x".repeat(AZURE_VALUE * (number % 2));
        append_as_azure_init(path, "PROVISIONING_REPORT", &format!("{long}result={result}"));
    }
    done.fetch_add(1, Ordering::Release);
}

/// All items of pool 1. No key may occur twice.
fn walk(session: &mut Session) -> BTreeMap<String, String> {
    let (items, _) = session.host().enumerate(1).unwrap();
    let count = items.len();
    let items: BTreeMap<String, String> = items.into_iter().map(|item| (item.key, item.value)).collect();
    assert_eq!(items.len(), count, "no key twice");
    items
}

/// Checks what holds for every enumeration while agents append: items stay, with their newest value.
fn check_walk(
    items: &BTreeMap<String, String>,
    seen: &mut BTreeSet<String>,
    host: &BTreeMap<String, String>,
) {
    for key in &*seen {
        assert!(items.contains_key(key), "{key} was there before");
    }
    seen.extend(items.keys().filter(|key| !key.starts_with("host-")).cloned());
    let theirs = items.iter().filter(|(key, _)| key.starts_with("host-"));
    let theirs: BTreeMap<String, String> = theirs.map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(theirs, *host, "what the host was told is done is there");
}

/// The newest state of cloud-init in an enumeration.
fn state(items: &BTreeMap<String, String>) -> usize {
    items.get("CLOUD_INIT|state").map_or(0, |state| state.parse().unwrap())
}

#[test]
fn agents_append_their_reports_while_the_host_walks_and_changes() {
    let stable: Vec<u8> = (0..5).flat_map(|n| record(&format!("stable-{n}"), b"1")).collect();
    let setup = Setup {
        machine: Options { timeout: Some(Duration::from_secs(20)), ..Options::default() },
        pools: vec![(1, stable)],
        kvp_settings: "lock-wait-ms = 4000".to_owned(),
        ..Setup::default()
    };
    let mut session = Session::start(&setup);
    let path: PathBuf = session.pool_file(1);
    let done = AtomicUsize::new(0);
    let (mut seen, mut host) = (BTreeSet::new(), BTreeMap::new());
    thread::scope(|scope| {
        scope.spawn(|| cloud_init(&path, &done));
        scope.spawn(|| azure_init(&path, &done));
        let (mut round, mut newest) = (0, 0);
        while done.load(Ordering::Acquire) < 2 || round < 10 {
            let (key, value) = (format!("host-{}", round % 4), round.to_string());
            assert!(session.host().set(1, &key, &value).unwrap().is_ok());
            host.insert(key, value);
            if round % 3 == 2 {
                let key = format!("host-{}", (round + 1) % 4);
                let answer = session.host().delete(1, &key).unwrap();
                assert_eq!(answer.is_ok(), host.remove(&key).is_some());
            }
            let items = walk(&mut session);
            check_walk(&items, &mut seen, &host);
            assert!(state(&items) >= newest, "an old report came back");
            newest = state(&items);
            round += 1;
        }
    });
    let items = walk(&mut session);
    assert_eq!(items.len(), 5 + REPORTS + 2 + host.len(), "no report is lost, and none is there twice");
    assert_eq!(items["CLOUD_INIT|state"], (REPORTS - 1).to_string());
    assert_eq!(items["PROVISIONING_REPORT"], "result=success");
    assert_eq!(fs::metadata(&path).unwrap().len() % 2560, 0);
    // The host changes the report and nothing else: once for hundreds of records.
    assert!(session.host().set(1, "PROVISIONING_REPORT", "seen").unwrap().is_ok());
    assert!(session.host().delete(1, "CLOUD_INIT|state").unwrap().is_ok());
    assert_eq!(fs::metadata(&path).unwrap().len(), 2560 * (5 + REPORTS + 1 + host.len()) as u64);
    assert_eq!(walk(&mut session)["PROVISIONING_REPORT"], "seen");
    // The agents continue as before.
    append_as_azure_init(&path, "PROVISIONING_REPORT", "result=success");
    assert_eq!(walk(&mut session)["PROVISIONING_REPORT"], "result=success");
}
