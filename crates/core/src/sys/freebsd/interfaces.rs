//! The layout of the socket addresses that getifaddrs(3) returns on FreeBSD. It only interprets bytes; the
//! walk is in `sys/ifaddrs`.

use crate::net::{InterfaceAddress, InterfaceName};
use crate::sys::ifaddrs::Fact;
use crate::sys::socket_address::{family, ip_address, link, prefix_length};

/// The interface's name.
pub(in crate::sys) fn name(text: &str) -> Option<InterfaceName> {
    text.parse().ok()
}

/// Every address has its own length, and getifaddrs(3) copies that number of bytes (SA_RLEN in
/// lib/libc/net/getifaddrs.c). A link-level address may be longer than its structure, a mask shorter.
pub(in crate::sys) fn length(address: &libc::sockaddr) -> usize {
    usize::from(address.sa_len)
}

/// The fact that an address with its mask adds to its interface.
pub(in crate::sys) fn fact(address: &[u8], mask: &[u8]) -> Option<Fact> {
    if let Some((index, mac)) = link(address) {
        return Some(Fact::Link { index, mac });
    }
    let prefix = prefix_length(mask, family(address)?)?;
    Some(Fact::Address(InterfaceAddress { address: ip_address(address)?, prefix }))
}
