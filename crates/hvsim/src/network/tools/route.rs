//! route(8) for routes through gateways. It parses the words; `kernel` makes the changes. Nothing else of it
//! is played.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | an unknown word, or none, is a usage error with status 64 | `sbin/route/route.c:182 (usage)` | `route_adds_changes_and_deletes_default_routes` |
//! | an error is explained on standard output, with status 1; the message of the system goes to standard error | `sbin/route/route.c:1116 (newroute)`, `sbin/route/route_netlink.c:281 (rtmsg_nl_int)` | `route_adds_changes_and_deletes_default_routes` |
//! | a missing route is "not in table", one that exists "already in table" | `sbin/route/route.c:1130 (newroute)`, `sbin/route/route.c:1146 (newroute)` | `route_adds_changes_and_deletes_default_routes` |

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;

use super::{Outcome, strerror};
use crate::network::root::Root;
use crate::network::state::State;

/// EX_USAGE.
const USAGE: u8 = 64;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let mut quiet = false;
    let mut ipv4 = true;
    let mut words = Vec::new();
    for word in arguments {
        match word.as_str() {
            "-n" | "-v" | "-net" | "-host" => {}
            "-q" => quiet = true,
            "-inet" | "-4" => ipv4 = true,
            "-inet6" | "-6" => ipv4 = false,
            word if word.starts_with('-') => return Ok(usage(&word[1..])),
            word => words.push(word),
        }
    }
    let (verb, destination, gateway) = match words.as_slice() {
        ["flush"] => {
            root.change(|state| flush(state, ipv4))?;
            return Ok(Outcome::default());
        }
        ["get", destination] => return root.read().map(|state| get(&state, destination, ipv4)),
        [verb, destination] => (*verb, *destination, None),
        [verb, destination, gateway] => (*verb, *destination, Some(*gateway)),
        _ => return Ok(usage("")),
    };
    let Some(change) = Change::parse(verb, destination, gateway, ipv4) else { return Ok(usage(verb)) };
    let (release, result) = root.change(|state| (state.release, change.apply(state)))?;
    Ok(report((verb, destination), gateway, release, quiet, result))
}

/// Removes all routes through gateways, also a leased default route (`flushroutes`).
fn flush(state: &mut State, ipv4: bool) {
    state.routes.retain(|route| route.gateway.is_ipv4() != ipv4);
    state.static_routes.retain(|route| route.by.gateway.is_ipv4() != ipv4);
}

fn usage(keyword: &str) -> Outcome {
    let complaint =
        if keyword.is_empty() { String::new() } else { format!("route: bad keyword: {keyword}\n") };
    let err = complaint + "usage: route [-j jail] [-46dnqtv] command [[modifiers] args]\n";
    Outcome { err, status: USAGE, ..Outcome::default() }
}

enum Change {
    Add(IpAddr, Option<String>),
    Turn(IpAddr, Option<String>),
    Delete(Option<IpAddr>, bool),
    AddStatic(String, IpAddr, Option<String>),
    DeleteStatic(String, Option<IpAddr>),
}

impl Change {
    fn parse(verb: &str, destination: &str, gateway: Option<&str>, ipv4: bool) -> Option<Self> {
        let scope = gateway.and_then(|text| text.split_once('%')).map(|(_, scope)| scope.to_owned());
        let address = match gateway {
            Some(text) => {
                Some(text.split('%').next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == ipv4)?)
            }
            None => None,
        };
        if destination != "default" {
            let network = network(destination, ipv4)?;
            return match verb {
                "add" => Some(Self::AddStatic(network, address?, scope)),
                "delete" | "del" => Some(Self::DeleteStatic(network, address)),
                _ => None,
            };
        }
        match verb {
            "add" => Some(Self::Add(address?, scope)),
            "change" => Some(Self::Turn(address?, scope)),
            "delete" | "del" => Some(Self::Delete(address, ipv4)),
            _ => None,
        }
    }

    fn apply(&self, state: &mut State) -> Result<(), Errno> {
        match self {
            Self::Add(gateway, scope) => state.add_route(*gateway, scope.as_deref()),
            Self::Turn(gateway, scope) => state.change_route(*gateway, scope.as_deref()),
            Self::Delete(gateway, ipv4) => state.remove_route(*gateway, *ipv4),
            Self::AddStatic(to, gateway, scope) => state.add_static_route(to, *gateway, scope.as_deref()),
            Self::DeleteStatic(to, gateway) => state.remove_static_route(to, *gateway),
        }
    }
}

/// A network with its prefix length. Without one it is a host.
fn network(text: &str, ipv4: bool) -> Option<String> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, if ipv4 { "32" } else { "128" }));
    let address: IpAddr = address.parse().ok().filter(|address: &IpAddr| address.is_ipv4() == ipv4)?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= if ipv4 { 32 } else { 128 })?;
    Some(format!("{address}/{prefix}"))
}

/// The explanation of an error goes to standard output, and the system's message to standard error.
fn report(
    (verb, destination): (&str, &str),
    gateway: Option<&str>,
    release: u32,
    quiet: bool,
    result: Result<(), Errno>,
) -> Outcome {
    let gateway = gateway.map_or(String::new(), |gateway| format!(": gateway {gateway}"));
    let line = format!("{verb} net {destination}{gateway}");
    let Err(errno) = result else {
        return Outcome::ok(if quiet { String::new() } else { line + "\n" });
    };
    let reason = match errno {
        Errno::EEXIST => "route already in table",
        Errno::ESRCH => "not in table",
        other => strerror(other),
    };
    let err = match (release, errno) {
        (14.., Errno::ESRCH) => "route: route has not been found\n".to_owned(),
        (14.., _) => format!("route: message indicates error: {}\n", strerror(errno)),
        _ => format!("route: writing to routing socket: {}\n", strerror(errno)),
    };
    let out = if quiet { String::new() } else { format!("{line} fib 0: {reason}\n") };
    Outcome { out, err, status: 1 }
}

fn get(state: &State, destination: &str, ipv4: bool) -> Outcome {
    match state.routes.iter().find(|route| route.gateway.is_ipv4() == ipv4) {
        Some(route) => Outcome::ok(format!(
            "   route to: {destination}\ndestination: {destination}\n       mask: {destination}\n    gateway: {}\n        \
             fib: 0\n  interface: {}\n      flags: <UP,GATEWAY,DONE,STATIC>\n",
            route.gateway, route.interface
        )),
        None => Outcome::failed("route: route has not been found"),
    }
}
