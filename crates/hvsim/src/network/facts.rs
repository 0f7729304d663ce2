//! Writes the state of the simulated network as facts files, which programs of the suite read instead of the
//! kernel. It changes no state.

use std::fmt::Write as _;

use super::state::{Interface, State};

/// `ifaddrs`: one line for each interface and each address.
pub(super) fn ifaddrs(state: &State) -> String {
    let mut text = String::new();
    let mut interfaces: Vec<(&String, &Interface)> = state.interfaces.iter().collect();
    interfaces.sort_by_key(|(_, interface)| interface.index);
    for (name, interface) in interfaces {
        let mac = interface.mac.as_deref().unwrap_or("-");
        let up = if interface.up { "up" } else { "down" };
        let carrier = if interface.carrier { "" } else { " nocarrier" };
        let lagg = if state.is_port(name) { " lagg" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name} link {mac} {up} index={} mtu={} driver={}{carrier}{lagg}",
            interface.index,
            interface.mtu,
            state.device(name)
        );
        for address in &interface.addresses {
            let family = if address.ip.is_ipv4() { "inet" } else { "inet6" };
            let scope = if address.is_link_local() { format!("%{name}") } else { String::new() };
            let _ = writeln!(text, "{name} {family} {}{scope}/{}", address.ip, address.prefix);
        }
    }
    text
}

/// `routes`: the default routes and those to other networks.
pub(super) fn routes(state: &State) -> String {
    let mut text = String::new();
    let default = state.routes.iter().map(|route| ("default", route));
    let others = state.static_routes.iter().map(|route| (route.destination.as_str(), &route.by));
    for (destination, route) in default.chain(others) {
        let scope = if route.is_link_local() { format!("%{}", route.interface) } else { String::new() };
        let _ = writeln!(text, "{destination} {}{scope} {}", route.gateway, route.interface);
    }
    text
}

/// `sysctl`: the sysctls of hn(4) and all others that were set. A value that parses as a number is one. Names
/// of interfaces do not.
pub(super) fn sysctls(state: &State) -> String {
    let mut text = String::new();
    for (name, value) in state.all_sysctls() {
        let kind = if value.parse::<i32>().is_ok() { "int" } else { "str" };
        // A name can be followed by its type.
        let _ = match name.contains(':') {
            true => writeln!(text, "{name}={value}"),
            false => writeln!(text, "{name}:{kind}={value}"),
        };
    }
    text
}
