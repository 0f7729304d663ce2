//! GET_IP_INFO: makes the answer for the adapter with the host's MAC address. It is given a snapshot of the
//! network, and reads nothing itself.

pub mod request;
mod view;

use std::net::IpAddr;

pub use view::as_the_host_sees;

use super::entry_list::EntryList;
use crate::abi::kvp::{GATEWAY_UNITS, IpAnswer, LIST_UNITS};
use crate::net::{Interface, InterfaceAddress, MacAddress, NetworkSnapshot, ipv4_mask};

/// Bit of [`IpAnswer::families`] for IPv4 (ADDR_FAMILY_IPV4).
pub const FAMILY_IPV4: u8 = 1;
/// Bit of [`IpAnswer::families`] for IPv6 (ADDR_FAMILY_IPV6).
pub const FAMILY_IPV6: u8 = 2;

/// No interface has the MAC address in the request, or the request has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no interface has the MAC address {adapter:?}")]
pub struct UnknownAdapter {
    adapter: String,
}

/// The configuration of the adapter `adapter_id`, which is a MAC address in upper or lower case.
///
/// Lists are joined with `;`, without one at the end, and are cut after a whole entry; addresses and masks
/// are cut at the same entry. Masks are dotted for IPv4 and `/n` for IPv6. Link-local addresses come last.
///
/// hn(4), its VF and the lagg(4) over both have the same MAC address. Each family is reported from the
/// interface that holds its addresses; gateways and DHCP count through any of the interfaces.
///
/// # Errors
/// [`UnknownAdapter`].
pub fn answer(adapter_id: &str, network: &NetworkSnapshot) -> Result<IpAnswer, UnknownAdapter> {
    let unknown = || UnknownAdapter { adapter: adapter_id.chars().take(64).collect() };
    let mac: MacAddress = adapter_id.parse().map_err(|_| unknown())?;
    let sharing: Vec<&Interface> = network.interfaces.iter().filter(|i| i.mac == Some(mac)).collect();
    if sharing.is_empty() {
        return Err(unknown());
    }
    let mut info = IpAnswer {
        dhcp: sharing.iter().any(|interface| network.dhcp_clients.contains(&interface.name)),
        gateways: gateways(&sharing, network),
        name_servers: name_servers(network),
        ..IpAnswer::default()
    };
    add_addresses(&mut info, &addresses(&sharing));
    Ok(info)
}

/// The interface that is reported for a family, among those with one MAC address. An address that is not
/// link-local comes before a link-local one, up before down, lagg before hn before VF.
///
/// For each family on its own, because a lagg that took over the IPv4 addresses may leave the IPv6 addresses
/// on its port.
fn holder<'a>(sharing: &[&'a Interface], family: fn(&IpAddr) -> bool) -> Option<&'a Interface> {
    let of_family = |interface: &Interface| interface.addresses.iter().any(|a| family(&a.address));
    let global = |interface: &Interface| {
        interface.addresses.iter().any(|address| family(&address.address) && !address.is_link_local())
    };
    let kind = |interface: &Interface| match &interface.name {
        name if name.is_lagg() => 0,
        name if name.is_hn() => 1,
        _ => 2,
    };
    let holders = sharing.iter().copied().filter(|interface| of_family(interface));
    holders.min_by_key(|interface| (!global(interface), !interface.up, kind(interface)))
}

/// The addresses of both families from their holders: each once, IPv4 before IPv6, link-local last.
fn addresses(sharing: &[&Interface]) -> Vec<InterfaceAddress> {
    let mut addresses: Vec<InterfaceAddress> = Vec::new();
    for family in [IpAddr::is_ipv4 as fn(&IpAddr) -> bool, IpAddr::is_ipv6] {
        let held = holder(sharing, family).map_or(&[][..], |interface| &interface.addresses);
        for address in held.iter().filter(|address| family(&address.address)) {
            if !addresses.iter().any(|known| known.address == address.address) {
                addresses.push(*address);
            }
        }
    }
    addresses.sort_by_key(InterfaceAddress::is_link_local);
    addresses
}

/// Fills addresses, masks and families, up to the first address that does not fit with its mask.
fn add_addresses(info: &mut IpAnswer, addresses: &[InterfaceAddress]) {
    let (mut texts, mut masks) = (EntryList::new(LIST_UNITS), EntryList::new(LIST_UNITS));
    for InterfaceAddress { address, prefix } in addresses {
        let (family, mask) = match address {
            IpAddr::V4(_) => (FAMILY_IPV4, ipv4_mask(*prefix).to_string()),
            IpAddr::V6(_) => (FAMILY_IPV6, format!("/{prefix}")),
        };
        if !masks.fits(&mask) || !texts.push(&address.to_string()) {
            break;
        }
        masks.push(&mask);
        info.families |= family;
    }
    info.addresses = texts.into_text();
    info.masks = masks.into_text();
}

/// The gateways of default routes through any of the interfaces, each once, IPv4 first.
fn gateways(sharing: &[&Interface], network: &NetworkSnapshot) -> String {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for route in &network.default_routes {
        let through = sharing.iter().any(|interface| interface.name == route.interface);
        if through && !gateways.contains(&route.gateway) {
            gateways.push(route.gateway);
        }
    }
    gateways.sort_by_key(IpAddr::is_ipv6);
    EntryList::joined(gateways.iter().map(ToString::to_string), GATEWAY_UNITS)
}

/// The name servers without their scope, because the host does not know the guest's interface names.
fn name_servers(network: &NetworkSnapshot) -> String {
    let plain = |server: &String| server.split('%').next().unwrap_or_default().to_owned();
    EntryList::joined(network.name_servers.iter().map(plain), LIST_UNITS)
}

#[cfg(test)]
mod tests;
