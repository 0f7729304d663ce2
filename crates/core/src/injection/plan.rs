//! Decides the steps of an injection from a request and the facts. It reads nothing and performs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::step::{Expectation, FileChange, ResolvLabel, Step};
use crate::hn::Adapter;
use crate::kvp::ip_info::request::{Method, StaticAddresses};
use crate::net::lease::DhcpLease;
use crate::net::processes::{AtWork, Named};
use crate::net::{DefaultRoute, Interface, InterfaceAddress, InterfaceName, NetworkSnapshot, StaticRoute};
use crate::plan::network::{Ipv6Options, Link, NetworkStep};
use crate::plan::{Found, Plan};

/// The facts that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces with their addresses, default routes, DHCP clients.
    pub network: NetworkSnapshot,
    /// The facts of ifconfig(8).
    pub links: BTreeMap<InterfaceName, Link>,
    /// The name servers of resolvconf(8), by label.
    pub name_servers: Vec<(ResolvLabel, String)>,
    /// Why name servers are not set. `None` if resolvconf(8) sets them.
    pub without_name_servers: Option<&'static str>,
    /// The newest DHCP lease of the interface that has the addresses.
    pub lease: Option<DhcpLease>,
    /// The DHCP clients and scripts of rc(8) that work on the interface.
    pub at_work: AtWork,
}

/// What an interface had before an injection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Its IPv4 addresses, where no client served it: none of them is a lease.
    pub gone: Vec<InterfaceAddress>,
    /// Its IPv4 addresses with a vhid of carp(4), each with the step that gives it again.
    pub shared: Vec<(InterfaceAddress, NetworkStep)>,
}

/// Where a configuration is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The interface of hn(4) for which the configuration is recorded.
    pub hn: InterfaceName,
    /// The lagg that joins it with its VF. The addresses are on it then.
    pub lagg: Option<InterfaceName>,
}

impl Target {
    /// The interface that gets the addresses.
    #[must_use]
    pub fn live(&self) -> &InterfaceName {
        self.lagg.as_ref().unwrap_or(&self.hn)
    }
}

/// Why a configuration cannot be applied anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// The interface does not exist.
    #[error("{0} does not exist")]
    Missing(InterfaceName),
    /// It has the name of an interface of hn(4), and another driver.
    #[error("{name} is no interface of hn(4), its device is {device}")]
    NotHn {
        /// The interface.
        name: InterfaceName,
        /// Its device.
        device: String,
    },
    /// It is a lagg of another maker than hyperv_vfup.
    #[error("{0} was not made by hyperv_vfup")]
    Foreign(InterfaceName),
    /// It has no address and is a member of a bridge that has them.
    #[error("{name} is a member of {bridge}, which is not the host's to configure")]
    BridgeMember {
        /// The interface.
        name: InterfaceName,
        /// The bridge.
        bridge: InterfaceName,
    },
    /// It is a port of a lagg of another maker than hyperv_vfup.
    #[error("{0} is a port of a lagg that hyperv_vfup did not make")]
    PortOfForeign(InterfaceName),
}

/// Finds the target of a configuration for the adapter.
///
/// # Errors
/// [`NoTarget`].
pub fn target(hn: &Adapter, facts: &Facts) -> Result<Target, NoTarget> {
    let name = hn.name();
    let Some(interface) = facts.interface(name) else { return Err(NoTarget::Missing(name.clone())) };
    let ports = |link: &Link| link.lagg.as_ref().is_some_and(|lagg| lagg.ports.contains(name));
    let own = facts.links.get(hn.lagg()).is_some_and(|link| link.lagg_of(hn, None).is_some() && ports(link));
    if own {
        return Ok(Target { hn: name.clone(), lagg: Some(hn.lagg().clone()) });
    }
    if facts.links.values().any(ports) {
        return Err(NoTarget::PortOfForeign(name.clone()));
    }
    let holds = interface.addresses.iter().any(|address| !address.is_link_local());
    match facts.bridge_of(name) {
        Some(bridge) if !holds => Err(NoTarget::BridgeMember { name: name.clone(), bridge: bridge.clone() }),
        _ => Ok(Target { hn: name.clone(), lagg: None }),
    }
}

impl Facts {
    fn interface(&self, name: &InterfaceName) -> Option<&Interface> {
        self.network.interfaces.iter().find(|interface| &interface.name == name)
    }

    fn held_name_servers(&self, label: &ResolvLabel) -> Option<&String> {
        self.name_servers.iter().find(|(held, _)| held == label).map(|(_, text)| text)
    }

    /// The bridge(4) that has the interface as a member.
    fn bridge_of(&self, name: &InterfaceName) -> Option<&InterfaceName> {
        self.links.iter().find(|(_, link)| link.members.contains(name)).map(|(bridge, _)| bridge)
    }

    /// The present configuration of the target, as a method that leads back to it.
    #[must_use]
    pub fn method(&self, target: &Target) -> Method {
        let live = target.live();
        if self.network.dhcp_clients.contains(live) {
            return Method::Dhcp;
        }
        let held = self.interface(live).map(|interface| interface.addresses.clone()).unwrap_or_default();
        let own = self.network.default_routes.iter().filter(|route| &route.interface == live);
        let text = self.held_name_servers(&ResolvLabel::of_host(&target.hn)).cloned().unwrap_or_default();
        let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
        Method::Static(StaticAddresses {
            addresses: held.into_iter().filter(|held| self.is_the_hosts(live, held)).collect(),
            gateways: own.map(|route| route.gateway).collect(),
            name_servers: servers.filter_map(|text| text.split('%').next()?.trim().parse().ok()).collect(),
        })
    }

    /// What the target has before an injection.
    #[must_use]
    pub fn earlier(&self, target: &Target) -> Earlier {
        let live = target.live();
        let served = self.network.dhcp_clients.contains(live);
        Earlier { gone: self.ipv4(live).filter(|_| !served).collect(), shared: self.shared(live) }
    }

    fn ipv4(&self, live: &InterfaceName) -> impl Iterator<Item = InterfaceAddress> {
        let held = self.interface(live).map_or(&[][..], |interface| &interface.addresses);
        held.iter().copied().filter(|held| held.address.is_ipv4())
    }

    /// The IPv4 addresses with a vhid of carp(4), each with the step that gives it again.
    fn shared(&self, live: &InterfaceName) -> Vec<(InterfaceAddress, NetworkStep)> {
        let Some(link) = self.links.get(live) else { return Vec::new() };
        let shared = self.ipv4(live).filter(|held| link.vhids.contains_key(&held.address));
        shared.map(|held| (held, link.give(live.clone(), held))).collect()
    }

    /// The differences from earlier facts, in everything that an injection changes.
    #[must_use]
    pub fn compare(&self, before: &Self, target: &Target) -> Found {
        let live = target.live();
        let addresses = |facts: &Self| {
            let held = facts.interface(live).map(|interface| interface.addresses.clone()).unwrap_or_default();
            held.into_iter().collect::<BTreeSet<_>>()
        };
        let routes = |facts: &Self| {
            let all = facts.network.default_routes.iter();
            all.map(|route| (route.gateway, route.interface.clone())).collect::<BTreeSet<_>>()
        };
        let served = |facts: &Self| facts.network.dhcp_clients.contains(live);
        let servers = |facts: &Self| facts.name_servers.iter().cloned().collect::<BTreeSet<_>>();
        let differences = [
            ("addresses", addresses(self) != addresses(before)),
            ("default routes", routes(self) != routes(before)),
            ("the DHCP client", served(self) != served(before)),
            ("name servers", servers(self) != servers(before)),
        ];
        let differs = differences.into_iter().filter(|(_, differs)| *differs);
        let what: Vec<String> = differs.map(|(what, _)| what.to_owned()).collect();
        if what.is_empty() { Found::AsBefore } else { Found::Differs(what) }
    }

    /// Whether an injection may remove an address. Link-local addresses stay, those of carp(4), which the
    /// other node may be using, and those of router advertisements, temporary ones included.
    fn is_the_hosts(&self, interface: &InterfaceName, address: &InterfaceAddress) -> bool {
        let link = self.links.get(interface);
        let foreign = |link: &Link| {
            link.vhids.contains_key(&address.address)
                || link.autoconf.contains(&address.address)
                || link.temporary.contains(&address.address)
        };
        !is_ipv6_link_local(address) && !link.is_some_and(foreign)
    }

    /// An address of the host that is duplicated: another node of the network has it, and the kernel does not
    /// use it.
    #[must_use]
    pub fn duplicated(&self, target: &Target, method: &Method) -> Option<InterfaceAddress> {
        self.given_among(target, method, |link| &link.duplicated)
    }

    /// An address of the host that is tentative: the check for duplicates has not ended.
    #[must_use]
    pub fn tentative(&self, target: &Target, method: &Method) -> Option<InterfaceAddress> {
        self.given_among(target, method, |link| &link.tentative)
    }

    fn given_among(
        &self,
        target: &Target,
        method: &Method,
        those: impl Fn(&Link) -> &Vec<IpAddr>,
    ) -> Option<InterfaceAddress> {
        let Method::Static(given) = method else { return None };
        let those = those(self.links.get(target.live())?);
        given.addresses.iter().find(|address| those.contains(&address.address)).copied()
    }

    /// A DHCP client of another kind, which would work against a static configuration.
    #[must_use]
    pub fn foreign_client(&self, interface: &InterfaceName, method: &Method) -> Option<Named> {
        let mut foreign = self.at_work.foreign_clients.iter().filter(|(served, _)| served == interface);
        foreign.next().map(|(_, client)| client.clone()).filter(|_| matches!(method, Method::Static(_)))
    }

    fn default_route(&self, ipv4: bool) -> Option<&DefaultRoute> {
        self.network.default_routes.iter().find(|route| route.gateway.is_ipv4() == ipv4)
    }
}

/// The files that keep the configuration over a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The undo file.
    pub record: FileChange,
    /// The copy of rc.conf from before the first injection, if it is kept.
    pub before: FileChange,
    /// rc.conf.
    pub rc_conf: FileChange,
}

/// The steps that write the files and check what the next boot makes of them.
#[must_use]
pub fn plan_files(target: &Target, method: &Method, files: &Files) -> Plan<Step> {
    let mut plan = Plan::default();
    // The undo file comes first, so that the former state is known even after a crash in the middle.
    store(&mut plan, &files.before);
    store(&mut plan, &files.record);
    store(&mut plan, &files.rc_conf);
    let (hn, lagg, method) = (target.hn.clone(), target.lagg.clone(), method.clone());
    plan.push(Step::Check(Expectation { hn, lagg, method }), Vec::new());
    plan
}

fn store(plan: &mut Plan<Step>, change: &FileChange) {
    if change.from.as_ref().map(|from| &from.bytes) != change.to.as_ref().map(|to| &to.bytes) {
        plan.push(Step::Store(change.clone()), vec![Step::Store(change.reversed())]);
    }
}

/// The steps that bring the network to the host's configuration. Empty if it is already there. An address of
/// `earlier` is not a lease.
#[must_use]
pub fn plan_live(target: &Target, method: &Method, facts: &Facts, earlier: &Earlier) -> Plan<Step> {
    let mut builder = Builder::new(target, facts);
    match method {
        Method::Static(given) => builder.set_static(given),
        Method::Dhcp => builder.set_dhcp(earlier),
    }
    builder.plan
}

/// The lines of resolv.conf(5) for `servers`. A link-local server needs the interface as scope.
#[must_use]
pub fn name_server_lines(servers: &[IpAddr], interface: &InterfaceName) -> String {
    let line = |server: &IpAddr| match is_link_local(*server) {
        true => format!("nameserver {server}%{interface}\n"),
        false => format!("nameserver {server}\n"),
    };
    servers.iter().map(line).collect()
}

/// How the addresses of one family change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    /// All stay.
    Same,
    /// All stay, and others are added.
    Added,
    /// Some are removed.
    Replaced,
}

struct Builder<'a> {
    target: &'a Target,
    live: &'a InterfaceName,
    facts: &'a Facts,
    /// The addresses of the interface, in their order.
    held: Vec<InterfaceAddress>,
    ipv6: Ipv6Options,
    dhcp: bool,
    plan: Plan<Step>,
}

impl<'a> Builder<'a> {
    fn new(target: &'a Target, facts: &'a Facts) -> Self {
        let live = target.live();
        Self {
            target,
            live,
            facts,
            held: facts.interface(live).map(|interface| interface.addresses.clone()).unwrap_or_default(),
            ipv6: facts.links.get(live).map(|link| link.ipv6).unwrap_or_default(),
            dhcp: facts.network.dhcp_clients.contains(live),
            plan: Plan::default(),
        }
    }

    fn push(&mut self, step: NetworkStep, undo: Vec<NetworkStep>) {
        self.plan.push(Step::Network(step), undo.into_iter().map(Step::Network).collect());
    }

    fn set_static(&mut self, given: &StaticAddresses) {
        self.bring_up();
        self.stop_dhcp();
        if given.has_family(false) {
            self.enable_ipv6();
        }
        for ipv4 in [true, false] {
            let outcome = self.set_addresses(ipv4, given);
            self.set_default_route(ipv4, given, outcome);
        }
        self.set_name_servers(given);
    }

    fn set_dhcp(&mut self, earlier: &Earlier) {
        let is_the_hosts = |held: &InterfaceAddress| self.facts.is_the_hosts(self.live, held);
        let ipv4: Vec<InterfaceAddress> =
            self.held.iter().copied().filter(|held| held.address.is_ipv4() && is_the_hosts(held)).collect();
        // One address of a served interface is its lease, so the interface is as it should be.
        let served =
            self.dhcp || self.facts.at_work.foreign_clients.iter().any(|(name, _)| name == self.live);
        let leased = served && ipv4.len() <= 1 && !ipv4.iter().any(|held| earlier.gone.contains(held));
        if !leased {
            self.stop_dhcp();
            self.set_addresses(true, &StaticAddresses::default());
        }
        self.set_addresses(false, &StaticAddresses::default());
        self.drop_name_servers(ResolvLabel::of_host(&self.target.hn));
        if leased {
            self.give_shared_again(&ipv4, earlier);
            self.set_leased_route(&ipv4);
        } else {
            self.start_dhcp(&earlier.gone);
        }
    }

    /// dhclient-script(8) sets the lease without "alias", which takes the first IPv4 address away. Where the
    /// host's were removed, that is one of carp(4). Only after the lease it stays.
    fn give_shared_again(&mut self, lease: &[InterfaceAddress], earlier: &Earlier) {
        let lost = |address: &InterfaceAddress| !lease.is_empty() && !self.held.contains(address);
        let lost: Vec<_> = earlier.shared.iter().filter(|(address, _)| lost(address)).cloned().collect();
        for (address, give) in lost {
            let remove = self.remove(address);
            self.push(give, vec![remove]);
        }
    }

    /// Its undo removes all that the client has set by then, except what other programs have removed before.
    fn start_dhcp(&mut self, gone: &[InterfaceAddress]) {
        let interface = self.live.clone();
        let held = self.held.iter().filter(|held| held.address.is_ipv4());
        let addresses = held.chain(gone).copied().collect();
        let end = NetworkStep::EndLease { interface: interface.clone(), addresses };
        let mut undo = vec![Step::Network(end)];
        // dhclient-script(8) sets its address without "alias", which removes the first IPv4 address.
        undo.extend(self.facts.shared(self.live).into_iter().map(|(_, give)| Step::Network(give)));
        if self.facts.without_name_servers.is_none() {
            let label = ResolvLabel::of_dhclient(self.live);
            undo.push(match self.facts.held_name_servers(&label).cloned() {
                Some(text) => Step::SetNameServers { label, text },
                None => Step::DropNameServers(label),
            });
        }
        self.plan.push(Step::Network(NetworkStep::StartDhcp { interface, wait: false }), undo);
    }

    /// `service routing restart` flushes the route of a lease, and no client sets it again before the next
    /// lease (rc.d/routing, `routing_stop_inet`; dhclient-script, `add_new_routes`).
    fn set_leased_route(&mut self, ipv4: &[InterfaceAddress]) {
        let Some(DhcpLease { address: Some(address), router: Some(router) }) = self.facts.lease else {
            return;
        };
        let own = ipv4.iter().find(|held| held.address == IpAddr::V4(address));
        let gateway = IpAddr::V4(router);
        if self.facts.default_route(true).is_none() && own.is_some_and(|own| own.reaches(gateway)) {
            let interface = self.live.clone();
            let undo = vec![NetworkStep::RemoveDefaultRoute { gateway, interface: interface.clone() }];
            self.push(NetworkStep::SetDefaultRoute { gateway, interface }, undo);
        }
    }

    fn bring_up(&mut self) {
        if self.facts.interface(self.live).is_some_and(|interface| !interface.up) {
            let interface = self.live.clone();
            self.push(
                NetworkStep::BringUp { interface: interface.clone() },
                vec![NetworkStep::BringDown { interface }],
            );
        }
    }

    /// Stops the client before its addresses are removed: a client that loses its address runs its script
    /// once more, later. The client removes its address when it stops, so the address is added again before a
    /// new client looks for it.
    fn stop_dhcp(&mut self) {
        if !self.dhcp {
            return;
        }
        let interface = self.live.clone();
        let ipv4: Vec<InterfaceAddress> =
            self.held.iter().copied().filter(|held| held.address.is_ipv4()).collect();
        let mut undo: Vec<NetworkStep> = ipv4.into_iter().map(|address| self.add(address)).collect();
        undo.extend(self.own_default_route(true));
        undo.extend(self.own_static_routes(true).map(NetworkStep::AddRoute));
        undo.push(NetworkStep::StartDhcp { interface: interface.clone(), wait: false });
        self.push(NetworkStep::StopDhcp { interface }, undo);
    }

    fn enable_ipv6(&mut self) {
        if !self.ipv6.disabled && !self.ipv6.accept_rtadv {
            return;
        }
        let interface = self.live.clone();
        let step = |accept_rtadv| NetworkStep::EnableIpv6 {
            interface: interface.clone(),
            accept_rtadv,
            link_local: None,
        };
        let mut undo = Vec::new();
        if self.ipv6.disabled {
            let link_local = self.held.iter().copied().find(is_ipv6_link_local);
            undo.push(NetworkStep::DisableIpv6 { interface: interface.clone(), link_local });
            undo.extend(link_local.map(|address| self.add(address)));
        } else {
            undo.push(step(true));
        }
        self.push(step(false), undo);
    }

    /// Makes the addresses of a family exactly the given ones, in their order, and returns how they change.
    /// Link-local addresses of IPv6 stay. Addresses from router advertisements stay if none are given.
    fn set_addresses(&mut self, ipv4: bool, given: &StaticAddresses) -> Addresses {
        let of_family = |address: &&InterfaceAddress| address.address.is_ipv4() == ipv4;
        let is_the_hosts = |held: &&InterfaceAddress| self.facts.is_the_hosts(self.live, held);
        let held: Vec<InterfaceAddress> =
            self.held.iter().filter(of_family).filter(is_the_hosts).copied().collect();
        let wanted: Vec<InterfaceAddress> =
            given.addresses.iter().filter(of_family).filter(|a| !self.holds_as_foreign(a)).copied().collect();
        if !ipv4 && wanted.is_empty() && self.ipv6.accept_rtadv && !self.ipv6.disabled {
            return Addresses::Same;
        }
        let stay = held.iter().zip(&wanted).take_while(|(held, wanted)| held == wanted).count();
        if !ipv4 && held.len() > stay {
            self.remove_ipv6_routes(given, &wanted);
        }
        let mut routes: Vec<NetworkStep> = self.own_default_route(ipv4).into_iter().collect();
        routes.extend(self.own_static_routes(ipv4).map(NetworkStep::AddRoute));
        // The last address is removed first, so that the undo restores the order. The kernel drops a route
        // with the address that reaches its gateway; the undo sets it after the last address.
        for address in held[stay..].iter().rev() {
            let mut undo = vec![self.add(*address)];
            undo.append(&mut routes);
            let remove = self.remove(*address);
            self.push(remove, undo);
        }
        for address in &wanted[stay..] {
            let (add, remove) = (self.add(*address), self.remove(*address));
            self.push(add, vec![remove]);
        }
        if held.len() > stay {
            let reached = |route: &StaticRoute| wanted.iter().any(|address| address.reaches(route.gateway));
            let routes: Vec<StaticRoute> = self.own_static_routes(ipv4).filter(reached).collect();
            for route in routes {
                self.push(NetworkStep::AddRoute(route.clone()), vec![NetworkStep::RemoveRoute(route)]);
            }
        }
        match (held.len() > stay, wanted.len() > stay) {
            (true, _) => Addresses::Replaced,
            (false, true) => Addresses::Added,
            (false, false) => Addresses::Same,
        }
    }

    /// IPv6 routes outlive the addresses that reach their gateways (sys/netinet6/in6.c, `in6_purgeaddr`).
    /// Routes without such an address are removed before the addresses, so that the undo sets them after the
    /// addresses.
    fn remove_ipv6_routes(&mut self, given: &StaticAddresses, wanted: &[InterfaceAddress]) {
        let is_lost =
            |gateway: IpAddr| !is_link_local(gateway) && !wanted.iter().any(|own| own.reaches(gateway));
        let routes: Vec<StaticRoute> =
            self.own_static_routes(false).filter(|route| is_lost(route.gateway)).collect();
        for route in routes {
            self.push(NetworkStep::RemoveRoute(route.clone()), vec![NetworkStep::AddRoute(route)]);
        }
        let default = self.facts.default_route(false).filter(|route| &route.interface == self.live).cloned();
        // With a gateway of the host the route is changed, so that there is always one.
        if let Some(DefaultRoute { gateway, interface }) = default
            && is_lost(gateway)
            && given.gateway(false).is_none()
        {
            let back = NetworkStep::SetDefaultRoute { gateway, interface: interface.clone() };
            self.push(NetworkStep::RemoveDefaultRoute { gateway, interface }, vec![back]);
        }
    }

    /// Only a gateway replaces the default route. Without one the route stays if an address still reaches it.
    fn set_default_route(&mut self, ipv4: bool, given: &StaticAddresses, addresses: Addresses) {
        let old = self.facts.default_route(ipv4).cloned();
        let own = old.as_ref().is_some_and(|route| &route.interface == self.live);
        // An advertised route would expire when no router advertises any more, so it is set as a permanent
        // one.
        let advertised = !ipv4 && given.has_family(false) && self.ipv6.accept_rtadv;
        let wanted = given.gateway(ipv4).or_else(|| {
            let gateway = old.as_ref().filter(|_| own)?.gateway;
            let stays = given.addresses.iter().any(|address| address.reaches(gateway))
                || (advertised && is_link_local(gateway));
            stays.then_some(gateway)
        });
        let Some(gateway) = wanted else { return };
        let interface = self.live.clone();
        let same = addresses == Addresses::Same;
        if same && !advertised && old == Some(DefaultRoute { gateway, interface: interface.clone() }) {
            return;
        }
        let mut undo = vec![NetworkStep::RemoveDefaultRoute { gateway, interface: interface.clone() }];
        if let Some(old) = old {
            let back = NetworkStep::SetDefaultRoute { gateway: old.gateway, interface: old.interface };
            // It is set again with the addresses that reach it.
            let reached = !own || addresses != Addresses::Replaced || is_link_local(old.gateway);
            undo.extend(reached.then_some(back));
        }
        self.push(NetworkStep::SetDefaultRoute { gateway, interface }, undo);
    }

    fn set_name_servers(&mut self, given: &StaticAddresses) {
        if self.facts.without_name_servers.is_some() {
            return;
        }
        let label = ResolvLabel::of_host(&self.target.hn);
        if given.name_servers.is_empty() {
            self.drop_name_servers(label);
            if self.dhcp {
                self.drop_name_servers(ResolvLabel::of_dhclient(self.live));
            }
            return;
        }
        let text = name_server_lines(&given.name_servers, self.live);
        let held = self.facts.held_name_servers(&label);
        if held != Some(&text) {
            let undo = match held {
                Some(held) => Step::SetNameServers { label: label.clone(), text: held.clone() },
                None => Step::DropNameServers(label.clone()),
            };
            self.plan.push(Step::SetNameServers { label, text }, vec![undo]);
        }
        // Also those that an earlier client left there, because dhclient(8) removes nothing at its end.
        self.drop_name_servers(ResolvLabel::of_dhclient(self.live));
    }

    fn drop_name_servers(&mut self, label: ResolvLabel) {
        if let Some(held) = self.facts.held_name_servers(&label) {
            let undo = Step::SetNameServers { label: label.clone(), text: held.clone() };
            self.plan.push(Step::DropNameServers(label), vec![undo]);
        }
    }

    fn own_default_route(&self, ipv4: bool) -> Option<NetworkStep> {
        let route = self.facts.default_route(ipv4).filter(|route| &route.interface == self.live)?;
        Some(NetworkStep::SetDefaultRoute { gateway: route.gateway, interface: self.live.clone() })
    }

    /// The static routes that the kernel drops with the addresses of the family, and that can be set again.
    fn own_static_routes(&self, ipv4: bool) -> impl Iterator<Item = StaticRoute> {
        let of_family = move |route: &&StaticRoute| {
            &route.interface == self.live
                && route.gateway.is_ipv4() == ipv4
                && !is_link_local(route.gateway)
                && self.held.iter().any(|held| held.reaches(route.gateway))
        };
        self.facts.network.static_routes.iter().filter(of_family).cloned()
    }

    /// Whether the interface has the address already as one that the host does not own, such as the
    /// link-local one.
    fn holds_as_foreign(&self, address: &InterfaceAddress) -> bool {
        let is_foreign = |held: &InterfaceAddress| !self.facts.is_the_hosts(self.live, held);
        self.held.iter().any(|held| held.address == address.address && is_foreign(held))
    }

    fn add(&self, address: InterfaceAddress) -> NetworkStep {
        NetworkStep::AddAddress { interface: self.live.clone(), address }
    }

    fn remove(&self, address: InterfaceAddress) -> NetworkStep {
        NetworkStep::RemoveAddress { interface: self.live.clone(), address }
    }
}

/// fe80::/10. Addresses of 169.254/16 are treated as any other here.
fn is_ipv6_link_local(address: &InterfaceAddress) -> bool {
    is_link_local(address.address)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
