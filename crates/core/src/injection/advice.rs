//! What an administrator runs to bring an interface to what rc.conf(5) says, in words that are the same
//! wherever they are printed.

use crate::net::InterfaceName;

/// The commands, in order.
///
/// `service netif restart` drops the default route of a static interface, and `service routing start` sets it
/// again; `restart` would flush one that was leased, too (rc.d/routing, `routing_stop_inet`). Where DHCP is
/// not waited for, it is devd(8) that starts the client, when the link comes: `quietstart` does nothing where
/// that has happened.
#[must_use]
pub fn commands(interface: &InterfaceName, dhcp: bool) -> [String; 2] {
    let behind = match dhcp {
        true => format!("service dhclient quietstart {interface}"),
        false => "service routing start".to_owned(),
    };
    [format!("service netif restart {interface}"), behind]
}

/// The same as a clause.
#[must_use]
pub fn sentence(interface: &InterfaceName, dhcp: bool) -> String {
    let [first, second] = commands(interface, dhcp);
    format!("\"{first}\" and then \"{second}\" put it into effect")
}
