//! Default routes by sysctl(3); no routing socket, no netlink, no privilege.

use std::io;

use super::sysctl;
use crate::net::{DefaultRoute, Interface};
use crate::sys::freebsd_abi as abi;
use crate::sys::route_records::default_gateways;

/// The default routes of both families in the routing table of this process.
///
/// NET_RT_FLAGS narrows the dump to routes through gateways, so that a router's full table of connected
/// hosts is not copied; a gateway on an interface that is gone by now is left out.
pub(in crate::sys) fn default_routes(interfaces: &[Interface]) -> io::Result<Vec<DefaultRoute>> {
    let flags = abi::RTF_GATEWAY.cast_signed();
    let dump = sysctl::read(&[abi::CTL_NET, abi::PF_ROUTE, 0, 0, abi::NET_RT_FLAGS, flags], 8192)?;
    let named = default_gateways(&dump).into_iter().filter_map(|gateway| {
        let interface = interfaces.iter().find(|interface| interface.index == gateway.index)?;
        Some(DefaultRoute { gateway: gateway.address, interface: interface.name.clone() })
    });
    Ok(named.collect())
}
