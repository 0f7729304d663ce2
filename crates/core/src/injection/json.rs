//! Writes a configuration as JSON (RFC 8259), for a program that applies it in place of the daemon. It starts
//! no program.

use std::fmt::Write as _;

use super::plan::Target;
use crate::kvp::ip_info::request::{Method, StaticAddresses};

/// The configuration in one line, with a newline:
/// `{"version":1,"interface":"hn0","lagg":null,"persist":true,"method":"static",
/// "addresses":[{"address":"10.1.1.5","prefix":24}],"gateways":["10.1.1.1"],"name-servers":[]}`. With the
/// method `dhcp` the lists are empty. `lagg` is the lagg that has the addresses instead of the interface.
#[must_use]
pub fn document(target: &Target, method: &Method, persist: bool) -> String {
    let none = StaticAddresses::default();
    let (name, given) = match method {
        Method::Static(given) => ("static", given),
        Method::Dhcp => ("dhcp", &none),
    };
    let addresses = given.addresses.iter().map(|address| {
        format!("{{\"address\":{},\"prefix\":{}}}", quoted(&address.address.to_string()), address.prefix)
    });
    let lagg = target.lagg.as_ref().map_or_else(|| "null".to_owned(), |lagg| quoted(lagg.as_str()));
    format!(
        "{{\"version\":1,\"interface\":{},\"lagg\":{lagg},\"persist\":{persist},\"method\":\"{name}\",\"addresses\":{},\
         \"gateways\":{},\"name-servers\":{}}}\n",
        quoted(target.hn.as_str()),
        list(addresses),
        list(given.gateways.iter().map(|gateway| quoted(&gateway.to_string()))),
        list(given.name_servers.iter().map(|server| quoted(&server.to_string()))),
    )
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            _ if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_written_with_all_members() {
        let target = Target { hn: "hn0".parse().unwrap(), lagg: None };
        let given = Method::Static(StaticAddresses {
            addresses: vec!["10.1.1.5/24".parse().unwrap(), "fd00::5/64".parse().unwrap()],
            gateways: vec!["fe80::1".parse().unwrap()],
            name_servers: Vec::new(),
        });
        assert_eq!(
            document(&target, &given, true),
            "{\"version\":1,\"interface\":\"hn0\",\"lagg\":null,\"persist\":true,\"method\":\"static\",\"addresses\":\
             [{\"address\":\"10.1.1.5\",\"prefix\":24},{\"address\":\"fd00::5\",\"prefix\":64}],\"gateways\":\
             [\"fe80::1\"],\"name-servers\":[]}\n"
        );
        let target = Target { lagg: "lagg0".parse().ok(), ..target };
        assert_eq!(
            document(&target, &Method::Dhcp, false),
            "{\"version\":1,\"interface\":\"hn0\",\"lagg\":\"lagg0\",\"persist\":false,\"method\":\"dhcp\",\
             \"addresses\":[],\"gateways\":[],\"name-servers\":[]}\n"
        );
    }

    #[test]
    fn any_text_is_one_json_string() {
        assert_eq!(quoted("a\"b\\c\n\u{1}é"), "\"a\\\"b\\\\c\\u000a\\u0001é\"");
    }
}
