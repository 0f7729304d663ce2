//! The state as the facts files that programs read instead of asking the kernel.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hv_core::net::dhclient;
use hv_core::sys::freebsd_abi::{CTL_KERN, KERN_PROC, KERN_PROC_ARGS};
use hv_core::sys::system_facts::FactsSource;

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

/// `sysctl`: those of hn(4) and all others that were set.
pub(super) fn sysctls(state: &State) -> String {
    let mut text = String::new();
    for (name, value) in state.all_sysctls() {
        let kind = if name == "hw.hn.vf_transparent" { "int" } else { "str" };
        let _ = writeln!(text, "{name}:{kind}={value}");
    }
    text
}

/// The rest of `sysctl`: the arguments of the DHCP clients that live and have a pid file, at the place of today's releases or
/// of old ones, under the numbers by which a FreeBSD program asks for them.
pub(super) fn processes(run: &Path) -> String {
    let mut text = String::new();
    let directories = [run.join("dhclient"), run.to_owned()];
    let files = directories.iter().flat_map(fs::read_dir).flatten().flatten().map(|file| file.path());
    let clients = files.filter(|file| file.extension().is_some_and(|extension| extension == "pid"));
    for pid in clients.filter_map(|file| dhclient::parse_pid(&fs::read(file).ok()?)) {
        let arguments = FactsSource::System.process_arguments(pid).unwrap_or_default();
        if arguments.starts_with(b"dhclient: ") {
            let title =
                String::from_utf8_lossy(arguments.split(|byte| *byte == 0).next().unwrap_or_default());
            let _ = writeln!(text, "{CTL_KERN}.{KERN_PROC}.{KERN_PROC_ARGS}.{pid}:str={title}");
        }
    }
    text
}
