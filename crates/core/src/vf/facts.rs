//! The facts that the plans depend on, and queries about them. They are read by `load` and never change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::hn::Adapter;
use crate::net::{Interface, InterfaceAddress, InterfaceName, NetworkSnapshot, StaticRoute};
use crate::plan::network::{Link, NetworkStep};
use crate::rc::RcConf;

/// The network, the VF and the configuration at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `dev.hn.N.vf`. `None` if the VF is gone.
    pub vf: Option<InterfaceName>,
    /// Interfaces with their addresses, default routes, DHCP clients.
    pub network: NetworkSnapshot,
    /// The facts of ifconfig(8).
    pub links: BTreeMap<InterfaceName, Link>,
    /// The configuration of hn and lagg.
    pub rc_conf: RcConf,
    /// The number of connected hooks of hn's ng_ether(4) node.
    pub hooks: u32,
    /// Whether the last run for this interface was killed, so that its work may be half done.
    pub interrupted: bool,
    /// The static routes that it noted before it began, whatever interface they name.
    pub remembered: Vec<StaticRoute>,
}

impl Facts {
    /// The interface, if it exists.
    #[must_use]
    pub fn interface(&self, name: &InterfaceName) -> Option<&Interface> {
        self.network.interfaces.iter().find(|interface| &interface.name == name)
    }

    /// Whether hyperv_vfup has made a lagg of `hn`.
    #[must_use]
    pub fn is_joined(&self, hn: &Adapter) -> bool {
        self.link(hn.lagg()).lagg_of(hn, self.vf.as_ref()).is_some()
    }

    pub(super) fn link(&self, name: &InterfaceName) -> Link {
        self.links.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn addresses(&self, name: &InterfaceName) -> &[InterfaceAddress] {
        self.interface(name).map_or(&[], |interface| &interface.addresses)
    }

    /// The IPv6 link-local address, which is treated together with the IPv6 flags. Link-local IPv4 addresses
    /// are treated as any other.
    pub(super) fn link_local(&self, name: &InterfaceName) -> Option<InterfaceAddress> {
        self.addresses(name).iter().copied().find(is_ipv6_link_local)
    }

    pub(super) fn has_dhclient(&self, name: &InterfaceName) -> bool {
        self.network.dhcp_clients.contains(name)
    }

    /// The gateways of the interface's default routes.
    pub(super) fn gateways(&self, name: &InterfaceName) -> Vec<IpAddr> {
        let routes = self.network.default_routes.iter();
        routes.filter(|route| &route.interface == name).map(|route| route.gateway).collect()
    }

    /// The static routes of the interface whose gateway `accept` accepts. Those that no address of the
    /// interface reaches are left out, because they could not be set again.
    pub(super) fn static_routes(
        &self,
        name: &InterfaceName,
        accept: impl Fn(&IpAddr) -> bool,
    ) -> Vec<StaticRoute> {
        let own = self.network.static_routes.iter().filter(|route| &route.interface == name);
        let is_reached = |gateway: &IpAddr| self.addresses(name).iter().any(|held| held.reaches(*gateway));
        own.filter(|route| accept(&route.gateway) && is_reached(&route.gateway)).cloned().collect()
    }

    /// The static routes that a killed run noted and that nobody has set since.
    pub(super) fn lost_routes(&self) -> impl Iterator<Item = &StaticRoute> {
        let known = &self.network.static_routes;
        let is_known = |lost: &StaticRoute| known.iter().any(|route| route.destination == lost.destination);
        self.remembered.iter().filter(move |lost| !is_known(lost))
    }

    /// The interface that is a vlan(4) over `parent`.
    pub(super) fn vlan_over(&self, parent: &InterfaceName) -> Option<&InterfaceName> {
        self.links.iter().find(|(_, link)| link.vlan_parent.as_ref() == Some(parent)).map(|(name, _)| name)
    }

    /// The bridge(4) that has the interface as a member.
    pub(super) fn bridge_of(&self, member: &InterfaceName) -> Option<&InterfaceName> {
        self.links.iter().find(|(_, link)| link.members.contains(member)).map(|(name, _)| name)
    }

    /// The addresses of the interface in the kernel's order, without the IPv6 link-local one and those of
    /// router advertisements, which the kernel makes itself.
    pub(super) fn lasting(&self, name: &InterfaceName) -> Vec<InterfaceAddress> {
        let autoconf = self.links.get(name).map_or(&[][..], |link| &link.autoconf);
        let comes_by_itself =
            |held: &InterfaceAddress| is_ipv6_link_local(held) || autoconf.contains(&held.address);
        self.addresses(name).iter().copied().filter(|held| !comes_by_itself(held)).collect()
    }

    /// The step that gives `interface` an address of `from`, with its vhid if it has one: without it the
    /// address would be active on two nodes.
    pub(super) fn give(
        &self,
        from: &InterfaceName,
        interface: &InterfaceName,
        address: InterfaceAddress,
    ) -> NetworkStep {
        self.link(from).give(interface.clone(), address)
    }

    /// The lagg that has the interface as a port.
    pub(super) fn lagg_of_port(&self, port: &InterfaceName) -> Option<&InterfaceName> {
        let has = |link: &Link| link.lagg.as_ref().is_some_and(|lagg| lagg.ports.contains(port));
        self.links.iter().find(|(_, link)| has(link)).map(|(name, _)| name)
    }
}

/// fe80::/10. Addresses of 169.254/16 are treated as any other here.
pub(super) fn is_ipv6_link_local(address: &InterfaceAddress) -> bool {
    address.address.is_ipv6() && address.is_link_local()
}
