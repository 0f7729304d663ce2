//! Interprets the arguments that rc(8) passes to ifconfig(8): finds the address, and drops words that do not
//! apply to another interface. It runs nothing.

use std::net::{IpAddr, Ipv4Addr};

use crate::net::{InterfaceAddress, ipv4_prefix};
use crate::plan::network::IfconfigArguments;

/// Why words cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    /// A word is no mask or prefix length.
    #[error("{0:?} is no mask")]
    Mask(String),
}

/// The words without those that create a lagg or move it to a jail, which are decided elsewhere.
pub(super) fn without_lagg_words(words: Vec<String>) -> Vec<String> {
    let mut others = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "laggproto" | "laggport") {
            words.next();
        } else {
            others.push(word);
        }
    }
    others
}

/// The words without those for one interface only: its name, description, group, jail and medium. Empty if
/// none is left.
pub(super) fn without_own_words(words: Vec<String>) -> Vec<String> {
    const WITH_VALUE: [&str; 11] = [
        "description",
        "descr",
        "name",
        "group",
        "-group",
        "media",
        "mediaopt",
        "-mediaopt",
        "mode",
        "vnet",
        "-vnet",
    ];
    const ALONE: [&str; 2] = ["-description", "-descr"];
    if words.first().is_some_and(|word| matches!(word.as_str(), "ether" | "link" | "lladdr")) {
        return Vec::new();
    }
    let mut others = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            word if WITH_VALUE.contains(&word) => drop(words.next()),
            word if ALONE.contains(&word) => {}
            _ => others.push(word),
        }
    }
    others
}

/// Words of ifconfig(8) whose value is not an address of the interface.
const OPTIONS: [&str; 15] = [
    "netmask",
    "broadcast",
    "dstaddr",
    "prefixlen",
    "vhid",
    "advbase",
    "advskew",
    "pass",
    "state",
    "peer",
    "peer6",
    "mtu",
    "metric",
    "fib",
    "pltime",
];

/// Finds the address that `words` set: the first address after the address family, or among all words if
/// there is no family, that is not the value of an option. With carp(4) the options usually come first: `inet
/// vhid 5 pass x alias 10.0.0.5/32`.
pub(super) fn interpret(words: Vec<String>) -> Result<IfconfigArguments, ArgumentError> {
    let is_value = |place: usize| {
        let before = place.checked_sub(1).and_then(|before| words.get(before));
        before.is_some_and(|word| OPTIONS.contains(&word.as_str()))
    };
    let family = words.iter().position(|word| is_address_family(word));
    let start = family.unwrap_or(0);
    let place = (start..words.len()).find(|place| !is_value(*place) && is_address(&words[*place]));
    let address = match place.and_then(|place| words.get(place..)?.split_first()) {
        Some((word, rest)) => read_address(word, rest)?,
        None => None,
    };
    Ok(IfconfigArguments { words, address })
}

pub(super) fn is_address_family(word: &str) -> bool {
    matches!(word, "inet" | "inet6")
}

fn is_address(word: &str) -> bool {
    word.split(['/', '%']).next().is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

/// The address in `word`, whose prefix length may be in a later word.
fn read_address(word: &str, rest: &[String]) -> Result<Option<InterfaceAddress>, ArgumentError> {
    let (text, prefix) = word.split_once('/').map_or((word, None), |(text, prefix)| (text, Some(prefix)));
    let Ok(address) = text.split('%').next().unwrap_or_default().parse::<IpAddr>() else {
        // A keyword such as `up`, or a host name, which is left to ifconfig(8).
        return Ok(None);
    };
    let option = |name: &str| rest.iter().skip_while(|word| *word != name).nth(1);
    let prefix = match (prefix, address) {
        (Some(digits), _) => digits.parse().map_err(|_| ArgumentError::Mask(digits.to_owned()))?,
        (None, IpAddr::V4(v4)) => match option("netmask") {
            Some(mask) => read_mask(mask).ok_or_else(|| ArgumentError::Mask(mask.clone()))?,
            None => classful_prefix(v4),
        },
        (None, IpAddr::V6(_)) => match option("prefixlen") {
            Some(digits) => digits.parse().map_err(|_| ArgumentError::Mask(digits.clone()))?,
            None => 64,
        },
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if prefix > longest {
        Err(ArgumentError::Mask(word.to_owned()))
    } else {
        Ok(Some(InterfaceAddress { address, prefix }))
    }
}

/// Parses `255.255.255.0` or `0xffffff00`.
fn read_mask(text: &str) -> Option<u8> {
    let mask = match text.strip_prefix("0x") {
        Some(digits) => Ipv4Addr::from(u32::from_str_radix(digits, 16).ok()?),
        None => text.parse().ok()?,
    };
    ipv4_prefix(mask)
}

/// The prefix length that ifconfig(8) assumes, with a warning, if there is no mask.
fn classful_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_that_create_a_lagg_are_left_out() {
        let others = without_lagg_words(words("mtu 9000 laggproto lacp up laggport hn0"));
        assert_eq!(others, ["mtu", "9000", "up"]);
    }

    #[test]
    fn words_for_one_interface_are_left_out() {
        for (text, wanted) in [
            ("inet 10.0.0.5/24 description uplink mtu 9000", "inet 10.0.0.5/24 mtu 9000"),
            ("name eth0 descr x -descr group wan media auto mediaopt full-duplex up", "up"),
            ("link 00:15:5d:01:02:03", ""),
            ("ether 00:15:5d:01:02:03 alias", ""),
        ] {
            assert_eq!(without_own_words(words(text)).join(" "), wanted, "{text}");
        }
    }

    #[test]
    fn the_address_is_found_in_all_forms() {
        for (text, wanted) in [
            ("inet 10.0.0.5/24 up", Some("10.0.0.5/24")),
            ("10.0.0.5 netmask 255.255.254.0", Some("10.0.0.5/23")),
            ("inet 10.0.0.5 netmask 0xffffff80 alias", Some("10.0.0.5/25")),
            ("inet 10.0.0.5", Some("10.0.0.5/8")),
            ("inet 172.16.0.5", Some("172.16.0.5/16")),
            ("inet6 fd00::5 prefixlen 48", Some("fd00::5/48")),
            ("inet6 fd00::5", Some("fd00::5/64")),
            ("inet6 fe80::5%hn0/64", Some("fe80::5/64")),
            ("mtu 1500 10.0.0.5 netmask 255.255.255.0", Some("10.0.0.5/24")),
            ("mtu 1500 inet 10.0.0.5/24 up", Some("10.0.0.5/24")),
            ("up netmask 255.255.255.0 10.0.0.5/24", Some("10.0.0.5/24")),
            ("up inet6 fd00::5/64", Some("fd00::5/64")),
            ("description 10.0.0.9 inet 10.0.0.5/24", Some("10.0.0.5/24")),
            ("inet vhid 5 advskew 100 pass 10.0.0.9 alias 10.0.0.50/32", Some("10.0.0.50/32")),
            ("inet6 vhid 5 pass x alias fd00::50/128", Some("fd00::50/128")),
            ("inet host.example.org netmask 255.255.255.0", None),
            ("mtu 9000", None),
            ("inet6 accept_rtadv", None),
            ("inet", None),
        ] {
            let address = interpret(words(text)).unwrap().address.map(|address| address.to_string());
            assert_eq!(address.as_deref(), wanted, "{text}");
        }
        for text in ["inet 10.0.0.5/33", "inet 10.0.0.5 netmask 255.0.255.0", "inet6 fd00::5/x"] {
            assert!(interpret(words(text)).is_err(), "{text}");
        }
    }
}
