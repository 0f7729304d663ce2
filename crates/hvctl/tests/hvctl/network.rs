//! `hvctl vf` and `hvctl ip`, in guests with a simulated network. The programs that they call are the real
//! ones.

use std::fs;

use hvsim::kvp::IpInfo;
use hvsim::network::guest::static_rc_conf;
use hvsim::network::{Guest, State};
use hvsim::session::kvp::{NetworkSetup, Session, Setup};
use hvsim::testing::{command, program};

use crate::support::{HYPER_V, Place, settings, without_daemons};

/// A guest whose hn0 has addresses, and no daemon.
fn guest(dir: &std::path::Path) -> (Guest, Place) {
    let mut state = State::default();
    state.add_static_hn(0);
    let tools = program("hvsim-tools");
    let programs = tools.parent().unwrap();
    let guest = Guest::create(dir, &tools, "", programs, &state).unwrap();
    guest.set_rc_conf(&static_rc_conf(0)).unwrap();
    let config = dir.join("hvctl.toml");
    let root = dir.display();
    fs::write(
        &config,
        format!(
            "[log]\nsockets = [\"{root}/log\"]\n{}",
            hvsim::network::guest::network_settings(&root.to_string())
        ),
    )
    .unwrap();
    (guest, Place { dir: dir.to_owned(), config })
}

#[test]
fn the_plan_of_hyperv_vfup_is_printed_applied_and_undone() {
    if hvsim::testing::freebsd_root().is_some() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (guest, place) = guest(scratch.path());
    guest.give_vf("mce0", "hn0").unwrap();
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("vf-list-before", place.hvctl(&["vf", "list"]).good());
        let plan = place.hvctl(&["vf", "plan", "hn0"]).good();
        let mut vfup = command("hyperv_vfup", &place.dir);
        let vfup = vfup.args(["-n", "-f"]).arg(&place.config).arg("hn0").output().unwrap();
        assert!(plan.contains("create lagg0"), "{plan}");
        assert_eq!(plan.as_bytes(), vfup.stdout);
        let json = place.hvctl(&["vf", "plan", "hn0", "--json"]).json();
        assert_eq!((&json["version"], &json["interface"]), (&1.into(), &"hn0".into()));
        let steps: Vec<String> = json["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| format!("hn0: {}\n", step.as_str().unwrap()))
            .collect();
        assert_eq!(steps.concat(), plan);
        place.hvctl(&["vf", "apply", "hn0"]).good();
        insta::assert_snapshot!("vf-list-after", place.hvctl(&["vf", "list"]).good());
        insta::assert_snapshot!("vf-list-json", place.hvctl(&["vf", "list", "--json"]).good());
    });
    assert!(guest.ifconfig("lagg0").unwrap().contains("laggport: mce0"));
    let undo = place.hvctl(&["vf", "plan", "--undo", "hn0"]).good();
    assert!(undo.starts_with("hn0: ") && undo.contains("lagg0"), "{undo}");
    place.hvctl(&["vf", "undo", "hn0"]).good();
    assert!(guest.ifconfig("hn0").unwrap().contains("inet 10.0.0.5 "));
    assert_ne!(place.hvctl(&["vf", "plan", "em0"]).code, 0);
}

#[test]
fn a_machine_without_hn_has_nothing_to_list() {
    let (_scratch, place) = without_daemons("kern.vm_guest=none\n");
    let said = place.hvctl(&["vf", "list"]);
    assert_eq!((said.code, said.err.as_str()), (69, "hvctl: this is no guest of Hyper-V\n"));
    let (_scratch, place) = without_daemons(HYPER_V);
    assert_eq!(place.hvctl(&["vf", "list"]).err, "hvctl: there is no interface of hn(4)\n");
    assert_eq!(place.hvctl(&["ip", "show"]).good(), "the host has set no addresses that are in force\n");
    assert_eq!(place.hvctl(&["ip", "history"]).good(), "the host has not tried to set addresses\n");
    assert_eq!(place.hvctl(&["ip", "restore", "hn0"]).code, 1);
    assert_eq!(place.hvctl(&["ip", "restore", "em0"]).code, 64);
}

#[test]
fn addresses_of_the_host_are_shown_and_taken_back() {
    if hvsim::testing::freebsd_root().is_some() {
        return;
    }
    let mut state = State::default();
    state.add_static_hn(0);
    let rc_conf = format!("hostname=\"guest\"\n{}", static_rc_conf(0));
    let network = Some(NetworkSetup { state, rc_conf: rc_conf.clone() });
    let mut session = Session::start(&Setup { network, ..Setup::default() });
    if session.without_device().is_some() {
        return;
    }
    let place = Place { dir: session.path(""), config: session.path("hyperv.toml") };
    let info = IpInfo::with_addresses("hn0", &["10.1.1.5/24", "fd01::5/64"]).unwrap();
    let info = IpInfo { gateways: "10.1.1.1".into(), name_servers: "10.1.1.2".into(), ..info };
    assert!(session.host().set_ip_info(info.clone()).unwrap().is_ok());
    let wrong = IpInfo { addresses: "10.1.1.9;$(reboot)".into(), ..info };
    assert!(!session.host().set_ip_info(wrong).unwrap().is_ok());
    // The daemon records it after its answer to the host.
    let history = session.path("var/hyperv/injection/history");
    hvsim::testing::eventually("the history", || {
        fs::read_to_string(&history).is_ok_and(|text| text.lines().count() == 2)
    });
    settings(&place.dir).bind(|| {
        insta::assert_snapshot!("ip-show", place.hvctl(&["ip", "show"]).good());
        insta::assert_snapshot!("ip-show-json", place.hvctl(&["ip", "show", "--json"]).good());
        insta::assert_snapshot!("ip-history", place.hvctl(&["ip", "history"]).good());
        insta::assert_snapshot!("ip-history-json", place.hvctl(&["ip", "history", "--json"]).good());
    });
    place.hvctl(&["ip", "restore", "hn0"]).good();
    assert_eq!(fs::read_to_string(session.guest().root().path("etc/rc.conf")).unwrap(), rc_conf);
    assert_eq!(place.hvctl(&["ip", "show"]).good(), "the host has set no addresses that are in force\n");
}
