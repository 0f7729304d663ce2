//! Default routes from /proc/net/route and /proc/net/ipv6_route. Other routes are not read on Linux.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fs, io};

use crate::net::{DefaultRoute, Interface, Routes};

/// RTF_UP, RTF_GATEWAY and RTF_REJECT of linux/route.h.
const UP_AND_GATEWAY: u32 = 0x3;
const REJECT: u32 = 0x200;

/// The default routes of both families. A kernel without one family has no file for it.
pub(in crate::sys) fn routes(_: &[Interface]) -> io::Result<Routes> {
    let mut default: Vec<_> = read("/proc/net/route")?.lines().skip(1).filter_map(route).collect();
    default.extend(read("/proc/net/ipv6_route")?.lines().filter_map(ipv6_route));
    Ok(Routes { default, statics: Vec::new() })
}

fn read(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    }
}

fn is_usable(flags: &str) -> Option<()> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & UP_AND_GATEWAY == UP_AND_GATEWAY && flags & REJECT == 0).then_some(())
}

/// Parses `eth0 00000000 010200C0 0003 0 0 0 00000000 …`. The numbers are in memory order.
fn route(line: &str) -> Option<DefaultRoute> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, "00000000", gateway, flags, _, _, _, "00000000", ..] = words[..] else { return None };
    is_usable(flags)?;
    let gateway = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
    Some(DefaultRoute { gateway: IpAddr::V4(Ipv4Addr::from(gateway)), interface: name.parse().ok()? })
}

/// Parses destination, prefix, source, prefix, next hop, metric, references, uses, flags, interface.
fn ipv6_route(line: &str) -> Option<DefaultRoute> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, "00", _, _, gateway, _, _, _, flags, name] = words[..] else { return None };
    is_usable(flags)?;
    if destination.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let gateway = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
    Some(DefaultRoute { gateway: IpAddr::V6(gateway), interface: name.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usable_default_routes_are_taken() {
        let gateway = |line: &str| route(line).map(|r| format!("{} {}", r.gateway, r.interface));
        let default = format!(
            "eth0\t00000000\t{:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            u32::from_ne_bytes([192, 0, 2, 1])
        );
        assert_eq!(gateway(&default).as_deref(), Some("192.0.2.1 eth0"));
        assert_eq!(gateway(&default.replace("0003", "0001")), None);
        assert_eq!(gateway(&default.replace("0003", "0203")), None);
        assert_eq!(gateway("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"), None);
        assert_eq!(gateway(""), None);
        assert_eq!(gateway("eth0 00000000"), None);
    }

    #[test]
    fn ipv6_default_routes_name_their_gateway() {
        let zeros = "0".repeat(32);
        let line = |flags: &str| {
            format!(
                "{zeros} 00 {zeros} 00 fd000000000000000000000000000001 00000400 00000002 00000000 {flags} eth0"
            )
        };
        assert_eq!(ipv6_route(&line("00000003")).unwrap().gateway.to_string(), "fd00::1");
        assert!(ipv6_route(&line("00200200")).is_none());
        assert!(ipv6_route("garbage").is_none());
    }
}
