//! The items of the AUTO pool: what the guest reports about itself. They are made from facts that are handed
//! in; nothing is read here.
//!
//! Keys and their order are those of the protocol (`enum key_index` of the daemons of FreeBSD and Linux).
//! Every index must have an answer, because the host stops its walk at the first error. Only the two address
//! lists may be empty.

use std::net::IpAddr;

use super::entry_list::EntryList;
use crate::abi::kvp::VALUE_UNITS;
use crate::net::{Interface, InterfaceAddress, NetworkSnapshot};
use crate::sys::system_facts::SystemFacts;

/// The facts that the items are made from.
#[derive(Debug, Clone, Copy)]
pub struct AutoFacts<'a> {
    /// The host name as [`FqdnCache::value`](super::host_name::FqdnCache::value) gives it.
    pub fqdn: &'a str,
    /// The version of this suite.
    pub suite_version: &'a str,
    /// The running system.
    pub system: &'a SystemFacts,
    /// Its network.
    pub network: &'a NetworkSnapshot,
}

type Value = fn(&AutoFacts<'_>) -> String;

/// Keys by index, each with its value. OSVersion and OSBuildNumber are equal, as in base's daemon.
const ITEMS: [(&str, Value); 10] = [
    ("FullyQualifiedDomainName", fqdn),
    ("IntegrationServicesVersion", |facts| or_unknown(facts.suite_version)),
    ("NetworkAddressIPv4", |facts| addresses(facts.network, IpAddr::is_ipv4)),
    ("NetworkAddressIPv6", |facts| addresses(facts.network, IpAddr::is_ipv6)),
    ("OSBuildNumber", |facts| Release::of(facts.system).version),
    ("OSName", |facts| or_unknown(&facts.system.os_type)),
    ("OSMajorVersion", |facts| Release::of(facts.system).major),
    ("OSMinorVersion", |facts| Release::of(facts.system).minor),
    ("OSVersion", |facts| Release::of(facts.system).version),
    ("ProcessorArchitecture", |facts| or_unknown(&facts.system.machine)),
];

/// Key and value of the item at `index`; `None` beyond the last.
#[must_use]
pub fn item(index: u32, facts: &AutoFacts<'_>) -> Option<(&'static str, String)> {
    let (key, value) = ITEMS.get(usize::try_from(index).ok()?)?;
    Some((key, value(facts)))
}

/// The value of the item with this key.
#[must_use]
pub fn value_of(key: &str, facts: &AutoFacts<'_>) -> Option<String> {
    let (_, value) = ITEMS.iter().find(|(known, _)| *known == key)?;
    Some(value(facts))
}

/// Whether the item at `index` needs the network snapshot.
#[must_use]
pub fn needs_network(index: u32) -> bool {
    matches!(index, 2 | 3)
}

/// Whether the item with this key needs the network snapshot.
#[must_use]
pub fn key_needs_network(key: &str) -> bool {
    matches!(key, "NetworkAddressIPv4" | "NetworkAddressIPv6")
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

fn fqdn(facts: &AutoFacts<'_>) -> String {
    // A guest without a host name has an empty one.
    if facts.fqdn.is_empty() { "localhost".to_owned() } else { facts.fqdn.to_owned() }
}

/// Tunnels. Only the other end of a tunnel reaches its addresses, so they come last.
const TUNNELS: [&str; 9] = ["tun", "gif", "gre", "wg", "stf", "ovpn", "ipsec", "ppp", "ng"];

/// Microsoft's prefix of Ethernet addresses. It identifies an interface of hn(4) that was renamed.
const HYPERV: [u8; 3] = [0x00, 0x15, 0x5d];

/// The rank of an interface's addresses in the list. Tools of the host use the first address, which should be
/// one that the host's network can reach.
fn rank(interface: &Interface, network: &NetworkSnapshot) -> (u8, bool) {
    let name = interface.name.as_str();
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_hyperv = matches!(driver, "hn" | "lagg" | "vlan" | "bridge")
        || name.strip_prefix("hn").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        || interface.mac.is_some_and(|mac| mac.0.starts_with(&HYPERV));
    let kind = if is_hyperv { 0 } else { 1 + u8::from(TUNNELS.contains(&driver)) };
    let leads_out = network.default_routes.iter().any(|route| route.interface == interface.name);
    (kind, !leads_out)
}

/// The addresses of one family of all interfaces that are up, each once, without loopback. Hyper-V's
/// interfaces come first, and of those the one with the default route; tunnels are last, and link-local
/// addresses after the others.
///
/// The host gets each address once, because a VF and its hn(4) have the same link-local address, and an
/// address may be on hn and lagg at the same time for a moment.
fn addresses(network: &NetworkSnapshot, family: fn(&IpAddr) -> bool) -> String {
    let usable = network.interfaces.iter().filter(|interface| interface.up && !interface.loopback);
    let mut usable: Vec<&Interface> = usable.collect();
    usable.sort_by_key(|interface| rank(interface, network));
    let mut entries: Vec<InterfaceAddress> = Vec::new();
    for address in usable.into_iter().flat_map(|interface| &interface.addresses) {
        let ip = &address.address;
        let counts = family(ip) && !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast();
        if counts && !entries.iter().any(|known| known.address == *ip) {
            entries.push(*address);
        }
    }
    entries.sort_by_key(InterfaceAddress::is_link_local);
    EntryList::joined(entries.iter().map(|entry| entry.address.to_string()), VALUE_UNITS)
}

/// A release number.
///
/// Hosts since Windows 7 expect x.y or x.y.z with nothing after it. Base's daemon sends kern.osrelease up to
/// the first `-` as OSVersion and as OSBuildNumber (kvp_get_os_info in its hv_kvp_daemon.c), and so does this
/// one: `14.3-RELEASE-p2` becomes 14.3.
struct Release {
    version: String,
    major: String,
    minor: String,
}

impl Release {
    /// From kern.osrelease. If that does not begin with a number, from kern.osreldate (1403000 becomes 14.3).
    fn of(system: &SystemFacts) -> Self {
        let version = system.os_release.split('-').next().unwrap_or_default();
        let version = if version.starts_with(|c: char| c.is_ascii_digit()) {
            version.to_owned()
        } else {
            let date = system.os_reldate.unwrap_or(0);
            format!("{}.{}", date / 100_000, date / 1000 % 100)
        };
        let mut numbers = version.split('.').map(leading_number);
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let or_zero = |number: &str| if number.is_empty() { "0".to_owned() } else { number.to_owned() };
        Self { major: or_zero(major), minor: or_zero(minor), version: version.clone() }
    }
}

fn leading_number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::DefaultRoute;

    fn system(release: &str) -> SystemFacts {
        SystemFacts {
            os_type: "FreeBSD".into(),
            os_release: release.into(),
            os_version: "FreeBSD 14.3-RELEASE-p2 GENERIC".into(),
            os_reldate: Some(1_403_000),
            machine: "amd64".into(),
            machine_arch: "amd64".into(),
        }
    }

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.parse().unwrap(),
            index: 1,
            up: true,
            loopback: name.starts_with("lo0"),
            mac: None,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn network(interfaces: Vec<Interface>) -> NetworkSnapshot {
        NetworkSnapshot { interfaces, ..NetworkSnapshot::default() }
    }

    fn lists(network: &NetworkSnapshot) -> (String, String) {
        let system = system("14.3-RELEASE");
        let facts = AutoFacts { fqdn: "web1", suite_version: "0.1.0", system: &system, network };
        (item(2, &facts).unwrap().1, item(3, &facts).unwrap().1)
    }

    // contract K42
    #[test]
    fn ten_items_in_the_order_of_the_protocol() {
        let system = system("14.3-RELEASE-p2");
        let network = network(vec![interface("hn0", &["10.0.0.5/24", "fd00::5/64"])]);
        let facts = AutoFacts {
            fqdn: "web1.example.com",
            suite_version: "0.1.0",
            system: &system,
            network: &network,
        };
        let items: Vec<_> = (0..20).map_while(|index| item(index, &facts)).collect();
        let expected = [
            ("FullyQualifiedDomainName", "web1.example.com"),
            ("IntegrationServicesVersion", "0.1.0"),
            ("NetworkAddressIPv4", "10.0.0.5"),
            ("NetworkAddressIPv6", "fd00::5"),
            ("OSBuildNumber", "14.3"),
            ("OSName", "FreeBSD"),
            ("OSMajorVersion", "14"),
            ("OSMinorVersion", "3"),
            ("OSVersion", "14.3"),
            ("ProcessorArchitecture", "amd64"),
        ];
        assert_eq!(items, expected.map(|(key, value)| (key, value.to_owned())));
        for (key, value) in &items {
            assert_eq!(value_of(key, &facts).as_ref(), Some(value));
        }
        for index in 0..10 {
            assert_eq!(key_needs_network(items[index as usize].0), needs_network(index));
        }
    }

    #[test]
    fn the_first_address_is_one_that_the_host_reaches() {
        let interface = |name: &str, mac: &str, address: &str| Interface {
            name: name.parse().unwrap(),
            index: 1,
            up: true,
            loopback: false,
            mac: mac.parse().ok(),
            addresses: vec![address.parse().unwrap()],
        };
        let network = NetworkSnapshot {
            interfaces: vec![
                interface("wg0", "", "10.66.0.1/24"),
                interface("em0", "52:54:00:00:00:01", "192.0.2.5/24"),
                interface("hn1", "00:15:5d:00:00:02", "10.1.0.5/24"),
                interface("eth0", "00:15:5d:00:00:01", "10.0.0.5/24"),
                interface("hn1.7", "00:15:5d:00:00:02", "10.7.0.5/24"),
            ],
            default_routes: vec![DefaultRoute {
                gateway: "10.0.0.1".parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            }],
            ..NetworkSnapshot::default()
        };
        let all = "10.0.0.5;10.1.0.5;10.7.0.5;192.0.2.5;10.66.0.1";
        assert_eq!(addresses(&network, IpAddr::is_ipv4), all);
    }

    #[test]
    fn an_interface_of_hyperv_is_known_by_its_name() {
        for (name, first) in [
            ("hn7", true),
            ("hn7_lan", true),
            ("lagg7", true),
            ("vlan7", true),
            ("bridge7", true),
            ("hnet7", false),
            ("tap7", false),
        ] {
            let network =
                network(vec![interface("em0", &["192.0.2.5/24"]), interface(name, &["10.0.0.5/24"])]);
            let list = if first { "10.0.0.5;192.0.2.5" } else { "192.0.2.5;10.0.0.5" };
            assert_eq!(lists(&network).0, list, "{name}");
        }
    }

    #[test]
    fn keys_match_whole_and_case_sensitively() {
        let (system, network) = (system("14.3-RELEASE"), NetworkSnapshot::default());
        let facts = AutoFacts { fqdn: "web1", suite_version: "0.1.0", system: &system, network: &network };
        for key in ["", "OSName ", "osname", "OSNam", "OSName2"] {
            assert_eq!(value_of(key, &facts), None, "{key:?}");
        }
        assert_eq!(item(10, &facts), None);
        assert_eq!(item(u32::MAX, &facts), None);
    }

    // contract K20
    #[test]
    fn only_address_lists_can_be_empty() {
        let empty = SystemFacts {
            os_type: String::new(),
            os_release: String::new(),
            os_version: String::new(),
            os_reldate: None,
            machine: String::new(),
            machine_arch: String::new(),
        };
        let network = NetworkSnapshot::default();
        let facts = AutoFacts { fqdn: "", suite_version: "", system: &empty, network: &network };
        for index in 0..10 {
            let (key, value) = item(index, &facts).unwrap();
            assert_eq!(value.is_empty(), needs_network(index), "{key}");
        }
    }

    // contract K22
    #[test]
    fn releases_become_plain_numbers() {
        let table = [
            ("14.3-RELEASE-p2", "14.3", "14", "3"),
            ("15.0-CURRENT", "15.0", "15", "0"),
            ("13.5-STABLE", "13.5", "13", "5"),
            ("6.8.0-1021-azure", "6.8.0", "6", "8"),
            ("16", "16", "16", "0"),
            ("14.3p2", "14.3p2", "14", "3"),
            ("", "14.3", "14", "3"),
            ("-RELEASE", "14.3", "14", "3"),
            ("HardenedBSD", "14.3", "14", "3"),
        ];
        for (release, version, major, minor) in table {
            let found = Release::of(&system(release));
            assert_eq!((&*found.version, &*found.major, &*found.minor), (version, major, minor), "{release}");
        }
    }

    #[test]
    fn loopback_is_left_out_and_link_local_is_last() {
        let network = network(vec![
            interface("lo0", &["127.0.0.1/8", "::1/128", "10.99.0.1/32"]),
            interface(
                "hn0",
                &["fe80::1/64", "169.254.3.4/16", "10.0.0.5/24", "fd00::5/64", "127.0.0.9/8", "::/0"],
            ),
            interface("hn1", &["10.0.1.5/24", "2001:db8::5/64"]),
        ]);
        assert_eq!(
            lists(&network),
            ("10.0.0.5;10.0.1.5;169.254.3.4".to_owned(), "fd00::5;2001:db8::5;fe80::1".to_owned())
        );
    }

    #[test]
    fn interfaces_that_are_down_have_no_addresses() {
        let mut hn0 = interface("hn0", &["10.0.0.5/24"]);
        hn0.up = false;
        assert_eq!(lists(&network(vec![hn0])), (String::new(), String::new()));
    }

    #[test]
    fn an_address_on_hn_vf_and_lagg_is_reported_once() {
        let network = network(vec![
            interface("hn0", &["fe80::1/64", "10.0.0.5/24"]),
            interface("mce0", &["fe80::1/64"]),
            interface("lagg0", &["fe80::1/64", "10.0.0.5/24"]),
        ]);
        assert_eq!(lists(&network), ("10.0.0.5".to_owned(), "fe80::1".to_owned()));
    }

    // contract K21
    #[test]
    fn long_lists_end_at_a_whole_address() {
        let texts: Vec<String> =
            (0..200).map(|n| format!("2001:db8:1111:2222:3333:4444:5555:{n:x}/64")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (_, list) = lists(&network(vec![interface("hn0", &texts)]));
        assert!(list.len() <= 1022 && list.len() > 980, "{}", list.len());
        assert!(list.split(';').all(|entry| entry.parse::<IpAddr>().is_ok()));
    }
}
