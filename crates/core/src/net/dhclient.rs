//! Recognises the dhclient(8) of an interface by its arguments, and reads pid files. Pure: processes are
//! listed by `sys`.

use super::InterfaceName;

/// The number in a pid file: decimal digits, possibly with white space around them. 0 is refused.
#[must_use]
pub fn parse_pid(bytes: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|pid| *pid != 0)
}

/// Whether an argument vector (each argument followed by a NUL) belongs to the dhclient of exactly
/// `interface`.
///
/// There are two forms: the title of FreeBSD's dhclient, one string `dhclient: hn0` (`dhclient: hn0 [priv]`
/// for its privileged process), and the vector before it sets the title, where the interface is the only
/// operand and thus the last argument (sbin/dhclient/dhclient.c).
#[must_use]
pub fn serves(arguments: &[u8], interface: &InterfaceName) -> bool {
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let mut arguments = arguments.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    let interface = interface.as_str().as_bytes();
    if let Some(title) = program.strip_prefix(b"dhclient: ") {
        return title.split(|byte| *byte == b' ').next() == Some(interface);
    }
    let name = program.rsplit(|byte| *byte == b'/').next();
    name == Some(b"dhclient") && arguments.next_back() == Some(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_positive_decimal_numbers() {
        let table: &[(&[u8], Option<u32>)] = &[
            (b"123", Some(123)),
            (b"123\n", Some(123)),
            (b" 123 \n", Some(123)),
            (b"", None),
            (b"0", None),
            (b"-1", None),
            (b"+1", None),
            (b"12 34", None),
            (b"99999999999999", None),
            (b"\xff", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_pid(text), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn only_a_dhclient_of_exactly_the_interface_serves_it() {
        let hn1: InterfaceName = "hn1".parse().unwrap();
        for good in
            ["dhclient: hn1\0", "dhclient: hn1 [priv]\0", "dhclient\0hn1\0", "/sbin/dhclient\0-b\0hn1\0"]
        {
            assert!(serves(good.as_bytes(), &hn1), "{good:?}");
        }
        let bad = [
            "",
            "\0",
            "hn1\0",
            "dhclient: hn10\0",
            "dhclient: hn10 [priv]\0",
            "dhclient: hn\0",
            "dhclient: system.syslog\0",
            "dhclient\0hn10\0",
            "dhclient\0hn1\0hn2\0",
            "dhclient\0",
            "dhclientx\0hn1\0",
            "/usr/sbin/sshd\0hn1\0",
            "vi\0dhclient: hn1\0",
        ];
        for bad in bad {
            assert!(!serves(bad.as_bytes(), &hn1), "{bad:?}");
        }
    }
}
