//! Tests of the text that an injection writes to rc.conf(5). Each compares the new text of a file with the
//! expected one, and what sh(1) makes of it. None writes a file.

use std::path::Path;

use super::*;
use crate::rc::evaluated;

fn hn(unit: u32) -> InterfaceName {
    format!("hn{unit}").parse().unwrap()
}

fn given(addresses: &[&str], gateways: &[&str]) -> Method {
    Method::Static(StaticAddresses {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        name_servers: Vec::new(),
    })
}

fn file(text: &str) -> RcFile {
    RcFile::new(text.as_bytes().to_vec())
}

fn text(persisted: &Persisted) -> &str {
    std::str::from_utf8(persisted.file.as_bytes()).unwrap()
}

fn first(before: &str, method: &Method) -> Persisted {
    let before = file(before);
    let record = Record::new(hn(1), Path::new("/etc/rc.conf"), &before);
    persist(&hn(1), method, &before, &record).unwrap()
}

fn next(earlier: &Persisted, method: &Method) -> Persisted {
    persist(&hn(1), method, &earlier.file, &earlier.record).unwrap()
}

const MANY: [&str; 3] = ["10.1.1.5/24", "10.1.1.6/24", "fd00::5/64"];

#[test]
fn only_words_independent_of_addresses_stay() {
    for (words, kept) in [
        ("inet 10.0.0.5/24 mtu 9000 -lro", " mtu 9000 -lro"),
        ("inet 10.0.0.5/24 description 'web net' mtu 9000", " mtu 9000"),
        ("inet 10.0.0.5/24 vhid 1 advskew 100 pass s3cret!", ""),
        ("inet 10.0.0.5/24 media autoselect mediaopt full-duplex,txpause", ""),
        ("inet web1.example.org netmask 255.255.255.0", ""),
        ("inet6 fd00::9/64 no_dad", ""),
        ("inet 10.0.0.5/24 mtu", ""),
        ("inet 10.0.0.5/24 name -lro fib 2", " fib 2"),
    ] {
        let before = file(&format!("ifconfig_hn1=\"{words}\"\n"));
        let record = Record::new(hn(1), Path::new("/etc/rc.conf"), &before);
        let after = persist(&hn(1), &given(&["10.1.1.5/24"], &[]), &before, &record).unwrap();
        assert_eq!(text(&after), format!("ifconfig_hn1=\"inet 10.1.1.5/24{kept}\"\n"), "{words}");
    }
}

#[test]
fn aliases_of_carp_stay_behind_those_of_the_host() {
    let carp = "inet vhid 1 pass secret99 alias 10.0.2.200/32";
    let before = format!(
        "ifconfig_hn1=\"DHCP\"\nifconfig_hn1_alias0=\"inet 10.0.2.9/32\"\nifconfig_hn1_alias1=\"{carp}\"\n"
    );
    let after = first(&before, &given(&["10.1.1.5/24", "10.1.1.6/24"], &[]));
    let wanted = format!(
        "ifconfig_hn1=\"inet 10.1.1.5/24\"\nifconfig_hn1_alias0=\"inet 10.1.1.6/24\"\n\
         ifconfig_hn1_alias1=\"{carp}\"\n"
    );
    assert_eq!(text(&after), wanted);
    let read = evaluated::text(&wanted, &["hn1"]).unwrap();
    assert!(check(&hn(1), None, &given(&["10.1.1.5/24", "10.1.1.6/24"], &[]), &read).is_ok());
    // The host removes an address again, and then all.
    let fewer = next(&after, &given(&["10.1.1.5/24"], &[]));
    let line = format!("ifconfig_hn1=\"inet 10.1.1.5/24\"\nifconfig_hn1_alias0=\"{carp}\"\n");
    assert_eq!(text(&fewer), line);
    assert!(text(&next(&fewer, &Method::Dhcp)).ends_with(&format!("ifconfig_hn1_alias0=\"{carp}\"\n")));
}

#[test]
fn addresses_and_routers_are_written_as_rc_reads_them() {
    let after = first(
        "",
        &given(&["10.1.1.5/24", "fd00::5/64", "10.1.2.5/32", "fd00::6/128"], &["fe80::1", "10.1.1.1"]),
    );
    assert_eq!(
        text(&after),
        "ifconfig_hn1=\"inet 10.1.1.5/24\"\nifconfig_hn1_ipv6=\"inet6 fd00::5/64\"\n\
         ifconfig_hn1_alias0=\"inet 10.1.2.5/32\"\nifconfig_hn1_alias1=\"inet6 fd00::6/128\"\n\
         defaultrouter=\"10.1.1.1\"\nipv6_defaultrouter=\"fe80::1%hn1\"\n"
    );
}

#[test]
fn other_lines_stay_byte_for_byte() {
    let before = "# rc.conf\r\nifconfig_hn10=\"DHCP\"\nifconfig_hn10_alias0=\"inet 10.9.9.9/32\"\n\thostname='x'  \n\
                  ifconfig_hn1=\"SYNCDHCP mtu 9000 -lro\"  # main\nifconfig_hn1_ipv6=\"inet6 accept_rtadv\"\n\
                  defaultrouter=\"10.9.9.1\"\nweird line\n\n\n";
    let after = first(before, &given(&["10.1.1.5/24"], &[]));
    let wanted = before.replace("SYNCDHCP mtu 9000 -lro", "inet 10.1.1.5/24 mtu 9000 -lro");
    assert_eq!(text(&after), wanted);
    assert_eq!(text(&next(&after, &Method::Dhcp)), before);
}

#[test]
fn all_other_sources_of_addresses_are_removed() {
    let before = "ifconfig_hn1_alias0=\"inet 10.0.0.1/32\"\nifconfig_hn1_alias7=\"inet 10.0.0.2/32\"\n\
                  ifconfig_hn1_aliases=\"inet 10.0.0.3/32\"\nipv4_addrs_hn1=\"10.0.0.4/32\"\n\
                  ifconfig_hn1_ipv6=\"inet6 fd99::1/64\"\nifconfig_hn1_descr=\"up\"\nifconfig_hn1_aliasx=1\n";
    let after = first(before, &given(&["10.1.1.5/24"], &[]));
    assert_eq!(
        text(&after),
        "ifconfig_hn1_descr=\"up\"\nifconfig_hn1_aliasx=1\nifconfig_hn1=\"inet 10.1.1.5/24\"\n"
    );
    let mut restored = after.file.clone();
    after.record.restore(&mut restored, crate::injection::record::Places::OfOld);
    assert_eq!(restored, file(before));
}

#[test]
fn without_an_ipv4_address_the_interface_is_only_brought_up() {
    let after = first(
        "ifconfig_hn1=\"inet 10.0.0.5 netmask 255.255.255.0 mtu 1400\"\n",
        &given(&["fd00::5/64"], &[]),
    );
    assert_eq!(text(&after), "ifconfig_hn1=\"up mtu 1400\"\nifconfig_hn1_ipv6=\"inet6 fd00::5/64\"\n");
}

#[test]
fn values_of_an_earlier_injection_are_removed() {
    let one = first("", &given(&["10.1.1.5/24", "10.1.1.6/24", "10.1.1.7/24", "fd00::5/64"], &["10.1.1.1"]));
    let two = next(&one, &given(&["10.2.2.5/24", "10.2.2.6/24"], &[]));
    assert_eq!(text(&two), "ifconfig_hn1=\"inet 10.2.2.5/24\"\nifconfig_hn1_alias0=\"inet 10.2.2.6/24\"\n");
    let three = next(&two, &Method::Dhcp);
    assert_eq!(text(&three), "ifconfig_hn1=\"DHCP\"\n");
    let mut restored = three.file.clone();
    three.record.restore(&mut restored, crate::injection::record::Places::OfOld);
    assert_eq!(restored, file(""));
}

#[test]
fn an_unreachable_router_of_the_administrator_is_removed() {
    let statics = "ifconfig_hn1=\"inet 10.0.0.5 netmask 255.255.255.0\"\n";
    for (router, stays) in [("10.0.0.1", false), ("10.9.0.1", true)] {
        let before = format!("{statics}defaultrouter=\"{router}\"\n");
        let after = first(&before, &Method::Dhcp);
        assert_eq!(text(&after).contains(router), stays, "{router}");
    }
    let before = "ifconfig_hn1_ipv6=\"inet6 fd00::5 prefixlen 64\"\nipv6_defaultrouter=\"fe80::1%hn1\"\n";
    assert_eq!(text(&first(before, &Method::Dhcp)), "ifconfig_hn1=\"DHCP\"\n");
    let other = before.replace("%hn1", "%hn10");
    assert!(text(&first(&other, &Method::Dhcp)).contains("fe80::1%hn10"));
}

#[test]
fn dhcp_comes_back_as_it_was() {
    let before = "ifconfig_hn1='SYNCDHCP'\n";
    let there = first(before, &given(&MANY, &["10.1.1.1"]));
    assert_eq!(text(&next(&there, &Method::Dhcp)), before);
    assert_eq!(text(&first(before, &Method::Dhcp)), before);
}

#[test]
fn the_same_injection_again_changes_nothing() {
    let one = first("ifconfig_hn1=DHCP\n", &given(&MANY, &["10.1.1.1", "fe80::1"]));
    assert_eq!(next(&one, &given(&MANY, &["10.1.1.1", "fe80::1"])), one);
}

fn read(values: &[(&str, &str)]) -> RcConf {
    evaluated::values(values)
}

#[test]
fn the_outcome_of_rc_is_compared() {
    let method = given(&MANY, &["10.1.1.1"]);
    let good = [
        ("ifconfig_hn1", "inet 10.1.1.5/24"),
        ("ifconfig_hn1_ipv6", "inet6 fd00::5/64"),
        ("ifconfig_hn1_alias0", "inet 10.1.1.6/24"),
        ("defaultrouter", "10.1.1.1"),
    ];
    check(&hn(1), None, &method, &read(&good)).unwrap();
    let lagg = "lagg1".parse().unwrap();
    check(&hn(1), Some(&lagg), &method, &read(&good)).unwrap();
    for (name, value, said) in [
        (
            "ifconfig_hn1",
            "inet 10.1.1.9/24",
            "the addresses would be other ones: 10.1.1.9/24 fd00::5/64 10.1.1.6/24",
        ),
        ("ifconfig_hn1", "DHCP", "dhclient would serve the interface"),
        ("ifconfig_hn1", "inet", "the addresses would be other ones"),
        ("ifconfig_hn1", "inet 10.1.1.5/99", "cannot use the configuration of hn1"),
        ("ifconfig_hn1_alias1", "inet 10.1.1.7/32", "the addresses would be other ones"),
        ("ipv6_prefix_hn1", "fd00:9::", "the addresses would be other ones"),
        ("defaultrouter", "10.9.9.9", "defaultrouter would be \"10.9.9.9\""),
    ] {
        let mut values: Vec<(&str, &str)> = good.into_iter().filter(|(other, _)| *other != name).collect();
        values.push((name, value));
        let line = check(&hn(1), None, &method, &read(&values)).unwrap_err().to_string();
        assert!(line.contains(said), "{line}");
    }
    let own = [&good[..], &[("ifconfig_lagg1", "DHCP")]].concat();
    assert_eq!(check(&hn(1), Some(&lagg), &method, &read(&own)), Err(Difference::Dhcp(true).into()));
    check(&hn(1), None, &Method::Dhcp, &read(&[("ifconfig_hn1", "DHCP mtu 9000")])).unwrap();
    assert_eq!(check(&hn(1), None, &Method::Dhcp, &read(&[])), Err(Difference::Dhcp(false).into()));
}

#[test]
fn only_autoconfiguration_of_ipv6_stays_for_dhcp() {
    for (held, left) in [
        ("inet6 accept_rtadv", Some("inet6 accept_rtadv")),
        ("inet6 accept_rtadv no_dad", Some("inet6 accept_rtadv no_dad")),
        ("inet6 fd00::9 prefixlen 64 accept_rtadv", Some("inet6 accept_rtadv")),
        ("inet6 fe80::9%hn1/64 accept_rtadv", Some("inet6 accept_rtadv")),
        ("inet6 fd00::9/64", None),
        ("inet6 auto_linklocal", None),
    ] {
        let after = first(&format!("ifconfig_hn1=\"DHCP\"\nifconfig_hn1_ipv6=\"{held}\"\n"), &Method::Dhcp);
        let left = left.map_or(String::new(), |value| format!("ifconfig_hn1_ipv6=\"{value}\"\n"));
        assert_eq!(text(&after), format!("ifconfig_hn1=\"DHCP\"\n{left}"), "{held}");
    }
}

#[test]
fn all_aliases_of_carp_stay_in_their_order() {
    let before = "ifconfig_hn1_alias3=\"inet vhid 3 alias 10.0.2.3/32\"\n\
                  ifconfig_hn1_alias1=\"inet vhid 1 alias 10.0.2.1/32\"\n";
    let after = text(&first(before, &given(&["10.1.1.5/24"], &[]))).to_owned();
    assert!(after.contains("ifconfig_hn1_alias0=\"inet vhid 1 alias 10.0.2.1/32\""), "{after}");
    assert!(after.contains("ifconfig_hn1_alias1=\"inet vhid 3 alias 10.0.2.3/32\""), "{after}");
    assert!(!after.contains("alias3="), "{after}");
}

#[test]
fn only_a_link_local_router_has_a_scope() {
    let after = first("", &given(&["fd00::5/64"], &["fd00::1"]));
    assert!(text(&after).contains("ipv6_defaultrouter=\"fd00::1\"\n"), "{}", text(&after));
}

#[test]
fn a_router_goes_with_the_address_that_reaches_it() {
    for (address, stays) in [
        ("inet6 fd00::5 prefixlen 64", false),
        ("inet6 fd00::5/64", false),
        ("inet6 fd01::5 prefixlen 64", true),
        ("inet6 fd00::5 prefixlen 129", true),
        ("inet6 fd00::5", true),
    ] {
        let before = format!("ifconfig_hn1_ipv6=\"{address}\"\nipv6_defaultrouter=\"fd00::1\"\n");
        let after = first(&before, &Method::Dhcp);
        assert_eq!(text(&after).contains("fd00::1"), stays, "{address}");
    }
}

#[test]
fn variables_of_rc_are_read_as_a_method() {
    let of = |values: &[(&str, &str)]| method_of(&hn(1), &read(values));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[("ifconfig_hn1", "up")]), None);
    assert_eq!(of(&[("ifconfig_hn1", "inet 10.1.1.5/99")]), None);
    assert_eq!(of(&[("ifconfig_hn1", "SYNCDHCP mtu 9000")]), Some(Method::Dhcp));
    let own = [("ifconfig_hn1", "inet 10.1.1.5/24"), ("ifconfig_hn1_ipv6", "inet6 fd00::5/64")];
    for (routers, gateways) in [
        (
            [("defaultrouter", "10.1.1.1"), ("ipv6_defaultrouter", "fe80::1%hn1")],
            &["10.1.1.1", "fe80::1"][..],
        ),
        ([("defaultrouter", "10.9.9.1"), ("ipv6_defaultrouter", "fd00::1")], &["fd00::1"]),
        ([("defaultrouter", "NO"), ("ipv6_defaultrouter", "fd09::1")], &[]),
    ] {
        let wanted = given(&["10.1.1.5/24", "fd00::5/64"], gateways);
        assert_eq!(of(&[own, routers].concat()), Some(wanted), "{routers:?}");
    }
}
