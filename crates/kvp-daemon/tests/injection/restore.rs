//! `hv_kvp_daemon -R IF` after injections and edits of rc.conf. The printed commands are run, too.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hvsim::network::guest::static_rc_conf;

use crate::support::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn injections_are_taken_back_byte_for_byte() {
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
fn variables_edited_since_are_left_alone_and_named() {
    let mut scene = Scene::new(static_state(), "ifconfig_hn0=DHCP\n");
    scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
    let edited = scene.rc_conf().replace("10.1.1.1\"", "10.1.1.254\"");
    fs::write(scene.path("guest/etc/rc.conf"), &edited).unwrap();
    let output = restore(&scene, "hn0");
    let said = text(&output.stdout);
    assert!(said.contains(", except\ndefaultrouter, which was changed since"), "{said}");
    assert_eq!(scene.rc_conf(), "ifconfig_hn0=DHCP\ndefaultrouter=\"10.1.1.254\"\n");
}

#[test]
fn lines_inserted_since_stay_intact() {
    for inserted in
        ["cloned_interfaces=\"lo1\nlo2\nlo3\"\n", "if [ -e /nonexistent ]; then\n  moused_enable=YES\nfi\n"]
    {
        let before = "hostname=x\nifconfig_hn0=\"DHCP\"\nsshd_enable=YES\n";
        let mut scene = Scene::new(static_state(), before);
        scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
        let edited = format!("{inserted}{}", scene.rc_conf());
        fs::write(scene.path("guest/etc/rc.conf"), &edited).unwrap();
        let output = restore(&scene, "hn0");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(scene.rc_conf(), format!("{inserted}{before}"));
    }
}

#[test]
fn an_old_line_without_effect_is_refused() {
    let before = "hostname=x\nifconfig_hn0=DHCP\nifconfig_hn0_alias0=\"inet 10.9.9.9/32\"\nsshd_enable=YES\n";
    let mut scene = Scene::new(static_state(), before);
    scene.succeed(info("hn0", &["10.1.1.5/24"], "", ""));
    let edited = format!("cloned_interfaces=\"lo1\nlo2\nlo3\nlo4\"\n{}", scene.rc_conf());
    fs::write(scene.path("guest/etc/rc.conf"), &edited).unwrap();
    let output = restore(&scene, "hn0");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("ifconfig_hn0_alias0 would not be what it was"), "{said}");
    assert_eq!(scene.rc_conf(), edited);
    let left = fs::read_dir(scene.path("var/hyperv/injection")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> =
        left.filter(|path| !path.ends_with("history") && !path.ends_with("hn0.before")).collect();
    assert_eq!(left, [scene.path("var/hyperv/injection/hn0.toml")]);
}

#[test]
fn a_router_of_the_host_does_not_return() {
    for order in [["hn0", "hn1"], ["hn1", "hn0"]] {
        let mut state = static_state();
        state.add_static_hn(1);
        let before = "ifconfig_hn0=\"DHCP\"\ndefaultrouter=\"10.0.0.1\"\nifconfig_hn1=\"DHCP\"\n";
        let mut scene = Scene::new(state, before);
        scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
        scene.succeed(info("hn1", &["10.2.2.5/24"], "10.2.2.1", ""));
        for interface in order {
            let output = restore(&scene, interface);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        assert_eq!(scene.rc_conf(), before, "{order:?}");
    }
}

#[test]
fn other_names_and_damaged_undo_files_change_nothing() {
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

/// Runs the commands in the text, as an administrator would.
fn follow_advice(scene: &Scene, said: &str) {
    let line = said.lines().last().unwrap();
    for quoted in line.split('"').skip(1).step_by(2) {
        let words: Vec<&str> = quoted.split(' ').collect();
        assert_eq!(words[0], "service", "{said}");
        // rc.d/routing reports a route that exists already.
        std::process::Command::new(scene.path("guest/usr/sbin/service")).args(&words[1..]).output().unwrap();
    }
}

#[test]
fn the_printed_commands_restore_the_network() {
    for (rc_conf, dhcp) in [(static_rc_conf(0), false), ("ifconfig_hn0=\"DHCP\"\n".to_owned(), true)] {
        let mut state = if dhcp { dhcp_state() } else { static_state() };
        state.add_dhcp_server();
        let mut scene = Scene::new(state, &rc_conf);
        if dhcp {
            let client = scene.path("guest/sbin/dhclient");
            assert!(std::process::Command::new(client).arg("hn0").output().unwrap().status.success());
        }
        let before = scene.seen(0);
        scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
        if let Some(daemon) = scene.session.daemon() {
            // The minute is over in which the daemon would keep the host's network.
            daemon.signal(nix::sys::signal::Signal::SIGKILL);
            daemon.wait();
            let output = restore(&scene, "hn0");
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert_eq!(scene.rc_conf(), rc_conf);
            follow_advice(&scene, &text(&output.stdout));
            scene.session.start_daemon();
            eventually("the network of before", || scene.seen(0) == before);
        }
    }
}

#[test]
fn shell_code_in_rc_conf_returns_byte_for_byte() {
    for before in [
        "export ifconfig_hn0=\"DHCP\"\n",
        ": ${ifconfig_hn0:=DHCP}\n",
        "for i in hn0 hn1; do eval ifconfig_$i=DHCP; done\n",
        "case x in\nx)\n\tifconfig_hn0=\"DHCP\"\n\t;;\nesac\n",
        "ifconfig_hn0=\"DHCP\"\r\nhostname=x\r\n",
        "a=1; ifconfig_hn0=DHCP",
    ] {
        let mut scene = Scene::new(static_state(), before);
        println!("{before:?}");
        scene.succeed(info("hn0", &["10.1.1.5/24", "fd01::5/64"], "10.1.1.1", ""));
        let output = restore(&scene, "hn0");
        assert!(output.status.success(), "{before:?}: {}", text(&output.stderr));
        assert_eq!(scene.rc_conf(), before);
        scene.succeed(info("hn0", &["10.1.1.5/24"], "10.1.1.1", ""));
        let edited = format!("# mine\n{}", scene.rc_conf());
        fs::write(scene.path("guest/etc/rc.conf"), &edited).unwrap();
        // The shell reads the recorded values from the result, or nothing is changed.
        let output = restore(&scene, "hn0");
        if output.status.success() {
            assert!(
                scene.rc_conf().contains("# mine\n") && !scene.rc_conf().contains("10.1.1.5"),
                "{before:?}"
            );
        } else {
            assert_eq!(scene.rc_conf(), edited, "{before:?}");
        }
    }
}
