//! Tests of what rc.conf(5) asks of the lagg and its ports. The values are given, or sh(1) evaluates them
//! from a text. None reads the rc.conf of the machine.

use super::*;
use crate::runtime::config::Network;

fn conf(values: &[(&str, &str)]) -> RcConf {
    evaluated::values(values)
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn wanted(values: &[(&str, &str)]) -> Wanted {
    conf(values).wanted_for_lagg(&name("lagg0"), &name("hn0")).unwrap()
}

fn runs(wanted: &Wanted) -> Vec<String> {
    wanted.configure.iter().map(|arguments| arguments.words.join(" ")).collect()
}

#[test]
fn output_of_rc_conf_itself_is_no_record() {
    let printing = evaluated::text("echo vifconfig_hn0=DHCP; ifconfig_hn1=DHCP", &["hn0", "hn1"]).unwrap();
    assert_eq!((printing.value("ifconfig_hn0"), printing.value("ifconfig_hn1")), (None, Some("DHCP")));
    assert_eq!(RcConf::parse(b"va=x=y\nz\0").value("a"), Some("x=y\nz"));
    for odd in
        [&b""[..], b"\0", b"x\0c\0", b"c9\0hn0\0", b"vname\0d\0", b"c99999999999999999999\0a\0", b"\xff\0"]
    {
        assert_eq!(RcConf::parse(odd).value("name"), None);
    }
}

#[test]
fn keywords_of_dhcp_are_read() {
    for (value, synchronous, lease) in [
        ("DHCP", "NO", Some(Lease::InBackground)),
        ("dhcp", "yes", Some(Lease::Awaited)),
        ("SYNCDHCP", "NO", Some(Lease::Awaited)),
        ("NOSYNCDHCP", "YES", Some(Lease::InBackground)),
        ("DHCP SYNCDHCP", "NO", Some(Lease::Awaited)),
        ("inet 10.0.0.5/24", "YES", None),
        ("", "YES", None),
    ] {
        let wanted = wanted(&[("ifconfig_hn0", value), ("synchronous_dhclient", synchronous)]);
        assert_eq!(wanted.dhcp, lease, "{value}");
    }
}

#[test]
fn words_beside_a_dhcp_keyword_are_applied_too() {
    let wanted = wanted(&[("ifconfig_hn0", "SYNCDHCP mtu 9000 -tso")]);
    assert_eq!(runs(&wanted), ["mtu 9000 -tso"]);
}

#[test]
fn all_kinds_of_aliases_in_the_order_of_rc() {
    let wanted = wanted(&[
        ("ifconfig_hn0", "inet 10.0.0.5/24"),
        ("ifconfig_hn0_ipv6", "inet6 fd00::5/64"),
        ("ifconfig_hn0_aliases", "inet 10.0.1.1/32 inet6 fd00::6 prefixlen 64 ether 00:15:5d:01:02:03"),
        ("ifconfig_hn0_alias2", "10.0.2.2 netmask 255.255.255.255"),
        ("ifconfig_hn0_alias10", "inet 10.0.2.10/32"),
        ("ipv4_addrs_hn0", "10.0.3.1-2/24 10.0.4.1/32"),
    ]);
    let all = [
        "inet 10.0.0.5/24",
        "inet6 fd00::5/64",
        "inet 10.0.1.1/32 alias",
        "inet 10.0.2.2 netmask 255.255.255.255 alias",
        "inet 10.0.2.10/32 alias",
        "inet 10.0.3.1/24 alias",
        "inet 10.0.3.2/32 alias",
        "inet 10.0.4.1/32 alias",
        "inet6 fd00::6 prefixlen 64 alias",
    ];
    assert_eq!(runs(&wanted), all);
}

#[test]
fn empty_alias_ends_the_list_but_a_missing_one_continues() {
    let wanted = wanted(&[
        ("ifconfig_hn0_alias0", "inet 10.0.0.1/32"),
        ("ifconfig_hn0_alias5", ""),
        ("ifconfig_hn0_alias6", "inet 10.0.0.6/32"),
    ]);
    assert_eq!(runs(&wanted), ["inet 10.0.0.1/32 alias"]);
}

#[test]
fn ipv6_needs_its_variable() {
    let values = [("ifconfig_hn0_alias0", "inet6 fd00::6/64")];
    assert!(runs(&wanted(&values)).is_empty());
    let values = [("ifconfig_hn0_ipv6", "inet6 accept_rtadv"), values[0]];
    let with = wanted(&values);
    assert!(with.ipv6 && with.accept_rtadv);
    assert_eq!(runs(&with), ["inet6 fd00::6/64 alias"]);
    let off = wanted(&[values[0], values[1], ("ipv6_network_interfaces", "hn1 lo0")]);
    assert!(runs(&off).is_empty(), "ipv6_up of network.subr");
}

#[test]
fn an_ipv6_value_without_its_leading_word_gets_it() {
    assert_eq!(
        runs(&wanted(&[("ifconfig_hn0_ipv6", "fd00::5 prefixlen 64")])),
        ["inet6 fd00::5 prefixlen 64"]
    );
}

#[test]
fn only_calls_for_ipv6_switch_it() {
    for (call, switched) in [
        ("inet6 -ifdisabled", (true, false)),
        ("inet6 accept_rtadv up", (false, true)),
        ("inet6 accept_rtadv -ifdisabled", (true, true)),
        ("inet6 fd00::5/64", (false, false)),
        ("up -ifdisabled accept_rtadv", (false, false)),
    ] {
        let output = format!("c{}\0hn0 {call} ", call.split(' ').count() + 1).replace(' ', "\0");
        let wanted = RcConf::parse(output.as_bytes()).wanted(&name("hn0")).unwrap();
        assert_eq!((wanted.ipv6, wanted.accept_rtadv), switched, "{call}");
    }
}

#[test]
fn ipv6_can_be_on_for_all_interfaces() {
    for (value, on) in [("YES", true), ("on", true), ("1", true), ("NO", false), ("", false)] {
        let conf = conf(&[("ipv6_activate_all_interfaces", value)]);
        assert_eq!(conf.activates_ipv6_everywhere(), on, "{value}");
        assert_eq!(conf.wanted(&name("hn0")).unwrap().ipv6, on, "{value}");
    }
}

// contract V16
#[test]
fn the_default_applies_but_sets_no_ipv6() {
    let by_default = wanted(&[("ifconfig_DEFAULT", "SYNCDHCP")]);
    assert_eq!(by_default.dhcp, Some(Lease::Awaited));
    assert!(!by_default.ipv6 && by_default.configure.is_empty());
    // A variable that is set to nothing overrides the default.
    assert_eq!(wanted(&[("ifconfig_DEFAULT", "SYNCDHCP"), ("ifconfig_hn0", "")]).dhcp, None);
    let inet6 = wanted(&[("ifconfig_DEFAULT", "inet6 accept_rtadv")]);
    assert!(inet6.ipv6 && inet6.accept_rtadv);
}

#[test]
fn values_of_the_lagg_override_those_of_hn() {
    let hn = [
        ("ifconfig_hn0", "DHCP"),
        ("ifconfig_hn0_alias0", "inet 10.0.0.9/32"),
        ("ifconfig_hn0_ipv6", "inet6 fd00::5/64"),
    ];
    let own = wanted(&[
        hn[0],
        hn[1],
        hn[2],
        ("ifconfig_lagg0", "inet 10.9.9.9/24 laggproto failover laggport hn0"),
    ]);
    assert_eq!(own.dhcp, None);
    assert_eq!(runs(&own), ["inet 10.9.9.9/24"]);
    let ipv6 = wanted(&[hn[0], hn[1], hn[2], ("ifconfig_lagg0_ipv6", "inet6 fd00::99/64")]);
    assert_eq!(ipv6.dhcp, Some(Lease::InBackground));
    assert_eq!(runs(&ipv6), ["inet 10.0.0.9/32 alias", "inet6 fd00::99/64"]);
}

#[test]
fn only_ipv4_of_the_lagg_overrides_that_of_hn() {
    for (value, ipv4, runs_on_lagg) in [
        ("mtu 9000", false, &["mtu 9000", "inet 10.0.0.5/24"][..]),
        ("inet6 fd00::9/64", false, &["inet6 fd00::9/64", "inet 10.0.0.5/24"]),
        ("inet 10.9.9.9/24", true, &["inet 10.9.9.9/24"]),
        ("inet host.example.org", true, &["inet host.example.org"]),
        ("DHCP", true, &[]),
    ] {
        let values = [("ifconfig_hn0", "inet 10.0.0.5/24"), ("ifconfig_lagg0", value)];
        let decides = |ipv4| conf(&values).lagg_decides(&name("lagg0"), ipv4).unwrap();
        assert_eq!((decides(true), decides(false)), (ipv4, ipv4), "{value}");
        assert_eq!(runs(&wanted(&values)), runs_on_lagg, "{value}");
    }
    let ipv6 = conf(&[("ifconfig_lagg0_ipv6", "inet6 fd00::9/64")]);
    let decides = |ipv4| ipv6.lagg_decides(&name("lagg0"), ipv4).unwrap();
    assert_eq!((decides(true), decides(false)), (false, true));
}

#[test]
fn hn1_and_hn10_do_not_mix() {
    let values = conf(&[("ifconfig_hn1", "inet 10.0.1.1/24"), ("ifconfig_hn10", "inet 10.0.10.1/24")]);
    let hn1 = values.wanted_for_lagg(&name("lagg1"), &name("hn1")).unwrap();
    assert_eq!(runs(&hn1), ["inet 10.0.1.1/24"]);
}

#[test]
fn shell_code_in_rc_conf_is_evaluated() {
    let text = "net=10.0.7\nfor n in 1 2; do eval \"ifconfig_hn0_alias$n='inet $net.$n/32'\"; done\n\
                : ${ifconfig_hn0:=inet $net.5/24 mtu 1400}\ncase $net in 10.*) export defaultrouter=$net.1 ;; esac\n";
    let conf = evaluated::text(text, &["hn0"]).unwrap();
    let all = ["inet 10.0.7.5/24 mtu 1400", "inet 10.0.7.1/32 alias", "inet 10.0.7.2/32 alias"];
    assert_eq!(runs(&conf.wanted(&name("hn0")).unwrap()), all);
    assert_eq!(conf.default_router(true), Some("10.0.7.1"));
    assert_eq!(conf.default_router(false), None, "the default is NO");
}

#[test]
fn values_with_commands_are_refused_and_not_run() {
    let place = tempfile::tempdir().unwrap();
    let mark = place.path().join("mark");
    for (name, value) in [
        ("ifconfig_hn0", format!("inet 10.0.0.5/24; touch {}", mark.display())),
        ("ifconfig_hn0_alias0", format!("inet 10.0.0.6/24 `touch {}`", mark.display())),
        ("ifconfig_hn0_ipv6", format!("inet6 fd00::5/64 | touch {}", mark.display())),
        ("ifconfig_DEFAULT", format!("$(touch {})", mark.display())),
        ("ipv4_addrs_hn0", format!("10.0.0.5/24\ntouch {}", mark.display())),
    ] {
        let error = evaluated::text(&format!("{name}='{value}'\n"), &["hn0"]).unwrap_err();
        let text = crate::runtime::error_chain(&error);
        assert!(text.contains(&format!("{name} has a character that only a shell could use")), "{text}");
        assert!(!mark.exists(), "{name}");
    }
    let other = evaluated::text("ifconfig_hn1='a; b'\n", &["hn0"]);
    assert!(other.is_ok(), "another interface's");
}

#[test]
fn file_that_the_shell_does_not_understand_is_an_error() {
    assert!(evaluated::text("if then broken\n", &["hn0"]).is_err());
}

#[test]
fn a_call_that_must_fail_is_named() {
    let error = conf(&[("ifconfig_hn0_alias3", "inet 10.0.0.5/77")]).wanted(&name("hn0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot use the configuration of hn0 in rc.conf: \"10.0.0.5/77\" is no mask"
    );
}

#[test]
fn ranges_are_expanded_by_the_shell() {
    let wanted = wanted(&[
        ("ifconfig_hn0_alias0", "inet 10.0.0.5-7/24"),
        ("ifconfig_hn0_ipv6", "inet6 -ifdisabled"),
        ("ifconfig_hn0_alias1", "inet6 fd00::9-b/64"),
    ]);
    let addresses: Vec<String> =
        wanted.configure.iter().filter_map(|arguments| Some(arguments.address?.to_string())).collect();
    let all = ["10.0.0.5/24", "10.0.0.6/32", "10.0.0.7/32", "fd00::9/64", "fd00::a/64", "fd00::b/64"];
    assert_eq!(addresses, all);
}

#[test]
fn names_that_are_no_identifiers_have_variables_too() {
    let conf =
        evaluated::text("ifconfig_lan_x_5='inet 10.0.0.5/24'\ndhclient_flags_lan_x_5='-q'\n", &["lan-x.5"]);
    let (conf, interface) = (conf.unwrap(), name("lan-x.5"));
    assert_eq!(runs(&conf.wanted(&interface).unwrap()), ["inet 10.0.0.5/24"]);
    assert_eq!(conf.dhcp_client(&interface).flags, ["-q"]);
}

#[test]
fn clients_are_started_as_rc_d_dhclient_does() {
    for (text, flags) in [
        ("", &[][..]),
        ("dhclient_flags_hn0='-q -u'", &["-q", "-u"]),
        ("dhclient_flags='-n'\ndhclient_flags_hn0='-q'", &["-n"]),
        ("background_dhclient=YES", &["-b"]),
        ("background_dhclient=YES\nbackground_dhclient_hn0=NO\ndhclient_flags_hn0=-q", &["-q"]),
    ] {
        let client = evaluated::text(text, &["hn0"]).unwrap().dhcp_client(&name("hn0"));
        assert_eq!(client.flags, flags, "{text}");
        assert!(client.program.unwrap().ends_with("/sbin/dhclient"));
    }
}

#[test]
fn the_delay_is_two_seconds_or_more() {
    for (value, seconds) in
        [("", 2), ("x", 2), ("-5", 2), ("0", 2), ("1", 2), ("2", 2), ("120", 120), (" 7 ", 7), ("1.5", 2)]
    {
        let output = format!("vhyperv_vf_delay={value}\0");
        assert_eq!(RcConf::parse(output.as_bytes()).vf_delay(), seconds, "{value:?}");
    }
    assert_eq!(RcConf::default().vf_delay(), 2);
}

#[test]
fn the_delay_is_read_from_rc_conf() {
    for (text, seconds) in [("", 2), ("hyperv_vf_delay=7\n", 7), ("n=4; hyperv_vf_delay=$((n * 3))\n", 12)] {
        let root = tempfile::tempdir().unwrap();
        evaluated::install(root.path(), text);
        let settings = Network { rc_subr: root.path().join("etc/rc.subr"), ..Network::default() };
        assert_eq!(load_vf_delay(&settings).unwrap(), seconds, "{text}");
    }
}

#[test]
fn the_variables_of_one_file_are_read() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("rc.conf");
    std::fs::write(&file, "echo va=1; a='x  y'; b=; export c=\"$a\"; e=5\n").unwrap();
    let read = load_variables(&Network::default(), &file, ["a", "b", "c", "d"]).unwrap();
    let values = ["a", "b", "c", "d", "e"].map(|name| read.value(name));
    assert_eq!(values, [Some("x  y"), Some(""), Some("x  y"), None, None]);
    std::fs::write(&file, "if then broken\n").unwrap();
    assert!(load_variables(&Network::default(), &file, ["a"]).is_err());
}
