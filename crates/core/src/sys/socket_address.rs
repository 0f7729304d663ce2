//! Parses FreeBSD's socket addresses, for getifaddrs(3) and the route records. Pure.
//!
//! Lengths and counts are checked, although the bytes are the kernel's: an address may be cut short (masks
//! are), have length 0, or be longer than its structure (`sockaddr_dl`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::freebsd_abi as abi;
use crate::net::MacAddress;

/// The u16 in the kernel's byte order at `offset`.
#[must_use]
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

/// The u32 in the kernel's byte order at `offset`.
#[must_use]
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// The family byte. `None` if the address is too short.
#[must_use]
pub fn family(address: &[u8]) -> Option<u8> {
    address.get(abi::SA_FAMILY).copied()
}

/// The IP address of an IPv4 or IPv6 socket address. Link-local ones lose an embedded scope.
#[must_use]
pub fn ip_address(address: &[u8]) -> Option<IpAddr> {
    match family(address)? {
        abi::AF_INET => {
            let bytes: [u8; 4] = *address.get(abi::SIN_ADDR..)?.first_chunk()?;
            Some(IpAddr::V4(Ipv4Addr::from(bytes)))
        }
        abi::AF_INET6 => {
            let bytes: [u8; 16] = *address.get(abi::SIN6_ADDR..)?.first_chunk()?;
            Some(IpAddr::V6(without_scope(bytes)))
        }
        _ => None,
    }
}

/// Clears the interface index in bytes 2 and 3 of a link-local address.
///
/// The kernel leaves it there only while net.inet6.ip6.deembed_scopeid is 0 (sys/netinet6/scope6.c).
fn without_scope(mut bytes: [u8; 16]) -> Ipv6Addr {
    if Ipv6Addr::from(bytes).is_unicast_link_local() {
        bytes[2] = 0;
        bytes[3] = 0;
    }
    Ipv6Addr::from(bytes)
}

/// The bytes of `mask` for an address of `family`. Bytes that were cut off are zero.
///
/// The mask's own family is ignored: the kernel sets it to 0.
fn mask_bytes(mask: &[u8], family: u8) -> Option<[u8; 16]> {
    let (offset, length) = match family {
        abi::AF_INET => (abi::SIN_ADDR, 4),
        abi::AF_INET6 => (abi::SIN6_ADDR, 16),
        _ => return None,
    };
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(mask.iter().skip(offset).take(length)) {
        *to = *from;
    }
    Some(bytes)
}

/// Leading one bits of a mask for an address of `family`.
#[must_use]
pub fn prefix_length(mask: &[u8], family: u8) -> Option<u8> {
    let ones = u128::from_be_bytes(mask_bytes(mask, family)?).leading_ones();
    u8::try_from(ones).ok()
}

/// Whether a mask for an address of `family` has no one bit at all.
#[must_use]
pub fn mask_is_zero(mask: &[u8], family: u8) -> bool {
    mask_bytes(mask, family) == Some([0; 16])
}

/// Index and Ethernet address of a link-level address.
#[must_use]
pub fn link(address: &[u8]) -> Option<(u32, Option<MacAddress>)> {
    if family(address)? != abi::AF_LINK {
        return None;
    }
    let index = u16_at(address, abi::SDL_INDEX)?;
    Some((u32::from(index), mac_address(address)))
}

/// The six bytes after the name, if the address has six.
fn mac_address(address: &[u8]) -> Option<MacAddress> {
    if *address.get(abi::SDL_ALEN)? != 6 || *address.get(abi::SDL_TYPE)? == abi::IFT_LOOP {
        return None;
    }
    let start = abi::SDL_DATA + usize::from(*address.get(abi::SDL_NLEN)?);
    let bytes: [u8; 6] = *address.get(start..)?.first_chunk()?;
    (bytes != [0; 6]).then_some(MacAddress(bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sys) fn inet(text: &str) -> Vec<u8> {
        let mut bytes = match text.parse().unwrap() {
            IpAddr::V4(v4) => [&[16, abi::AF_INET, 0, 0][..], &v4.octets()].concat(),
            IpAddr::V6(v6) => [&[28, abi::AF_INET6, 0, 0, 0, 0, 0, 0][..], &v6.octets()].concat(),
        };
        bytes.resize(usize::from(bytes[0]), 0);
        bytes
    }

    pub(in crate::sys) fn link_address(index: u16, name: &str, mac: &[u8]) -> Vec<u8> {
        let length = |n: usize| u8::try_from(n).unwrap();
        let mut bytes = vec![0, abi::AF_LINK];
        bytes.extend(index.to_ne_bytes());
        bytes.extend([abi::IFT_ETHER, length(name.len()), length(mac.len()), 0]);
        bytes.extend(name.as_bytes());
        bytes.extend(mac);
        bytes.resize(bytes.len().max(54), 0);
        bytes[0] = length(bytes.len());
        bytes
    }

    #[test]
    fn link_local_scope_is_removed_whether_embedded_or_not() {
        let plain = inet("fe80::215:5dff:fe01:203");
        let mut embedded = plain.clone();
        embedded[abi::SIN6_ADDR + 3] = 7;
        let mut deembedded = plain.clone();
        deembedded[abi::SIN6_SCOPE_ID] = 7;
        for bytes in [plain, embedded, deembedded] {
            assert_eq!(ip_address(&bytes).unwrap().to_string(), "fe80::215:5dff:fe01:203");
        }
        assert_eq!(ip_address(&inet("2001:db8:7::1")).unwrap().to_string(), "2001:db8:7::1");
    }

    #[test]
    fn addresses_that_are_cut_short_are_rejected() {
        for text in ["10.0.0.5", "fd00::5"] {
            let bytes = inet(text);
            let needed = if bytes.len() == 16 { 8 } else { 24 };
            for length in 0..needed {
                assert_eq!(ip_address(&bytes[..length]), None, "{text} cut at {length}");
            }
            assert_eq!(ip_address(&bytes[..needed]).unwrap().to_string(), text);
        }
        let bytes = link_address(3, "hn0", &[2, 0, 0, 0, 0, 1]);
        for length in 0..bytes.len() {
            let _ = link(&bytes[..length]);
        }
    }

    #[test]
    fn masks_may_be_cut_short_and_have_no_family() {
        let prefix = |mask: &[u8], family| prefix_length(mask, family).unwrap();
        assert_eq!(prefix(&inet("255.255.255.0"), abi::AF_INET), 24);
        assert_eq!(prefix(&[7, 0, 0, 0, 255, 255, 255], abi::AF_INET), 24);
        assert_eq!(prefix(&[5, 0, 0, 0, 255], abi::AF_INET), 8);
        assert_eq!(prefix(&[0], abi::AF_INET), 0);
        assert_eq!(prefix(&inet("ffff:ffff:ffff:ffff::"), abi::AF_INET6), 64);
        assert_eq!(prefix_length(&[0], abi::AF_LINK), None);
        assert!(mask_is_zero(&[], abi::AF_INET6));
        assert!(!mask_is_zero(&inet("::1"), abi::AF_INET6));
    }

    #[test]
    fn a_mac_address_is_read_inside_the_address_only() {
        let mac = [0, 0x15, 0x5d, 1, 2, 3];
        assert_eq!(link(&link_address(3, "hn0", &mac)), Some((3, Some(MacAddress(mac)))));
        assert_eq!(link(&link_address(3, &"x".repeat(200), &mac)), Some((3, Some(MacAddress(mac)))));
        assert_eq!(link(&link_address(3, "ib0", &[1; 20])), Some((3, None)));
        assert_eq!(link(&link_address(3, "hn0", &[])), Some((3, None)));
        assert_eq!(link(&link_address(3, "hn0", &[0; 6])), Some((3, None)));
        let mut lying = link_address(3, "hn0", &mac);
        lying[abi::SDL_NLEN] = 200;
        assert_eq!(link(&lying), Some((3, None)));
    }
}
