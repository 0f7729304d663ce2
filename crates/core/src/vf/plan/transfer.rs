//! Plans what an interface gets: client, addresses and routes of an adapter. It adds steps and performs none.

use std::net::IpAddr;

use super::Stage;
use super::strip::is_link_local_gateway;
use super::target::Target;
use crate::net::{InterfaceAddress, InterfaceName, StaticRoute};
use crate::plan::Plan;
use crate::plan::network::{IfconfigArguments, NetworkStep as Step};
use crate::rc::Lease;
use crate::vf::facts::Facts;

/// The network of an adapter that moves from one interface to another.
pub(super) struct Transfer<'a> {
    pub(super) facts: &'a Facts,
    pub(super) target: &'a Target,
    /// The interface that had it.
    pub(super) from: &'a InterfaceName,
    /// The interface that gets it.
    pub(super) to: &'a InterfaceName,
    pub(super) stage: Stage,
    /// Whether a step of this plan creates `to`, with its IPv6 flags.
    pub(super) is_made: bool,
}

impl Transfer<'_> {
    pub(super) fn plan(&self, plan: &mut Plan<Step>) {
        self.enable_ipv6(plan);
        for arguments in self.target.wanted.configure.iter().filter(|arguments| self.is_missing(arguments)) {
            self.configure(arguments, plan);
        }
        for address in &self.target.carried {
            let undo = Step::RemoveAddress { interface: self.to.clone(), address: *address };
            plan.push(self.facts.give(self.from, self.to, *address), vec![undo]);
        }
        self.solicit(plan);
        self.default_routes(plan);
        if let Some(lease) = self.target.wanted.dhcp.filter(|_| self.is_unfinished(true)) {
            self.start_client(lease, plan);
        }
        // After the lease, which may be what reaches the gateway.
        self.static_routes(plan);
    }

    /// dhclient-script(8) sets the lease without `alias`, which removes the first IPv4 address of the interface.
    /// So that one is given again after the lease, also where another program has started the client.
    fn start_client(&self, lease: Lease, plan: &mut Plan<Step>) {
        let interface = self.to.clone();
        let replaced = self.first_ipv4();
        let is_served = self.facts.has_dhclient(self.to);
        if is_served && replaced.is_none() {
            return;
        }
        let wait = lease == Lease::Awaited || replaced.is_some();
        let undo = (!is_served).then(|| Step::StopDhcp { interface: interface.clone() });
        plan.push(Step::StartDhcp { interface, wait }, undo.into_iter().collect());
        if let Some(again) = replaced {
            plan.push(again, Vec::new());
        }
    }

    /// The step that gives the first IPv4 address that is wanted on the interface, if it is the first one there.
    fn first_ipv4(&self) -> Option<Step> {
        let is_ipv4 = |address: &InterfaceAddress| address.address.is_ipv4();
        let present = self.facts.addresses(self.to).iter().find(|held| is_ipv4(held));
        let configured = self.target.wanted.configure.iter().find(|arguments| {
            let Some(address) = arguments.address.filter(is_ipv4) else { return false };
            present.map_or_else(|| self.is_missing(arguments), |held| held.address == address.address)
        });
        if let Some(arguments) = configured {
            return Some(Step::Configure { interface: self.to.clone(), arguments: arguments.clone() });
        }
        // Another one that is in no file replaces a lease, and perhaps no server answers.
        let carried = self.target.carried.iter().find(|address| is_ipv4(address));
        let is_shared =
            |held: &&InterfaceAddress| self.facts.link(self.from).vhids.contains_key(&held.address);
        let carried = carried.filter(|held| present.is_none() && is_shared(held));
        carried.map(|address| self.facts.give(self.from, self.to, *address))
    }

    /// Before the addresses: an address on a disabled interface is not usable.
    fn enable_ipv6(&self, plan: &mut Plan<Step>) {
        let (options, wanted) = (self.facts.link(self.to).ipv6, &self.target.wanted);
        let differs = self.stage != Stage::Complete && options.accept_rtadv != wanted.accept_rtadv;
        if wanted.ipv6 && !self.is_made && (options.disabled || differs) {
            let interface = self.to.clone();
            plan.push(
                Step::EnableIpv6 {
                    interface: interface.clone(),
                    accept_rtadv: wanted.accept_rtadv,
                    link_local: None,
                },
                vec![Step::DisableIpv6 { interface, link_local: None }],
            );
        }
    }

    fn solicit(&self, plan: &mut Plan<Step>) {
        let is_new = self.stage != Stage::Complete || self.facts.link(self.to).ipv6.disabled;
        if self.target.wanted.accept_rtadv && is_new {
            plan.push(Step::SolicitRouters { interface: self.to.clone() }, Vec::new());
        }
    }

    fn configure(&self, arguments: &IfconfigArguments, plan: &mut Plan<Step>) {
        let interface = self.to.clone();
        let undo =
            arguments.address.map(|address| Step::RemoveAddress { interface: interface.clone(), address });
        plan.push(Step::Configure { interface, arguments: arguments.clone() }, undo.into_iter().collect());
    }

    fn is_missing(&self, arguments: &IfconfigArguments) -> bool {
        let Some(address) = arguments.address else { return self.stage != Stage::Complete };
        let present = self.facts.addresses(self.to).iter().any(|held| held.address == address.address);
        !present && self.is_unfinished(address.address.is_ipv4())
    }

    /// Whether everything of a family is to be given.
    fn is_unfinished(&self, ipv4: bool) -> bool {
        if self.stage != Stage::Complete {
            return true;
        }
        let holds = |name| self.facts.lasting(name).iter().any(|held| held.address.is_ipv4() == ipv4);
        let expects_lease = ipv4 && self.facts.has_dhclient(self.to);
        holds(self.from) || !(holds(self.to) || expects_lease)
    }

    /// Moves the default routes of `from` to `to`, except those that dhclient or a router will set.
    fn default_routes(&self, plan: &mut Plan<Step>) {
        let mut gateways = self.facts.gateways(self.from);
        if self.stage != Stage::Complete {
            gateways.extend(configured_routers(self.facts));
        }
        for gateway in gateways.into_iter().filter(|gateway| self.is_wanted_route(gateway)) {
            let interface = self.to.clone();
            plan.push(
                Step::SetDefaultRoute { gateway, interface: interface.clone() },
                vec![Step::RemoveDefaultRoute { gateway, interface }],
            );
        }
    }

    /// Whether the route must be set here: dhclient(8) or a router's advertisement will not set it, and an
    /// address that is held or wanted reaches the gateway.
    pub(super) fn is_wanted_route(&self, gateway: &IpAddr) -> bool {
        let wanted = &self.target.wanted;
        let reached = || self.target.reaches(self.facts.addresses(self.to), gateway);
        match gateway {
            IpAddr::V4(_) => {
                let is_static = self.target.carried.iter().any(|address| address.address.is_ipv4());
                (wanted.dhcp.is_none() || is_static) && reached()
            }
            IpAddr::V6(_) if is_link_local_gateway(gateway) => wanted.ipv6 && !wanted.accept_rtadv,
            IpAddr::V6(_) => reached(),
        }
    }

    /// Moves the static routes of `from` to `to`, if their gateways are reached there.
    fn static_routes(&self, plan: &mut Plan<Step>) {
        let held = self.facts.addresses(self.to);
        let leased: &[InterfaceAddress] = match self.target.wanted.dhcp {
            // The server gives an address of the same network again.
            Some(Lease::Awaited) => self.facts.addresses(self.from),
            _ => &[],
        };
        let is_reached = |gateway: &IpAddr| match is_link_local_gateway(gateway) {
            true => self.target.wanted.ipv6,
            false => {
                self.target.reaches(held, gateway) || leased.iter().any(|address| address.reaches(*gateway))
            }
        };
        let routes = self.facts.static_routes(self.from, is_reached);
        let lost = self.facts.lost_routes().filter(|route| is_reached(&route.gateway)).cloned();
        for route in routes.into_iter().chain(lost) {
            let route = StaticRoute { interface: self.to.clone(), ..route };
            plan.push(Step::AddRoute(route.clone()), vec![Step::RemoveRoute(route)]);
        }
    }
}

/// The routers of rc.conf, for a family without a default route: a killed run may have lost them.
fn configured_routers(facts: &Facts) -> Vec<IpAddr> {
    let missing = |router: &IpAddr| {
        facts.network.default_routes.iter().all(|route| route.gateway.is_ipv4() != router.is_ipv4())
    };
    [true, false]
        .into_iter()
        .filter_map(|ipv4| facts.rc_conf.default_router(ipv4)?.parse().ok())
        .filter(missing)
        .collect()
}
