//! The exchange as the host sees it. It runs on the device file with the real program, or in one process
//! where FUSE cannot be used.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use hv_core::sys::file_lock;
use hvsim::kvp::{HostAnswer, HostValue};
use hvsim::session::kvp::{Session, Setup};
use hvsim::testing::{Options, eventually};

const E_FAIL: u32 = 0x8000_4005;
const S_CONT: u32 = 0x8007_0103;
const INVALIDARG: u32 = 0x8007_0057;
const GUID_NOTFOUND: u32 = 0x8004_1002;

fn start() -> Session {
    Session::start(&Setup::default())
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 2560];
    bytes[..key.len()].copy_from_slice(key.as_bytes());
    bytes[512..512 + value.len()].copy_from_slice(value);
    bytes
}

fn value(answer: &HostAnswer) -> Option<&str> {
    answer.value()
}

fn pairs(session: &mut Session, pool: u8) -> Vec<(String, String)> {
    let (items, end) = session.host().enumerate(pool).unwrap();
    assert_eq!(end.code, S_CONT);
    items.into_iter().map(|item| (item.key, item.value)).collect()
}

#[test]
fn the_host_gets_what_it_set() {
    let mut session = start();
    for (key, text) in [("abc", "value"), ("é", "ü"), ("日本", "日本語"), ("ab", ""), ("with blank", " x ")]
    {
        assert!(session.host().set(0, key, text).unwrap().is_ok());
        let answer = session.host().get(0, key).unwrap();
        assert_eq!((answer.code, value(&answer)), (0, Some(text)), "{key}");
    }
    assert_eq!(pairs(&mut session, 0).len(), 5);
    let file = fs::read(session.pool_file(0)).unwrap();
    assert_eq!(file[..2560], record("abc", b"value"));
}

#[test]
fn numbers_arrive_as_the_kernel_prints_them() {
    let mut session = start();
    let cases = [
        (HostValue::U32(7), "7"),
        (HostValue::U32(u32::MAX), "-1"),
        (HostValue::U64(u64::MAX), "18446744073709551615"),
        (HostValue::Qword(5), ""),
    ];
    for (number, wanted) in cases {
        assert!(session.host().set_value(0, "n", number).unwrap().is_ok());
        assert_eq!(value(&session.host().get(0, "n").unwrap()), Some(wanted));
    }
}

#[test]
fn key_matches_as_a_whole_and_in_its_pool() {
    let mut session = start();
    session.host().set(0, "abc", "0").unwrap();
    session.host().set(1, "abc", "1").unwrap();
    assert_eq!(session.host().get(0, "ab").unwrap().code, S_CONT);
    assert_eq!(session.host().get(0, "abcd").unwrap().code, S_CONT);
    assert_eq!(session.host().delete(0, "ab").unwrap().code, S_CONT);
    assert!(session.host().delete(0, "abc").unwrap().is_ok());
    assert_eq!(session.host().get(0, "abc").unwrap().code, S_CONT);
    assert_eq!(value(&session.host().get(1, "abc").unwrap()), Some("1"));
}

#[test]
fn longer_texts_of_a_file_are_cut_for_the_host() {
    let mut long = record(&"k".repeat(400), "日".repeat(600).as_bytes());
    long.extend(record(&"é".repeat(255), "😀x".as_bytes()));
    long.extend([b'x'; 2560]);
    let mut session = Session::start(&Setup { pools: vec![(1, long.clone())], ..Setup::default() });
    let items = pairs(&mut session, 1);
    assert_eq!(items[0], ("k".repeat(254), "日".repeat(600)));
    assert_eq!(items[1].0, "é".repeat(254));
    assert_eq!((items[2].0.len(), items[2].1.len()), (254, 1022));
    assert_eq!(fs::read(session.pool_file(1)).unwrap(), long, "the file keeps all of it");
    let (key, text) = ("q".repeat(254), "w".repeat(1022));
    assert!(session.host().set(0, &key, &text).unwrap().is_ok());
    assert_eq!(value(&session.host().get(0, &key).unwrap()), Some(text.as_str()));
}

// contract K19
#[test]
fn the_host_gets_valid_text_from_any_file() {
    let mut bytes = record("bad", b"\xff\xfe then text \xc3");
    bytes.extend(vec![0; 2560]);
    bytes.extend(record("good", b"1"));
    bytes.extend([b'#'; 1000]);
    let mut session = Session::start(&Setup { pools: vec![(0, bytes)], ..Setup::default() });
    let items = pairs(&mut session, 0);
    assert_eq!(items[0].1, "\u{fffd}\u{fffd} then text \u{fffd}");
    assert_eq!(items[1..], [("good".to_owned(), "1".to_owned())]);
    assert!(session.host().set(0, "new", "2").unwrap().is_ok());
    assert_eq!(fs::read(session.pool_file(0)).unwrap().len() % 2560, 0);
}

/// A pool with appended reports of an agent.
fn reports() -> Vec<u8> {
    [("report", "error"), ("other", "1"), ("report", "error"), ("report", "success")]
        .iter()
        .flat_map(|(key, value)| record(key, value.as_bytes()))
        .collect()
}

#[test]
fn the_host_sees_the_last_record_of_a_key() {
    let mut session = Session::start(&Setup { pools: vec![(1, reports())], ..Setup::default() });
    let wanted = |value: &str| [("report", value), ("other", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(pairs(&mut session, 1), wanted("success"));
    assert_eq!(value(&session.host().get(1, "report").unwrap()), Some("success"));
    assert!(session.host().set(1, "report", "seen").unwrap().is_ok());
    assert_eq!(
        fs::read(session.pool_file(1)).unwrap(),
        [record("other", b"1"), record("report", b"seen")].concat()
    );

    fs::write(session.pool_file(1), reports()).unwrap();
    assert!(session.host().delete(1, "report").unwrap().is_ok());
    assert_eq!(fs::read(session.pool_file(1)).unwrap(), record("other", b"1"));
    assert_eq!(session.host().get(1, "report").unwrap().code, S_CONT);
}

#[test]
fn malformed_requests_get_the_right_code() {
    let mut session = start();
    for pool in [5, 9, 255] {
        assert_eq!(session.host().get(pool, "k").unwrap().code, INVALIDARG);
        assert_eq!(session.host().set(pool, "k", "v").unwrap().code, INVALIDARG);
        assert_eq!(session.host().delete(pool, "k").unwrap().code, INVALIDARG);
        assert_eq!(session.host().enumerate_index(pool, 0).unwrap().code, INVALIDARG);
    }
    assert_eq!(session.host().get(0, "").unwrap().code, INVALIDARG);
    assert_eq!(session.host().set(0, "", "v").unwrap().code, INVALIDARG);
    assert_eq!(session.host().delete(0, "").unwrap().code, INVALIDARG);
    for (operation, key_at) in [(0, 16), (1, 16), (2, 8)] {
        let mut message = vec![0; 7430];
        message[0] = operation;
        message[key_at..key_at + 512].fill(b'k');
        // DELETE has nothing after its array. GET has the value there.
        assert_eq!(session.host().verbatim(message).unwrap().code, INVALIDARG, "{operation}");
    }
    for index in [10, 1000, u32::MAX] {
        assert_eq!(session.host().enumerate_index(0, index).unwrap().code, S_CONT);
        assert_eq!(session.host().enumerate_index(2, index).unwrap().code, S_CONT);
    }
    assert!(session.host().set(0, "still", "alive").unwrap().is_ok());
}

#[test]
fn an_unknown_operation_is_answered_once() {
    let mut session = start();
    for operation in [6, 77, 255] {
        let answer = session.host().raw(operation, 0, vec![1; 64]).unwrap();
        assert!(!answer.is_ok() && !answer.timed_out, "{answer:?}");
    }
    assert!(session.host().set(0, "still", "alive").unwrap().is_ok());
}

#[test]
fn the_host_cannot_write_the_auto_pool() {
    let mut session = start();
    assert_eq!(session.host().set(2, "OSName", "Windows").unwrap().code, S_CONT);
    assert_eq!(session.host().delete(2, "OSName").unwrap().code, S_CONT);
    assert_eq!(value(&session.host().get(2, "OSName").unwrap()), Some("FreeBSD"));
}

#[test]
fn all_ten_intrinsic_items_are_right() {
    let mut session = start();
    let wanted = [
        ("FullyQualifiedDomainName", "guest.example.org"),
        ("IntegrationServicesVersion", env!("CARGO_PKG_VERSION")),
        ("NetworkAddressIPv4", "10.0.0.5"),
        ("NetworkAddressIPv6", "fd00::5;fe80::215:5dff:fe01:203"),
        ("OSBuildNumber", "14.3"),
        ("OSName", "FreeBSD"),
        ("OSMajorVersion", "14"),
        ("OSMinorVersion", "3"),
        ("OSVersion", "14.3"),
        ("ProcessorArchitecture", "amd64"),
    ];
    let wanted: Vec<(String, String)> =
        wanted.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(pairs(&mut session, 2), wanted);
    for (key, text) in &wanted {
        assert_eq!(value(&session.host().get(2, key).unwrap()), Some(text.as_str()));
    }
}

#[test]
fn a_guest_without_addresses_still_answers_every_index() {
    let facts = vec![("ifaddrs", "lo0 link - up\nlo0 inet 127.0.0.1/8\n".to_owned())];
    let mut session = Session::start(&Setup { facts, ..Setup::default() });
    let items = pairs(&mut session, 2);
    assert_eq!(items.len(), 10);
    for (key, text) in items {
        assert_eq!(text.is_empty(), key.starts_with("NetworkAddress"), "{key}={text}");
    }
}

fn sysctl(host_name: &str) -> String {
    format!("kern.ostype=FreeBSD\nkern.osrelease=14.3-RELEASE\nkern.hostname={host_name}\nhw.machine=amd64\n")
}

fn domain_name(session: &mut Session) -> String {
    value(&session.host().get(2, "FullyQualifiedDomainName").unwrap()).unwrap().to_owned()
}

#[test]
fn a_short_host_name_is_completed_by_the_resolver() {
    let getent = "#!/bin/sh\n[ \"$1 $2\" = 'hosts web1' ] && echo '10.0.0.5  web1.example.org web1'\n";
    let setup = Setup {
        facts: vec![("sysctl", sysctl("web1"))],
        getent: Some(getent.to_owned()),
        ..Setup::default()
    };
    let mut session = Session::start(&setup);
    eventually("the domain", || {
        let name = domain_name(&mut session);
        assert!(["web1", "web1.example.org"].contains(&name.as_str()), "{name}");
        name == "web1.example.org"
    });
}

#[test]
fn a_resolver_that_hangs_or_fails_delays_no_answer() {
    for getent in
        ["#!/bin/sh\nexec sleep 1000\n", "#!/bin/sh\necho 'hostname nor servname provided'\nexit 2\n"]
    {
        let setup = Setup {
            machine: Options { timeout: Some(Duration::from_secs(20)), ..Options::default() },
            facts: vec![("sysctl", sysctl("web1"))],
            getent: Some(getent.to_owned()),
            ..Setup::default()
        };
        let mut session = Session::start(&setup);
        for _ in 0..20 {
            assert_eq!(domain_name(&mut session), "web1");
        }
        assert_eq!(pairs(&mut session, 2).len(), 10);
    }
}

#[test]
fn the_adapter_is_found_by_its_address() {
    let setup = Setup {
        resolv_conf: "search example.org\nnameserver 10.0.0.2\nnameserver fd00::2\n".to_owned(),
        ..Setup::default()
    };
    let mut session = Session::start(&setup);
    for mac in ["00:15:5D:01:02:03", "00:15:5d:01:02:03"] {
        let answer = session.host().ip_info(mac).unwrap();
        let ip = answer.ip.unwrap();
        assert_eq!(ip.addresses, "10.0.0.5;fd00::5;fe80::215:5dff:fe01:203");
        assert_eq!(ip.masks, "255.255.255.0;/64;/64");
        assert_eq!(ip.gateways, "10.0.0.1;fe80::1");
        assert_eq!(ip.name_servers, "10.0.0.2;fd00::2");
        assert_eq!((ip.family, ip.dhcp), (3, false));
    }
    for unknown in ["00:15:5D:01:02:04", "", "hn0", "$(reboot)"] {
        assert_eq!(session.host().ip_info(unknown).unwrap().code, GUID_NOTFOUND, "{unknown}");
    }
}

#[test]
fn a_lagg_answers_for_its_ports() {
    let interfaces = "hn1 link 00:15:5d:00:00:01 up\nhn1 inet 10.1.0.1/16\n\
                      hn10 link 00:15:5d:00:00:10 up\nhn10 inet 10.10.0.1/16\n\
                      hn0 link 00:15:5d:00:00:aa up\nmce0 link 00:15:5d:00:00:aa up\n\
                      lagg0 link 00:15:5d:00:00:aa up lagg\nlagg0 inet 10.20.0.1/8\n";
    let routes = "default 10.1.0.254 hn1\n".to_owned();
    let facts = vec![("ifaddrs", interfaces.to_owned()), ("routes", routes)];
    let mut session = Session::start(&Setup { facts, ..Setup::default() });
    let cases = [
        ("00:15:5D:00:00:01", "10.1.0.1", "10.1.0.254"),
        ("00:15:5D:00:00:10", "10.10.0.1", ""),
        ("00:15:5D:00:00:AA", "10.20.0.1", ""),
    ];
    for (mac, address, gateway) in cases {
        let ip = session.host().ip_info(mac).unwrap().ip.unwrap();
        assert_eq!((ip.addresses.as_str(), ip.gateways.as_str()), (address, gateway));
    }
    let list = session.host().get(2, "NetworkAddressIPv4").unwrap();
    assert_eq!(value(&list), Some("10.1.0.1;10.10.0.1;10.20.0.1"));
}

// contract K24
#[test]
fn changes_by_other_programs_are_seen_at_once() {
    let mut session = start();
    for round in 0..50 {
        let text = format!("{round}");
        assert!(session.host().set(1, "ours", &text).unwrap().is_ok());
        let mut file = OpenOptions::new().append(true).open(session.pool_file(1)).unwrap();
        file.write_all(&record(&format!("theirs{round}"), text.as_bytes())).unwrap();
        assert_eq!(value(&session.host().get(1, &format!("theirs{round}")).unwrap()), Some(text.as_str()));
        assert_eq!(value(&session.host().get(1, "ours").unwrap()), Some(text.as_str()));
    }
    fs::write(session.pool_file(1), record("only", b"this")).unwrap();
    assert_eq!(pairs(&mut session, 1), [("only".to_owned(), "this".to_owned())]);
}

#[test]
fn many_foreign_records_are_all_served() {
    let mut session = start();
    let bytes: Vec<u8> = (0..300).flat_map(|n| record(&format!("k{n}"), b"v")).collect();
    fs::write(session.pool_file(1), bytes).unwrap();
    assert_eq!(pairs(&mut session, 1).len(), 300);
}

#[test]
fn a_full_pool_refuses_new_keys_only() {
    let setup = Setup { kvp_settings: "max-records = 3".to_owned(), ..Setup::default() };
    let mut session = Session::start(&setup);
    for key in ["a", "b", "c"] {
        assert!(session.host().set(0, key, "1").unwrap().is_ok());
    }
    assert_eq!(session.host().set(0, "d", "1").unwrap().code, E_FAIL);
    assert!(session.host().set(0, "a", "2").unwrap().is_ok());
    assert!(session.host().delete(0, "b").unwrap().is_ok());
    assert!(session.host().set(0, "d", "1").unwrap().is_ok());
    assert_eq!(pairs(&mut session, 0).len(), 3);
}

#[test]
fn a_foreign_lock_fails_the_request_in_time() {
    let setup = Setup { kvp_settings: "lock-wait-ms = 100".to_owned(), ..Setup::default() };
    let mut session = Session::start(&setup);
    assert!(session.host().set(1, "k", "before").unwrap().is_ok());
    if session.without_device().is_some() {
        // A POSIX lock does not exclude its own process, so two processes are needed.
        return;
    }
    let file = OpenOptions::new().read(true).write(true).open(session.pool_file(1)).unwrap();
    assert!(file_lock::try_lock(&file, true).unwrap());
    let answer = session.host().set(1, "k", "while locked").unwrap();
    assert_eq!((answer.code, answer.timed_out), (E_FAIL, false));
    file_lock::unlock(&file);
    assert_eq!(value(&session.host().get(1, "k").unwrap()), Some("before"));
    assert!(session.host().set(1, "k", "after").unwrap().is_ok());
}

#[test]
fn a_lock_released_in_time_is_waited_for() {
    let setup = Setup {
        machine: Options { timeout: Some(Duration::from_secs(20)), ..Options::default() },
        kvp_settings: "lock-wait-ms = 4000".to_owned(),
        ..Setup::default()
    };
    let mut session = Session::start(&setup);
    assert!(session.host().set(1, "k", "before").unwrap().is_ok());
    let file = File::open(session.pool_file(1)).unwrap();
    file.lock().unwrap();
    let mut host = session.another_host();
    let waiting = std::thread::spawn(move || host.set(1, "k", "after").unwrap());
    eventually("the request", || session.host().statistics().unwrap().reads >= 2);
    file.unlock().unwrap();
    assert!(waiting.join().unwrap().is_ok());
    assert_eq!(value(&session.host().get(1, "k").unwrap()), Some("after"));
}

#[test]
fn the_daemon_makes_no_needless_device_calls() {
    let mut session = start();
    let before = session.host().statistics().unwrap();
    for round in 0..100 {
        session.host().set(0, "k", &format!("{round}")).unwrap();
    }
    let after = session.host().statistics().unwrap();
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (100, 100));
    assert!(after.most_polls_without_progress <= 4, "{after:?}");
}
