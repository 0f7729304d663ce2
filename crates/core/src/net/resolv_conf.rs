//! Parses the name servers in the text of resolv.conf(5). It reads no file.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The addresses of the `nameserver` lines in order, each once. An IPv6 `%scope` is kept.
///
/// Read as the resolver does (lib/libc/resolv/res_init.c): the keyword begins the line and is followed by a
/// blank, and the address ends at a blank, `;` or `#`. Text that is no address is left out. The resolver asks
/// only the first three; all are returned.
#[must_use]
pub fn parse_name_servers(text: &[u8]) -> Vec<String> {
    let mut servers = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(server) = name_server(line)
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

fn name_server(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"nameserver")?;
    if !matches!(rest.first()?, b' ' | b'\t') {
        return None;
    }
    let end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b';' | b'#');
    let word = rest.trim_ascii_start().split(end).next()?;
    let word = std::str::from_utf8(word).ok()?;
    is_address(word).then(|| word.to_owned())
}

fn is_address(word: &str) -> bool {
    match word.split_once('%') {
        Some((address, scope)) => address.parse::<Ipv6Addr>().is_ok() && is_scope(scope),
        None => word.parse::<Ipv4Addr>().is_ok() || word.parse::<Ipv6Addr>().is_ok(),
    }
}

/// Whether this is a name or number of an interface.
fn is_scope(scope: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=15).contains(&scope.len()) && scope.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_keep_their_order_and_are_listed_once() {
        let text = b"# made by resolvconf\nsearch example.com\nnameserver 10.0.0.2\nnameserver\tfd00::53\n\
                     options timeout:1 edns0\nnameserver fe80::1%hn0\nnameserver 10.0.0.2\nnameserver 10.0.0.4";
        assert_eq!(parse_name_servers(text), ["10.0.0.2", "fd00::53", "fe80::1%hn0", "10.0.0.4"]);
    }

    #[test]
    fn lines_are_read_like_the_resolver() {
        let table: &[(&[u8], &[&str])] = &[
            (b"nameserver   10.0.0.2   # the first", &["10.0.0.2"]),
            (b"nameserver 10.0.0.2;x", &["10.0.0.2"]),
            (b"nameserver 10.0.0.2\r\n", &["10.0.0.2"]),
            (b"nameserver 10.0.0.2 # caf\xe9", &["10.0.0.2"]),
            (b" nameserver 10.0.0.2", &[]),
            (b"#nameserver 10.0.0.2", &[]),
            (b";nameserver 10.0.0.2", &[]),
            (b"nameserver10.0.0.2", &[]),
            (b"nameservers 10.0.0.2", &[]),
            (b"nameserver", &[]),
            (b"nameserver ", &[]),
            (b"nameserver dns.example.com", &[]),
            (b"nameserver 10.0.0.2%hn0", &[]),
            (b"nameserver fe80::1%", &[]),
            (b"nameserver fe80::1%hn0`reboot`", &[]),
            (b"nameserver \xff\xfe", &[]),
            (b"\0\0\0\n\n\n", &[]),
            (b"", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(&parse_name_servers(text), expected, "{}", text.escape_ascii());
        }
    }
}
