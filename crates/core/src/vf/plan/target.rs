//! Decides what an interface is to have: the configuration of rc.conf(5), and what is in force without being
//! in a file. It is given facts.

use std::net::IpAddr;

use crate::hn::Adapter;
use crate::net::{InterfaceAddress, InterfaceName};
use crate::plan::network::IfconfigArguments;
use crate::rc::{Lease, RcConfError, Wanted};
use crate::vf::facts::{Facts, is_ipv6_link_local};

/// The families for which the administrator has configured the lagg itself.
pub(super) fn decided(hn: &Adapter, facts: &Facts) -> Result<Decided, RcConfError> {
    let decides = |ipv4| facts.rc_conf.lagg_decides(hn.lagg(), ipv4);
    Ok(Decided { ipv4: decides(true)?, ipv6: decides(false)? })
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    ipv4: bool,
    ipv6: bool,
}

/// What an interface is to have.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The configuration of rc.conf, as far as it is in force.
    pub(super) wanted: Wanted,
    /// What the other interface has in addition.
    pub(super) carried: Vec<InterfaceAddress>,
}

impl Target {
    /// Adds to `wanted` what is in force on `from` and in no file: addresses that a host, a cloud agent or an
    /// administrator has set, and a DHCP client. If the lagg has a configuration of its own, nothing is
    /// added.
    pub(super) fn with_live(
        mut wanted: Wanted,
        facts: &Facts,
        (from, to): (&InterfaceName, &InterfaceName),
        decided: Decided,
    ) -> Self {
        let held: Vec<InterfaceAddress> =
            facts.addresses(from).iter().copied().filter(|held| !is_ipv6_link_local(held)).collect();
        let (link, leased) = (facts.link(from), facts.has_dhclient(from));
        let has_vhid = |address: &IpAddr| link.vhids.contains_key(address);
        // An address with a vhid in force keeps it, even if rc.conf does not have it.
        let keeps_vhid = |arguments: &IfconfigArguments| {
            arguments.words.iter().any(|word| word == "vhid")
                || arguments.address.is_none_or(|wanted| !has_vhid(&wanted.address))
        };
        wanted.configure.retain(keeps_vhid);
        // A lease that a killed run left is not carried over as an address.
        let was_lease = leased || (facts.interrupted && wanted.dhcp.is_some());
        let is_plain = |held: &&InterfaceAddress| held.address.is_ipv4() && !has_vhid(&held.address);
        let is_static = !was_lease && held.iter().any(|held| is_plain(&held));
        if !decided.ipv4 {
            // An address that replaces a lease is carried over, too: it is unknown whether there still is a
            // server.
            let is_replaced = wanted.dhcp.is_some() && is_static;
            if is_replaced || (leased && !wanted.decides_ipv4()) {
                wanted.dhcp = Some(Lease::InBackground);
            }
        }
        let uses_ipv6 = link.ipv6.accept_rtadv || held.iter().any(|held| held.address.is_ipv6());
        if !decided.ipv6 && !wanted.ipv6 && uses_ipv6 && !link.ipv6.disabled {
            (wanted.ipv6, wanted.accept_rtadv) = (true, link.ipv6.accept_rtadv);
        }
        let comes_by_itself = |held: &InterfaceAddress| match held.address {
            IpAddr::V4(_) => !is_static && !has_vhid(&held.address),
            IpAddr::V6(_) => link.autoconf.contains(&held.address),
        };
        let is_taken = |held: &InterfaceAddress| match held.address {
            IpAddr::V4(_) => !decided.ipv4,
            IpAddr::V6(_) => !decided.ipv6 && wanted.ipv6,
        };
        let is_set = |held: &InterfaceAddress| {
            let set = wanted.configure.iter().filter_map(|arguments| arguments.address.as_ref());
            set.chain(facts.addresses(to)).any(|other| other.address == held.address)
        };
        let carried =
            held.iter().filter(|held| is_taken(held) && !comes_by_itself(held) && !is_set(held)).copied();
        let carried = carried.collect();
        Self { wanted, carried }
    }

    /// Whether an address reaches the gateway: one that the interface gets, or one that it has.
    pub(super) fn reaches(&self, held: &[InterfaceAddress], gateway: &IpAddr) -> bool {
        let set = self.wanted.configure.iter().filter_map(|arguments| arguments.address.as_ref());
        held.iter().chain(set).chain(&self.carried).any(|address| address.reaches(*gateway))
    }
}
