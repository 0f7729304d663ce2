//! The layout of the socket addresses that getifaddrs(3) returns on Linux. It only interprets bytes; the walk
//! is in `sys/ifaddrs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{InterfaceAddress, InterfaceName, MacAddress};
use crate::sys::ifaddrs::Fact;

/// `sin_addr`, `sin6_addr` and the fields of `sockaddr_ll` (linux/if_packet.h).
const SIN_ADDR: usize = 4;
const SIN6_ADDR: usize = 8;
const SLL_IFINDEX: usize = 4;
const SLL_HATYPE: usize = 8;
const SLL_HALEN: usize = 11;
const SLL_ADDR: usize = 12;

/// The interface's name. An IPv4 alias has a colon and a label after it.
pub(in crate::sys) fn name(text: &str) -> Option<InterfaceName> {
    text.split(':').next()?.parse().ok()
}

/// The number of bytes of a socket address by its family. 0 for other families.
pub(in crate::sys) fn length(address: &libc::sockaddr) -> usize {
    match i32::from(address.sa_family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        libc::AF_PACKET => size_of::<libc::sockaddr_ll>(),
        _ => 0,
    }
}

/// The fact that an address with its mask adds to its interface.
pub(in crate::sys) fn fact(address: &[u8], mask: &[u8]) -> Option<Fact> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip = IpAddr::V4(Ipv4Addr::from(*address.get(SIN_ADDR..)?.first_chunk::<4>()?));
            let ones = u32::from_be_bytes(*mask.get(SIN_ADDR..)?.first_chunk()?).leading_ones();
            Some(Fact::Address(InterfaceAddress { address: ip, prefix: u8::try_from(ones).ok()? }))
        }
        libc::AF_INET6 => {
            let ip = IpAddr::V6(Ipv6Addr::from(*address.get(SIN6_ADDR..)?.first_chunk::<16>()?));
            let ones = u128::from_be_bytes(*mask.get(SIN6_ADDR..)?.first_chunk()?).leading_ones();
            Some(Fact::Address(InterfaceAddress { address: ip, prefix: u8::try_from(ones).ok()? }))
        }
        libc::AF_PACKET => {
            let index = u32::from_ne_bytes(*address.get(SLL_IFINDEX..)?.first_chunk()?);
            Some(Fact::Link { index, mac: mac_address(address) })
        }
        _ => None,
    }
}

fn mac_address(address: &[u8]) -> Option<MacAddress> {
    let hardware = u16::from_ne_bytes(*address.get(SLL_HATYPE..)?.first_chunk()?);
    let bytes: [u8; 6] = *address.get(SLL_ADDR..)?.first_chunk()?;
    let ethernet = hardware == libc::ARPHRD_ETHER && *address.get(SLL_HALEN)? == 6 && bytes != [0; 6];
    ethernet.then_some(MacAddress(bytes))
}

const _: () = {
    assert!(SIN_ADDR == std::mem::offset_of!(libc::sockaddr_in, sin_addr));
    assert!(SIN6_ADDR == std::mem::offset_of!(libc::sockaddr_in6, sin6_addr));
    assert!(SLL_IFINDEX == std::mem::offset_of!(libc::sockaddr_ll, sll_ifindex));
    assert!(SLL_HATYPE == std::mem::offset_of!(libc::sockaddr_ll, sll_hatype));
    assert!(SLL_HALEN == std::mem::offset_of!(libc::sockaddr_ll, sll_halen));
    assert!(SLL_ADDR == std::mem::offset_of!(libc::sockaddr_ll, sll_addr));
};
