//! What the simulated kernel does when a program changes the network. It is given the state and one request,
//! and changes the state or answers with an errno. It never changes the network of the machine that it runs
//! on.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test in `kernel/tests.rs`.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | joining takes all IPv6 from a port with a link-local address, also where joining fails | `sys/net/if_lagg.c:1609 (lagg_ioctl)`, `sys/netinet6/in6_ifattach.c:752 (_in6_ifdetach)` | `joining_takes_all_ipv6_even_where_it_fails` |
//! | the first port gives the lagg its address and MTU, later ones take them | `sys/net/if_lagg.c:730 (lagg_port_create)` | `first_port_leads_and_the_link_of_later_ones_bounces` |
//! | the link of a second or later port bounces | `sys/net/if_lagg.c:842 (lagg_port_create)`, `sys/net/if.c:3895 (if_setlladdr)` | `first_port_leads_and_the_link_of_later_ones_bounces` |
//! | a port that leaves gets its own address back, and keeps the MTU of the lagg | `sys/net/if_lagg.c:997 (lagg_port_destroy)` | `first_port_leads_and_the_link_of_later_ones_bounces` |
//! | a lagg whose first port leaves has the address of the next | `sys/net/if_lagg.c:967 (lagg_port_destroy)` | `lagg_without_its_first_port_has_the_nexts_address` |
//! | all ports have the capabilities that they share, and their own back when they leave | `sys/net/if_lagg.c:666 (lagg_capabilities)`, `sys/net/if_lagg.c:996 (lagg_port_destroy)` | `ports_share_their_capabilities_until_they_leave` |
//! | an MTU of a port cannot be set, that of the lagg goes to all ports | `sys/net/if_lagg.c:1068 (lagg_port_ioctl)`, `sys/net/if_lagg.c:1717 (lagg_ioctl)` | `mtu_of_a_port_is_that_of_the_lagg` |
//! | IPv4 routes go with the address that they were added over | `sys/netinet/in.c:738 (in_difaddr_ioctl)` | `ipv4_routes_go_with_their_address_and_ipv6_routes_stay` |
//! | IPv6 routes through a gateway stay without any address | `sys/netinet6/in6.c:1394 (in6_purgeaddr)` | `ipv4_routes_go_with_their_address_and_ipv6_routes_stay` |
//! | routes that a router advertised go when IPv6 is detached | `sys/netinet6/nd6.c:1150 (nd6_purge)` | `routes_of_routers_go_when_ipv6_is_detached` |
//! | with ROUTE_MPATH a second way to one network is added beside the first | `sys/net/route/route_ctl.c:870 (add_route_flags_mpath)` | `second_way_to_a_network_is_added_beside_the_first` |
//! | routes of an interface go with it | `sys/net/route.c:353 (rt_flushifroutes)` | `ipv4_routes_go_with_their_address_and_ipv6_routes_stay` |
//! | a link-local address comes when an interface comes up, or IPv6 is enabled on it | `sys/netinet6/in6_ifattach.c:674 (in6_ifattach)`, `sys/netinet6/nd6.c:1740 (nd6_ioctl)` | `link_local_address_comes_with_up_and_with_ipv6` |
//! | a new IPv6 address is tentative until the check for duplicates ends, and duplicated where another node has it; not with NO_DAD | `sys/netinet6/nd6_nbr.c:1288 (nd6_dad_start)`, `sys/netinet6/nd6_nbr.c:1500 (nd6_dad_duplicated)` | `new_ipv6_address_is_tentative_and_then_used_or_duplicated` |
//! | a vhid goes with its last address | `sys/netinet/ip_carp.c:2047 (carp_detach)` | `vhid_goes_with_its_last_address` |
//! | a new name moves nothing but the name | `sys/net/if.c:3146 (if_rename)` | `new_name_moves_nothing_but_the_name` |
//! | hn(4) reports its link down while its VF is up | `sys/dev/hyperv/netvsc/if_hn.c:1230 (hn_rxvf_change)`, `sys/dev/hyperv/netvsc/if_hn.c:2575 (hn_link_status)` | `hn_reports_its_link_down_while_its_vf_is_up` |

use std::net::{IpAddr, Ipv6Addr};

use hv_core::net::MacAddress;
use nix::errno::Errno;

use super::state::{Address, Carp, Interface, Lagg, Nd6, PortsOwn, Route, State, StaticRoute};

impl Route {
    /// Whether its gateway is an IPv6 link-local address.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        matches!(self.gateway, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }
}

impl State {
    pub(super) fn take_index(&mut self) -> u32 {
        // As in the kernel: the lowest free number.
        (1..).find(|index| self.interfaces.values().all(|other| other.index != *index)).unwrap_or(1)
    }

    pub(super) fn interface(&mut self, name: &str) -> Result<&mut Interface, Errno> {
        self.interfaces.get_mut(name).ok_or(Errno::ENXIO)
    }

    /// Whether it is a port of a lagg.
    #[must_use]
    pub fn is_port(&self, name: &str) -> bool {
        self.lagg_of(name).is_some()
    }

    /// The lagg with this port.
    #[must_use]
    pub fn lagg_of(&self, port: &str) -> Option<&str> {
        let has = |interface: &Interface| {
            interface.lagg.as_ref().is_some_and(|lagg| lagg.ports.iter().any(|name| name == port))
        };
        self.interfaces.iter().find(|(_, interface)| has(interface)).map(|(name, _)| name.as_str())
    }

    /// The device of an interface: IFDATA_DRIVERNAME.
    #[must_use]
    pub fn device<'a>(&'a self, name: &'a str) -> &'a str {
        self.interfaces.get(name).and_then(|interface| interface.device.as_deref()).unwrap_or(name)
    }

    /// SIOCSIFNAME: gives the interface another name everywhere.
    pub(super) fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        if self.interfaces.contains_key(new) {
            return Err(Errno::EEXIST);
        }
        let mut interface = self.interfaces.remove(old).ok_or(Errno::ENXIO)?;
        interface.device.get_or_insert_with(|| old.to_owned());
        self.interfaces.insert(new.to_owned(), interface);
        let turn = |name: &mut String| {
            if name == old {
                new.clone_into(name);
            }
        };
        self.interfaces
            .values_mut()
            .flat_map(|other| &mut other.lagg)
            .flat_map(|lagg| &mut lagg.ports)
            .for_each(turn);
        self.routes.iter_mut().map(|route| &mut route.interface).for_each(turn);
        self.static_routes.iter_mut().map(|route| &mut route.by.interface).for_each(turn);
        self.vfs.values_mut().for_each(turn);
        if let Some(hn) = self.vfs.remove(old) {
            self.vfs.insert(new.to_owned(), hn);
        }
        Ok(())
    }

    /// All sysctls that sysctl(8) would show of this network.
    #[must_use]
    pub fn all_sysctls(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            self.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        if let Some(transparent) = self.transparent {
            all.push(("hw.hn.vf_transparent".to_owned(), transparent.to_string()));
        }
        if self.has_vf_list {
            let names: Vec<&str> = self.vfs.keys().map(String::as_str).collect();
            let pairs: Vec<String> = self.vfs.iter().map(|(vf, hn)| format!("{vf}:{hn}")).collect();
            all.push(("hw.hn.vflist".to_owned(), names.join(" ")));
            all.push(("hw.hn.vfmap".to_owned(), pairs.join(" ")));
        }
        for hn in self.interfaces.keys() {
            let Some(unit) = self.device(hn).strip_prefix("hn").filter(|unit| unit.parse::<u32>().is_ok())
            else {
                continue;
            };
            let vf = self.vfs.iter().find(|(_, owner)| *owner == hn).map_or("", |(vf, _)| vf);
            all.push((format!("dev.hn.{unit}.vf"), vf.to_owned()));
        }
        all
    }

    /// A driver attaches an interface.
    pub fn attach(&mut self, name: &str, mac: MacAddress) {
        let index = self.take_index();
        self.interfaces.insert(name.to_owned(), Interface::new(index, Some(mac)));
        self.announce_arrival(name);
    }

    /// Attaches a VF. hn(4) pairs it before its arrival is reported.
    pub fn attach_vf(&mut self, vf: &str, hn: &str) {
        let mac = self.interfaces.get(hn).and_then(|hn| hn.mac.as_deref()?.parse().ok());
        self.vfs.insert(vf.to_owned(), hn.to_owned());
        self.attach(vf, mac.unwrap_or(MacAddress([0, 0x15, 0x5d, 0, 0, 1])));
    }

    /// Detaches an interface. A lagg with it loses a port and keeps everything else.
    pub fn detach(&mut self, name: &str) {
        if self.vfs.contains_key(name) {
            self.set_data_path(name, false);
        }
        self.vfs.remove(name);
        self.remove_interface(name);
        self.events.push(format!("!system=IFNET subsystem={name} type=DETACH"));
    }

    fn remove_interface(&mut self, name: &str) {
        for interface in self.interfaces.values_mut() {
            if let Some(lagg) = &mut interface.lagg {
                lagg.ports.retain(|port| port != name);
                lagg.own.remove(name);
            }
        }
        self.interfaces.remove(name);
        self.routes.retain(|route| route.interface != name);
        self.static_routes.retain(|route| route.by.interface != name);
    }

    fn announce_arrival(&mut self, name: &str) {
        self.events.push(format!("!system=IFNET subsystem={name} type=ATTACH"));
        self.events.push(format!("!system=ETHERNET subsystem={name} type=IFATTACH"));
    }

    /// `ifconfig lagg create`.
    pub(super) fn create_lagg(&mut self, name: &str) -> Result<(), Errno> {
        if self.interfaces.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let index = self.take_index();
        let mut interface = Interface::new(index, Some(MacAddress([0; 6])));
        interface.carrier = false;
        interface.groups = vec!["lagg".to_owned()];
        interface.lagg = Some(Lagg { protocol: "failover".to_owned(), ..Lagg::default() });
        self.interfaces.insert(name.to_owned(), interface);
        self.announce_arrival(name);
        Ok(())
    }

    /// `ifconfig IF destroy`.
    pub(super) fn destroy(&mut self, name: &str) -> Result<(), Errno> {
        if self.interface(name)?.lagg.is_none() {
            return Err(Errno::EINVAL);
        }
        let parts = self.interfaces.get(name).and_then(|lagg| lagg.lagg.clone());
        for (port, own) in parts.into_iter().flat_map(|parts| parts.own) {
            self.give_back(&port, own);
        }
        self.remove_interface(name);
        self.events.push(format!("!system=IFNET subsystem={name} type=DETACH"));
        Ok(())
    }

    /// `ifconfig bridge0 create`, `ifconfig vlan5 create`.
    pub(super) fn create_clone(&mut self, name: &str, kind: &str) -> Result<(), Errno> {
        if self.interfaces.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let index = self.take_index();
        let mut interface = Interface::new(index, Some(MacAddress([2, 0, 0, 0, 1, index.to_be_bytes()[3]])));
        interface.groups = vec![kind.to_owned()];
        self.interfaces.insert(name.to_owned(), interface);
        self.announce_arrival(name);
        Ok(())
    }

    /// `laggport`: the first port gives the lagg its address and MTU. Later ports get them from the lagg.
    pub(super) fn add_port(&mut self, lagg: &str, port: &str) -> Result<(), Errno> {
        let Some(found) = self.interfaces.get(port) else { return Err(Errno::EINVAL) };
        let (mac, mtu, max_mtu) = (found.mac.clone(), found.mtu, found.max_mtu);
        let capabilities = found.capabilities.clone();
        if found.addresses.iter().any(Address::is_link_local) {
            self.detach_ipv6(port);
        }
        let found = self.interface(port)?;
        if found.lagg.is_some() || mac.is_none() || port == lagg {
            return Err(Errno::EINVAL);
        }
        match self.lagg_of(port) {
            Some(other) if other == lagg => return Err(Errno::EEXIST),
            Some(_) => return Err(Errno::EBUSY),
            None => {}
        }
        let target = self.interface(lagg)?;
        let Some(parts) = &mut target.lagg else { return Err(Errno::EINVAL) };
        let is_first = parts.ports.is_empty();
        if is_first {
            target.mac.clone_from(&mac);
            target.mtu = mtu;
        } else if target.mtu > max_mtu {
            return Err(Errno::EINVAL);
        }
        parts.ports.push(port.to_owned());
        parts.own.insert(port.to_owned(), PortsOwn { mac, capabilities });
        target.carrier = true;
        let (mac, mtu) = (target.mac.clone(), target.mtu);
        let member = self.interface(port)?;
        (member.mac, member.mtu) = (mac, mtu);
        if !is_first {
            self.bounce(port);
        }
        self.share_capabilities(lagg);
        self.refresh_link_local(lagg);
        Ok(())
    }

    /// The port's link goes down and up, which devd sees. The link of hn(4) does not depend on its flags.
    fn bounce(&mut self, port: &str) {
        if self.vfs.contains_key(port) && self.interfaces.get(port).is_some_and(|port| port.up) {
            self.events.push(format!("!system=IFNET subsystem={port} type=LINK_DOWN"));
            self.events.push(format!("!system=IFNET subsystem={port} type=LINK_UP"));
        }
    }

    /// Gives all ports and the lagg the capabilities that all ports have.
    fn share_capabilities(&mut self, lagg: &str) {
        let Some(parts) = self.interfaces.get(lagg).and_then(|lagg| lagg.lagg.clone()) else { return };
        let mut own = parts.own.values().map(|own| own.capabilities.clone());
        let Some(first) = own.next() else { return };
        let shared = own.fold(first, |shared, own| shared.intersection(&own).cloned().collect());
        for name in parts.ports.iter().map(String::as_str).chain([lagg]) {
            if let Some(interface) = self.interfaces.get_mut(name) {
                interface.capabilities.clone_from(&shared);
            }
        }
    }

    /// Restores what a former port had before.
    fn give_back(&mut self, port: &str, own: PortsOwn) {
        if let Some(interface) = self.interfaces.get_mut(port) {
            (interface.mac, interface.capabilities) = (own.mac, own.capabilities);
            self.bounce(port);
        }
    }

    /// Removes all IPv6 addresses, and the routes that routers have advertised. Other routes stay.
    fn detach_ipv6(&mut self, name: &str) {
        let router = self.advertisement.as_ref().map(|advertisement| IpAddr::from(advertisement.router));
        if let Some(interface) = self.interfaces.get_mut(name) {
            interface.addresses.retain(|held| held.ip.is_ipv4());
            interface.forget_vhids();
        }
        self.routes.retain(|route| route.interface != name || Some(route.gateway) != router);
    }

    /// `-laggport`.
    pub(super) fn remove_port(&mut self, lagg: &str, port: &str) -> Result<(), Errno> {
        let target = self.interface(lagg)?;
        let parts = target.lagg.as_mut().ok_or(Errno::EINVAL)?;
        let place = parts.ports.iter().position(|name| name == port).ok_or(Errno::ENOENT)?;
        parts.ports.remove(place);
        let own = parts.own.remove(port);
        if place == 0
            && let Some(next) = parts.ports.first().cloned()
        {
            target.mac = parts.own.get(&next).and_then(|own| own.mac.clone());
        }
        if let Some(own) = own {
            self.give_back(port, own);
        }
        self.share_capabilities(lagg);
        Ok(())
    }

    /// `mtu`: a lagg passes it on to its ports. It cannot be set on a port.
    pub(super) fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), Errno> {
        if self.is_port(name) || mtu < 72 {
            return Err(Errno::EINVAL);
        }
        let interface = self.interface(name)?;
        let ports = interface.lagg.as_ref().map(|lagg| lagg.ports.clone()).unwrap_or_default();
        if mtu > interface.max_mtu {
            return Err(Errno::EINVAL);
        }
        for port in &ports {
            self.interface(port)?.mtu = mtu;
        }
        self.interface(name)?.mtu = mtu;
        Ok(())
    }

    /// `up` and `down`. The first `up` of a VF moves the data path to it.
    pub(super) fn set_up(&mut self, name: &str, up: bool) -> Result<(), Errno> {
        let interface = self.interface(name)?;
        let changed = interface.up != up;
        interface.up = up;
        if changed {
            self.refresh_link_local(name);
        }
        if changed && self.vfs.contains_key(name) {
            let link = if up { "LINK_UP" } else { "LINK_DOWN" };
            self.events.push(format!("!system=IFNET subsystem={name} type={link}"));
            self.set_data_path(name, up);
        }
        Ok(())
    }

    /// hn(4) reports its own link as down while the VF carries the data, once for each change.
    fn set_data_path(&mut self, vf: &str, through_vf: bool) {
        if self.transparent.is_some_and(|value| value != 0) {
            return;
        }
        let Some(hn) = self.vfs.get(vf).cloned() else { return };
        let Some(interface) = self.interfaces.get_mut(&hn) else { return };
        if interface.carrier != through_vf {
            return;
        }
        interface.carrier = !through_vf;
        let link = if through_vf { "LINK_DOWN" } else { "LINK_UP" };
        let kind = if through_vf { "VF_UP" } else { "VF_DOWN" };
        self.events.push(format!("!system=IFNET subsystem={hn} type={link}"));
        self.events.push(format!("!system=HYPERV_NIC_VF subsystem={hn} type={kind}"));
    }

    /// SIOCAIFADDR: sets the address with this prefix, and brings the interface up.
    pub(super) fn add_address(&mut self, name: &str, mut address: Address) -> Result<(), Errno> {
        let (looks, is_taken) = (self.tentative_looks, self.taken.contains(&address.ip));
        let interface = self.interface(name)?;
        let is_known = interface.addresses.iter().any(|held| held.ip == address.ip);
        if address.ip.is_ipv6() && !interface.nd6.no_dad && !is_known {
            address.flags.tentative = looks;
            address.flags.duplicated = looks == 0 && is_taken;
        }
        match interface.addresses.iter_mut().find(|held| held.ip == address.ip) {
            Some(held) => *held = address,
            None => interface.addresses.push(address),
        }
        self.set_up(name, true)
    }

    /// Counts a look at the tentative addresses. After some looks each is in use or a duplicate. Returns
    /// whether there were any.
    pub(super) fn look_at_tentative(&mut self) -> bool {
        let mut any = false;
        for address in self.interfaces.values_mut().flat_map(|interface| &mut interface.addresses) {
            if address.flags.tentative > 0 {
                any = true;
                address.flags.tentative -= 1;
                address.flags.duplicated = address.flags.tentative == 0 && self.taken.contains(&address.ip);
            }
        }
        any
    }

    /// SIOCDIFADDR: removes an address, with the IPv4 routes that were added over it. That is the first
    /// address that reaches their gateway.
    pub(super) fn remove_address(&mut self, name: &str, ip: IpAddr) -> Result<(), Errno> {
        let interface = self.interface(name)?;
        let place = interface.addresses.iter().position(|held| held.ip == ip).ok_or(Errno::EADDRNOTAVAIL)?;
        let before = interface.addresses.clone();
        interface.addresses.remove(place);
        interface.forget_vhids();
        let over = |gateway: IpAddr| before.iter().position(|held| held.reaches(gateway));
        let stays = |route: &Route| {
            route.interface != name || route.gateway.is_ipv6() || over(route.gateway) != Some(place)
        };
        self.routes.retain(stays);
        self.static_routes.retain(|route| stays(&route.by));
        Ok(())
    }

    /// SIOCSVH: sets the vhid of an address and its settings.
    pub(super) fn set_vhid(&mut self, name: &str, ip: IpAddr, carp: Carp) -> Result<(), Errno> {
        let interface = self.interface(name)?;
        interface.carp.iter_mut().for_each(|other| other.addresses.retain(|held| *held != ip));
        interface.forget_vhids();
        match interface.carp.iter_mut().find(|other| other.vhid == carp.vhid) {
            Some(other) => {
                let addresses = std::mem::take(&mut other.addresses);
                *other = carp;
                other.addresses = addresses;
                other.addresses.push(ip);
            }
            None => interface.carp.push(Carp { addresses: vec![ip], ..carp }),
        }
        Ok(())
    }

    /// Changes the flags of neighbour discovery, and then the link-local address.
    pub(super) fn set_nd6(&mut self, name: &str, change: impl FnOnce(&mut Nd6)) -> Result<(), Errno> {
        let nd6 = &mut self.interface(name)?.nd6;
        let before = *nd6;
        change(nd6);
        if before.disabled && !nd6.disabled || !before.auto_linklocal && nd6.auto_linklocal {
            self.refresh_link_local(name);
        }
        Ok(())
    }

    /// The kernel gives an interface that is up its link-local address, and never removes one.
    fn refresh_link_local(&mut self, name: &str) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        let wanted = interface.up && interface.nd6.auto_linklocal && !interface.nd6.disabled;
        let Some(ip) = interface.mac.as_deref().and_then(link_local).filter(|_| wanted) else { return };
        if !interface.addresses.iter().any(Address::is_link_local) {
            interface.addresses.push(Address::of(ip.into(), 64));
        }
    }

    /// RTM_ADD of a default route.
    pub(super) fn add_route(&mut self, gateway: IpAddr, scope: Option<&str>) -> Result<(), Errno> {
        let interface = self.way_to(gateway, scope).ok_or(Errno::ENETUNREACH)?;
        let route = Route { gateway, interface };
        let mut others = self.routes.iter().filter(|other| other.gateway.is_ipv4() == gateway.is_ipv4());
        if others.any(|other| !self.multipath || *other == route) {
            return Err(Errno::EEXIST);
        }
        self.routes.push(route);
        Ok(())
    }

    /// RTM_CHANGE of the default route of a family.
    pub(super) fn change_route(&mut self, gateway: IpAddr, scope: Option<&str>) -> Result<(), Errno> {
        let interface = self.way_to(gateway, scope).ok_or(Errno::ENETUNREACH)?;
        let mut routes = self.routes.iter_mut();
        let route = routes.find(|route| route.gateway.is_ipv4() == gateway.is_ipv4()).ok_or(Errno::ESRCH)?;
        *route = Route { gateway, interface };
        Ok(())
    }

    /// RTM_DELETE of a default route.
    pub(super) fn remove_route(&mut self, gateway: Option<IpAddr>, ipv4: bool) -> Result<(), Errno> {
        let matches = |route: &Route| match gateway {
            Some(gateway) => route.gateway == gateway,
            None => route.gateway.is_ipv4() == ipv4,
        };
        let before = self.routes.len();
        self.routes.retain(|route| !matches(route));
        if self.routes.len() == before { Err(Errno::ESRCH) } else { Ok(()) }
    }

    /// RTM_ADD of a route to a network.
    pub(super) fn add_static_route(
        &mut self,
        destination: &str,
        gateway: IpAddr,
        scope: Option<&str>,
    ) -> Result<(), Errno> {
        let interface = self.way_to(gateway, scope).ok_or(Errno::ENETUNREACH)?;
        let by = Route { gateway, interface };
        let mut others = self.static_routes.iter().filter(|other| other.destination == destination);
        if others.any(|other| !self.multipath || other.by == by) {
            return Err(Errno::EEXIST);
        }
        self.static_routes.push(StaticRoute { destination: destination.to_owned(), by });
        Ok(())
    }

    /// RTM_DELETE of a route to a network: all routes to it, or those through one gateway.
    pub(super) fn remove_static_route(
        &mut self,
        destination: &str,
        gateway: Option<IpAddr>,
    ) -> Result<(), Errno> {
        let matches = |route: &StaticRoute| {
            route.destination == destination && gateway.is_none_or(|gateway| route.by.gateway == gateway)
        };
        let before = self.static_routes.len();
        self.static_routes.retain(|route| !matches(route));
        if self.static_routes.len() == before { Err(Errno::ESRCH) } else { Ok(()) }
    }

    /// The interface whose network has the gateway. The longest prefix counts.
    fn way_to(&self, gateway: IpAddr, scope: Option<&str>) -> Option<String> {
        if let Some(scope) = scope {
            let interface = self.interfaces.get(scope)?;
            let usable = interface.up
                && !interface.nd6.disabled
                && interface.addresses.iter().any(Address::is_link_local);
            return usable.then(|| scope.to_owned());
        }
        let usable = self.interfaces.iter().filter(|(_, interface)| interface.up);
        let ways = usable.filter_map(|(name, interface)| {
            let own = interface.addresses.iter().filter(|address| address.reaches(gateway));
            own.map(|address| (address.prefix, name)).max()
        });
        ways.max().map(|(_, name)| name.clone())
    }

    /// A router's advertisement arrives at an interface.
    pub(super) fn advertise(&mut self, name: &str) {
        let Some(advertisement) = self.advertisement.clone() else { return };
        let Some(interface) = self.interfaces.get(name) else { return };
        if !interface.up || interface.nd6.disabled || !interface.nd6.accept_rtadv {
            return;
        }
        let Some(own) = interface.mac.as_deref().and_then(link_local) else { return };
        let host = u128::from(own) & u128::from(u64::MAX);
        let ip = Ipv6Addr::from(u128::from(advertisement.prefix) & !u128::from(u64::MAX) | host);
        // Neither can fail, because the interface exists.
        let address = Address { autoconf: true, ..Address::of(ip.into(), 64) };
        let _ = self.add_address(name, address);
        let _ = self.add_route(advertisement.router.into(), Some(name));
    }
}

/// The link-local address of an Ethernet address (RFC 4291, modified EUI-64).
#[must_use]
pub fn link_local(mac: &str) -> Option<Ipv6Addr> {
    let MacAddress([a, b, c, d, e, f]) = mac.parse().ok()?;
    if [a, b, c, d, e, f] == [0; 6] {
        return None;
    }
    Some(Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
}

#[cfg(test)]
mod tests;
