//! From facts to steps: joining hnN and its VF in laggN, and taking the lagg apart.
//!
//! Both are one thing: the network of an adapter moves from one interface to another. `transfer` says what
//! it is and gives it to the interface that is to have it; `strip` takes it from the others; `join` and
//! `apart` add what makes the lagg or unmakes it. A plan is the difference between what is and what should
//! be. So it is empty when everything is right, and what a killed run left half-done is completed by the next
//! one.

mod apart;
mod join;
mod restore;
mod strip;
mod target;
mod transfer;

use super::facts::{Facts, is_ipv6_link_local};
use crate::hn::Adapter;
use crate::net::InterfaceName;
use crate::plan::Plan;
use crate::plan::network::{Lagg, NetworkStep as Step};
use crate::rc::RcConfError;
use target::{Target, decided};

pub use restore::{differences, plan_restore};

/// Why there can be no plan. Nothing has been touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An interface of the lagg's name exists that is not the lagg of hnN and its VF.
    #[error("{0} exists and was not made by hyperv_vfup, so it is left alone")]
    ForeignLagg(InterfaceName),
    /// An interface that should become a port is one of another lagg.
    #[error("{port} is a port of {lagg} already")]
    PortOfOther {
        /// The interface.
        port: InterfaceName,
        /// The lagg that has it.
        lagg: InterfaceName,
    },
    /// The kernel names a VF that does not exist or cannot be one.
    #[error("{0} cannot be used as VF")]
    BadVf(InterfaceName),
    /// hnN itself does not exist.
    #[error("{0} does not exist")]
    Missing(InterfaceName),
    /// hnN carries a vlan(4), which receives nothing any more once hnN is a port.
    #[error("{hn} carries {vlan}, which would receive nothing with {hn} in a lagg")]
    HasVlan {
        /// hnN.
        hn: InterfaceName,
        /// The vlan.
        vlan: InterfaceName,
    },
    /// hnN or its VF is a member of a bridge(4), which receives nothing any more once it is a port
    /// (sys/net/if_bridge.c and if_lagg.c take packets at the same place).
    #[error("{member} is a member of {bridge}, which would lose its network with {member} in a lagg")]
    InBridge {
        /// hnN or its VF.
        member: InterfaceName,
        /// The bridge.
        bridge: InterfaceName,
    },
    /// netgraph(4) uses hnN.
    #[error("{0} is used by netgraph (PPPoE or the like), which would receive nothing with it in a lagg")]
    InNetgraph(InterfaceName),
    /// A value of rc.conf.
    #[error(transparent)]
    RcConf(#[from] RcConfError),
}

/// How far a move has come before this run. Decided once, for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is there yet: all that is wanted is given.
    New,
    /// A run that was killed, or base's script, has done an unknown part of it: all that is wanted and
    /// missing is given, and the routers of rc.conf where a family has none.
    Interrupted,
    /// It is done. Only what the other interfaces still hold, or a family that lost everything, is given: an
    /// administrator or the host may have changed addresses since.
    Complete,
}

/// The plan that joins `hn` and its VF. `None`: the VF is gone, nothing is to be done.
///
/// # Errors
/// See [`PlanError`].
pub fn plan_up(hn: &Adapter, facts: &Facts) -> Result<Option<Plan<Step>>, PlanError> {
    let Some(vf) = facts.vf.as_ref().filter(|vf| facts.interface(vf).is_some()) else { return Ok(None) };
    if vf == hn.name() || vf.is_lagg() {
        return Err(PlanError::BadVf(vf.clone()));
    }
    if facts.interface(hn.name()).is_none() {
        return Err(PlanError::Missing(hn.name().clone()));
    }
    let existing = own_lagg(hn, facts)?;
    check_ports(hn, vf, facts, existing.is_none())?;
    let stage = match &existing {
        None => Stage::New,
        // Nobody knows how far base's script came with what it made.
        Some(_) if facts.interrupted || !facts.link(hn.lagg()).is_marked() => Stage::Interrupted,
        Some(_) => Stage::Complete,
    };
    let wanted = facts.rc_conf.wanted_for_lagg(hn.lagg(), hn.name())?;
    let target = Target::with_live(wanted, facts, (hn.name(), hn.lagg()), decided(hn, facts)?);
    Ok(Some(join::Up { hn, vf, facts, target, existing, stage }.plan()))
}

/// The plan that takes the lagg of `hn` apart and gives `hn` its configuration back. Empty if there is no
/// lagg, unless a run that did this was killed.
///
/// # Errors
/// See [`PlanError`].
pub fn plan_down(hn: &Adapter, facts: &Facts) -> Result<Plan<Step>, PlanError> {
    let existing = own_lagg(hn, facts)?;
    let stage = match &existing {
        _ if facts.interrupted => Stage::Interrupted,
        Some(_) => Stage::New,
        None => Stage::Complete,
    };
    if stage == Stage::Complete {
        return Ok(Plan::default());
    }
    let wanted = facts.rc_conf.wanted(hn.name())?;
    let target = Target::with_live(wanted, facts, (hn.lagg(), hn.name()), decided(hn, facts)?);
    Ok(apart::Down { hn, facts, target, existing, stage }.plan())
}

/// The plan that leaves the network to `hn` where joining it and its VF has failed: while a VF is up, `hn`
/// has no carrier. Empty where the VF is down or serves for something: as a port, or with addresses of its
/// own.
#[must_use]
pub fn plan_without_vf(facts: &Facts) -> Plan<Step> {
    let mut plan = Plan::default();
    let idle = |vf: &&InterfaceName| {
        facts.lagg_of_port(vf).is_none() && facts.addresses(vf).iter().all(is_ipv6_link_local)
    };
    if let Some(vf) = facts.vf.as_ref().filter(idle) {
        bring_down(vf, facts, &mut plan);
    }
    plan
}

/// Whether the network of `hn` is where a complete move to the lagg has it, as far as addresses and clients
/// tell: nothing is left on the ports, and nobody has given them something since.
#[must_use]
pub fn is_settled(hn: &Adapter, facts: &Facts) -> bool {
    let ports = std::iter::once(hn.name()).chain(&facts.vf);
    let is_bare = |port: &InterfaceName| {
        !facts.has_dhclient(port) && facts.addresses(port).iter().all(is_ipv6_link_local)
    };
    facts.interface(hn.lagg()).is_some() && ports.into_iter().all(is_bare)
}

fn bring_down(vf: &InterfaceName, facts: &Facts, plan: &mut Plan<Step>) {
    if facts.interface(vf).is_some_and(|interface| interface.up) {
        plan.push(Step::BringDown { interface: vf.clone() }, vec![Step::BringUp { interface: vf.clone() }]);
    }
}

/// The lagg of `hn`, if it exists and is ours.
fn own_lagg(hn: &Adapter, facts: &Facts) -> Result<Option<Lagg>, PlanError> {
    let exists = facts.interface(hn.lagg()).is_some() || facts.links.contains_key(hn.lagg());
    let link = facts.link(hn.lagg());
    match link.lagg_of(hn, facts.vf.as_ref()) {
        _ if !exists => Ok(None),
        Some(lagg) => Ok(Some(lagg.clone())),
        None => Err(PlanError::ForeignLagg(hn.lagg().clone())),
    }
}

/// A port takes all packets for itself, so whatever else lies over it goes dark without a word.
fn check_ports(hn: &Adapter, vf: &InterfaceName, facts: &Facts, is_new: bool) -> Result<(), PlanError> {
    for port in [hn.name(), vf] {
        if let Some(lagg) = facts.lagg_of_port(port).filter(|lagg| *lagg != hn.lagg()) {
            return Err(PlanError::PortOfOther { port: port.clone(), lagg: lagg.clone() });
        }
        if let Some(bridge) = facts.bridge_of(port).filter(|_| is_new) {
            return Err(PlanError::InBridge { member: port.clone(), bridge: bridge.clone() });
        }
    }
    if !is_new {
        return Ok(());
    }
    if let Some(vlan) = facts.vlan_over(hn.name()) {
        return Err(PlanError::HasVlan { hn: hn.name().clone(), vlan: vlan.clone() });
    }
    if facts.hooks > 0 { Err(PlanError::InNetgraph(hn.name().clone())) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
