//! Parses the output of ifconfig(8) for facts that only it has: MTU, description, groups, ports of a lagg,
//! members of a bridge, vhids, IPv6 flags. It reads the forms of FreeBSD 12 to 15: flags as `flags=8843<…>`
//! or `flags=1008843<LOWER_UP,…>`, and fields in any order. Unknown fields are skipped.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{IfconfigArguments, Ipv6Options, NetworkStep};
use crate::hn::{self, Adapter};
use crate::net::{InterfaceAddress, InterfaceName};

/// One interface as ifconfig(8) shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// IFF_UP.
    pub up: bool,
    /// Bytes. 0 if the line has none.
    pub mtu: u32,
    /// Its description. Empty if it has none.
    pub description: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its protocol and ports, if it is a lagg.
    pub lagg: Option<Lagg>,
    /// Its flags of neighbour discovery.
    pub ipv6: Ipv6Options,
    /// Its addresses from router advertisements.
    pub autoconf: Vec<IpAddr>,
    /// Temporary addresses. The kernel makes new ones itself.
    pub temporary: Vec<IpAddr>,
    /// Duplicated addresses: another node of the network has them, and the kernel does not use them.
    pub duplicated: Vec<IpAddr>,
    /// Tentative addresses: the check for duplicates has not ended.
    pub tentative: Vec<IpAddr>,
    /// The parent interface, if it is a vlan(4).
    pub vlan_parent: Option<InterfaceName>,
    /// Its members, if it is a bridge(4).
    pub members: Vec<InterfaceName>,
    /// Its addresses that belong to a vhid of carp(4).
    pub vhids: BTreeMap<IpAddr, u8>,
    /// Its vhids.
    pub carp: Vec<Carp>,
}

/// A vhid of carp(4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carp {
    /// Its number.
    pub vhid: u8,
    /// The words after `vhid NUMBER` with which ifconfig(8) creates it again: `advbase`, `advskew` and, if
    /// the kernel shows it (`-k`), `pass`.
    pub words: Vec<String>,
}

impl Link {
    /// Its protocol and ports, if it is the lagg of `hn` and its VF. hyperv_vfup's lagg is recognised by its
    /// group, and one of base's script by its form (failover, `hn` a port, and no port except `hn` and its
    /// VF). Every other lagg is the administrator's.
    #[must_use]
    pub fn lagg_of(&self, hn: &Adapter, vf: Option<&InterfaceName>) -> Option<&Lagg> {
        let lagg = self.lagg.as_ref().filter(|lagg| lagg.protocol == "failover")?;
        let belongs = |port: &InterfaceName| port == hn.name() || Some(port) == vf;
        let is_bases = || lagg.ports.contains(hn.name()) && lagg.ports.iter().all(belongs);
        (self.is_marked() || is_bases()).then_some(lagg)
    }

    /// What gives `interface` an address that this one has: with its vhid and all settings of that, if it has
    /// one here.
    #[must_use]
    pub fn give(&self, interface: InterfaceName, address: InterfaceAddress) -> NetworkStep {
        let Some(vhid) = self.vhids.get(&address.address) else {
            return NetworkStep::AddAddress { interface, address };
        };
        let settings = self.carp.iter().find(|carp| carp.vhid == *vhid).map(|carp| carp.words.clone());
        let family = if address.address.is_ipv4() { "inet" } else { "inet6" };
        let mut words = vec![family.to_owned(), address.to_string(), "vhid".to_owned(), vhid.to_string()];
        words.extend(settings.unwrap_or_default());
        words.push("alias".to_owned());
        NetworkStep::Configure { interface, arguments: IfconfigArguments { words, address: Some(address) } }
    }

    /// Whether it has the group that marks laggs of hyperv_vfup.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.groups.iter().any(|group| group == hn::GROUP)
    }
}

/// The parts of a lagg(4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lagg {
    /// `failover`, `lacp`, …
    pub protocol: String,
    /// Its ports by interface index, as ifconfig(8) lists them. The order does not show the master.
    pub ports: Vec<InterfaceName>,
}

/// Parses the output of ifconfig(8). Interfaces whose names this suite does not handle are skipped.
#[must_use]
pub fn parse_ifconfig(text: &str) -> BTreeMap<InterfaceName, Link> {
    let mut links = BTreeMap::new();
    let mut current: Option<(InterfaceName, Link)> = None;
    for line in text.lines() {
        if line.starts_with(['\t', ' ']) {
            if let Some((_, link)) = &mut current {
                read_field(link, line.trim_start());
            }
        } else {
            links.extend(current.take());
            current = read_heading(line);
        }
    }
    links.extend(current);
    links
}

/// Parses `hn0: flags=8843<UP,BROADCAST,…> metric 0 mtu 1500`.
fn read_heading(line: &str) -> Option<(InterfaceName, Link)> {
    let (name, rest) = line.split_once(": flags=")?;
    let mut words = rest.split_whitespace();
    let up = bits(words.next()?).any(|bit| bit == "UP");
    let mtu = words.skip_while(|word| *word != "mtu").nth(1).and_then(|word| word.parse().ok());
    Some((name.parse().ok()?, Link { up, mtu: mtu.unwrap_or(0), ..Link::default() }))
}

fn read_field(link: &mut Link, field: &str) {
    let mut words = field.split_whitespace();
    match words.next() {
        Some("description:") => {
            link.description = field.split_once(": ").map_or("", |(_, text)| text).trim_end().to_owned();
        }
        Some("groups:") => link.groups.extend(words.map(str::to_owned)),
        Some("laggproto") => {
            let protocol = words.next().unwrap_or_default();
            protocol.clone_into(&mut link.lagg.get_or_insert_default().protocol);
        }
        Some("laggport:") => {
            if let Some(port) = words.next().and_then(|word| word.parse().ok()) {
                link.lagg.get_or_insert_default().ports.push(port);
            }
        }
        Some("inet" | "inet6") => {
            let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
            let rest: Vec<&str> = words.collect();
            for (flag, those) in [
                ("autoconf", &mut link.autoconf),
                ("temporary", &mut link.temporary),
                ("duplicated", &mut link.duplicated),
                ("tentative", &mut link.tentative),
            ] {
                those.extend(address.filter(|_| rest.contains(&flag)));
            }
            let vhid =
                rest.iter().skip_while(|word| **word != "vhid").nth(1).and_then(|word| word.parse().ok());
            link.vhids.extend(address.zip(vhid));
        }
        Some("carp:") => link.carp.extend(read_carp(field)),
        Some("member:") => {
            link.members.extend(words.next().and_then(|word| word.parse::<InterfaceName>().ok()))
        }
        Some("vlan:") => {
            let parent = words.skip_while(|word| *word != "interface:").nth(1);
            link.vlan_parent = parent.and_then(|word| word.parse().ok());
        }
        Some("nd6") => {
            let flags: Vec<&str> = words.next().map(|word| bits(word).collect()).unwrap_or_default();
            link.ipv6 = Ipv6Options {
                disabled: flags.contains(&"IFDISABLED"),
                accept_rtadv: flags.contains(&"ACCEPT_RTADV"),
                auto_linklocal: flags.contains(&"AUTO_LINKLOCAL"),
                no_dad: flags.contains(&"NO_DAD"),
            };
        }
        _ => {}
    }
}

/// Parses `carp: MASTER vhid 5 advbase 1 advskew 100 key "secret"`. The key, which may contain blanks, is
/// shown only with `-k`.
fn read_carp(field: &str) -> Option<Carp> {
    let (settings, key) = field.split_once(" key \"").unwrap_or((field, ""));
    let value = |name| settings.split_whitespace().skip_while(move |word| *word != name).nth(1);
    let mut words = Vec::new();
    for name in ["advbase", "advskew"] {
        words.extend(value(name).map(|value| [name.to_owned(), value.to_owned()]).into_iter().flatten());
    }
    if let Some(key) = key.strip_suffix('"') {
        words.extend(["pass".to_owned(), key.to_owned()]);
    }
    Some(Carp { vhid: value("vhid")?.parse().ok()?, words })
}

/// The names in `options=29<A,B>`.
fn bits(word: &str) -> impl Iterator<Item = &str> {
    let inside = word.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>')).unwrap_or("");
    inside.split(',').filter(|bit| !bit.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE_13: &str = "\
hn0: flags=8943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=80018<VLAN_MTU,VLAN_HWTAGGING,LINKSTATE>
\tether 00:15:5d:01:02:03
\tinet 10.0.0.5 netmask 0xffffff00 broadcast 10.0.0.255
\tinet6 fe80::215:5dff:fe01:203%hn0 prefixlen 64 scopeid 0x1
\tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)
\tstatus: active
\tnd6 options=23<PERFORMNUD,ACCEPT_RTADV,AUTO_LINKLOCAL>
lagg0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 9000
\tdescription: made by: somebody
\tether 00:15:5d:01:02:03
\tlaggproto failover lagghash l2,l3,l4
\tlaggport: hn0 flags=1<MASTER>
\tlaggport: vf10 flags=0<>
\tgroups: lagg
\tmedia: Ethernet autoselect
\tstatus: active
\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
";

    const RELEASE_15: &str = "\
mce0: flags=1008802<BROADCAST,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
\toptions=66e8bb<RXCSUM,TXCSUM,VLAN_MTU>
\tether 00:15:5d:01:02:03
\tgroups: uplinks fast
\tnd6 options=100029<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL,STABLEADDR>
lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384
\tinet 127.0.0.1 netmask 0xff000000
\tgroups: lo
\tnd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>
";

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    #[test]
    fn advertised_addresses_and_vlans_are_recognised() {
        let text = "\
hn0: flags=8843<UP> metric 0 mtu 1500
\tinet6 fe80::215:5dff:fe01:203%hn0 prefixlen 64 scopeid 0x1
\tinet6 fd00::5 prefixlen 64
\tinet6 fd00::215:5dff:fe01:203 prefixlen 64 autoconf pltime 604800 vltime 2592000
hn0.5: flags=8843<UP> metric 0 mtu 1500
\tgroups: vlan
\tvlan: 5 vlanproto: 802.1q vlanpcp: 0 parent interface: hn0
vlan7: flags=8843<UP> metric 0 mtu 1500
\tvlan: 0 vlanpcp: 0 parent interface: <none>
";
        let links = parse_ifconfig(text);
        let link = |name: &str| &links[&name.parse().unwrap()];
        assert_eq!(link("hn0").autoconf, ["fd00::215:5dff:fe01:203".parse::<IpAddr>().unwrap()]);
        assert_eq!(link("hn0").vlan_parent, None);
        assert_eq!(link("hn0.5").vlan_parent, "hn0".parse().ok());
        assert_eq!(link("vlan7").vlan_parent, None);
    }

    #[test]
    fn the_form_of_freebsd_13_is_read() {
        let links = parse_ifconfig(RELEASE_13);
        let hn = &links[&name("hn0")];
        assert!(hn.up && hn.ipv6.accept_rtadv && hn.ipv6.auto_linklocal && !hn.ipv6.disabled);
        assert_eq!((hn.mtu, &hn.lagg), (1500, &None));
        let lagg = &links[&name("lagg0")];
        assert_eq!((lagg.description.as_str(), lagg.mtu), ("made by: somebody", 9000));
        assert!(lagg.ipv6.disabled);
        let parts = lagg.lagg.as_ref().unwrap();
        assert_eq!((parts.protocol.as_str(), &parts.ports), ("failover", &vec![name("hn0"), name("vf10")]));
    }

    #[test]
    fn the_form_of_freebsd_15_is_read() {
        let links = parse_ifconfig(RELEASE_15);
        let vf = &links[&name("mce0")];
        assert!(!vf.up && vf.ipv6.disabled);
        assert_eq!(vf.groups, ["uplinks", "fast"]);
        assert!(links[&name("lo0")].up);
    }

    #[test]
    fn vhids_and_members_are_read() {
        let text = "\
hn0: flags=8943<UP> metric 0 mtu 1500
\tinet 10.0.0.5 netmask 0xffffff00 broadcast 10.0.0.255
\tinet 10.0.0.50 netmask 0xffffffff broadcast 10.0.0.50 vhid 5
\tinet6 fd00::50 prefixlen 128 vhid 6
\tcarp: MASTER vhid 5 advbase 1 advskew 100 key \"open sesame\"
\t      peer 224.0.0.18 peer6 ff02::12
\tcarp: INIT vhid 6 advbase 2 advskew 0
bridge0: flags=8843<UP> metric 0 mtu 1500
\tid 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15
\tmember: hn0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>
\t        ifmaxaddr 0 port 2 priority 128 path cost 2000
\tmember: tap0 flags=143<LEARNING>
";
        let links = parse_ifconfig(text);
        let hn0 = &links[&name("hn0")];
        let vhids: Vec<_> = hn0.vhids.iter().map(|(ip, vhid)| format!("{ip} {vhid}")).collect();
        assert_eq!(vhids, ["10.0.0.50 5", "fd00::50 6"]);
        let words: Vec<_> = hn0.carp.iter().map(|carp| carp.words.join(" ")).collect();
        assert_eq!(words, ["advbase 1 advskew 100 pass open sesame", "advbase 2 advskew 0"]);
        assert_eq!(links[&name("bridge0")].members, [name("hn0"), name("tap0")]);
    }

    #[test]
    fn nonsense_is_skipped() {
        for text in [
            "",
            "\tether x",
            "hn0",
            "hn0: flags=",
            "hn0: flags=1<UP> mtu\n\tlaggport:\n\tnd6",
            "a b: flags=1<UP>",
        ] {
            for link in parse_ifconfig(text).values() {
                assert_eq!(link.mtu, 0, "{text:?}");
            }
        }
    }
}
