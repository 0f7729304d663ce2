//! From facts to steps: joining hnN and its VF in laggN, and taking the lagg apart.
//!
//! A plan is the difference between what is and what should be. So it is empty when everything is right, and what a
//! killed run left half-done is completed by the next one.

mod target;

use std::net::IpAddr;

use super::facts::{Facts, is_ipv6_link_local};
use crate::hn::Adapter;
use crate::net::{InterfaceAddress, InterfaceName, StaticRoute};
use crate::plan::Plan;
use crate::plan::network::{IfconfigArguments, Ipv6Options, Lagg, NetworkStep as Step};
use crate::rc::{Lease, RcConfError};
use target::{Target, decided};

/// Why there can be no plan. Nothing has been touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An interface of the lagg's name exists that this program did not make.
    #[error("{0} exists and was not made by hyperv_vfup, so it is left alone")]
    ForeignLagg(InterfaceName),
    /// An interface that should become a port is one of another lagg.
    #[error("{port} is a port of {lagg} already")]
    PortOfOther {
        /// The interface.
        port: InterfaceName,
        /// The lagg that has it.
        lagg: InterfaceName,
    },
    /// The kernel names a VF that does not exist or cannot be one.
    #[error("{0} cannot be used as VF")]
    BadVf(InterfaceName),
    /// hnN itself does not exist.
    #[error("{0} does not exist")]
    Missing(InterfaceName),
    /// hnN carries a vlan(4), which receives nothing any more once hnN is a port.
    #[error("{hn} carries {vlan}, which would receive nothing with {hn} in a lagg")]
    HasVlan {
        /// hnN.
        hn: InterfaceName,
        /// The vlan.
        vlan: InterfaceName,
    },
    /// A value of rc.conf.
    #[error(transparent)]
    RcConf(#[from] RcConfError),
}

/// The plan that joins `hn` and its VF. `None`: the VF is gone, nothing is to be done.
///
/// # Errors
/// See [`PlanError`].
pub fn plan_up(hn: &Adapter, facts: &Facts) -> Result<Option<Plan<Step>>, PlanError> {
    let Some(vf) = facts.vf.as_ref().filter(|vf| facts.interface(vf).is_some()) else { return Ok(None) };
    if vf == hn.name() || vf.is_lagg() {
        return Err(PlanError::BadVf(vf.clone()));
    }
    if facts.interface(hn.name()).is_none() {
        return Err(PlanError::Missing(hn.name().clone()));
    }
    let existing = own_lagg(hn, facts)?;
    // Nobody knows how far base's script came with what it made.
    let adopted = existing.is_some() && !facts.link(hn.lagg()).is_marked();
    let facts = &Facts { interrupted: facts.interrupted || adopted, ..facts.clone() };
    for port in [hn.name(), vf] {
        if let Some(lagg) = facts.lagg_of_port(port).filter(|lagg| *lagg != hn.lagg()) {
            return Err(PlanError::PortOfOther { port: port.clone(), lagg: lagg.clone() });
        }
    }
    if let (None, Some(vlan)) = (&existing, facts.vlan_over(hn.name())) {
        return Err(PlanError::HasVlan { hn: hn.name().clone(), vlan: vlan.clone() });
    }
    let wanted = facts.rc_conf.wanted_for_lagg(hn.lagg(), hn.name())?;
    let target = Target::with_live(wanted, facts, (hn.name(), hn.lagg()), decided(hn, facts)?);
    Ok(Some(Up { hn, vf, facts, target, existing }.plan()))
}

/// The plan that takes the lagg of `hn` apart and gives `hn` its configuration back. Empty if there is no lagg, unless a
/// run that did this was killed.
///
/// # Errors
/// See [`PlanError`].
pub fn plan_down(hn: &Adapter, facts: &Facts) -> Result<Plan<Step>, PlanError> {
    let existing = own_lagg(hn, facts)?;
    if existing.is_none() && !facts.interrupted {
        return Ok(Plan::default());
    }
    let wanted = facts.rc_conf.wanted(hn.name())?;
    let target = Target::with_live(wanted, facts, (hn.lagg(), hn.name()), decided(hn, facts)?);
    Ok(Down { hn, facts, target, existing }.plan())
}

/// The plan that leaves the network to `hn` where joining it and its VF has failed: while a VF is up, `hn` has no carrier.
/// Empty where the VF is down or serves for something: as a port, or with addresses of its own.
#[must_use]
pub fn plan_without_vf(facts: &Facts) -> Plan<Step> {
    let mut plan = Plan::default();
    let idle = |vf: &&InterfaceName| {
        facts.lagg_of_port(vf).is_none() && facts.addresses(vf).iter().all(is_ipv6_link_local)
    };
    if let Some(vf) = facts.vf.as_ref().filter(idle) {
        bring_down(vf, facts, &mut plan);
    }
    plan
}

fn bring_down(vf: &InterfaceName, facts: &Facts, plan: &mut Plan<Step>) {
    if facts.interface(vf).is_some_and(|interface| interface.up) {
        plan.push(Step::BringDown { interface: vf.clone() }, vec![Step::BringUp { interface: vf.clone() }]);
    }
}

/// The lagg of `hn`, if it exists and is ours.
fn own_lagg(hn: &Adapter, facts: &Facts) -> Result<Option<Lagg>, PlanError> {
    let exists = facts.interface(hn.lagg()).is_some() || facts.links.contains_key(hn.lagg());
    let link = facts.link(hn.lagg());
    match link.lagg_of(hn, facts.vf.as_ref()) {
        _ if !exists => Ok(None),
        Some(lagg) => Ok(Some(lagg.clone())),
        None => Err(PlanError::ForeignLagg(hn.lagg().clone())),
    }
}

struct Up<'a> {
    hn: &'a Adapter,
    vf: &'a InterfaceName,
    facts: &'a Facts,
    target: Target,
    existing: Option<Lagg>,
}

impl Up<'_> {
    fn plan(&self) -> Plan<Step> {
        let mut plan = Plan::default();
        self.join_ports(&mut plan);
        for member in [self.hn.name(), self.vf] {
            self.strip(member, &mut plan);
        }
        self.configure_lagg(&mut plan);
        plan
    }

    fn lagg(&self) -> InterfaceName {
        self.hn.lagg().clone()
    }

    fn join_ports(&self, plan: &mut Plan<Step>) {
        let members = [self.hn.name(), self.vf];
        // The first port gives the lagg its MTU and the kernel forces it on the others without giving the old one
        // back later, so a difference is a step of its own.
        let leader = if self.existing.is_some() { self.hn.lagg() } else { self.hn.name() };
        let mtu = self.facts.link(leader).mtu;
        for member in members.into_iter().filter(|member| !self.is_port(member)) {
            let link = self.facts.link(member);
            if link.mtu != mtu && link.mtu != 0 && mtu != 0 {
                let set = |mtu| Step::SetMtu { interface: member.clone(), mtu };
                plan.push(set(mtu), vec![set(link.mtu)]);
            }
            if self.facts.interface(member).is_some_and(|interface| !interface.up) {
                plan.push(
                    Step::BringUp { interface: member.clone() },
                    vec![Step::BringDown { interface: member.clone() }],
                );
            }
        }
        match &self.existing {
            None => plan.push(self.create(), vec![Step::DestroyLagg { lagg: self.lagg() }]),
            Some(lagg) => self.repair_ports(lagg, plan),
        }
    }

    fn is_port(&self, member: &InterfaceName) -> bool {
        self.existing.as_ref().is_some_and(|lagg| lagg.ports.contains(member))
    }

    fn create(&self) -> Step {
        // hn comes first and so is the master: traffic moves to the VF because the kernel reports hn's link down
        // while the VF carries the data.
        let ports = vec![self.hn.name().clone(), self.vf.clone()];
        let ipv6 = Ipv6Options {
            disabled: !self.target.wanted.ipv6,
            accept_rtadv: self.target.wanted.accept_rtadv,
            auto_linklocal: self.target.wanted.ipv6,
            no_dad: true,
        };
        Step::CreateLagg { lagg: self.lagg(), ports, description: String::new(), ipv6 }
    }

    /// A VF can come back under another name; then its old name may still be a port, if something else has it now.
    fn repair_ports(&self, lagg: &Lagg, plan: &mut Plan<Step>) {
        if self.facts.interface(self.hn.lagg()).is_some_and(|interface| !interface.up) {
            plan.push(
                Step::BringUp { interface: self.lagg() },
                vec![Step::BringDown { interface: self.lagg() }],
            );
        }
        if !self.facts.link(self.hn.lagg()).is_marked() {
            plan.push(Step::MarkLagg { lagg: self.lagg() }, vec![Step::UnmarkLagg { lagg: self.lagg() }]);
        }
        let add = |port: &InterfaceName| Step::AddPort { lagg: self.lagg(), port: port.clone() };
        let remove = |port: &InterfaceName| Step::RemovePort { lagg: self.lagg(), port: port.clone() };
        for member in [self.hn.name(), self.vf] {
            if !self.is_port(member) {
                plan.push(add(member), vec![remove(member)]);
            }
        }
        for port in lagg.ports.iter().filter(|port| *port != self.hn.name() && *port != self.vf) {
            plan.push(remove(port), vec![add(port)]);
        }
    }

    /// Takes all configuration from a port. A VF can have some where `ifconfig_DEFAULT` is set.
    fn strip(&self, member: &InterfaceName, plan: &mut Plan<Step>) {
        let facts = self.facts;
        let interface = member.clone();
        if facts.has_dhclient(member) {
            // Before the addresses go: a client that loses its address runs its script once more, later.
            plan.push(
                Step::StopDhcp { interface: interface.clone() },
                vec![Step::StartDhcp { interface: interface.clone(), wait: false }],
            );
        }
        for ipv4 in [true, false] {
            remove_addresses(facts, member, ipv4, plan);
        }
        // Last, so that it is taken back first: an address that comes back to a disabled interface is not usable.
        disable_ipv6(facts, member, plan);
    }

    fn configure_lagg(&self, plan: &mut Plan<Step>) {
        for arguments in self.target.wanted.configure.iter().filter(|arguments| self.is_missing(arguments)) {
            push_configure(self.hn.lagg(), arguments, plan);
        }
        self.target.push_carried(self.hn.lagg(), plan);
        self.enable_autoconfiguration(plan);
        self.move_routes(plan);
        if let Some(lease) = self.target.wanted.dhcp.filter(|_| self.needs_client()) {
            let wait = lease == Lease::Awaited;
            plan.push(
                Step::StartDhcp { interface: self.lagg(), wait },
                vec![Step::StopDhcp { interface: self.lagg() }],
            );
        }
        // Behind the lease: it can be what reaches the gateway.
        move_static_routes(&self.target, self.facts, (self.hn.name(), self.hn.lagg()), plan);
    }

    /// A new lagg gets all of rc.conf, and so does one that a killed run made. Another one gets what it lacks only while
    /// it holds nothing of the family or hn still holds something: an administrator or the host may have given it other
    /// addresses since.
    fn is_missing(&self, arguments: &IfconfigArguments) -> bool {
        let Some(address) = arguments.address else {
            return self.existing.is_none() || self.facts.interrupted;
        };
        let present = self.facts.addresses(self.hn.lagg()).iter().any(|held| held.address == address.address);
        !present && self.is_unfinished(address.address.is_ipv4())
    }

    fn is_unfinished(&self, ipv4: bool) -> bool {
        if self.existing.is_none() || self.facts.interrupted {
            return true;
        }
        let holds = |name| {
            let mut addresses = self.facts.addresses(name).iter();
            addresses.any(|held| held.address.is_ipv4() == ipv4 && !is_ipv6_link_local(held))
        };
        let expects_lease = ipv4 && self.facts.has_dhclient(self.hn.lagg());
        holds(self.hn.name()) || !(holds(self.hn.lagg()) || expects_lease)
    }

    fn needs_client(&self) -> bool {
        !self.facts.has_dhclient(self.hn.lagg()) && self.is_unfinished(true)
    }

    fn enable_autoconfiguration(&self, plan: &mut Plan<Step>) {
        let lagg = self.facts.link(self.hn.lagg()).ipv6;
        if self.existing.is_some() && self.target.wanted.ipv6 && lagg.disabled {
            enable_ipv6(self.hn.lagg(), self.target.wanted.accept_rtadv, None, plan);
        }
        let new = self.existing.is_none() || lagg.disabled;
        if self.target.wanted.accept_rtadv && new {
            plan.push(Step::SolicitRouters { interface: self.lagg() }, Vec::new());
        }
    }

    /// The default routes through hn now lead through the lagg, except those that dhclient or a router will supply.
    fn move_routes(&self, plan: &mut Plan<Step>) {
        let mut gateways = self.facts.gateways(self.hn.name());
        if self.existing.is_none() || self.facts.interrupted {
            gateways.extend(configured_routers(self.facts));
        }
        for gateway in gateways.into_iter().filter(|gateway| self.can_lead_to(gateway)) {
            let interface = self.lagg();
            plan.push(
                Step::SetDefaultRoute { gateway, interface: interface.clone() },
                vec![Step::RemoveDefaultRoute { gateway, interface }],
            );
        }
    }

    fn can_lead_to(&self, gateway: &IpAddr) -> bool {
        is_wanted_route(&self.target, self.facts.addresses(self.hn.lagg()), gateway)
    }
}

struct Down<'a> {
    hn: &'a Adapter,
    facts: &'a Facts,
    target: Target,
    /// `None`: a killed run has destroyed it already.
    existing: Option<Lagg>,
}

impl Down<'_> {
    fn plan(&self) -> Plan<Step> {
        let (hn, lagg) = (self.hn.name(), self.hn.lagg());
        let mut plan = Plan::default();
        if self.facts.has_dhclient(lagg) {
            plan.push(
                Step::StopDhcp { interface: lagg.clone() },
                vec![Step::StartDhcp { interface: lagg.clone(), wait: false }],
            );
        }
        if let Some(parts) = &self.existing {
            plan.push(Step::DestroyLagg { lagg: lagg.clone() }, self.rebuild(parts));
        }
        // The kernel leaves the network to hn only while the VF is down.
        if let Some(vf) = &self.facts.vf {
            bring_down(vf, self.facts, &mut plan);
        }
        let options = self.facts.link(hn).ipv6;
        if self.target.wanted.ipv6
            && (options.disabled || options.accept_rtadv != self.target.wanted.accept_rtadv)
        {
            enable_ipv6(hn, self.target.wanted.accept_rtadv, None, &mut plan);
        }
        let held = self.facts.addresses(hn);
        let missing = |arguments: &&IfconfigArguments| {
            arguments.address.is_none_or(|wanted| held.iter().all(|held| held.address != wanted.address))
        };
        for arguments in self.target.wanted.configure.iter().filter(missing) {
            push_configure(hn, arguments, &mut plan);
        }
        self.target.push_carried(hn, &mut plan);
        if self.target.wanted.accept_rtadv {
            plan.push(Step::SolicitRouters { interface: hn.clone() }, Vec::new());
        }
        let leads = |gateway: &IpAddr| is_wanted_route(&self.target, self.facts.addresses(hn), gateway);
        let mut gateways = self.facts.gateways(lagg);
        if self.facts.interrupted {
            gateways.extend(configured_routers(self.facts));
        }
        for gateway in gateways.into_iter().filter(leads) {
            plan.push(
                Step::SetDefaultRoute { gateway, interface: hn.clone() },
                vec![Step::RemoveDefaultRoute { gateway, interface: hn.clone() }],
            );
        }
        if let Some(lease) = self.target.wanted.dhcp.filter(|_| !self.facts.has_dhclient(hn)) {
            plan.push(
                Step::StartDhcp { interface: hn.clone(), wait: lease == Lease::Awaited },
                vec![Step::StopDhcp { interface: hn.clone() }],
            );
        }
        move_static_routes(&self.target, self.facts, (lagg, hn), &mut plan);
        plan
    }

    /// What makes the lagg again as it was.
    fn rebuild(&self, parts: &Lagg) -> Vec<Step> {
        let lagg = self.hn.lagg();
        // hn first: it was the master. ifconfig(8) lists ports by index.
        let mut ports = parts.ports.clone();
        ports.sort_by_key(|port| port != self.hn.name());
        let ipv6 = self.facts.link(lagg).ipv6;
        let description = self.facts.link(lagg).description;
        let mut steps = vec![Step::CreateLagg { lagg: lagg.clone(), ports, description, ipv6 }];
        let addresses = self.facts.addresses(lagg).iter().copied().filter(|held| !is_ipv6_link_local(held));
        steps.extend(addresses.map(|address| Step::AddAddress { interface: lagg.clone(), address }));
        steps.extend(default_routes(self.facts.gateways(lagg), lagg));
        steps.extend(self.facts.static_routes(lagg, |_| true).into_iter().map(Step::AddRoute));
        steps
    }
}

/// What a run that was killed half-way may have lost: the routers of rc.conf, where the family has no default route.
fn configured_routers(facts: &Facts) -> Vec<IpAddr> {
    let missing = |router: &IpAddr| {
        facts.network.default_routes.iter().all(|route| route.gateway.is_ipv4() != router.is_ipv4())
    };
    ["defaultrouter", "ipv6_defaultrouter"]
        .into_iter()
        .filter_map(|name| facts.rc_conf.value(name)?.trim().parse().ok())
        .filter(missing)
        .collect()
}

fn default_routes(gateways: Vec<IpAddr>, interface: &InterfaceName) -> impl Iterator<Item = Step> {
    gateways.into_iter().map(|gateway| Step::SetDefaultRoute { gateway, interface: interface.clone() })
}

/// The static routes through `from` now lead through `to`, as far as their gateways are reached there.
fn move_static_routes(
    target: &Target,
    facts: &Facts,
    (from, to): (&InterfaceName, &InterfaceName),
    plan: &mut Plan<Step>,
) {
    let held = facts.addresses(to);
    let leased: &[InterfaceAddress] = match target.wanted.dhcp {
        // The server gives the same network again.
        Some(Lease::Awaited) => facts.addresses(from),
        _ => &[],
    };
    let is_reached = |gateway: &IpAddr| match is_link_local_gateway(gateway) {
        true => target.wanted.ipv6,
        false => target.reaches(held, gateway) || leased.iter().any(|address| address.reaches(*gateway)),
    };
    for route in facts.static_routes(from, is_reached) {
        let route = StaticRoute { interface: to.clone(), ..route };
        plan.push(Step::AddRoute(route.clone()), vec![Step::RemoveRoute(route)]);
    }
}

/// Whether the route is to be set here: dhclient(8) or a router's advertisement will not, and an address that is held or
/// wanted reaches the gateway.
fn is_wanted_route(target: &Target, held: &[InterfaceAddress], gateway: &IpAddr) -> bool {
    let wanted = &target.wanted;
    let reached = || target.reaches(held, gateway);
    match gateway {
        IpAddr::V4(_) => {
            let is_static = target.carried.iter().any(|address| address.address.is_ipv4());
            (wanted.dhcp.is_none() || is_static) && reached()
        }
        IpAddr::V6(_) if is_link_local_gateway(gateway) => wanted.ipv6 && !wanted.accept_rtadv,
        IpAddr::V6(_) => reached(),
    }
}

fn push_configure(interface: &InterfaceName, arguments: &IfconfigArguments, plan: &mut Plan<Step>) {
    let interface = interface.clone();
    let undo = arguments.address.map(|address| Step::RemoveAddress { interface: interface.clone(), address });
    plan.push(Step::Configure { interface, arguments: arguments.clone() }, undo.into_iter().collect());
}

/// The kernel drops a route with the address that reaches its gateway. It comes back behind the address that
/// is taken back last, when all are there again.
fn remove_addresses(facts: &Facts, member: &InterfaceName, ipv4: bool, plan: &mut Plan<Step>) {
    let held = facts.addresses(member).iter().copied();
    let mut gateways = facts.gateways(member);
    let is_global = |gateway: &IpAddr| gateway.is_ipv4() == ipv4 && !is_link_local_gateway(gateway);
    gateways.retain(is_global);
    let mut routes = facts.static_routes(member, is_global);
    // The last first, so that they come back in their order, which decides about source addresses.
    for address in held.filter(|held| held.address.is_ipv4() == ipv4 && !is_ipv6_link_local(held)).rev() {
        let interface = member.clone();
        let mut undo = vec![Step::AddAddress { interface: interface.clone(), address }];
        undo.extend(default_routes(std::mem::take(&mut gateways), member));
        undo.extend(std::mem::take(&mut routes).into_iter().map(Step::AddRoute));
        plan.push(Step::RemoveAddress { interface, address }, undo);
    }
}

fn is_link_local_gateway(gateway: &IpAddr) -> bool {
    matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn disable_ipv6(facts: &Facts, member: &InterfaceName, plan: &mut Plan<Step>) {
    let (options, link_local) = (facts.link(member).ipv6, facts.link_local(member));
    if options.disabled && !options.accept_rtadv && link_local.is_none() {
        return;
    }
    let interface = member.clone();
    let mut undo = Vec::new();
    if options.disabled {
        undo.extend(link_local.map(|address| Step::AddAddress { interface: interface.clone(), address }));
    } else {
        let accept_rtadv = options.accept_rtadv;
        undo.push(Step::EnableIpv6 { interface: interface.clone(), accept_rtadv, link_local });
    }
    let mut gateways = facts.gateways(member);
    gateways.retain(is_link_local_gateway);
    undo.extend(default_routes(gateways, member));
    undo.extend(facts.static_routes(member, is_link_local_gateway).into_iter().map(Step::AddRoute));
    plan.push(Step::DisableIpv6 { interface, link_local }, undo);
}

fn enable_ipv6(
    interface: &InterfaceName,
    accept_rtadv: bool,
    link_local: Option<InterfaceAddress>,
    plan: &mut Plan<Step>,
) {
    let interface = interface.clone();
    plan.push(
        Step::EnableIpv6 { interface: interface.clone(), accept_rtadv, link_local },
        vec![Step::DisableIpv6 { interface, link_local }],
    );
}

#[cfg(test)]
mod tests;
