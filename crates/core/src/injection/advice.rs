//! The commands by which an administrator brings an interface to the state of rc.conf(5). It only makes
//! texts, which are the same wherever they are printed.

use crate::net::InterfaceName;

/// The commands, in order.
///
/// `service netif restart` drops the default route of a static interface, and `service routing start` sets it
/// again. `restart` would also flush a leased one (rc.d/routing, `routing_stop_inet`). If rc(8) does not wait
/// for DHCP, devd(8) starts the client when the link comes up; `quietstart` has no effect after that.
#[must_use]
pub fn commands(interface: &InterfaceName, dhcp: bool) -> [String; 2] {
    let behind = match dhcp {
        true => format!("service dhclient quietstart {interface}"),
        false => "service routing start".to_owned(),
    };
    [format!("service netif restart {interface}"), behind]
}

/// The commands in a clause.
#[must_use]
pub fn sentence(interface: &InterfaceName, dhcp: bool) -> String {
    let [first, second] = commands(interface, dhcp);
    format!("\"{first}\" and then \"{second}\" put it into effect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_has_both_commands_in_order() {
        let hn0 = "hn0".parse().unwrap();
        for (dhcp, second) in [(true, "service dhclient quietstart hn0"), (false, "service routing start")] {
            let wanted = format!("\"service netif restart hn0\" and then \"{second}\" put it into effect");
            assert_eq!(sentence(&hn0, dhcp), wanted);
        }
    }
}
