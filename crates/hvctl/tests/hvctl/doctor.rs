//! `hvctl doctor`: each problem is found and has a remedy, and a healthy guest has none.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::status::both;
use crate::support::{HYPER_V, Place, make_accessible, record, settings, without_daemons};

/// The exit code and the findings from JSON: verdict, check, text, remedy.
fn findings(place: &Place) -> (i32, Vec<[String; 4]>) {
    let said = place.hvctl(&["doctor", "--json", "--root", place.dir.join("root").to_str().unwrap()]);
    let code = said.code;
    let json = said.json();
    assert_eq!(json["version"], 1);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let of =
        |finding: &serde_json::Value| ["verdict", "check", "text", "mend"].map(|name| text(&finding[name]));
    (code, json["findings"].as_array().unwrap().iter().map(of).collect())
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Adds a process with these arguments to the facts.
fn process(dir: &Path, pid: u32, arguments: &str) {
    let program = arguments.split([':', ' ']).next().unwrap().rsplit('/').next().unwrap();
    append(&dir.join("facts/procs"), &format!("proc {pid} {program}\n"));
    append(&dir.join("facts/sysctl"), &format!("1.14.7.{pid}:str={arguments}\n"));
}

/// A guest without a problem, except that no daemons run here.
fn guest() -> (tempfile::TempDir, Place) {
    let (scratch, place) = without_daemons(HYPER_V);
    let dir = &place.dir;
    for file in ["hv_kvp_dev", "hv_fsvss_dev"] {
        write(&dir.join(file), "");
    }
    write(&dir.join("root/usr/local/etc/devd/hyperv.conf"), "notify 110 {\n};\n");
    write(&dir.join("facts/mounts"), "ufs / /dev/gpt/rootfs local 1 7\ntmpfs /tmp tmpfs local 2 7\n");
    write(
        &dir.join("interfaces"),
        "hn0: flags=8843<UP,BROADCAST> metric 0 mtu 1500\n\tether 00:15:5d:01:02:03\n",
    );
    write(&dir.join("rc.conf"), "ifconfig_hn0=\"DHCP\"\n");
    (scratch, place)
}

/// Serves a daemon's socket on which a report is sent.
fn speak(path: &Path, report: &str) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let report = report.to_owned();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(report.as_bytes());
    })
}

const OLD: &str = r#"{"report":1,"program":"hv_kvp_daemon","version":"0.0.9","pid":7,"started":1,"uptime":1,"peak-memory-kib":1,
    "config":null,"device":"/dev/hv_kvp_dev","registered":true,
    "requests":{"counts":{},"last":null,"slowest":null,"refused":0,"last-refused":null}}"#;

type Complaint = (&'static str, fn(&Path), &'static str, &'static str, &'static str);

const COMPLAINTS: &[Complaint] = &[
    (
        "no service",
        |dir| fs::remove_file(dir.join("hv_kvp_dev")).unwrap(),
        "problem",
        "the host does not offer this service",
        "Enable-VMIntegrationService",
    ),
    ("not running", |_| {}, "problem", "hv_kvp_daemon does not run", "service hv_kvp_daemon onestart"),
    (
        "base's daemon",
        |dir| process(dir, 12, "/usr/sbin/hv_kvp_daemon"),
        "problem",
        "not that of this suite",
        "pkill -x hv_kvp_daemon; service hv_kvp_daemon onestart",
    ),
    (
        "configuration",
        |dir| append(&dir.join("hyperv.toml"), "[kvp2]\n"),
        "problem",
        "unknown field `kvp2`",
        "hv_kvp_daemon -t",
    ),
    (
        "rules of both",
        |dir| write(&dir.join("root/etc/devd/hyperv.conf"), "notify 200 {\n};\n"),
        "problem",
        "do not win over those of",
        "service devd restart",
    ),
    (
        "no rules",
        |dir| fs::remove_dir_all(dir.join("root")).unwrap(),
        "problem",
        "no rule starts the daemons",
        "service devd restart",
    ),
    (
        "pool directory",
        |dir| make_accessible(&dir.join("pool"), 0o755),
        "problem",
        "has mode 0755",
        "chmod 700 ",
    ),
    (
        "pool file",
        |dir| {
            write(&dir.join("pool/.kvp_pool_1"), "");
            make_accessible(&dir.join("pool/.kvp_pool_1"), 0o644)
        },
        "problem",
        "has mode 0644",
        "chmod 600 ",
    ),
    (
        "torn pool",
        |dir| pool(dir, &[0; 100]),
        "problem",
        "ends with a part of a record",
        "service hv_kvp_daemon onerestart",
    ),
    (
        "no regular file",
        |dir| std::os::unix::fs::symlink("/nonexistent", dir.join("pool/.kvp_pool_0")).unwrap(),
        "problem",
        "is not a regular file",
        "rm ",
    ),
    (
        "long value",
        |dir| pool(dir, &record("k", &"v".repeat(1500))),
        "problem",
        "cut at 254 and 1022",
        "split it",
    ),
    (
        "doubled key",
        |dir| pool(dir, &[record("k", "1"), record("k", "2")].concat()),
        "note",
        "\"k\" is there 2 times",
        "hvctl kvp put KEY VALUE",
    ),
    (
        "veto",
        |dir| append(&dir.join("facts/mounts"), "ext2fs /linux /dev/da1s1 local 9 9\n"),
        "problem",
        "the host would hear no: /linux (ext2fs)",
        "[[vss.mounts]]",
    ),
    (
        "hook",
        |dir| {
            write(&dir.join("vss.d/10-db"), "#!/bin/sh\n");
            make_accessible(&dir.join("vss.d"), 0o755);
            make_accessible(&dir.join("vss.d/10-db"), 0o777);
        },
        "problem",
        "10-db: others than its owner can write it",
        "mode 755",
    ),
    (
        "last backup",
        |dir| {
            write(
                &dir.join("backups"),
                r#"{"at":1,"verdict":"void","reason":"no thaw came in time","answered-in":1,"frozen-for":null,"mounts":[],"hooks":[],"steps":[]}"#,
            )
        },
        "problem",
        "no thaw came in time",
        "hvctl vss check",
    ),
    (
        "foreign lagg",
        |dir| {
            interfaces(
                dir,
                "lagg0: flags=8843<UP> metric 0 mtu 1500\n\tlaggproto lacp lagghash l2,l3,l4\n\tlaggport: em0 flags=1c<ACTIVE>\n",
            )
        },
        "problem",
        "lagg0 is not of this suite",
        "another number than hn0",
    ),
    (
        "stale lagg",
        |dir| {
            interfaces(
                dir,
                "lagg0: flags=8843<UP> metric 0 mtu 1500\n\tlaggproto failover lagghash l2,l3,l4\n\tgroups: lagg hyperv\n",
            )
        },
        "problem",
        "hn0 is no port of it",
        "hvctl vf undo hn0",
    ),
    (
        "VF without a lagg",
        |dir| {
            append(&dir.join("facts/sysctl"), "dev.hn.0.vf=mce0\nhw.hn.vf_transparent:int=0\n");
            interfaces(dir, "mce0: flags=8843<UP> metric 0 mtu 1500\n")
        },
        "problem",
        "mce0 is up and takes the data of hn0",
        "hvctl vf apply hn0",
    ),
    (
        "bridge",
        |dir| {
            interfaces(dir, "bridge0: flags=8843<UP> metric 0 mtu 1500\n\tmember: hn0 flags=143<LEARNING>\n")
        },
        "problem",
        "hn0 is a member of bridge0",
        "SR-IOV off",
    ),
    (
        "vlan",
        |dir| {
            interfaces(
                dir,
                "hn0.7: flags=8843<UP> metric 0 mtu 1500\n\tvlan: 7 vlanproto: 802.1q vlanpcp: 0 parent interface: hn0\n",
            )
        },
        "problem",
        "hn0.7 is a vlan over hn0",
        "SR-IOV off",
    ),
    (
        "two DHCP clients",
        |dir| {
            process(dir, 5, "dhclient: hn0");
            process(dir, 6, "dhclient: lagg0");
        },
        "problem",
        "DHCP clients run on hn0 and lagg0",
        "hvctl vf apply hn0",
    ),
    (
        "ifconfig_DEFAULT",
        |dir| {
            append(&dir.join("rc.conf"), "ifconfig_DEFAULT=\"SYNCDHCP\"\n");
            append(&dir.join("facts/sysctl"), "hw.hn.vf_transparent:int=0\n")
        },
        "note",
        "ifconfig_DEFAULT=\"SYNCDHCP\" configures a VF",
        "remove ifconfig_DEFAULT",
    ),
    (
        "another configurator",
        |dir| write(&dir.join("root/usr/local/sbin/waagent"), ""),
        "note",
        "Azure Linux agent may configure",
        "ip-injection = \"off\"",
    ),
    (
        "path of Linux",
        |dir| write(&dir.join("root/usr/local/bin/cloud-init"), ""),
        "note",
        "/var/lib/hyperv",
        "linux-path = true",
    ),
    (
        "clock",
        |dir| append(&dir.join("facts/sysctl"), "hw.hvtimesync.ignore_sync:int=1\n"),
        "problem",
        "nobody sets it",
        "hw.hvtimesync.ignore_sync=0",
    ),
];

fn pool(dir: &Path, bytes: &[u8]) {
    write(&dir.join("pool/.kvp_pool_1"), bytes);
    make_accessible(&dir.join("pool/.kvp_pool_1"), 0o600);
}

fn interfaces(dir: &Path, more: &str) {
    append(&dir.join("interfaces"), more);
}

#[test]
fn each_problem_is_found_and_has_a_remedy() {
    let (_scratch, healthy) = guest();
    let (_, before) = findings(&healthy);
    for (name, spoil, verdict, text, mend) in COMPLAINTS {
        let (_scratch, place) = guest();
        spoil(&place.dir);
        let (code, found) = findings(&place);
        let finding = found.iter().find(|finding| finding[2].contains(text));
        let finding = finding.unwrap_or_else(|| panic!("{name}: {found:#?}"));
        assert_eq!(finding[0], *verdict, "{name}");
        assert!(finding[3].contains(mend), "{name}: {finding:?}");
        assert_eq!(code, 1, "{name}: the daemons do not run in any case");
        if *name != "not running" {
            assert!(
                !before.iter().any(|finding| finding[2].contains(text)),
                "{name} is found in a healthy guest"
            );
        }
    }
}

#[test]
fn outdated_and_duplicate_daemons_are_reported() {
    let (_scratch, place) = guest();
    let old = speak(&place.dir.join("kvp.sock"), OLD);
    let (_, found) = findings(&place);
    old.join().unwrap();
    let found = found.iter().find(|finding| finding[1] == "kvp daemon").unwrap();
    assert!(found[2].starts_with("version 0.0.9 still runs, "), "{found:?}");
    assert_eq!(found[3], "service hv_kvp_daemon onerestart");
    fs::remove_file(place.dir.join("kvp.sock")).unwrap();
    let current = speak(&place.dir.join("kvp.sock"), &OLD.replace("0.0.9", env!("CARGO_PKG_VERSION")));
    process(&place.dir, 7, "/usr/sbin/hv_kvp_daemon");
    process(&place.dir, 8, "/usr/sbin/hv_kvp_daemon");
    let (_, found) = findings(&place);
    current.join().unwrap();
    let found = found.iter().find(|finding| finding[1] == "kvp daemon").unwrap();
    assert!(found[2].contains("runs 2 times: pids 7 8"), "{found:?}");
}

#[test]
fn open_files_of_the_backup_daemon_are_reported() {
    let (_scratch, place) = guest();
    let held =
        "/ (ufs): this daemon itself holds descriptor 2 of /var/log/x open there; send its output elsewhere";
    let report = OLD.replace("0.0.9", env!("CARGO_PKG_VERSION")).replace("hv_kvp", "hv_vss");
    let report = report.replacen(
        '{',
        &format!("{{\"refusals\":[{held:?}],\"frozen\":[],\"frozen-since\":null,\"last-backup\":null,"),
        1,
    );
    let daemon = speak(&place.dir.join("vss.sock"), &report);
    let (_, found) = findings(&place);
    daemon.join().unwrap();
    let found = found.iter().find(|finding| finding[2].contains("holds descriptor 2")).unwrap();
    assert_eq!((found[0].as_str(), found[1].as_str()), ("problem", "next backup"));
    assert!(found[3].starts_with("service hv_vss_daemon onerestart"), "{found:?}");
}

#[test]
fn a_healthy_guest_has_no_problem() {
    let Some(both) = both() else { return };
    let said = both.place.hvctl(&["doctor", "--root", both.kvp.path("root").to_str().unwrap()]);
    settings(&both.place.dir).bind(|| insta::assert_snapshot!("doctor", said.good()));
}

#[test]
fn a_machine_without_hyper_v_gets_one_line() {
    let (_scratch, place) = without_daemons("kern.vm_guest=none\n");
    let said = place.hvctl(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("this is no guest of Hyper-V"), "{}", said.out);
}
