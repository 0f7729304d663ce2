//! Undo by comparison: finds what differs from the former state, and plans the steps that restore it. It is
//! given both states.

use std::fmt::Display;

use super::strip::is_link_local_gateway;
use crate::hn::Adapter;
use crate::net::{DefaultRoute, InterfaceAddress, InterfaceName};
use crate::plan::Plan;
use crate::plan::network::NetworkStep as Step;
use crate::vf::facts::Facts;

/// The differences from the former state, each in one clause. For hnN, its VF and the lagg: existence, up or
/// down, MTU, ports, IPv6 flags, addresses with their vhids, routes, clients. Left out are link-local and
/// advertised addresses, and a lease whose client runs.
#[must_use]
pub fn differences(hn: &Adapter, before: &Facts, now: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    for name in interfaces(hn, before) {
        let (Some(was), Some(is)) = (before.interface(name), now.interface(name)) else {
            if before.interface(name).is_some() != now.interface(name).is_some() {
                let verb = if now.interface(name).is_some() { "exists" } else { "is gone" };
                found.push(format!("{name} {verb}"));
            }
            continue;
        };
        let (was_link, is_link) = (before.link(name), now.link(name));
        let mut compare = |what: &str, is_same: bool| {
            if !is_same {
                found.push(format!("{what} of {name}"));
            }
        };
        compare("the state", was.up == is.up);
        compare("the MTU", was_link.mtu == is_link.mtu);
        compare("the ports", sorted_ports(before, name) == sorted_ports(now, name));
        let flags = |link: &crate::plan::network::Link| (link.ipv6.disabled, link.ipv6.accept_rtadv);
        compare("the IPv6 flags", flags(&was_link) == flags(&is_link));
        compare("the DHCP client", before.has_dhclient(name) == now.has_dhclient(name));
        found.extend(unlike("address", name, &addresses(before, name), &addresses(now, name)));
        found.extend(unlike("route", name, &routes(before, name), &routes(now, name)));
    }
    found
}

/// The steps that restore what is missing and remove what is too much, after the undo of each step. They have
/// no undo: each is tried even if others fail.
#[must_use]
pub fn plan_restore(hn: &Adapter, before: &Facts, now: &Facts) -> Plan<Step> {
    let mut plan = Plan::default();
    let mut push = |step| plan.push(step, Vec::new());
    let existed = |name: &InterfaceName| before.interface(name).is_some();
    if !existed(hn.lagg()) && now.interface(hn.lagg()).is_some() {
        push(Step::DestroyLagg { lagg: hn.lagg().clone() });
    }
    for name in interfaces(hn, before) {
        if !existed(name) || now.interface(name).is_none() {
            continue;
        }
        let interface = name.clone();
        let is_up = |facts: &Facts| facts.interface(name).is_some_and(|interface| interface.up);
        // The kernel drops the routes of an interface that goes down, those to its own networks, too
        // (`in_ifnet_event` of sys/netinet/in.c). So it is up before a router behind it is named.
        if is_up(before) && !is_up(now) {
            push(Step::BringUp { interface: interface.clone() });
        }
        let (was, is) = (before.link(name).ipv6, now.link(name).ipv6);
        if !was.disabled && (is.disabled || was.accept_rtadv != is.accept_rtadv) {
            let accept_rtadv = was.accept_rtadv;
            push(Step::EnableIpv6 { interface: interface.clone(), accept_rtadv, link_local: None });
            if accept_rtadv {
                push(Step::SolicitRouters { interface: interface.clone() });
            }
        }
        if !before.has_dhclient(name) && now.has_dhclient(name) {
            push(Step::StopDhcp { interface: interface.clone() });
        }
        let (had, has) = (kept(before, name), kept(now, name));
        // What a client had leased stays: the guest is reached by it until the client has a lease again.
        for address in has.iter().filter(|address| !before.addresses(name).contains(address)) {
            push(Step::RemoveAddress { interface: interface.clone(), address: *address });
        }
        for address in had.iter().filter(|address| !has.contains(address)) {
            push(before.give(name, name, *address));
        }
        // After the removals: none of them is of an address that the client sets. dhclient(8) ends when the
        // address of its lease is removed later than 10 seconds after its script (sbin/dhclient/dhclient.c:248,
        // `routehandler`).
        if before.has_dhclient(name) && !now.has_dhclient(name) {
            push(Step::StartDhcp { interface: interface.clone(), wait: false });
        }
        for route in default_routes(before, name) {
            if !now.network.default_routes.contains(&route) {
                push(Step::SetDefaultRoute { gateway: route.gateway, interface: interface.clone() });
            }
        }
        for route in before.network.static_routes.iter().filter(|route| &route.interface == name) {
            if !now.network.static_routes.contains(route) {
                push(Step::AddRoute(route.clone()));
            }
        }
        if !is_up(before) && is_up(now) {
            push(Step::BringDown { interface });
        }
    }
    plan
}

fn interfaces<'a>(hn: &'a Adapter, before: &'a Facts) -> impl Iterator<Item = &'a InterfaceName> {
    [hn.lagg(), hn.name()].into_iter().chain(&before.vf)
}

fn sorted_ports(facts: &Facts, name: &InterfaceName) -> Vec<InterfaceName> {
    let mut ports = facts.link(name).lagg.map(|lagg| lagg.ports).unwrap_or_default();
    ports.sort();
    ports
}

/// The addresses that the kernel does not make itself.
fn kept(facts: &Facts, name: &InterfaceName) -> Vec<InterfaceAddress> {
    let leased = facts.has_dhclient(name);
    let link = facts.link(name);
    let by_client =
        |held: &InterfaceAddress| leased && held.address.is_ipv4() && !link.vhids.contains_key(&held.address);
    facts.lasting(name).into_iter().filter(|held| !by_client(held)).collect()
}

fn addresses(facts: &Facts, name: &InterfaceName) -> Vec<String> {
    let text = |held: &InterfaceAddress| match facts.link(name).vhids.get(&held.address) {
        Some(vhid) => format!("{held} vhid {vhid}"),
        None => held.to_string(),
    };
    kept(facts, name).iter().map(text).collect()
}

fn default_routes(facts: &Facts, name: &InterfaceName) -> Vec<DefaultRoute> {
    let advertised = facts.link(name).ipv6.accept_rtadv;
    let leased = facts.has_dhclient(name);
    let comes_by_itself = |route: &DefaultRoute| {
        (advertised && is_link_local_gateway(&route.gateway)) || (leased && route.gateway.is_ipv4())
    };
    let own = facts.network.default_routes.iter().filter(|route| &route.interface == name);
    own.filter(|route| !comes_by_itself(route)).cloned().collect()
}

fn routes(facts: &Facts, name: &InterfaceName) -> Vec<String> {
    let default = default_routes(facts, name).into_iter().map(|route| format!("default {}", route.gateway));
    let others = facts.network.static_routes.iter().filter(|route| &route.interface == name);
    default.chain(others.map(|route| format!("{} {}", route.destination, route.gateway))).collect()
}

/// The elements that one list has more often than the other.
fn unlike<T: Display + Ord + Clone>(what: &str, name: &InterfaceName, was: &[T], is: &[T]) -> Vec<String> {
    let count = |list: &[T], item: &T| list.iter().filter(|other| *other == item).count();
    let mut all: Vec<T> = was.iter().chain(is).cloned().collect();
    all.sort();
    all.dedup();
    let differ = all.into_iter().filter(|item| count(was, item) != count(is, item));
    differ.map(|item| format!("{what} {item} of {name}")).collect()
}
