//! The words that rc(8) hands to ifconfig(8).

use std::net::{IpAddr, Ipv4Addr};

use crate::net::{InterfaceAddress, ipv4_prefix};
use crate::plan::network::IfconfigArguments;

/// Why words cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    /// A mask or prefix length that is none.
    #[error("{0:?} is no mask")]
    Mask(String),
}

/// The words without what makes a lagg a lagg and without the jail: that is decided elsewhere.
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

/// Finds the address that `words` set: it stands behind the address family, or where none is given in the first word that is an
/// address and not the value of an option.
pub(super) fn interpret(words: Vec<String>) -> Result<IfconfigArguments, ArgumentError> {
    let is_value = |place: usize| {
        let before = place.checked_sub(1).and_then(|before| words.get(before));
        before.is_some_and(|word| matches!(word.as_str(), "netmask" | "broadcast" | "dstaddr"))
    };
    let place = match words.iter().position(|word| is_address_family(word)) {
        Some(family) => Some(family + 1),
        None => (0..words.len()).find(|place| !is_value(*place) && is_address(&words[*place])),
    };
    let address = match place.and_then(|place| Some((words.get(place)?, words.get(place + 1..)?))) {
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

/// The address of `word`, whose prefix length may stand in one of the words behind it.
fn read_address(word: &str, rest: &[String]) -> Result<Option<InterfaceAddress>, ArgumentError> {
    let (text, prefix) = word.split_once('/').map_or((word, None), |(text, prefix)| (text, Some(prefix)));
    let Ok(address) = text.split('%').next().unwrap_or_default().parse::<IpAddr>() else {
        // A keyword such as `up`, or a host name: ifconfig(8) knows.
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

/// `255.255.255.0` or `0xffffff00`.
fn read_mask(text: &str) -> Option<u8> {
    let mask = match text.strip_prefix("0x") {
        Some(digits) => Ipv4Addr::from(u32::from_str_radix(digits, 16).ok()?),
        None => text.parse().ok()?,
    };
    ipv4_prefix(mask)
}

/// What ifconfig(8) assumes, with a warning, where no mask is given.
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
    fn what_makes_a_lagg_is_left_out() {
        let others = without_lagg_words(words("mtu 9000 laggproto lacp up laggport hn0"));
        assert_eq!(others, ["mtu", "9000", "up"]);
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
