//! The output of ifconfig(8), in the form of the guest's release. It reads the state and changes nothing.

use std::fmt::Write as _;
use std::net::IpAddr;

use hv_core::net::ipv4_mask;

use crate::network::state::{Address, Interface, Lagg, State};

/// All interfaces by index.
pub(super) fn all(state: &State, keys: bool) -> String {
    sorted(state).into_iter().map(|(name, interface)| one(state, name, interface, keys)).collect()
}

/// `ifconfig -a -g GROUP`.
pub(super) fn group(state: &State, group: &str, keys: bool) -> String {
    members(state, group).map(|(name, interface)| one(state, name, interface, keys)).collect()
}

/// `ifconfig -g GROUP`. Empty for an unknown group.
pub(super) fn group_names(state: &State, group: &str) -> String {
    members(state, group).map(|(name, _)| format!("{name}\n")).collect()
}

fn members<'a>(state: &'a State, group: &'a str) -> impl Iterator<Item = (&'a String, &'a Interface)> {
    sorted(state).into_iter().filter(move |(_, interface)| interface.groups.iter().any(|own| own == group))
}

/// `ifconfig -l`.
pub(super) fn names(state: &State) -> String {
    let names: Vec<&str> = sorted(state).into_iter().map(|(name, _)| name.as_str()).collect();
    names.join(" ") + "\n"
}

fn sorted(state: &State) -> Vec<(&String, &Interface)> {
    let mut all: Vec<(&String, &Interface)> = state.interfaces.iter().collect();
    all.sort_by_key(|(_, interface)| interface.index);
    all
}

/// One interface.
pub(super) fn one(state: &State, name: &str, interface: &Interface, keys: bool) -> String {
    let mut text = heading(state.release, name, interface);
    let mut line = |content: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\t{content}");
    };
    if !interface.description.is_empty() {
        line(format!("description: {}", interface.description));
    }
    if interface.mac.is_some() && !interface.capabilities.is_empty() {
        let names: Vec<&str> = interface.capabilities.iter().map(String::as_str).collect();
        line(format!("options=3<{}>", names.join(",")));
    }
    if let Some(mac) = &interface.mac {
        line(format!("ether {mac}"));
    }
    for address in &interface.addresses {
        let vhid = interface.vhid_of(address.ip).map_or(String::new(), |vhid| format!(" vhid {vhid}"));
        line(address_line(name, interface.index, address) + &vhid);
    }
    carp(state.release, interface, keys).into_iter().for_each(&mut line);
    for member in &interface.members {
        line(format!("member: {member} flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>"));
    }
    if let Some(parent) = &interface.vlan_parent {
        line(format!("vlan: 5 vlanproto: 802.1q vlanpcp: 0 parent interface: {parent}"));
    }
    if let Some(lagg) = &interface.lagg {
        line(format!("laggproto {} lagghash l2,l3,l4", lagg.protocol));
        ports(state, lagg).into_iter().for_each(&mut line);
    }
    if !interface.groups.is_empty() {
        line(format!("groups: {}", interface.groups.join(" ")));
    }
    if interface.mac.is_some() {
        line("media: Ethernet autoselect".to_owned());
        line(format!("status: {}", if interface.carrier { "active" } else { "no carrier" }));
    }
    line(nd6(interface));
    text
}

/// sbin/ifconfig/carp.c, `carp_status`. Passwords are shown only with `-k`.
fn carp(release: u32, interface: &Interface, keys: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for carp in &interface.carp {
        let shown = keys && !carp.key.is_empty();
        let key = if shown { format!(" key \"{}\"", carp.key) } else { String::new() };
        let (vhid, base, skew) = (carp.vhid, carp.advbase, carp.advskew);
        lines.push(format!("carp: MASTER vhid {vhid} advbase {base} advskew {skew}{key}"));
        if release >= 14 {
            lines.push("      peer 224.0.0.18 peer6 ff02::12".to_owned());
        }
    }
    lines
}

fn heading(release: u32, name: &str, interface: &Interface) -> String {
    let loopback = interface.mac.is_none();
    let mut flags = vec![
        (0x1, "UP", interface.up),
        (0x2, "BROADCAST", !loopback),
        (0x8, "LOOPBACK", loopback),
        (0x40, "RUNNING", interface.up),
        (0x800, "SIMPLEX", !loopback),
        (0x8000, "MULTICAST", true),
    ];
    if release >= 14 {
        // The link state as a bit that is no flag of the kernel.
        flags.push((0x0100_0000, "LOWER_UP", interface.carrier));
    }
    format!("{name}: {} metric 0 mtu {}\n", bits("flags", &flags), interface.mtu)
}

fn bits(name: &str, all: &[(u32, &str, bool)]) -> String {
    let set = all.iter().filter(|(_, _, on)| *on);
    let value: u32 = set.clone().map(|(bit, _, _)| bit).sum();
    let names: Vec<&str> = set.map(|(_, name, _)| *name).collect();
    format!("{name}={value:x}<{}>", names.join(","))
}

fn address_line(name: &str, index: u32, address: &Address) -> String {
    match address.ip {
        IpAddr::V4(ip) => {
            let mask = u32::from(ipv4_mask(address.prefix));
            let broadcast = std::net::Ipv4Addr::from(u32::from(ip) | !mask);
            format!("inet {ip} netmask {mask:#010x} broadcast {broadcast}")
        }
        IpAddr::V6(ip) => {
            let scope = if address.is_link_local() { format!("%{name}") } else { String::new() };
            let flags = [
                ("tentative", address.flags.tentative > 0),
                ("duplicated", address.flags.duplicated),
                ("deprecated", address.flags.deprecated),
                ("autoconf", address.autoconf),
                ("temporary", address.flags.temporary),
            ];
            let flags = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!(" {name}"));
            let flags: String = flags.collect();
            let id = if address.is_link_local() { format!(" scopeid {index:#x}") } else { String::new() };
            format!("inet6 {ip}{scope} prefixlen {}{flags}{id}", address.prefix)
        }
    }
}

/// The ports by index, in any order of addition. The first one with carrier is active.
fn ports(state: &State, lagg: &Lagg) -> Vec<String> {
    let usable = |port: &&String| state.interfaces.get(*port).is_some_and(|port| port.up && port.carrier);
    let active = lagg.ports.iter().find(usable);
    let mut ports = lagg.ports.clone();
    ports.sort_by_key(|port| state.interfaces.get(port).map(|port| port.index));
    let describe = |port: &String| {
        let master = lagg.ports.first() == Some(port);
        let flags = bits("flags", &[(1, "MASTER", master), (4, "ACTIVE", active == Some(port))]);
        format!("laggport: {port} {flags}")
    };
    ports.iter().map(describe).collect()
}

fn nd6(interface: &Interface) -> String {
    let nd6 = interface.nd6;
    let flags = [
        (0x1, "PERFORMNUD", true),
        (0x2, "ACCEPT_RTADV", nd6.accept_rtadv),
        (0x8, "IFDISABLED", nd6.disabled),
        (0x20, "AUTO_LINKLOCAL", nd6.auto_linklocal),
        (0x100, "NO_DAD", nd6.no_dad),
    ];
    bits("nd6 options", &flags)
}
