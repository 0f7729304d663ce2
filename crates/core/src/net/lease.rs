//! Reads the leases that dhclient(8) keeps: `dhclient.leases.IF`, the newest last (dhclient.leases(5)).
//! Whether a lease is in use is decided elsewhere.

use std::net::Ipv4Addr;

/// The values of a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DhcpLease {
    /// The address.
    pub address: Option<Ipv4Addr>,
    /// The first router.
    pub router: Option<Ipv4Addr>,
}

/// The last lease of a file. `None` if there is none.
#[must_use]
pub fn parse_last(text: &str) -> Option<DhcpLease> {
    let last = text.rfind("lease {")?;
    let mut lease = DhcpLease::default();
    for statement in text[last..].split([';', '{', '}']) {
        let words: Vec<&str> =
            statement.split([' ', '\t', '\n', ',']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["fixed-address", address, ..] => lease.address = address.parse().ok(),
            ["option", "routers", router, ..] => lease.router = router.parse().ok(),
            _ => {}
        }
    }
    Some(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lease_is_read() {
        let text = "lease {\n  interface \"hn0\";\n  fixed-address 10.0.0.4;\n  option routers 10.0.0.9;\n}\n\
                    lease {\n  interface \"hn0\";\n  fixed-address 10.0.0.5;\n  option routers 10.0.0.1,10.0.0.2;\n\
                    \x20 renew 0 2026/11/29 01:00:00;\n}\n";
        let wanted = DhcpLease { address: "10.0.0.5".parse().ok(), router: "10.0.0.1".parse().ok() };
        assert_eq!(parse_last(text), Some(wanted));
        let without = parse_last("lease {\n  fixed-address 10.0.0.5;\n").unwrap();
        assert_eq!(without.router, None);
        for odd in ["", "lease", "fixed-address 10.0.0.5;", "é lease { option routers x; }"] {
            assert!(parse_last(odd).is_none_or(|lease| lease == DhcpLease::default()), "{odd}");
        }
    }
}
