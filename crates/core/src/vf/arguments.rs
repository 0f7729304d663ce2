//! The words of rc.conf(5) that go to ifconfig(8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{InterfaceAddress, ipv4_prefix};
use crate::plan::network::IfconfigArguments;

/// The longest range of addresses that is expanded: `netif_ipexpand_max` of network.subr.
const LONGEST_RANGE: u32 = 2048;
/// The most words that one variable may have.
const MOST_WORDS: usize = 4096;

/// Why words cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    /// rc(8) would evaluate this character; here nothing is evaluated.
    #[error("the character {0:?} has a meaning for the shell only")]
    ShellCharacter(char),
    /// A quotation that does not end.
    #[error("a quotation does not end")]
    OpenQuote,
    /// More words than any configuration has.
    #[error("it has too many words")]
    TooLong,
    /// `10.0.0.9-5/24`, `10.0.0.1-99999/8`.
    #[error("{0:?} is no range of addresses")]
    Range(String),
    /// A mask or prefix length that is none.
    #[error("{0:?} is no mask")]
    Mask(String),
}

/// Splits at blanks. Quotes and backslashes keep words together as in the shell; what would need a shell is refused.
pub(super) fn split_words(text: &str) -> Result<Vec<String>, ArgumentError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') => {
                let next = characters.next().ok_or(ArgumentError::OpenQuote)?;
                word.get_or_insert_default().push(next);
            }
            (_, '$' | '`') => return Err(ArgumentError::ShellCharacter(c)),
            (None, ';' | '&' | '|' | '<' | '>' | '(' | ')') => return Err(ArgumentError::ShellCharacter(c)),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ if c.is_control() => return Err(ArgumentError::ShellCharacter(c)),
            _ => word.get_or_insert_default().push(c),
        }
        if words.len() > MOST_WORDS {
            return Err(ArgumentError::TooLong);
        }
    }
    words.extend(word);
    if quote.is_some() { Err(ArgumentError::OpenQuote) } else { Ok(words) }
}

/// The keywords for rc(8) and the words for ifconfig(8), without what makes a lagg a lagg: that is decided elsewhere.
pub(super) fn separate_keywords(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut keywords, mut others) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_str() {
            "DHCP" | "SYNCDHCP" | "NOSYNCDHCP" | "NOAUTO" | "WPA" | "HOSTAP" => keywords.push(word),
            _ if matches!(word.as_str(), "vnet" | "laggproto" | "laggport") => {
                words.next();
            }
            _ => others.push(word),
        }
    }
    (keywords, others)
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

/// `inet 10.0.0.5-7/24` is three addresses, of which network.subr gives the first the prefix and the others /32;
/// `inet6 fd00::5-7/64` is three addresses with the same prefix. What is no range comes back as it is.
pub(super) fn expand_range(item: Vec<String>) -> Result<Vec<Vec<String>>, ArgumentError> {
    let (Some(family), Some(address)) = (item.first(), item.get(1)) else { return Ok(vec![item]) };
    let addresses = match family.as_str() {
        "inet" if address.contains('-') => expand_ipv4(address),
        "inet6" if address.contains('-') => expand_ipv6(address),
        _ => return Ok(vec![item]),
    };
    let addresses = addresses.ok_or_else(|| ArgumentError::Range(address.clone()))?;
    let with = |address| {
        let mut words = item.clone();
        words[1] = address;
        words
    };
    Ok(addresses.into_iter().map(with).collect())
}

fn expand_ipv4(text: &str) -> Option<Vec<String>> {
    let (range, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let (head, last) = range.split_once('-')?;
    let (before, first) = head.rsplit_once('.').map_or(("", head), |(before, first)| (before, first));
    let (last, after) = last.split_once('.').map_or((last, ""), |(last, after)| (last, after));
    let numbers = bounded(first.parse().ok()?, last.parse().ok()?)?;
    let mut prefixes = std::iter::once(prefix).chain(std::iter::repeat("32"));
    numbers
        .map(|number| {
            let parts = [before, &number.to_string(), after];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let address: Ipv4Addr = parts.join(".").parse().ok()?;
            Some(format!("{address}/{}", prefixes.next()?))
        })
        .collect()
}

fn expand_ipv6(text: &str) -> Option<Vec<String>> {
    let (range, prefix) = text.split_once('/').unwrap_or((text, "64"));
    let (head, last) = range.split_once('-')?;
    let (base, first) = head.rsplit_once(':')?;
    let hexadecimal = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let numbers = bounded(hexadecimal(first)?, hexadecimal(last)?)?;
    numbers
        .map(|number| {
            let address: Ipv6Addr = format!("{base}:{number:x}").parse().ok()?;
            Some(format!("{address}/{prefix}"))
        })
        .collect()
}

fn bounded(first: u32, last: u32) -> Option<std::ops::RangeInclusive<u32>> {
    (first <= last && last - first < LONGEST_RANGE).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split_words(text).unwrap()
    }

    #[test]
    fn words_are_split_as_the_shell_does() {
        assert_eq!(words("  inet 10.0.0.5/24\tup "), ["inet", "10.0.0.5/24", "up"]);
        assert_eq!(
            words(r#"description "two words" 'a"b' c\ d '' "#),
            ["description", "two words", "a\"b", "c d", ""]
        );
        assert!(words("").is_empty());
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for text in ["inet $(id)", "inet `id`", "up; reboot", "a & b", "a | b", "a > b", "\"$x\"", "a\u{1b}b"]
        {
            assert!(matches!(split_words(text), Err(ArgumentError::ShellCharacter(_))), "{text:?}");
        }
        for text in ["'open", "\"open", "end\\"] {
            assert_eq!(split_words(text), Err(ArgumentError::OpenQuote), "{text:?}");
        }
        assert_eq!(split_words("'$x;y'").unwrap(), ["$x;y"]);
        assert_eq!(split_words(&"a ".repeat(5000)), Err(ArgumentError::TooLong));
    }

    #[test]
    fn keywords_go_to_rc_and_the_rest_to_ifconfig() {
        let (keywords, others) =
            separate_keywords(words("dhcp vnet jail mtu 9000 laggproto lacp NoAuto laggport hn0"));
        assert_eq!(keywords, ["dhcp", "NoAuto"]);
        assert_eq!(others, ["mtu", "9000"]);
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

    #[test]
    fn ranges_are_expanded_as_network_subr_does() {
        let expand = |text: &str| {
            expand_range(words(text)).map(|all| all.iter().map(|words| words.join(" ")).collect::<Vec<_>>())
        };
        assert_eq!(
            expand("inet 10.0.0.5-7/24").unwrap(),
            ["inet 10.0.0.5/24", "inet 10.0.0.6/32", "inet 10.0.0.7/32"]
        );
        assert_eq!(expand("inet 10.0.0.5-5").unwrap(), ["inet 10.0.0.5/32"]);
        assert_eq!(expand("inet 10.0.0.5").unwrap(), ["inet 10.0.0.5"]);
        assert_eq!(expand("inet 10.0.0.5 netmask 255.0.0.0").unwrap(), ["inet 10.0.0.5 netmask 255.0.0.0"]);
        assert_eq!(
            expand("inet6 fd00::9-b/64").unwrap(),
            ["inet6 fd00::9/64", "inet6 fd00::a/64", "inet6 fd00::b/64"]
        );
        assert_eq!(expand("link 00:15:5d:01:02:03").unwrap(), ["link 00:15:5d:01:02:03"]);
        for text in [
            "inet 10.0.0.7-5/24",
            "inet 10.0.0.1-99999/8",
            "inet 10.0.0.250-256/24",
            "inet -",
            "inet6 fd00::-/64",
        ] {
            assert!(matches!(expand(text), Err(ArgumentError::Range(_))), "{text}");
        }
    }
}
