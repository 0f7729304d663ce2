//! Routes through gateways from the records of FreeBSD's sysctls NET_RT_DUMP and NET_RT_FLAGS.
//!
//! Pure, so that it is tested on systems without these sysctls. A record is a header with its length,
//! followed by the socket addresses whose bits the header has, each rounded up (net/route.h,
//! sys/net/rtsock.c).

use std::net::IpAddr;

use super::freebsd_abi as abi;
use super::socket_address::{family, ip_address, mask_is_zero, prefix_length, u16_at, u32_at};
use crate::net::InterfaceAddress;

/// The gateway of a route, and the index of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// The route's destination. `None` for a default route.
    pub destination: Option<InterfaceAddress>,
    /// The gateway. A link-local one has no scope.
    pub address: IpAddr,
    /// The interface's index in the kernel.
    pub index: u32,
}

/// The gateways of default routes and of static ones in a dump, in its order.
///
/// Routes that are unusable, have no gateway, or were set by the kernel or a routing protocol are left out. A
/// record that is longer than the rest of the dump, or too short for its own length, ends the walk.
#[must_use]
pub fn gateways(dump: &[u8]) -> Vec<Gateway> {
    Records { rest: dump }.filter_map(gateway).collect()
}

struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16_at(self.rest, abi::RTM_MSGLEN)?);
        if length <= abi::RTM_TYPE {
            return None;
        }
        let (record, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(record)
    }
}

fn gateway(record: &[u8]) -> Option<Gateway> {
    let addresses = record.get(abi::RT_MSGHDR_SIZE..)?;
    if record.get(abi::RTM_VERSION_OFFSET) != Some(&abi::RTM_VERSION)
        || record.get(abi::RTM_TYPE) != Some(&abi::RTM_GET)
    {
        return None;
    }
    let flags = u32_at(record, abi::RTM_FLAGS)?;
    let wanted = abi::RTF_UP | abi::RTF_GATEWAY;
    if flags & wanted != wanted || flags & (abi::RTF_REJECT | abi::RTF_BLACKHOLE) != 0 {
        return None;
    }
    let addresses = split_addresses(addresses, u32_at(record, abi::RTM_ADDRS)?)?;
    let destination = addresses[abi::RTAX_DST]?;
    let family = family(destination)?;
    let mask = addresses[abi::RTAX_NETMASK];
    let is_host = flags & abi::RTF_HOST != 0;
    let is_default =
        !is_host && mask_is_zero(destination, family) && mask.is_none_or(|mask| mask_is_zero(mask, family));
    let destination = match is_default {
        true => None,
        false if flags & abi::RTF_STATIC == 0 => return None,
        false => Some(network(destination, mask.filter(|_| !is_host), family)?),
    };
    let address = ip_address(addresses[abi::RTAX_GATEWAY]?)?;
    Some(Gateway { destination, address, index: u32::from(u16_at(record, abi::RTM_INDEX)?) })
}

/// A destination without a mask is a host.
fn network(destination: &[u8], mask: Option<&[u8]>, family: u8) -> Option<InterfaceAddress> {
    let address = ip_address(destination)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = mask.map_or(Some(longest), |mask| prefix_length(mask, family))?;
    Some(InterfaceAddress { address, prefix })
}

/// The addresses after a header, by their RTAX number. `None` if one reaches past the end.
fn split_addresses(mut rest: &[u8], bits: u32) -> Option<[Option<&[u8]>; abi::RTAX_MAX]> {
    let mut addresses = [None; abi::RTAX_MAX];
    for (number, slot) in addresses.iter_mut().enumerate() {
        if bits & (1 << number) == 0 {
            continue;
        }
        let length = usize::from(*rest.first()?);
        *slot = Some(rest.get(..length)?);
        // An address of length 0 takes one step. The last address may lack its padding.
        let step = length.max(1).next_multiple_of(abi::SA_ALIGNMENT);
        rest = rest.get(step..).unwrap_or_default();
    }
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use super::super::socket_address::tests::{inet, link_address};
    use super::*;

    const UP: u32 = abi::RTF_UP | abi::RTF_GATEWAY;
    const DGM: u32 = abi::RTA_DST | abi::RTA_GATEWAY | abi::RTA_NETMASK;

    fn record(index: u16, flags: u32, bits: u32, addresses: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; abi::RT_MSGHDR_SIZE];
        for address in addresses {
            bytes.extend(address);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let length = u16::try_from(bytes.len()).unwrap();
        bytes[..2].copy_from_slice(&length.to_ne_bytes());
        bytes[2] = abi::RTM_VERSION;
        bytes[3] = abi::RTM_GET;
        bytes[4..6].copy_from_slice(&index.to_ne_bytes());
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[12..16].copy_from_slice(&bits.to_ne_bytes());
        bytes
    }

    fn default_v4() -> Vec<u8> {
        record(2, UP, DGM, &[inet("0.0.0.0"), inet("10.0.0.1"), inet("0.0.0.0")])
    }

    fn found(dump: &[u8]) -> Vec<String> {
        let text = |found: &Gateway| {
            let to = found.destination.map_or(String::new(), |network| format!("{network} by "));
            format!("{to}{} {}", found.address, found.index)
        };
        gateways(dump).iter().map(text).collect()
    }

    #[test]
    fn both_families_are_found_among_other_routes() {
        let dump = [
            record(2, UP, DGM, &[inet("10.1.0.0"), inet("10.0.0.9"), inet("255.255.0.0")]),
            default_v4(),
            record(1, UP, DGM, &[inet("::"), inet("::1"), inet("ffff:ffff::")]),
            record(3, UP, DGM, &[inet("::"), inet("fe80::1"), inet("::")]),
        ]
        .concat();
        assert_eq!(found(&dump), ["10.0.0.1 2", "fe80::1 3"]);
    }

    #[test]
    fn static_routes_are_reported_with_their_network() {
        let fixed = UP | abi::RTF_STATIC;
        let dump = [
            record(2, fixed, DGM, &[inet("10.20.0.0"), inet("10.0.0.254"), inet("255.255.0.0")]),
            record(2, fixed, DGM, &[inet("10.21.0.0"), inet("10.0.0.254"), vec![6, 0, 0, 0, 255, 255]]),
            record(2, fixed | 0x4, abi::RTA_DST | abi::RTA_GATEWAY, &[inet("192.0.2.9"), inet("10.0.0.9")]),
            record(3, fixed, DGM, &[inet("fd20::"), inet("fe80::1"), inet("ffff:ffff::")]),
            record(2, fixed, DGM, &[inet("0.0.0.0"), inet("10.0.0.1"), inet("0.0.0.0")]),
            // A redirect.
            record(
                2,
                UP | 0x10 | 0x4,
                abi::RTA_DST | abi::RTA_GATEWAY,
                &[inet("192.0.2.8"), inet("10.0.0.9")],
            ),
        ]
        .concat();
        let expected = [
            "10.20.0.0/16 by 10.0.0.254 2",
            "10.21.0.0/16 by 10.0.0.254 2",
            "192.0.2.9/32 by 10.0.0.9 2",
            "fd20::/32 by fe80::1 3",
            "10.0.0.1 2",
        ];
        assert_eq!(found(&dump), expected);
    }

    #[test]
    fn default_masks_may_be_absent_empty_or_short() {
        let pair = [inet("0.0.0.0"), inet("10.0.0.1")];
        let absent = record(2, UP, abi::RTA_DST | abi::RTA_GATEWAY, &pair);
        assert_eq!(found(&absent), ["10.0.0.1 2"]);
        for mask in [vec![0; 8], vec![4, 0, 0, 0], vec![5, 2, 0, 0, 0]] {
            let one = record(2, UP, DGM, &[&pair[..], std::slice::from_ref(&mask)].concat());
            assert_eq!(found(&one), ["10.0.0.1 2"], "{mask:?}");
        }
    }

    #[test]
    fn addresses_behind_an_empty_mask_are_still_found() {
        let bits = DGM | 0x10;
        let addresses = [inet("::"), inet("fd00::1"), vec![0; 8], link_address(3, "hn0", &[2; 6])];
        assert_eq!(found(&record(3, UP, bits, &addresses)), ["fd00::1 3"]);
    }

    #[test]
    fn an_embedded_scope_is_removed_from_the_gateway() {
        let mut gateway = inet("fe80::1");
        gateway[abi::SIN6_ADDR + 3] = 3;
        assert_eq!(found(&record(3, UP, DGM, &[inet("::"), gateway, inet("::")])), ["fe80::1 3"]);
    }

    #[test]
    fn unusable_routes_are_left_out() {
        let addresses = [inet("0.0.0.0"), inet("10.0.0.1"), inet("0.0.0.0")];
        for flags in [abi::RTF_GATEWAY, abi::RTF_UP, UP | 0x4, UP | 0x8, UP | 0x1000] {
            assert!(found(&record(2, flags, DGM, &addresses)).is_empty(), "{flags:#x}");
        }
        let on_link = [inet("0.0.0.0"), link_address(2, "hn0", &[2; 6]), inet("0.0.0.0")];
        assert!(found(&record(2, UP, DGM, &on_link)).is_empty());
    }

    #[test]
    fn records_of_another_version_are_skipped() {
        let mut other = default_v4();
        other[2] = 6;
        let short = [&8u16.to_ne_bytes()[..], &[5, 4, 0, 0, 0, 0]].concat();
        assert_eq!(found(&[other, short, default_v4()].concat()), ["10.0.0.1 2"]);
    }

    #[test]
    fn truncation_anywhere_loses_at_most_the_last_record() {
        let dump = [default_v4(), default_v4()].concat();
        for length in 0..=dump.len() {
            let expected = length / default_v4().len();
            assert_eq!(found(&dump[..length]).len(), expected, "cut at {length}");
        }
    }

    #[test]
    fn lengths_that_lie_never_loop_or_panic() {
        for length in [0u16, 1, 2, 3, 150, 153, 160, 0x7fff, 0xffff] {
            let mut dump = [default_v4(), default_v4()].concat();
            dump[..2].copy_from_slice(&length.to_ne_bytes());
            let _ = found(&dump);
        }
        for lying in [0u8, 1, 2, 3, 17, 24, 255] {
            let mut dump = default_v4();
            dump[abi::RT_MSGHDR_SIZE] = lying;
            let _ = found(&dump);
        }
        let mut all_bits = default_v4();
        all_bits[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(found(&all_bits).is_empty());
    }
}
