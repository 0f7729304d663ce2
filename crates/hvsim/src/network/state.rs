//! The state of the simulated network, and its file. It has no rules; they are in `kernel`.
//!
//! Each stand-in program locks the file, changes the state and writes it back. It also writes the facts
//! files, for programs that would ask the kernel directly.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use hv_core::net::MacAddress;
use serde::{Deserialize, Serialize};

/// The whole network of one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The major release whose output and quirks the programs have.
    pub release: u32,
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// ROUTE_MPATH, as in GENERIC: a network can have several routes.
    pub multipath: bool,
    /// Default routes.
    pub routes: Vec<Route>,
    /// Routes to other networks.
    pub static_routes: Vec<StaticRoute>,
    /// hn(4)'s VFs: VF name → hn name.
    pub vfs: BTreeMap<String, String>,
    /// `hw.hn.vf_transparent`. `None`: the kernel does not have it.
    pub transparent: Option<i64>,
    /// Whether the kernel has `hw.hn.vflist`.
    pub has_vf_list: bool,
    /// Other sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// The DHCP server of the network. `None`: there is none.
    pub dhcp: Option<DhcpServer>,
    /// The router that advertises. `None`: there is none.
    pub advertisement: Option<Advertisement>,
    /// The IPv6 addresses that other nodes of the network have.
    pub taken: Vec<IpAddr>,
    /// How often ifconfig(8) shows a new IPv6 address as tentative.
    pub tentative_looks: u8,
    /// Name servers by their label in resolvconf(8).
    pub name_servers: BTreeMap<String, String>,
    /// Events that devd(8) has not handled yet.
    pub events: Vec<String>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its number in the kernel.
    pub index: u32,
    /// IFF_UP.
    pub up: bool,
    /// Whether it has carrier.
    pub carrier: bool,
    /// Its MTU.
    pub mtu: u32,
    /// The largest MTU that its driver takes.
    pub max_mtu: u32,
    /// Its device, if the interface was renamed (`if_dname` and `if_dunit`).
    #[serde(default)]
    pub device: Option<String>,
    /// Its Ethernet address as text. `None` for the loopback.
    pub mac: Option<String>,
    /// Its description.
    pub description: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its addresses, in the order in which they were added.
    pub addresses: Vec<Address>,
    /// Its flags of neighbour discovery.
    pub nd6: Nd6,
    /// Protocol and ports of a lagg.
    pub lagg: Option<Lagg>,
    /// Its enabled capabilities.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// Its vhids (carp(4)).
    #[serde(default)]
    pub carp: Vec<Carp>,
    /// The members of a bridge(4).
    #[serde(default)]
    pub members: Vec<String>,
    /// The parent interface of a vlan(4).
    #[serde(default)]
    pub vlan_parent: Option<String>,
    /// The number of connected hooks of its ng_ether(4) node.
    #[serde(default)]
    pub hooks: u32,
}

/// A vhid of carp(4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carp {
    /// Its number.
    pub vhid: u8,
    /// Seconds between advertisements.
    pub advbase: u8,
    /// In addition to that, 1/256 seconds.
    pub advskew: u8,
    /// Its password.
    pub key: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Whether it is from a router's advertisement.
    pub autoconf: bool,
    /// Its flags in the kernel.
    #[serde(default)]
    pub flags: AddressFlags,
}

/// Flags of an IPv6 address (IN6_IFF_… of sys/netinet6/in6_var.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFlags {
    /// TENTATIVE: how many more times it is shown.
    pub tentative: u8,
    /// DUPLICATED: another node has it, so it is not used.
    pub duplicated: bool,
    /// DEPRECATED: the router has stopped to advertise its prefix.
    pub deprecated: bool,
    /// TEMPORARY: its last 64 bits are random (RFC 8981).
    pub temporary: bool,
}

/// `nd6 options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the kernel's flags")]
pub struct Nd6 {
    /// IFDISABLED.
    pub disabled: bool,
    /// ACCEPT_RTADV.
    pub accept_rtadv: bool,
    /// AUTO_LINKLOCAL.
    pub auto_linklocal: bool,
    /// NO_DAD.
    pub no_dad: bool,
}

/// Protocol and ports of a lagg.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagg {
    /// Its protocol.
    pub protocol: String,
    /// Its ports, in the order in which they were added. The first is the master.
    pub ports: Vec<String>,
    /// The properties of each port before it joined, which it gets back when it leaves.
    #[serde(default)]
    pub own: BTreeMap<String, PortsOwn>,
}

/// The properties of a port before it joined a lagg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsOwn {
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// Its capabilities.
    pub capabilities: BTreeSet<String>,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its gateway. A link-local one has no scope.
    pub gateway: IpAddr,
    /// Its interface.
    pub interface: String,
}

/// A route to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// The network with its prefix length, such as `10.20.0.0/16`.
    pub destination: String,
    /// Gateway and interface.
    pub by: Route,
}

/// The answers of a DHCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpServer {
    /// The address for each Ethernet address. Other clients get none.
    pub leases: BTreeMap<String, String>,
    /// The prefix length.
    pub prefix: u8,
    /// The router in the lease.
    pub router: Option<IpAddr>,
    /// The name servers in the lease.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
}

/// The contents of a router's advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertisement {
    /// The prefix of 64 bits.
    pub prefix: Ipv6Addr,
    /// The router's link-local address.
    pub router: Ipv6Addr,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            release: 14,
            interfaces: BTreeMap::new(),
            multipath: true,
            routes: Vec::new(),
            static_routes: Vec::new(),
            vfs: BTreeMap::new(),
            transparent: Some(0),
            has_vf_list: true,
            sysctls: BTreeMap::new(),
            dhcp: None,
            advertisement: None,
            taken: Vec::new(),
            tentative_looks: 0,
            name_servers: BTreeMap::new(),
            events: Vec::new(),
        };
        let mut lo0 = Interface::new(state.take_index(), None);
        lo0.up = true;
        lo0.mtu = 16384;
        lo0.groups = vec!["lo".to_owned()];
        lo0.nd6.disabled = false;
        lo0.addresses = vec![Address::new("127.0.0.1", 8), Address::new("::1", 128)];
        state.interfaces.insert("lo0".to_owned(), lo0);
        state
    }
}

impl Interface {
    /// A new interface, as a driver attaches it.
    #[must_use]
    pub fn new(index: u32, mac: Option<MacAddress>) -> Self {
        Self {
            index,
            up: false,
            carrier: true,
            mtu: 1500,
            max_mtu: 9000,
            device: None,
            mac: mac.map(|mac| mac.to_string()),
            description: String::new(),
            groups: Vec::new(),
            addresses: Vec::new(),
            nd6: Nd6 { disabled: true, accept_rtadv: false, auto_linklocal: true, no_dad: false },
            lagg: None,
            capabilities: ["RXCSUM", "TXCSUM", "TSO4", "LRO"].map(str::to_owned).into(),
            carp: Vec::new(),
            members: Vec::new(),
            vlan_parent: None,
            hooks: 0,
        }
    }
}

impl Interface {
    /// Removes vhids without an address.
    pub(super) fn forget_vhids(&mut self) {
        let addresses = &self.addresses;
        for carp in &mut self.carp {
            carp.addresses.retain(|ip| addresses.iter().any(|held| held.ip == *ip));
        }
        self.carp.retain(|carp| !carp.addresses.is_empty());
    }

    /// The vhid of one of its addresses.
    #[must_use]
    pub fn vhid_of(&self, ip: IpAddr) -> Option<u8> {
        self.carp.iter().find(|carp| carp.addresses.contains(&ip)).map(|carp| carp.vhid)
    }
}

impl Address {
    /// An address that was set by hand.
    ///
    /// # Panics
    /// The text is no address.
    #[must_use]
    pub fn new(ip: &str, prefix: u8) -> Self {
        Self::of(ip.parse().expect("an address"), prefix)
    }

    pub(super) fn of(ip: IpAddr, prefix: u8) -> Self {
        Self { ip, prefix, autoconf: false, flags: AddressFlags::default() }
    }

    /// Whether it is an IPv6 link-local address.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        matches!(self.ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }

    /// Whether `other` is in its network.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.ip, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other)).leading_zeros() >= prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (u128::from(own) ^ u128::from(other)).leading_zeros() >= prefix
            }
            _ => false,
        }
    }
}
