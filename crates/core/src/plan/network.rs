//! The steps that change the network, and their texts. Programs of the base system perform them; see `apply`.

mod apply;
mod clients;
mod command;
mod ifconfig;
mod lease;

use std::fmt;
use std::net::IpAddr;

use crate::net::{InterfaceAddress, InterfaceName, StaticRoute};

pub use apply::{ApplyError, NetworkPort, NetworkPrograms};
pub use command::{Tool, command};
pub use ifconfig::{Carp, Lagg, Link, parse_ifconfig};

/// The flags of neighbour discovery that the plans need (`nd6 options` of ifconfig(8)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ipv6Options {
    /// IFDISABLED: the interface neither sends nor takes IPv6 packets.
    pub disabled: bool,
    /// ACCEPT_RTADV: addresses and default route are taken from router advertisements.
    pub accept_rtadv: bool,
    /// AUTO_LINKLOCAL: the kernel assigns a link-local address to the interface.
    pub auto_linklocal: bool,
    /// NO_DAD: addresses are used without checking whether another host has them.
    pub no_dad: bool,
}

/// Arguments of ifconfig(8) after the interface, as rc.conf(5) has them, with the address that they set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfconfigArguments {
    /// All words. The address family is first, if there is one.
    pub words: Vec<String>,
    /// The address that they set, if there is one.
    pub address: Option<InterfaceAddress>,
}

/// Words of ifconfig(8) as they are shown: the word after `pass` (carp(4)) or a key of a wireless network is
/// secret.
#[must_use]
pub fn masked(words: &[String]) -> String {
    const SECRET: [&str; 6] = ["pass", "passwd", "key", "wepkey", "nwkey", "deftxkey"];
    let mut shown = Vec::with_capacity(words.len());
    let mut is_secret = false;
    for word in words {
        shown.push(if is_secret { "***".to_owned() } else { word.escape_debug().to_string() });
        is_secret = !is_secret && SECRET.contains(&word.as_str());
    }
    shown.join(" ")
}

/// One step. Each describes a state, so performing it twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkStep {
    /// A lagg(4) with failover exists, is up, and has these ports. The first one is the master.
    CreateLagg {
        /// Its name.
        lagg: InterfaceName,
        /// Its ports.
        ports: Vec<InterfaceName>,
        /// The administrator's description; empty for none.
        description: String,
        /// Its IPv6 flags.
        ipv6: Ipv6Options,
    },
    /// The lagg has the group that marks laggs of hyperv_vfup.
    MarkLagg {
        /// Its name.
        lagg: InterfaceName,
    },
    /// The lagg does not have that group.
    UnmarkLagg {
        /// Its name.
        lagg: InterfaceName,
    },
    /// The lagg does not exist. Its ports remain.
    DestroyLagg {
        /// Its name.
        lagg: InterfaceName,
    },
    /// The interface is a port of the lagg.
    AddPort {
        /// The lagg.
        lagg: InterfaceName,
        /// The port.
        port: InterfaceName,
    },
    /// The interface is not a port of the lagg.
    RemovePort {
        /// The lagg.
        lagg: InterfaceName,
        /// The port.
        port: InterfaceName,
    },
    /// No dhclient(8) serves the interface.
    StopDhcp {
        /// The interface.
        interface: InterfaceName,
    },
    /// No dhclient(8) serves the interface, and nothing is left of its lease: no IPv4 address but those from
    /// before it, and no IPv4 default route but through these.
    EndLease {
        /// The interface.
        interface: InterfaceName,
        /// The IPv4 addresses from before the client.
        addresses: Vec<InterfaceAddress>,
    },
    /// A dhclient(8) serves the interface.
    StartDhcp {
        /// The interface.
        interface: InterfaceName,
        /// Whether the step waits for a lease, also for that of a client that another program has started.
        wait: bool,
    },
    /// The interface has the address in addition to its others.
    AddAddress {
        /// The interface.
        interface: InterfaceName,
        /// The address.
        address: InterfaceAddress,
    },
    /// The interface does not have the address.
    RemoveAddress {
        /// The interface.
        interface: InterfaceName,
        /// The address.
        address: InterfaceAddress,
    },
    /// The interface is configured with arguments of rc.conf(5).
    Configure {
        /// The interface.
        interface: InterfaceName,
        /// The arguments.
        arguments: IfconfigArguments,
    },
    /// IPv6 is enabled on the interface.
    EnableIpv6 {
        /// The interface.
        interface: InterfaceName,
        /// Whether it autoconfigures.
        accept_rtadv: bool,
        /// The link-local address that it should have.
        link_local: Option<InterfaceAddress>,
    },
    /// IPv6 is disabled on the interface: no autoconfiguration and no link-local address.
    DisableIpv6 {
        /// The interface.
        interface: InterfaceName,
        /// Its link-local address. If it has another one by then, that one is removed.
        link_local: Option<InterfaceAddress>,
    },
    /// The interface has this MTU.
    SetMtu {
        /// The interface.
        interface: InterfaceName,
        /// Bytes.
        mtu: u32,
    },
    /// The interface is up.
    BringUp {
        /// The interface.
        interface: InterfaceName,
    },
    /// The interface is down.
    BringDown {
        /// The interface.
        interface: InterfaceName,
    },
    /// The default route of the gateway's family leads to the gateway through the interface.
    SetDefaultRoute {
        /// The gateway. A link-local one has no scope.
        gateway: IpAddr,
        /// The interface.
        interface: InterfaceName,
    },
    /// There is no default route to the gateway.
    RemoveDefaultRoute {
        /// The gateway. A link-local one has no scope.
        gateway: IpAddr,
        /// The interface of the route.
        interface: InterfaceName,
    },
    /// The route exists.
    AddRoute(StaticRoute),
    /// The route does not exist.
    RemoveRoute(StaticRoute),
    /// Routers are asked to advertise on the interface. Their answer is not waited for.
    SolicitRouters {
        /// The interface.
        interface: InterfaceName,
    },
}

impl fmt::Display for NetworkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLagg { lagg, ports, .. } => {
                write!(f, "create {lagg} with failover over")?;
                ports.iter().try_for_each(|port| write!(f, " {port}"))
            }
            Self::MarkLagg { lagg } => write!(f, "adopt {lagg}"),
            Self::UnmarkLagg { lagg } => write!(f, "adopt {lagg} no more"),
            Self::DestroyLagg { lagg } => write!(f, "destroy {lagg}"),
            Self::AddPort { lagg, port } => write!(f, "add port {port} to {lagg}"),
            Self::RemovePort { lagg, port } => write!(f, "remove port {port} from {lagg}"),
            Self::StopDhcp { interface } => write!(f, "stop dhclient on {interface}"),
            Self::EndLease { interface, .. } => write!(f, "stop dhclient on {interface} and drop its lease"),
            Self::StartDhcp { interface, wait: true } => write!(f, "get a DHCP lease on {interface}"),
            Self::StartDhcp { interface, wait: false } => write!(f, "start dhclient on {interface}"),
            Self::AddAddress { interface, address } => write!(f, "add {address} to {interface}"),
            Self::RemoveAddress { interface, address } => write!(f, "remove {address} from {interface}"),
            Self::Configure { interface, arguments } => {
                write!(f, "configure {interface} with {}", masked(&arguments.words))
            }
            Self::EnableIpv6 { interface, accept_rtadv: true, .. } => {
                write!(f, "enable IPv6 and autoconfiguration on {interface}")
            }
            Self::EnableIpv6 { interface, .. } => write!(f, "enable IPv6 on {interface}"),
            Self::DisableIpv6 { interface, .. } => write!(f, "disable IPv6 on {interface}"),
            Self::SetMtu { interface, mtu } => write!(f, "set the MTU of {interface} to {mtu}"),
            Self::BringUp { interface } => write!(f, "bring {interface} up"),
            Self::BringDown { interface } => write!(f, "bring {interface} down"),
            Self::SetDefaultRoute { gateway, interface } => {
                write!(f, "set the default route to {gateway} through {interface}")
            }
            Self::RemoveDefaultRoute { gateway, interface } => {
                write!(f, "remove the default route to {gateway} through {interface}")
            }
            Self::AddRoute(StaticRoute { destination, gateway, interface }) => {
                write!(f, "set the route to {destination} by {gateway} through {interface}")
            }
            Self::RemoveRoute(StaticRoute { destination, gateway, interface }) => {
                write!(f, "remove the route to {destination} by {gateway} through {interface}")
            }
            Self::SolicitRouters { interface } => write!(f, "solicit routers on {interface}"),
        }
    }
}
