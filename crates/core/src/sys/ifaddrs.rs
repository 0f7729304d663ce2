//! Interfaces by getifaddrs(3). The walk is shared by both systems; each interprets its own socket addresses.

use std::ffi::CStr;
use std::{io, ptr, slice};

use super::os;
use crate::net::{Interface, InterfaceAddress, InterfaceName, MacAddress};

/// A fact that one entry of the list adds to its interface.
pub(super) enum Fact {
    /// Its index in the kernel and its Ethernet address.
    Link { index: u32, mac: Option<MacAddress> },
    /// One of its addresses.
    Address(InterfaceAddress),
}

/// All interfaces with their addresses, by index.
///
/// # Errors
/// The error of getifaddrs(3).
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let list = List::get()?;
    let mut interfaces = Vec::new();
    let mut next = list.head;
    // SAFETY: the pointer is the head of the list or a link of it; the list lives until `list` is dropped.
    while let Some(entry) = unsafe { next.as_ref() } {
        add(&mut interfaces, entry);
        next = entry.ifa_next;
    }
    interfaces.sort_by_key(|interface: &Interface| interface.index);
    Ok(interfaces)
}

/// Adds one entry. Names and addresses that this crate cannot represent are left out.
fn add(interfaces: &mut Vec<Interface>, entry: &libc::ifaddrs) {
    // SAFETY: getifaddrs(3) gives each entry a name that ends in NUL, or (never seen) a null pointer.
    let name = (!entry.ifa_name.is_null()).then(|| unsafe { CStr::from_ptr(entry.ifa_name) });
    let Some(name) = name.and_then(|name| name.to_str().ok()).and_then(os::interfaces::name) else {
        return;
    };
    let interface = entry_for(interfaces, name);
    interface.up = entry.ifa_flags & libc::IFF_UP.cast_unsigned() != 0;
    interface.loopback = entry.ifa_flags & libc::IFF_LOOPBACK.cast_unsigned() != 0;
    // SAFETY: both pointers are null or lead to a socket address that lives as long as the entry.
    let (address, mask) = unsafe { (bytes(entry.ifa_addr), bytes(entry.ifa_netmask)) };
    match os::interfaces::fact(address, mask) {
        Some(Fact::Link { index, mac }) => {
            interface.index = index;
            interface.mac = mac;
        }
        Some(Fact::Address(address)) => interface.addresses.push(address),
        None => {}
    }
}

/// The interface with that name, created if it is new. Entries of one interface are usually consecutive.
pub(super) fn entry_for(interfaces: &mut Vec<Interface>, name: InterfaceName) -> &mut Interface {
    let known = interfaces.iter().rposition(|interface| interface.name == name);
    let position = known.unwrap_or_else(|| {
        let new = Interface { name, index: 0, up: false, loopback: false, mac: None, addresses: Vec::new() };
        interfaces.push(new);
        interfaces.len() - 1
    });
    &mut interfaces[position]
}

/// The bytes of a socket address. Empty for a null pointer.
///
/// # Safety
/// `address` is null or leads to a socket address as the system lays it out, alive for `'a`.
unsafe fn bytes<'a>(address: *const libc::sockaddr) -> &'a [u8] {
    // SAFETY: the caller vouches for the pointer; every socket address begins with `struct sockaddr`'s
    // length and family, which is all that `length` reads.
    let Some(length) = (unsafe { address.as_ref() }).map(os::interfaces::length) else { return &[] };
    // SAFETY: a socket address of this family (Linux) or this sa_len (FreeBSD) has so many bytes.
    unsafe { slice::from_raw_parts(address.cast(), length) }
}

/// Owns the list and frees it.
struct List {
    head: *mut libc::ifaddrs,
}

impl List {
    fn get() -> io::Result<Self> {
        let mut head = ptr::null_mut();
        // SAFETY: the pointer is to a valid place for the head of the list.
        match unsafe { libc::getifaddrs(&raw mut head) } {
            0 => Ok(Self { head }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: getifaddrs(3) gave the list, and nothing that borrows from it outlives `self`.
        unsafe { libc::freeifaddrs(self.head) }
    }
}
