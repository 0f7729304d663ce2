//! Routes through gateways by sysctl(3). It needs no routing socket, no netlink and no privilege.

use std::io;

use super::sysctl;
use crate::net::{DefaultRoute, Interface, Routes, StaticRoute};
use crate::sys::freebsd_abi as abi;
use crate::sys::route_records::gateways;

/// The default and the static routes of both families in the routing table of this process.
///
/// NET_RT_FLAGS limits the dump to routes through gateways, so that a router's full table of connected hosts
/// is not copied. A gateway on an interface that no longer exists is left out.
pub(in crate::sys) fn routes(interfaces: &[Interface]) -> io::Result<Routes> {
    let flags = abi::RTF_GATEWAY.cast_signed();
    let dump = sysctl::read(&[abi::CTL_NET, abi::PF_ROUTE, 0, 0, abi::NET_RT_FLAGS, flags], 8192)?;
    let mut routes = Routes::default();
    for found in gateways(&dump) {
        let Some(interface) = interfaces.iter().find(|interface| interface.index == found.index) else {
            continue;
        };
        let (gateway, interface) = (found.address, interface.name.clone());
        match found.destination {
            None => routes.default.push(DefaultRoute { gateway, interface }),
            Some(destination) => routes.statics.push(StaticRoute { destination, gateway, interface }),
        }
    }
    Ok(routes)
}
