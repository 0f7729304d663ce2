//! Output of the programs of the base system: whatever it is, what is taken from it is of the right form.

use std::time::Duration;

use hv_core::kvp::host_name::FqdnCache;
use hv_core::net::InterfaceName;
use hv_core::net::dhclient::{parse_pid, serves};
use hv_core::net::resolv_conf::parse_name_servers;
use hv_core::plan::network::parse_ifconfig;
use hv_core::rc::RcConf;

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "tools",
    promise: "any output of ifconfig, getent, resolv.conf, rc.conf's words and pid files yields well-formed facts",
    check,
    words: &[
        "hn0: flags=8843<UP,RUNNING> metric 0 mtu 1500\n",
        "\tlaggproto failover\n",
        "\tlaggport: hn0 flags=0<>\n",
        "\tinet6 fe80::1%hn0 ",
        "\tnd6 options=21<IFDISABLED,ACCEPT_RTADV>\n",
        "\tvlan: 5 parent interface: hn0\n",
        "\tdescription: ",
        "nameserver ",
        "fe80::1%hn0\n",
        "10.0.0.5 ",
        "vifconfig_hn0=",
        "dhn0=sync\0",
        "c3\0hn0\0inet\010.0.0.5/24\0",
        "netmask\0",
        "dhclient: hn0",
        "\0",
        "netmask",
        "host.example.org",
    ],
};

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let kind = choices.byte() % 5;
    seen.saw(kind);
    let bytes = choices.rest();
    match kind {
        0 => {
            let links = parse_ifconfig(&String::from_utf8_lossy(bytes));
            for (name, link) in &links {
                assert_name(name);
                link.lagg.iter().flat_map(|lagg| &lagg.ports).for_each(assert_name);
                link.vlan_parent.iter().for_each(assert_name);
                assert!(!link.description.contains('\n'));
                seen.saw((link.up, link.lagg.is_some(), link.vlan_parent.is_some(), link.autoconf.len()));
            }
        }
        1 => {
            let servers = parse_name_servers(bytes);
            for server in &servers {
                let address = server.split('%').next().unwrap_or_default();
                assert!(address.parse::<std::net::IpAddr>().is_ok(), "{server}");
                assert!(
                    !server.contains(|c: char| c.is_whitespace() || c.is_control() || c == ';'),
                    "{server}"
                );
            }
            seen.saw(servers.len());
        }
        2 => host_name(bytes, &mut seen),
        3 => rc_conf(bytes, &mut seen),
        _ => {
            let hn0: InterfaceName = "hn0".parse().expect("a name");
            let hn1: InterfaceName = "hn1".parse().expect("a name");
            let (zero, one) = (serves(bytes, &hn0), serves(bytes, &hn1));
            assert!(!(zero && one), "a client serves one interface");
            assert_ne!(parse_pid(bytes), Some(0));
            seen.saw((zero, one, parse_pid(bytes).is_some()));
        }
    }
    seen.name()
}

fn assert_name(name: &InterfaceName) {
    let text = name.as_str();
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    assert!((1..16).contains(&text.len()) && text.bytes().all(good), "{text:?}");
}

fn host_name(bytes: &[u8], seen: &mut Behaviour) {
    let mut cache = FqdnCache::default();
    let now = Duration::from_secs(1);
    assert_eq!(cache.wants_lookup("guest", now).as_deref(), Some("guest"));
    assert!(cache.wants_lookup("guest", now).is_none(), "one lookup at a time");
    cache.lookup_finished(now, Ok(bytes));
    let name = cache.value("guest").to_owned();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    assert!(name.chars().all(good) && (1..=253).contains(&name.len()), "{name:?}");
    assert!(cache.wants_lookup("guest", now).is_none(), "not again at once");
    seen.saw(name.contains('.'));
}

fn rc_conf(bytes: &[u8], seen: &mut Behaviour) {
    let rc_conf = RcConf::parse(bytes);
    let name = |text: &str| text.parse::<InterfaceName>().expect("a name");
    let wanted = rc_conf.wanted_for_lagg(&name("lagg0"), &name("hn0"));
    assert!(rc_conf.vf_delay() >= 2);
    match wanted {
        Ok(wanted) => {
            for arguments in &wanted.configure {
                assert!(arguments.words.len() <= 4200, "bounded");
                assert!(arguments.words.iter().all(|word| !word.contains('\0')));
            }
            seen.saw((wanted.dhcp.is_some(), wanted.configure.len(), wanted.ipv6, wanted.accept_rtadv));
        }
        Err(error) => seen.saw(error.to_string().split_whitespace().last().unwrap_or_default().to_owned()),
    }
}
