//! Plans the removal of what another interface is to have: client, addresses and routes. It adds steps and
//! performs none.

use std::net::IpAddr;

use crate::net::{InterfaceAddress, InterfaceName};
use crate::plan::Plan;
use crate::plan::network::NetworkStep as Step;
use crate::vf::facts::Facts;

/// Removes the DHCP client and IPv4. A VF can have both if `ifconfig_DEFAULT` is set.
pub(super) fn strip_ipv4(facts: &Facts, member: &InterfaceName, plan: &mut Plan<Step>) {
    if facts.has_dhclient(member) {
        // Before the addresses are removed: a client that loses its address runs its script once more, later.
        plan.push(
            Step::StopDhcp { interface: member.clone() },
            vec![Step::StartDhcp { interface: member.clone(), wait: false }],
        );
    }
    let gateways = facts.gateways(member).into_iter().filter(IpAddr::is_ipv4);
    let mut routes: Vec<Step> = default_routes(gateways, member).collect();
    routes.extend(facts.static_routes(member, IpAddr::is_ipv4).into_iter().map(Step::AddRoute));
    remove_addresses(facts, member, true, routes, plan);
}

/// Removes IPv6. This must happen before `member` joins a lagg: the kernel removes the addresses of a port
/// with a link-local address when it joins (sys/net/if_lagg.c, `lagg_ioctl`, SIOCSLAGGPORT), even if joining
/// then fails, and leaves the routes.
///
/// A default route whose gateway `moves` is changed to another interface later, so that there is always one.
pub(super) fn strip_ipv6(
    facts: &Facts,
    member: &InterfaceName,
    moves: impl Fn(&IpAddr) -> bool,
    plan: &mut Plan<Step>,
) {
    // Routes outlive the addresses that reach their gateways (sys/netinet6/in6.c, `in6_purgeaddr`), and with
    // ROUTE_MPATH a second route to the same network is added beside the first. They are set again when the
    // addresses are.
    for route in facts.static_routes(member, |gateway| gateway.is_ipv6()) {
        plan.push(Step::RemoveRoute(route.clone()), vec![Step::AddRoute(route)]);
    }
    let advertised = facts.link(member).ipv6.accept_rtadv;
    let gateways = facts.gateways(member).into_iter().filter(IpAddr::is_ipv6);
    let (moved, others): (Vec<IpAddr>, Vec<IpAddr>) = gateways.partition(&moves);
    for gateway in others {
        let interface = member.clone();
        // An advertised route is restored by the router. Set again it would be permanent.
        let undo = match advertised && is_link_local_gateway(&gateway) {
            true => Step::SolicitRouters { interface: interface.clone() },
            false => Step::SetDefaultRoute { gateway, interface: interface.clone() },
        };
        plan.push(Step::RemoveDefaultRoute { gateway, interface }, vec![undo]);
    }
    let (by_link, by_network): (Vec<IpAddr>, Vec<IpAddr>) =
        moved.into_iter().partition(is_link_local_gateway);
    let routes = default_routes(by_network, member).collect();
    remove_addresses(facts, member, false, routes, plan);
    // Last, so that it is undone first: an address on a disabled interface is not usable.
    disable_ipv6(facts, member, default_routes(by_link, member), plan);
}

/// The kernel drops an IPv4 route with the address that it was added over. The undo sets `routes` after the
/// last address.
fn remove_addresses(
    facts: &Facts,
    member: &InterfaceName,
    ipv4: bool,
    mut routes: Vec<Step>,
    plan: &mut Plan<Step>,
) {
    let lasting = facts.lasting(member);
    let is_own = |held: &&InterfaceAddress| held.address.is_ipv4() == ipv4 && (ipv4 || !held.is_link_local());
    // The last address is removed first, so that the undo restores the order, which decides about source
    // addresses.
    for address in facts.addresses(member).iter().filter(is_own).rev().copied() {
        let mut undo = Vec::new();
        if lasting.contains(&address) {
            undo.push(facts.give(member, member, address));
            undo.append(&mut routes);
        } else {
            undo.push(Step::SolicitRouters { interface: member.clone() });
        }
        plan.push(Step::RemoveAddress { interface: member.clone(), address }, undo);
    }
}

fn disable_ipv6(
    facts: &Facts,
    member: &InterfaceName,
    routes: impl Iterator<Item = Step>,
    plan: &mut Plan<Step>,
) {
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
        if accept_rtadv {
            undo.push(Step::SolicitRouters { interface: interface.clone() });
        }
    }
    undo.extend(routes);
    plan.push(Step::DisableIpv6 { interface, link_local }, undo);
}

pub(super) fn default_routes(
    gateways: impl IntoIterator<Item = IpAddr>,
    interface: &InterfaceName,
) -> impl Iterator<Item = Step> {
    gateways.into_iter().map(|gateway| Step::SetDefaultRoute { gateway, interface: interface.clone() })
}

pub(super) fn is_link_local_gateway(gateway: &IpAddr) -> bool {
    matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
