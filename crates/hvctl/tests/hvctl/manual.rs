//! Runs the examples of hvctl(8). Each must succeed in a simulated guest.

use std::fs;
use std::process::Command;

use hvsim::testing::program;

use crate::status::both;
use crate::support::make_accessible;

const PAGE: &str = include_str!("../../../../docs/man/hvctl.8");

#[test]
fn each_example_of_the_page_runs() {
    let Some(mut both) = both() else { return };
    let dir = both.place.dir.clone();
    // The examples are an administrator's commands. Only the configuration and the places of files are the
    // test's.
    fs::create_dir_all(dir.join("bin")).unwrap();
    let wrapper = dir.join("bin/hvctl");
    let line = format!("#!/bin/sh\nexec {:?} -f {:?} \"$@\"\n", program("hvctl"), both.place.config);
    fs::write(&wrapper, line).unwrap();
    make_accessible(&wrapper, 0o755);
    for (pool, key, value) in [(3, "VirtualMachineName", "web1"), (0, "Owner", "somebody"), (1, "Role", "db")]
    {
        assert!(both.kvp.host().set(pool, key, value).unwrap().is_ok());
    }
    assert!(both.vss.host().vss_backup(std::time::Duration::ZERO).unwrap().is_ok());
    let mut examples = 0;
    for example in PAGE.lines().filter_map(|line| line.strip_prefix(".Dl ")) {
        let root = format!("doctor --root {}", both.kvp.path("root").display());
        let script = example.replace("doctor", &root).replace("/var/", &format!("{}/", dir.display()));
        let script = script.replace("/usr/local/", &format!("{}/", dir.display()));
        for directory in ["backups", "tmp/node_exporter", "etc"] {
            let _ = fs::create_dir_all(dir.join(directory));
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-ec").arg(&script).current_dir(&dir);
        command.env("PATH", format!("{}:/usr/bin:/bin", dir.join("bin").display()));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{example}: {:?}\n{}{}",
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr)
        );
        examples += 1;
    }
    assert!(examples >= 15, "{examples}");
    assert!(
        both.kvp.host().get(1, "Uptime").unwrap().value().is_some_and(|value| value.contains("load average"))
    );
    assert_eq!(both.kvp.host().get(1, "AppState").unwrap().value(), Some("healthy"));
}
