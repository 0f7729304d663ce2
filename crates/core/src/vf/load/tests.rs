//! Tests of the facts of a hand-over: which programs are started for them, and what happens when a source
//! fails.

use super::*;
use crate::runtime::config;
use crate::tests::Bench;

const IFADDRS: &str = "\
    lo0 link - up index=1 driver=lo0\n\
    hn0 link 00:15:5d:01:02:03 up index=2 driver=hn0\n\
    hn0 inet 10.0.0.5/24\n\
    mce0 link 00:15:5d:01:02:03 up index=3 driver=mce0\n\
    em0 link 00:15:5d:01:02:09 up index=4 driver=em0\n";

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn hn0() -> Adapter {
    "hn0".parse().unwrap()
}

fn links(bench: &Bench, names: &[&str]) -> Result<BTreeMap<InterfaceName, Link>, LoadError> {
    let network = bench.source().snapshot().unwrap();
    let names: Vec<InterfaceName> = names.iter().map(|text| name(text)).collect();
    let settings = bench.settings();
    let limit = settings.command_limit();
    load_links(&settings, &bench.facts(), &network, &names.iter().collect::<Vec<_>>(), limit)
}

fn message(error: &LoadError) -> String {
    crate::runtime::error_chain(error)
}

#[test]
fn only_named_interfaces_and_existing_stacked_kinds_are_asked_for() {
    let bench = Bench::new(IFADDRS);
    links(&bench, &["hn0", "mce0", "gone0"]).unwrap();
    assert_eq!(bench.calls(2), ["ifconfig -k hn0", "ifconfig -k mce0"]);

    // A lagg that was renamed is one by its driver; a vlan without a driver is one by its name.
    let more =
        "uplink link 00:15:5d:01:02:03 up index=5 driver=lagg0\nvlan7 link 00:15:5d:01:02:03 up index=6\n";
    let bench = Bench::new(&format!("{IFADDRS}{more}"));
    links(&bench, &["hn0", "uplink"]).unwrap();
    assert_eq!(bench.calls(3), ["ifconfig -k hn0", "ifconfig -k -a -g lagg", "ifconfig -k -a -g vlan"]);
}

#[test]
fn interfaces_that_ifconfig_cannot_show_fail_the_whole_reading() {
    let bench = Bench::new(IFADDRS);
    bench.program("ifconfig", "echo 'ifconfig: interface hn0 does not exist' >&2; exit 1");
    let error = links(&bench, &["hn0", "mce0"]).unwrap_err();
    assert_eq!(message(&error), "cannot read interfaces: ifconfig: interface hn0 does not exist");
    assert_eq!(bench.calls(1), ["ifconfig -k hn0"], "nothing is read after a failure");
}

#[test]
fn cut_output_of_ifconfig_is_an_error() {
    let bench = Bench::new(IFADDRS);
    bench.prints("ifconfig", &"x".repeat(LONG_OUTPUT_LIMIT + 1));
    assert!(matches!(
        links(&bench, &["hn0"]),
        Err(LoadError::Program { source: ProgramError::Truncated { limit: LONG_OUTPUT_LIMIT, .. }, .. })
    ));
}

#[test]
fn facts_of_a_handover_come_from_all_sources() {
    let bench = Bench::new(IFADDRS);
    bench.prints("ifconfig", "hn0: flags=8843<UP> metric 0 mtu 1500\n\tdescription: storage\n");
    bench.prints("ngctl", "  Name: hn0  Type: ether  ID: 00000002   Num hooks: 2\n");
    bench.write("facts/sysctl", "net.graph.abi_version=12\n");
    bench.rc_conf("ifconfig_hn0=DHCP\n");
    let facts = load_facts(&bench.settings(), &bench.source(), &hn0(), Some(name("mce0"))).unwrap();
    assert_eq!(facts.vf, Some(name("mce0")));
    assert_eq!(facts.addresses(&name("hn0")), ["10.0.0.5/24".parse().unwrap()]);
    assert_eq!(facts.link(&name("hn0")).description, "storage");
    assert_eq!(facts.hooks, 2);
    assert!(facts.rc_conf.wanted(&name("hn0")).unwrap().dhcp.is_some());
}

#[test]
fn facts_are_refused_without_rc_conf_or_interfaces() {
    let bench = Bench::new(IFADDRS);
    let load =
        || load_facts(&bench.settings(), &bench.source(), &hn0(), None).map_err(|error| message(&error));
    assert!(load().unwrap_err().starts_with("cannot read rc.conf: "));
    bench.rc_conf("");
    load().unwrap();
    std::fs::remove_file(bench.path("facts/ifaddrs")).unwrap();
    std::fs::create_dir(bench.path("facts/ifaddrs")).unwrap();
    assert!(load().unwrap_err().starts_with("cannot read interfaces and routes: "));
    let adapter = load_adapter(&bench.source(), &name("hn0"));
    assert!(matches!(adapter, Err(LoadError::Network(_))));
}

#[test]
fn hooks_are_counted_only_where_ng_ether_has_the_node() {
    let bench = Bench::new("hn0.7 link 00:15:5d:01:02:03 up index=2 driver=hn0\n");
    let hn = hn0().with_interface(name("hn0.7"));
    let hooks = || load_network(&bench.settings(), &bench.source(), &hn, None).map(|facts| facts.hooks);
    let show = "ngctl show -n hn0_7:";
    assert_eq!(hooks().unwrap(), 0);
    assert_eq!(bench.calls(1), ["ifconfig -k hn0.7"], "without netgraph(4) ngctl(8) would load it");

    bench.write("facts/sysctl", "net.graph.abi_version=12\n");
    bench.prints("ngctl", "  Name: hn0_7  Type: ether  ID: 00000002   Num hooks: 1\n");
    assert_eq!(hooks().unwrap(), 1);
    assert_eq!(bench.calls(2)[1], show);

    bench.program(
        "ngctl",
        "echo 'Num hooks: 3'; echo 'ngctl: send msg: No such file or directory' >&2; exit 71",
    );
    assert_eq!(hooks().unwrap(), 0, "a failed program has counted nothing");
    for odd in ["", "Num hooks:", "Num hooks: many\n"] {
        bench.prints("ngctl", odd);
        assert_eq!(hooks().unwrap(), 0, "{odd:?}");
    }

    let settings = config::Network { ngctl: bench.path("missing"), ..bench.settings() };
    let error = load_network(&settings, &bench.source(), &hn, None).unwrap_err();
    assert!(message(&error).starts_with("cannot read netgraph: cannot run "), "{error}");
    bench.write("facts/sysctl", "net.graph.abi_version=new\n");
    assert_eq!(hooks().unwrap_err().to_string(), "cannot read sysctl net.graph.abi_version");
}

#[test]
fn sysctls_that_cannot_be_read_are_named() {
    let bench = Bench::new(IFADDRS);
    assert_eq!(load_vf_facts(&bench.facts()).unwrap(), VfFacts::default(), "an old kernel has neither");
    bench.write("facts/sysctl", "hw.hn.vf_transparent=yes\n");
    let error = load_vf_facts(&bench.facts()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read sysctl hw.hn.vf_transparent");
    bench.write("facts/sysctl", "hw.hn.vf_transparent=0\nhw.hn.vflist=mce0 mce1\n");
    let facts = load_vf_facts(&bench.facts()).unwrap();
    assert_eq!((facts.transparent, facts.list.as_deref()), (Some(0), Some("mce0 mce1")));

    std::fs::remove_file(bench.path("facts/sysctl")).unwrap();
    std::fs::create_dir(bench.path("facts/sysctl")).unwrap();
    let error = load_vf(&bench.facts(), &hn0()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read sysctl dev.hn.0.vf");
    let error = load_vf_of(&bench.source(), &name("mce0")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read sysctl hw.hn.vfmap");
}

#[test]
fn the_vf_is_found_by_every_name_of_its_adapter() {
    let bench = Bench::new("uplink link 00:15:5d:01:02:03 up index=2 driver=hn0\n");
    let vf = |text: &str| load_vf_of(&bench.source(), &name(text)).unwrap().map(|vf| vf.to_string());
    assert_eq!((vf("uplink"), vf("hn0"), vf("hn1")), (None, None, None));
    bench.write("facts/sysctl", "dev.hn.0.vf= mce0 \nhw.hn.vfmap=mce0:hn0 mce10:hn10 odd mce1:hn1\n");
    assert_eq!((vf("uplink").as_deref(), vf("hn0").as_deref()), (Some("mce0"), Some("mce0")));
    // An adapter whose interface is gone is still in the map.
    assert_eq!((vf("hn1").as_deref(), vf("hn10").as_deref(), vf("odd")), (Some("mce1"), Some("mce10"), None));
    // hn(4) gives an empty text when there is no VF.
    bench.write("facts/sysctl", "dev.hn.0.vf=\n");
    assert_eq!(vf("uplink"), None);
    assert_eq!(load_adapter(&bench.source(), &name("hn0")).unwrap().unwrap().name(), &name("uplink"));
    assert_eq!(load_adapter(&bench.source(), &name("hn7")).unwrap(), None);
}

#[test]
fn whether_a_vf_is_used_takes_one_program() {
    let bench = Bench::new(IFADDRS);
    bench.prints("ifconfig", "mce0: flags=8843<UP> metric 0 mtu 9000\n");
    let facts = load_one(&bench.settings(), &bench.source(), name("mce0")).unwrap();
    assert_eq!((facts.vf.as_ref(), facts.link(&name("mce0")).mtu), (Some(&name("mce0")), 9000));
    assert_eq!(bench.calls(1), ["ifconfig -k mce0"]);
}

#[test]
fn sources_are_those_of_the_configuration() {
    let text =
        "[facts]\ndir = '/x'\nresolv-conf = '/r'\ndhclient-pid-dirs = ['/p']\ndhclient-lease-dir = '/l'\n";
    let source = network_source(&Config::parse(text, "x.toml".as_ref()).unwrap());
    let wanted = NetworkSource {
        facts: FactsSource::Directory("/x".into()),
        resolv_conf: "/r".into(),
        dhclient_directories: vec!["/p".into()],
        lease_directory: "/l".into(),
    };
    assert_eq!(source, wanted);
    assert_eq!(network_source(&Config::default()), NetworkSource::default());
}
