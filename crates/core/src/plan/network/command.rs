//! Translates a step into the argument vector of a program: the only place that does. It starts no program.

use std::net::IpAddr;

use super::{Ipv6Options, NetworkStep};
use crate::hn;
use crate::net::{InterfaceAddress, InterfaceName, StaticRoute};

/// A program of the base system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// ifconfig(8).
    Ifconfig,
    /// route(8).
    Route,
    /// rtsol(8).
    Rtsol,
}

/// The program and arguments for `step`. `None` for [`NetworkStep::StartDhcp`], whose program rc.conf(5) names,
/// for [`NetworkStep::StopDhcp`], which is a signal, and for [`NetworkStep::EndLease`], which depends on the
/// lease.
#[must_use]
pub fn command(step: &NetworkStep) -> Option<(Tool, Vec<String>)> {
    use NetworkStep as Step;
    let (tool, words) = match step {
        Step::StartDhcp { .. } | Step::StopDhcp { .. } | Step::EndLease { .. } => return None,
        Step::CreateLagg { lagg, ports, description, ipv6 } => {
            (Tool::Ifconfig, create_lagg(lagg, ports, description, *ipv6))
        }
        Step::MarkLagg { lagg } => (Tool::Ifconfig, words([lagg.as_str(), "group", hn::GROUP])),
        Step::UnmarkLagg { lagg } => (Tool::Ifconfig, words([lagg.as_str(), "-group", hn::GROUP])),
        Step::DestroyLagg { lagg } => (Tool::Ifconfig, words([lagg.as_str(), "destroy"])),
        Step::AddPort { lagg, port } => (Tool::Ifconfig, words([lagg.as_str(), "laggport", port.as_str()])),
        Step::RemovePort { lagg, port } => {
            (Tool::Ifconfig, words([lagg.as_str(), "-laggport", port.as_str()]))
        }
        Step::AddAddress { interface, address } => {
            let text = with_prefix(interface, *address);
            (Tool::Ifconfig, words([interface.as_str(), family(address.address), &text, "alias"]))
        }
        Step::RemoveAddress { interface, address } => {
            // Always with the address: without one ifconfig(8) of 14 and later removes nothing and succeeds.
            let text = scoped(interface, address.address);
            (Tool::Ifconfig, words([interface.as_str(), family(address.address), &text, "-alias"]))
        }
        Step::Configure { interface, arguments } => {
            let mut words = words([interface.as_str()]);
            words.extend(arguments.words.iter().cloned());
            (Tool::Ifconfig, words)
        }
        Step::EnableIpv6 { interface, accept_rtadv, link_local } => {
            (Tool::Ifconfig, enable_ipv6(interface, *accept_rtadv, *link_local))
        }
        Step::DisableIpv6 { interface, link_local } => (Tool::Ifconfig, disable_ipv6(interface, *link_local)),
        Step::SetMtu { interface, mtu } => {
            (Tool::Ifconfig, words([interface.as_str(), "mtu", &mtu.to_string()]))
        }
        Step::BringUp { interface } => (Tool::Ifconfig, words([interface.as_str(), "up"])),
        Step::BringDown { interface } => (Tool::Ifconfig, words([interface.as_str(), "down"])),
        Step::SetDefaultRoute { gateway, interface } => (Tool::Route, route("add", interface, *gateway)),
        Step::RemoveDefaultRoute { gateway, interface } => {
            (Tool::Route, route("delete", interface, *gateway))
        }
        Step::AddRoute(route) => (Tool::Route, static_route("add", route)),
        Step::RemoveRoute(route) => (Tool::Route, static_route("delete", route)),
        Step::SolicitRouters { interface } => (Tool::Rtsol, words([interface.as_str()])),
    };
    Some((tool, words))
}

/// The arguments of route(8) that change the default route of the family to `gateway`.
pub(super) fn change_default_route(interface: &InterfaceName, gateway: IpAddr) -> Vec<String> {
    route("change", interface, gateway)
}

fn words<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_owned).into()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "inet" } else { "inet6" }
}

/// The text of an address. A link-local address needs its interface.
fn scoped(interface: &InterfaceName, address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{interface}"),
        _ => address.to_string(),
    }
}

fn with_prefix(interface: &InterfaceName, address: InterfaceAddress) -> String {
    format!("{}/{}", scoped(interface, address.address), address.prefix)
}

fn static_route(verb: &str, route: &StaticRoute) -> Vec<String> {
    let InterfaceAddress { address, prefix } = route.destination;
    let family = if address.is_ipv4() { "-inet" } else { "-inet6" };
    let is_host = prefix == if address.is_ipv4() { 32 } else { 128 };
    let destination = if is_host { address.to_string() } else { format!("{address}/{prefix}") };
    let kind = if is_host { "-host" } else { "-net" };
    words(["-n", verb, family, kind, &destination, &scoped(&route.interface, route.gateway)])
}

fn route(verb: &str, interface: &InterfaceName, gateway: IpAddr) -> Vec<String> {
    let family = if gateway.is_ipv4() { "-inet" } else { "-inet6" };
    words(["-n", verb, family, "default", &scoped(interface, gateway)])
}

/// Creates a lagg in one call. ifconfig(8) accepts an address family only directly after `create`. The group
/// comes before the ports, so that a lagg whose ports fail is marked as ours.
fn create_lagg(
    lagg: &InterfaceName,
    ports: &[InterfaceName],
    description: &str,
    ipv6: Ipv6Options,
) -> Vec<String> {
    let mut list = words([lagg.as_str(), "create", "inet6"]);
    let mut flag = |wanted, on: &str, off: &str| {
        let word = if wanted { on } else { off };
        if !word.is_empty() {
            list.push(word.to_owned());
        }
    };
    // A port's address was checked when the port got it. A second check would only delay the hand-over.
    flag(ipv6.no_dad, "no_dad", "");
    flag(ipv6.accept_rtadv, "accept_rtadv", "-accept_rtadv");
    flag(ipv6.auto_linklocal, "auto_linklocal", "");
    flag(ipv6.disabled, "ifdisabled", "-ifdisabled");
    list.extend(words(["group", hn::GROUP]));
    if !description.is_empty() {
        list.extend(words(["description", description]));
    }
    list.extend(words(["laggproto", "failover"]));
    for port in ports {
        list.extend(words(["laggport", port.as_str()]));
    }
    list.push("up".to_owned());
    list
}

fn enable_ipv6(
    interface: &InterfaceName,
    accept_rtadv: bool,
    link_local: Option<InterfaceAddress>,
) -> Vec<String> {
    let mut list = words([interface.as_str(), "inet6"]);
    if let Some(address) = link_local {
        list.extend([with_prefix(interface, address), "alias".to_owned()]);
    }
    list.extend(words(["-ifdisabled", if accept_rtadv { "accept_rtadv" } else { "-accept_rtadv" }]));
    list
}

fn disable_ipv6(interface: &InterfaceName, link_local: Option<InterfaceAddress>) -> Vec<String> {
    let mut list = words([interface.as_str(), "inet6"]);
    if let Some(address) = link_local {
        list.extend([scoped(interface, address.address), "-alias".to_owned()]);
    }
    list.extend(words(["-accept_rtadv", "ifdisabled"]));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    fn line(step: &NetworkStep) -> String {
        let (tool, words) = command(step).unwrap();
        format!("{tool:?} {}", words.join(" "))
    }

    #[test]
    fn the_address_family_follows_create_at_once() {
        let step = NetworkStep::CreateLagg {
            lagg: name("lagg0"),
            ports: vec![name("hn0"), name("mce0")],
            description: "x".into(),
            ipv6: Ipv6Options { no_dad: true, disabled: true, ..Ipv6Options::default() },
        };
        assert_eq!(
            line(&step),
            "Ifconfig lagg0 create inet6 no_dad -accept_rtadv ifdisabled group hyperv description x \
             laggproto failover laggport hn0 laggport mce0 up"
        );
    }

    #[test]
    fn link_local_addresses_and_gateways_carry_their_interface() {
        let address = "fe80::1/64".parse().unwrap();
        let step = NetworkStep::RemoveAddress { interface: name("hn0"), address };
        assert_eq!(line(&step), "Ifconfig hn0 inet6 fe80::1%hn0 -alias");
        let step = NetworkStep::DisableIpv6 { interface: name("hn0"), link_local: Some(address) };
        assert_eq!(line(&step), "Ifconfig hn0 inet6 fe80::1%hn0 -alias -accept_rtadv ifdisabled");
        let step =
            NetworkStep::EnableIpv6 { interface: name("hn0"), accept_rtadv: true, link_local: Some(address) };
        assert_eq!(line(&step), "Ifconfig hn0 inet6 fe80::1%hn0/64 alias -ifdisabled accept_rtadv");
        let step =
            NetworkStep::SetDefaultRoute { gateway: "fe80::9".parse().unwrap(), interface: name("lagg0") };
        assert_eq!(line(&step), "Route -n add -inet6 default fe80::9%lagg0");
    }

    #[test]
    fn static_routes_are_named_by_network_or_host() {
        for (destination, gateway, expected) in [
            ("10.20.0.0/16", "10.0.0.254", "-inet -net 10.20.0.0/16 10.0.0.254"),
            ("192.0.2.9/32", "10.0.0.254", "-inet -host 192.0.2.9 10.0.0.254"),
            ("fd20::/32", "fe80::9", "-inet6 -net fd20::/32 fe80::9%hn0"),
            ("fd20::9/128", "fd00::9", "-inet6 -host fd20::9 fd00::9"),
        ] {
            let route = StaticRoute {
                destination: destination.parse().unwrap(),
                gateway: gateway.parse().unwrap(),
                interface: name("hn0"),
            };
            assert_eq!(line(&NetworkStep::AddRoute(route.clone())), format!("Route -n add {expected}"));
            assert_eq!(line(&NetworkStep::RemoveRoute(route)), format!("Route -n delete {expected}"));
        }
    }

    #[test]
    fn addresses_are_always_removed_by_name() {
        // Contract V13.
        let step =
            NetworkStep::RemoveAddress { interface: name("hn0"), address: "10.0.0.5/24".parse().unwrap() };
        assert_eq!(line(&step), "Ifconfig hn0 inet 10.0.0.5 -alias");
    }

    #[test]
    fn what_is_done_with_a_client_is_no_command_of_a_step() {
        let interface = name("hn0");
        for step in [
            NetworkStep::StartDhcp { interface: interface.clone(), wait: true },
            NetworkStep::StartDhcp { interface: interface.clone(), wait: false },
            NetworkStep::StopDhcp { interface: interface.clone() },
            NetworkStep::EndLease { interface, addresses: Vec::new() },
        ] {
            assert!(command(&step).is_none(), "{step}");
        }
    }
}
