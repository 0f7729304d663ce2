//! `make install` and `make uninstall` into a scratch directory, compared with the lists of files. Nothing
//! outside of it is touched.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hvsim::network::devd::Devd;
use hvsim::network::guest::SHIPPED_RULES;
use hvsim::testing::{freebsd_root, program};

/// Where the base layout records its installation.
const RECORD: &str = "/var/backups/hyperv-guest/installed";

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Path from `/` and mode of each file.
type Files = BTreeMap<String, u32>;

fn script(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join("scripts").join(name)
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(REPOSITORY).join(path)).unwrap()
}

fn install(verb: &str, prefix: &str, destination: &Path) {
    let mut command = Command::new("/bin/sh");
    command.arg(script("install.sh")).arg(verb).env("PREFIX", prefix).env("DESTDIR", destination);
    // The directory with the programs that cargo built.
    command.env("PROGRAMS", program("hvsim").parent().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn files_below(root: &Path) -> Files {
    let mut found = Files::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                waiting.push(path);
                continue;
            }
            assert!(metadata.is_file(), "{}", path.display());
            if nix::unistd::geteuid().is_root() {
                assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{}", path.display());
            }
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            found.insert(name, metadata.mode() & 0o7777);
        }
    }
    found
}

/// The files of `packaging/plist`.
fn base_list() -> Files {
    let list = text("packaging/plist");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(mode, path)| (path.to_owned(), octal(mode)))
        .collect()
}

fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).unwrap()
}

/// The files of the port's list, and the scripts that the ports framework adds.
fn port_list() -> Files {
    let list = text("packaging/port/pkg-plist");
    let names = list.lines().map(|line| line.trim_start_matches("@sample ").trim_end_matches(".gz"));
    let scripts = Command::new("/bin/sh").arg(script("rc.d.sh")).output().unwrap();
    let scripts = String::from_utf8(scripts.stdout).unwrap();
    let scripts = scripts.lines().map(|name| format!("etc/rc.d/{name}"));
    let names = names.map(str::to_owned).chain(scripts);
    names.map(|name| (format!("/usr/local/{name}"), mode_by_place(&name))).collect()
}

fn mode_by_place(name: &str) -> u32 {
    let executable = ["sbin/", "libexec/", "etc/rc.d/"];
    match name {
        name if executable.iter().any(|place| name.starts_with(place)) => 0o555,
        name if name.starts_with("share/") => 0o444,
        _ => 0o644,
    }
}

fn installed(prefix: &str) -> Option<(tempfile::TempDir, Files)> {
    if freebsd_root().is_some() {
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let destination = scratch.path().join("destination");
    install("install", prefix, &destination);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing beside the destination");
    let mut files = files_below(&destination);
    assert_eq!(
        files.remove(RECORD).is_some(),
        prefix == "/usr",
        "only the base layout replaces files of others"
    );
    Some((scratch, files))
}

#[test]
fn the_base_layout_matches_its_list() {
    let Some((_scratch, files)) = installed("/usr") else { return };
    assert_eq!(files, base_list());
}

#[test]
fn the_port_layout_matches_its_list() {
    let Some((_scratch, files)) = installed("/usr/local") else { return };
    assert_eq!(files, port_list());
    assert!(files.keys().all(|path| path.starts_with("/usr/local/")));
}

#[test]
fn installed_files_name_the_paths_of_their_layout() {
    for (prefix, other) in [("/usr/local", "/usr/"), ("/usr", "/usr/local/")] {
        let Some((scratch, files)) = installed(prefix) else { return };
        for path in files.keys().filter(|path| path.contains("/etc/") && !path.ends_with(".sample")) {
            let text = fs::read_to_string(scratch.path().join(format!("destination{path}"))).unwrap();
            assert!(!text.contains("%%"), "{path}");
            let lines = text.lines().filter(|line| line.contains("/sbin/hv_") || line.contains("action"));
            for line in lines {
                let wrong = line.contains(other) && !line.contains(&format!("{prefix}/"));
                assert!(!wrong, "{path}: {line}");
            }
        }
    }
}

fn installed_rules(prefix: &str, etc: &str, name: &str) -> Option<String> {
    let (scratch, _) = installed(prefix)?;
    Some(fs::read_to_string(scratch.path().join(format!("destination{etc}/devd/{name}"))).unwrap())
}

/// An event, and the action of base's rules. A port has the same below its own prefix.
const EVENTS: [(&str, Option<&str>); 8] = [
    ("!system=DEVFS subsystem=CDEV type=CREATE cdev=hv_kvp_dev", Some("/usr/sbin/hv_kvp_daemon")),
    ("!system=DEVFS subsystem=CDEV type=DESTROY cdev=hv_kvp_dev", Some("pkill -x hv_kvp_daemon")),
    ("!system=DEVFS subsystem=CDEV type=CREATE cdev=hv_fsvss_dev", Some("/usr/sbin/hv_vss_daemon")),
    ("!system=DEVFS subsystem=CDEV type=DESTROY cdev=hv_fsvss_dev", Some("pkill -x hv_vss_daemon")),
    ("!system=HYPERV_NIC_VF subsystem=hn0 type=VF_UP", Some("/usr/libexec/hyperv/hyperv_vfup 'hn0'")),
    ("!system=ETHERNET subsystem=mce0 type=IFATTACH", Some("/usr/libexec/hyperv/hyperv_vfattach 'mce0' 0")),
    ("!system=HYPERV_NIC_VF subsystem=hn0 type=VF_DOWN", None),
    ("!system=DEVFS subsystem=CDEV type=CREATE cdev=hv_kvp_dev2", None),
];

#[test]
fn the_ports_rules_win_over_bases() {
    let Some(base) = installed_rules("/usr", "/etc", "hyperv.conf") else { return };
    let port = installed_rules("/usr/local", "/usr/local/etc", "hyperv.conf").unwrap();
    assert_eq!(base, SHIPPED_RULES);
    let (alone, base_first) = (Devd::parse(&base).unwrap(), Devd::parse(&format!("{base}\n{port}")).unwrap());
    let port_first = Devd::parse(&format!("{port}\n{base}")).unwrap();
    assert_eq!(base_first.rules().len(), 2 * alone.rules().len());
    for (event, action) in EVENTS {
        assert_eq!(alone.action(event).as_deref(), action, "{event}");
        let wanted = action.map(|action| action.replace("/usr/", "/usr/local/"));
        for both in [&base_first, &port_first] {
            assert_eq!(both.action(event), wanted, "{event}");
        }
    }
    // No rule of the port has a number that a rule of base has.
    let numbers = |text: &str| Devd::parse(text).unwrap().rules().iter().map(|rule| rule.priority).min();
    assert!(numbers(&port) > alone.rules().iter().map(|rule| rule.priority).max());
}

#[test]
fn the_sample_rule_for_a_departing_vf_is_not_read() {
    let name = "hyperv-vfdown.conf.sample";
    for (prefix, etc) in [("/usr", "/etc"), ("/usr/local", "/usr/local/etc")] {
        let Some(text) = installed_rules(prefix, etc, name) else { return };
        let action = Devd::parse(&text).unwrap().action("!system=HYPERV_NIC_VF subsystem=hn7 type=VF_DOWN");
        assert_eq!(action.unwrap(), format!("{prefix}/libexec/hyperv/hyperv_vfup -d 'hn7'"));
    }
    // devd reads files that end in .conf.
    assert!(!name.ends_with(".conf"));
}

#[test]
fn the_sample_names_the_configuration_of_its_layout() {
    for (prefix, etc) in [("/usr", "/etc"), ("/usr/local", "/usr/local/etc")] {
        let Some((scratch, _)) = installed(prefix) else { return };
        let sample = scratch.path().join(format!("destination{etc}/hyperv.toml.sample"));
        let wanted = format!("# Copy it to {etc}/hyperv.toml, ");
        assert!(fs::read_to_string(sample).unwrap().contains(&wanted));
    }
}

#[test]
fn uninstall_keeps_configuration_and_pools() {
    for prefix in ["/usr", "/usr/local"] {
        let Some((scratch, _)) = installed(prefix) else { return };
        let destination = scratch.path().join("destination");
        let etc = if prefix == "/usr" { "etc".to_owned() } else { "usr/local/etc".to_owned() };
        let kept = [
            format!("{etc}/hyperv.toml"),
            format!("{}/libexec/hyperv/hyperv_vfup.hn0", &prefix[1..]),
            "var/db/hyperv/pool/.kvp_pool_0".to_owned(),
        ];
        for name in &kept {
            let path = destination.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "mine").unwrap();
        }
        install("uninstall", prefix, &destination);
        let left: Vec<String> = files_below(&destination).into_keys().collect();
        let mut wanted: Vec<String> = kept.iter().map(|name| format!("/{name}")).collect();
        wanted.sort();
        assert_eq!(left, wanted);
        // A second uninstall does no harm.
        install("uninstall", prefix, &destination);
    }
}

/// The text of each file below `destination`, by its path from `/`.
fn texts_below(destination: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |path: String| {
        let text = fs::read(destination.join(&path[1..])).unwrap();
        (path, text)
    };
    files_below(destination).into_keys().map(read).collect()
}

fn write(destination: &Path, path: &str, text: &str) {
    let path = destination.join(&path[1..]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    fs::write(path, text).unwrap();
}

/// Files of base at paths that the base layout uses, too.
const OF_BASE: [&str; 4] = [
    "/usr/sbin/hv_kvp_daemon",
    "/usr/libexec/hyperv/hyperv_vfup",
    "/etc/devd/hyperv.conf",
    "/usr/share/man/man8/hv_kvp_daemon.8",
];

#[test]
fn uninstall_restores_the_files_of_base() {
    if freebsd_root().is_some() {
        return;
    }
    for installs in 1..=3 {
        let scratch = tempfile::tempdir().unwrap();
        let destination = scratch.path().join("destination");
        OF_BASE.iter().for_each(|path| write(&destination, path, "of base"));
        let before = texts_below(&destination);
        for _ in 0..installs {
            install("install", "/usr", &destination);
        }
        install("uninstall", "/usr", &destination);
        assert_eq!(texts_below(&destination), before, "after {installs} installs");
    }
}

#[test]
fn uninstall_restores_a_file_that_base_updated() {
    if freebsd_root().is_some() {
        return;
    }
    let newer = "of base, newer";
    for installed_again in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let destination = scratch.path().join("destination");
        OF_BASE.iter().for_each(|path| write(&destination, path, "of base"));
        install("install", "/usr", &destination);
        write(&destination, OF_BASE[1], newer);
        if installed_again {
            install("install", "/usr", &destination);
        }
        install("uninstall", "/usr", &destination);
        let after = texts_below(&destination);
        assert_eq!(after[OF_BASE[1]], newer.as_bytes());
        assert_eq!(after[OF_BASE[0]], b"of base");
    }
}

#[test]
fn installer_refuses_the_rules_that_devd_refuses() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("rules.conf");
    for text in [
        SHIPPED_RULES,
        "",
        "notify 1 { };\n",
        "notify 1 { match \"a\" \"b\"; media-type \"ethernet\"; action \"c\"; };\n",
        "options { directory \"/etc/devd\"; set x \"y\"; };\n",
        "// x\n/* y\n */ attach 5 { device-name \"a\"; };\n",
        "options { };\n",
        "notify 1 { }\n",
        "notify { };\n",
        "notify 1 { match \"a\"; };\n",
        "notify 1 { match \"a\" \"b\" };\n",
        "Notify 1 { };\n",
        "notify 1 { match \"a\" \"\"; action \"b\"; };\n",
        "notify 1 { action \"say \\\"x\\\"\"; };\n",
        "notify 1 { action \"open; };\n",
        "notify 1 { }; # no newline",
        "notify 1 { }; x\n",
    ] {
        fs::write(&file, text).unwrap();
        let output = Command::new("/bin/sh").arg(script("devd-check.sh")).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), Devd::parse(text).is_ok(), "{text:?}: {said}");
        assert!(output.status.success() || said.contains("devd would not start"), "{text:?}: {said}");
    }
}
