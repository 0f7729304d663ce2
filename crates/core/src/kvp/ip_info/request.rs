//! SET_IP_INFO: parses the host's texts into typed addresses.
//!
//! This is the only place that reads the host's texts. Anything that is not exactly a list of addresses is
//! refused, with the wrong item, before anything is changed. The result is typed and may go into files and
//! command lines.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use super::{FAMILY_IPV4, FAMILY_IPV6};
use crate::abi::kvp::Code;
use crate::kvp::exchange::NetworkRequest;
use crate::net::{InterfaceAddress, InterfaceName, ipv4_prefix};

/// A request that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The interface in the request: of hn(4) or lagg(4). It may not exist.
    pub interface: InterfaceName,
    /// How it shall get its addresses.
    pub method: Method,
}

/// How an interface gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// From a DHCP server.
    Dhcp,
    /// From the host.
    Static(StaticAddresses),
}

/// Addresses from the host. All lists are without duplicates and in the host's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticAddresses {
    /// At least one. All are unicast, not loopback, with a prefix of at least one bit.
    pub addresses: Vec<InterfaceAddress>,
    /// Routers that are in the network of an address, or link-local ones of IPv6.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub name_servers: Vec<IpAddr>,
}

impl StaticAddresses {
    /// The first gateway of the family, which becomes the default route.
    #[must_use]
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == ipv4)
    }

    /// Whether there is an address of the family.
    #[must_use]
    pub fn has_family(&self, ipv4: bool) -> bool {
        self.addresses.iter().any(|address| address.address.is_ipv4() == ipv4)
    }
}

/// A list of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// The addresses.
    Addresses,
    /// Their masks.
    Masks,
    /// The gateways.
    Gateways,
    /// The name servers.
    NameServers,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses => "address",
            Self::Masks => "mask",
            Self::Gateways => "gateway",
            Self::NameServers => "name server",
        })
    }
}

/// Why a request is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The adapter is not the name of an interface that can be configured. The kernel passes the GUID if it
    /// knows no interface for it.
    #[error("{0:?} is no interface of hn(4) or its lagg(4)")]
    Adapter(String),
    /// An item of a list.
    #[error("{list} {place} {text:?} {reason}")]
    Item {
        /// The list.
        list: List,
        /// Its place in the list, from 1.
        place: usize,
        /// Its text, cut at 64 characters.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are more or fewer masks than addresses.
    #[error("{addresses} addresses have {masks} masks")]
    MaskCount {
        /// How many addresses there are.
        addresses: usize,
        /// How many masks there are.
        masks: usize,
    },
    /// The address family has unknown bits.
    #[error("the address families {0:#x} have bits that mean nothing")]
    Family(u8),
    /// A static configuration without any address.
    #[error("there is no address")]
    NoAddress,
}

impl RequestError {
    /// The code of the answer.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Adapter(_) => Code::GuidNotFound,
            _ => Code::InvalidArgument,
        }
    }
}

/// Parses a request.
///
/// A list is joined with `;` and may have one at its end. An item may have blanks and tabs around it. With
/// DHCP the lists are not read.
///
/// # Errors
/// [`RequestError`], with the first wrong item.
pub fn parse(request: &NetworkRequest) -> Result<Injection, RequestError> {
    let interface = adapter(&request.adapter)?;
    if request.address_family & !FAMILY_IPV4 & !FAMILY_IPV6 != 0 {
        return Err(RequestError::Family(request.address_family));
    }
    let method = if request.dhcp { Method::Dhcp } else { Method::Static(static_addresses(request)?) };
    Ok(Injection { interface, method })
}

/// The name must match exactly, because the kernel writes the interface's name there.
fn adapter(text: &str) -> Result<InterfaceName, RequestError> {
    let name = text.parse::<InterfaceName>().ok().filter(|name| name.is_hn() || name.is_lagg());
    name.ok_or_else(|| RequestError::Adapter(shortened(text)))
}

fn static_addresses(request: &NetworkRequest) -> Result<StaticAddresses, RequestError> {
    let texts = Items::of(List::Addresses, &request.addresses)?;
    let masks = Items::of(List::Masks, &request.masks)?;
    let mut addresses = Vec::new();
    for (place, text) in texts.numbered() {
        let address = unicast(List::Addresses, place, text)?;
        if address.is_loopback() {
            return Err(item(List::Addresses, place, text, "is a loopback address"));
        }
        refuse_duplicate(List::Addresses, place, text, addresses.contains(&address))?;
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(RequestError::NoAddress);
    }
    if masks.texts.len() != addresses.len() {
        return Err(RequestError::MaskCount { addresses: addresses.len(), masks: masks.texts.len() });
    }
    let mut with_prefix = Vec::new();
    for ((place, mask), address) in masks.numbered().zip(addresses) {
        let prefix = prefix_of(address, place, mask)?;
        let address = InterfaceAddress { address, prefix };
        if is_end_of_network(address) {
            let reason = "is the first or the last address of its network";
            return Err(item(List::Addresses, place, &address.address.to_string(), reason));
        }
        with_prefix.push(address);
    }
    if let Some(held) = other_families(request.address_family, &with_prefix) {
        let said = request.address_family;
        log::debug!("the host says address families {said:#x} and gives addresses of {held:#x}");
    }
    let gateways = gateways(&request.gateways, &with_prefix)?;
    let name_servers = name_servers(&request.name_servers)?;
    Ok(StaticAddresses { addresses: with_prefix, gateways, name_servers })
}

/// The families of the addresses, if the bits say something else. Base does not read the bits, and scripts of
/// the host set both bits when they give addresses of one family.
fn other_families(bits: u8, addresses: &[InterfaceAddress]) -> Option<u8> {
    let family = |address: &InterfaceAddress| match address.address {
        IpAddr::V4(_) => FAMILY_IPV4,
        IpAddr::V6(_) => FAMILY_IPV6,
    };
    let held = addresses.iter().fold(0, |held, address| held | family(address));
    (bits != held).then_some(held)
}

fn gateways(text: &str, addresses: &[InterfaceAddress]) -> Result<Vec<IpAddr>, RequestError> {
    let list = List::Gateways;
    let mut gateways = Vec::new();
    for (place, text) in Items::of(list, text)?.numbered() {
        let gateway = unicast(list, place, text)?;
        if gateway.is_loopback() || addresses.iter().any(|own| own.address == gateway) {
            return Err(item(list, place, text, "is an address of this guest"));
        }
        if !is_reachable(gateway, addresses) {
            return Err(item(list, place, text, "is in the network of none of the addresses"));
        }
        refuse_duplicate(list, place, text, gateways.contains(&gateway))?;
        gateways.push(gateway);
    }
    Ok(gateways)
}

/// Whether the guest can reach a gateway. Every interface with IPv6 can reach a link-local router.
fn is_reachable(gateway: IpAddr, addresses: &[InterfaceAddress]) -> bool {
    let of_family = |address: &&InterfaceAddress| address.address.is_ipv4() == gateway.is_ipv4();
    let mut same = addresses.iter().filter(of_family);
    match gateway {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => same.next().is_some(),
        _ => same.any(|address| {
            let end = is_end_of_network(InterfaceAddress { address: gateway, prefix: address.prefix });
            address.reaches(gateway) && !end
        }),
    }
}

/// The loopback address is allowed: a resolver in the guest may listen there.
fn name_servers(text: &str) -> Result<Vec<IpAddr>, RequestError> {
    let list = List::NameServers;
    let mut servers = Vec::new();
    for (place, text) in Items::of(list, text)?.numbered() {
        let server = unicast(list, place, text)?;
        refuse_duplicate(list, place, text, servers.contains(&server))?;
        servers.push(server);
    }
    Ok(servers)
}

fn refuse_duplicate(list: List, place: usize, text: &str, known: bool) -> Result<(), RequestError> {
    if known { Err(item(list, place, text, "is there twice")) } else { Ok(()) }
}

/// An address that a host can have.
fn unicast(list: List, place: usize, text: &str) -> Result<IpAddr, RequestError> {
    let error = |reason| item(list, place, text, reason);
    let address: IpAddr = text.parse().map_err(|_| error("is no IP address"))?;
    let reason = match address {
        IpAddr::V4(v4) => unusable_ipv4(v4),
        IpAddr::V6(v6) => unusable_ipv6(v6),
    };
    reason.map_or(Ok(address), |reason| Err(error(reason)))
}

fn unusable_ipv4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets()[0] {
        0 => Some("is in the network 0, which means this network"),
        224..=239 => Some("is a multicast address"),
        240.. => Some("is in the reserved range 240.0.0.0/4"),
        _ => None,
    }
}

fn unusable_ipv6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("is the unspecified address")
    } else if address.is_multicast() {
        Some("is a multicast address")
    } else if address.to_ipv4().is_some() && !address.is_loopback() {
        Some("is an IPv4 address in the form of IPv6")
    } else {
        None
    }
}

fn prefix_of(address: IpAddr, place: usize, mask: &str) -> Result<u8, RequestError> {
    let error = |reason| item(List::Masks, place, mask, reason);
    let prefix = match address {
        IpAddr::V4(_) => {
            let dotted: Ipv4Addr = mask.parse().map_err(|_| error("is no IPv4 mask"))?;
            ipv4_prefix(dotted).ok_or_else(|| error("has ones behind a zero"))?
        }
        IpAddr::V6(_) => ipv6_prefix(mask).ok_or_else(|| error("is no IPv6 prefix length"))?,
    };
    if prefix == 0 { Err(error("leaves no bit for the network")) } else { Ok(prefix) }
}

/// Parses `64` or `/64`.
fn ipv6_prefix(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('/').unwrap_or(text);
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|prefix| *prefix <= 128)
}

/// Whether this is the network's own address or its broadcast address. Networks of one or two IPv4 addresses
/// (RFC 3021) have neither, nor have networks of IPv6.
fn is_end_of_network(address: InterfaceAddress) -> bool {
    let IpAddr::V4(v4) = address.address else { return false };
    let Ok(network) = Ipv4Net::new(v4, address.prefix) else { return false };
    address.prefix <= 30 && (v4 == network.network() || v4 == network.broadcast())
}

/// The items of a list.
struct Items<'a> {
    texts: Vec<&'a str>,
}

impl<'a> Items<'a> {
    fn of(list: List, text: &'a str) -> Result<Self, RequestError> {
        if text.is_empty() {
            return Ok(Self { texts: Vec::new() });
        }
        let text = text.strip_suffix(';').unwrap_or(text);
        let texts: Vec<&str> = text.split(';').map(|item| item.trim_matches([' ', '\t'])).collect();
        match texts.iter().position(|text| text.is_empty()) {
            Some(empty) => Err(item(list, empty + 1, "", "is empty")),
            None => Ok(Self { texts }),
        }
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.texts.iter().enumerate().map(|(index, text)| (index + 1, *text))
    }
}

fn item(list: List, place: usize, text: &str, reason: &'static str) -> RequestError {
    RequestError::Item { list, place, text: shortened(text), reason }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
