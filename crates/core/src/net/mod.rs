//! Facts about the network as typed values: names, addresses and routes of interfaces.
//!
//! Nothing here reads the system: [`crate::sys::network`] fills a [`NetworkSnapshot`], and engines read it.

pub mod dhclient;
pub mod lease;
pub mod processes;
pub mod resolv_conf;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Why a text is not a valid name, address or number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct ParseError {
    what: &'static str,
    text: String,
}

impl ParseError {
    /// `text` is not a `what`. Only its first 64 characters are kept.
    #[must_use]
    pub fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(64).collect() }
    }
}

/// The name of a network interface: 1 to 15 bytes (`IFNAMSIZ` less the NUL, net/if.h) of letters, digits,
/// `_`, `.` and `-`, beginning with a letter.
///
/// The kernel allows more. Drivers and rc.conf use this alphabet, and it is safe in an argument vector and as
/// a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Driver name and unit: `hn10` is (`hn`, 10). `None` if the name does not end in a number, or the number
    /// has a leading zero or is too large.
    #[must_use]
    pub fn driver_and_unit(&self) -> Option<(&str, u32)> {
        let split = self.0.rfind(|c: char| !c.is_ascii_digit())? + 1;
        let (driver, unit) = self.0.split_at(split);
        if unit.len() > 1 && unit.starts_with('0') {
            return None;
        }
        Some((driver, unit.parse().ok()?))
    }

    /// Whether it is a synthetic NIC of hn(4).
    #[must_use]
    pub fn is_hn(&self) -> bool {
        matches!(self.driver_and_unit(), Some(("hn", _)))
    }

    /// Whether it is a link aggregation of lagg(4).
    #[must_use]
    pub fn is_lagg(&self) -> bool {
        matches!(self.driver_and_unit(), Some(("lagg", _)))
    }
}

impl FromStr for InterfaceName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let good = (1..=15).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if good { Ok(Self(text.to_owned())) } else { Err(ParseError::new("interface name", text)) }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = ParseError;

    /// Six groups of two hexadecimal digits in upper or lower case, joined by `:` or `-`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("MAC address", text);
        let mut bytes = [0; 6];
        let mut groups = text.split([':', '-']);
        for byte in &mut bytes {
            let group = groups.next().ok_or_else(error)?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| error())?;
        }
        if groups.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The address. A link-local IPv6 address has no scope.
    pub address: IpAddr,
    /// Leading one bits of the mask: at most 32 or 128.
    pub prefix: u8,
}

impl InterfaceAddress {
    /// Whether the address is valid only on its own link: 169.254.0.0/16 or fe80::/10.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
    }

    /// Whether `other` is in its network.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        IpNet::new(self.address, self.prefix).is_ok_and(|network| network.contains(&other))
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for InterfaceAddress {
    type Err = ParseError;

    /// `10.0.0.5/24` or `fd00::5/64`. Without a prefix length it is one address (/32, /128).
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let network = match text.contains('/') {
            true => text.parse::<IpNet>().ok(),
            false => text.parse::<IpAddr>().ok().map(IpNet::from),
        };
        let network = network.ok_or_else(|| ParseError::new("address with prefix length", text))?;
        Ok(Self { address: network.addr(), prefix: network.prefix_len() })
    }
}

/// The dotted mask of an IPv4 prefix length. Lengths over 32 count as 32.
#[must_use]
pub fn ipv4_mask(prefix: u8) -> Ipv4Addr {
    Ipv4Net::new(Ipv4Addr::UNSPECIFIED, prefix).map_or(Ipv4Addr::BROADCAST, |network| network.netmask())
}

/// The prefix length of a dotted IPv4 mask. `None` if its ones are not contiguous.
#[must_use]
pub fn ipv4_prefix(mask: Ipv4Addr) -> Option<u8> {
    ipnet::ipv4_mask_to_prefix(mask).ok()
}

/// The prefix length of an IPv6 mask. `None` if its ones are not contiguous.
#[must_use]
pub fn ipv6_prefix(mask: Ipv6Addr) -> Option<u8> {
    ipnet::ipv6_mask_to_prefix(mask).ok()
}

/// One interface with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: InterfaceName,
    /// Its index in the kernel.
    pub index: u32,
    /// IFF_UP.
    pub up: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddress>,
    /// Its addresses of both families, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The gateway. A link-local IPv6 gateway has no scope.
    pub gateway: IpAddr,
    /// The route's interface.
    pub interface: InterfaceName,
}

/// A route to one network through a gateway, as rc.conf(5) and administrators set them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// The network. With the longest prefix it is a host.
    pub destination: InterfaceAddress,
    /// The gateway. A link-local IPv6 gateway has no scope.
    pub gateway: IpAddr,
    /// The route's interface.
    pub interface: InterfaceName,
}

/// The routes through gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// The default routes of both families.
    pub default: Vec<DefaultRoute>,
    /// Routes to other networks that were set by hand. Linux reports none.
    pub statics: Vec<StaticRoute>,
}

/// The network at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSnapshot {
    /// All interfaces, by index.
    pub interfaces: Vec<Interface>,
    /// The default routes of both families.
    pub default_routes: Vec<DefaultRoute>,
    /// The static routes of both families.
    pub static_routes: Vec<StaticRoute>,
    /// The name servers of resolv.conf, in order. `%scope` is kept as text.
    pub name_servers: Vec<String>,
    /// The interfaces with a running dhclient(8).
    pub dhcp_clients: Vec<InterfaceName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_interface_names_are_refused() {
        for text in ["", "hn0; reboot", "../x", "hn 0", "-hn0", "0hn", "hn0\n", "abcdefghijklmnop", "é0"] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text:?}");
        }
        let long = "h".repeat(300);
        assert!(long.parse::<InterfaceName>().unwrap_err().to_string().len() < 100);
    }

    #[test]
    fn names_are_split_into_driver_and_unit() {
        let unit = |text: &str| {
            let name: InterfaceName = text.parse().unwrap();
            name.driver_and_unit().map(|(d, u)| (d.to_owned(), u))
        };
        assert_eq!(unit("hn0"), Some(("hn".into(), 0)));
        assert_eq!(unit("hn10"), Some(("hn".into(), 10)));
        assert_eq!(unit("ix0.5"), Some(("ix0.".into(), 5)));
        assert_eq!(unit("hn01"), None);
        assert_eq!(unit("wan"), None);
        assert_eq!(unit("hn99999999999"), None);
    }

    #[test]
    fn mac_addresses_are_read_in_any_case() {
        let mac: MacAddress = "00:15:5D:01:0a:FF".parse().unwrap();
        assert_eq!(mac.to_string(), "00:15:5d:01:0a:ff");
        for text in ["", "00:15:5d:01:02", "00:15:5d:01:02:03:04", "00:15:5d:01:02:0g", "+0:15:5d:01:02:03"] {
            assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn masks_and_prefix_lengths_are_converted() {
        for prefix in 0..=32 {
            assert_eq!(ipv4_prefix(ipv4_mask(prefix)), Some(prefix));
        }
        assert_eq!(ipv4_prefix(Ipv4Addr::new(255, 0, 255, 0)), None);
        assert_eq!(ipv6_prefix("ffff:ffff::".parse().unwrap()), Some(32));
        assert_eq!(ipv6_prefix("ffff:0:ffff::".parse().unwrap()), None);
    }

    #[test]
    fn an_address_reaches_its_own_network_only() {
        for (own, other, wanted) in [
            ("10.0.0.5/24", "10.0.0.1", true),
            ("10.0.0.5/24", "10.0.1.1", false),
            ("10.0.0.5/32", "10.0.0.5", true),
            ("10.0.0.5/0", "192.0.2.1", true),
            ("10.0.0.5/24", "fd00::1", false),
            ("fd00::5/64", "fd00::ffff", true),
            ("fd00::5/64", "fd00:0:0:1::1", false),
        ] {
            let own: InterfaceAddress = own.parse().unwrap();
            assert_eq!(own.reaches(other.parse().unwrap()), wanted, "{own} {other}");
        }
    }

    #[test]
    fn addresses_with_prefix_lengths_are_parsed() {
        let address = |text: &str| text.parse::<InterfaceAddress>().map(|a| a.to_string()).ok();
        assert_eq!(address("10.0.0.5/24").as_deref(), Some("10.0.0.5/24"));
        assert_eq!(address("fd00::5").as_deref(), Some("fd00::5/128"));
        for text in ["10.0.0.5/33", "fd00::/129", "10.0.0.5/", "10.0.0.5/+4", "10.0.0/8"] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
