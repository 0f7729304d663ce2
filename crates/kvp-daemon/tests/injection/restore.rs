//! `hv_kvp_daemon -R IF`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use hvsim::network::guest::static_rc_conf;
use hvsim::testing::command;

use crate::support::*;

fn restore(scene: &Scene, interface: &str) -> Output {
    let mut command = command("hv_kvp_daemon", &scene.path(""));
    command.arg("-f").arg(scene.path("hyperv.toml")).args(["-R", interface]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_injections_are_taken_back_byte_for_byte() {
    let before =
        format!("# first\n{}\nifconfig_hn0_alias4='inet 10.8.8.8/32' # four\nlast=1", static_rc_conf(0));
    let mut scene = Scene::new(static_state(), &before);
    let path = scene.path("guest/etc/rc.conf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    scene.succeed(info("hn0", &["10.1.1.5/24", "10.1.1.6/24", "fd01::5/64"], "10.1.1.1;fe80::1", "10.1.1.2"));
    scene.succeed(dhcp("hn0"));
    scene.succeed(info("hn0", &["10.2.1.5/24"], "10.2.1.1", "10.2.1.2"));
    let undo = scene.path("var/hyperv/injection/hn0.toml");
    assert_eq!(fs::metadata(&undo).unwrap().permissions().mode() & 0o777, 0o600);

    let output = restore(&scene, "hn0");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("service netif restart hn0"), "{}", text(&output.stdout));
    assert_eq!(scene.rc_conf(), before);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!undo.exists() && !scene.state().name_servers.contains_key("hn0.hyperv"));

    let again = restore(&scene, "hn0");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("nothing to take back"), "{}", text(&again.stderr));
    assert_eq!(scene.rc_conf(), before);
}

#[test]
fn what_the_administrator_changed_since_is_left_alone_and_named() {
    let mut scene = Scene::new(static_state(), "ifconfig_hn0=DHCP\n");
    scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
    let edited = scene.rc_conf().replace("10.1.1.1\"", "10.1.1.254\"");
    fs::write(scene.path("guest/etc/rc.conf"), &edited).unwrap();
    let output = restore(&scene, "hn0");
    assert!(text(&output.stdout).contains("defaultrouter was changed by somebody else"));
    assert_eq!(scene.rc_conf(), "ifconfig_hn0=DHCP\ndefaultrouter=\"10.1.1.254\"\n");
}

#[test]
fn other_names_and_damaged_files_change_nothing() {
    let mut scene = Scene::new(static_state(), "ifconfig_hn0=DHCP\n");
    scene.succeed(info("hn0", &["10.1.1.5/24"], "", ""));
    let before = scene.rc_conf();
    for name in ["", "em0", "../hn0", "hn", "lagg0"] {
        assert_eq!(restore(&scene, name).status.code(), Some(64), "{name}");
    }
    assert_eq!(restore(&scene, "hn1").status.code(), Some(1));
    fs::write(scene.path("var/hyperv/injection/hn0.toml"), "format = 1\n").unwrap();
    assert_eq!(restore(&scene, "hn0").status.code(), Some(1));
    assert_eq!(scene.rc_conf(), before);
    assert_eq!(scene.set(info("hn0", &["10.1.1.6/24"], "", "")).code, E_FAIL, "the old values would be lost");
    assert_eq!(scene.rc_conf(), before);
}
