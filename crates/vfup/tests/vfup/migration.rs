//! The devd rules, both programs and the host together: `hvsim network` and `hvsim host … vf`. Each step is
//! one event.

use std::path::Path;
use std::process::Command;

use hvsim::testing::program;

fn hvsim(arguments: &[&str], dir: Option<&Path>) -> String {
    let mut command = Command::new(program("hvsim"));
    command.arg(arguments[0]);
    if let Some(dir) = dir {
        command.arg("--dir").arg(dir);
    }
    let output = command.args(&arguments[1..]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ifconfig(dir: &Path, name: &str) -> String {
    let output = Command::new(dir.join("sbin/ifconfig")).arg(name).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn host_commands_fire_the_rules_step_by_step() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    hvsim(&["network", "create"], Some(dir));
    let said = hvsim(&["host", "vf", "attach", "mce0", "hn0"], Some(dir));
    assert!(said.contains("hyperv_vfattach") && said.contains("hyperv_vfup"), "{said}");
    assert!(ifconfig(dir, "lagg0").contains("laggport: mce0 flags=4<ACTIVE>"));
    hvsim(&["host", "vf", "down", "mce0"], Some(dir));
    assert!(ifconfig(dir, "lagg0").contains("laggport: hn0 flags=5<MASTER,ACTIVE>"));
    let said = hvsim(&["host", "vf", "up", "mce0"], Some(dir));
    assert!(said.contains("hyperv_vfup"), "{said}");
    hvsim(&["host", "vf", "migrate", "mce0", "vf1"], Some(dir));
    let lagg = ifconfig(dir, "lagg0");
    assert!(lagg.contains("laggport: vf1 ") && !lagg.contains("mce0"), "{lagg}");
    hvsim(&["host", "vf", "detach", "vf1"], Some(dir));
    assert!(ifconfig(dir, "lagg0").contains("inet 10.0.0.5 "));
}

#[test]
fn sample_rule_takes_the_lagg_apart_when_the_vf_goes() {
    let scratch = tempfile::tempdir().unwrap();
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/devd");
    let rules = ["hyperv.conf", "hyperv-vfdown.conf.sample"]
        .map(|name| std::fs::read_to_string(etc.join(name)).unwrap());
    let file = scratch.path().join("rules");
    std::fs::write(&file, rules.concat()).unwrap();
    let dir = scratch.path().join("guest");
    hvsim(&["network", "create", "--rules", file.to_str().unwrap()], Some(&dir));
    hvsim(&["host", "vf", "attach", "mce0", "hn0"], Some(&dir));
    assert!(!ifconfig(&dir, "lagg0").is_empty());
    let said = hvsim(&["host", "vf", "detach", "mce0"], Some(&dir));
    assert!(said.contains("-d 'hn0'"), "{said}");
    assert!(ifconfig(&dir, "lagg0").is_empty());
    assert!(ifconfig(&dir, "hn0").contains("inet 10.0.0.5 "));
}
