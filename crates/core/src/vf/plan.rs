//! Decides the steps that join hnN and its VF in laggN, and those that take the lagg apart. It is given
//! facts, and performs nothing.
//!
//! Both directions are the same task: the network of an adapter moves from one interface to another.
//! `transfer` gives it to the new interface, `strip` removes it from the others, and `join` and `apart`
//! create or destroy the lagg. A plan is the difference between the present and the wanted state. So it is
//! empty when everything is right, and the next run completes what a killed run left half-done.

mod apart;
mod beside_lease;
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

pub use beside_lease::{awaits_lease, lost_to_lease};
pub use restore::{differences, plan_restore};

/// Why there is no plan. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An interface with the lagg's name exists that is not the lagg of hnN and its VF.
    #[error("{0} exists and was not made by hyperv_vfup, so it is left alone")]
    ForeignLagg(InterfaceName),
    /// An interface that should become a port is a port of another lagg.
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
    /// hnN has a vlan(4), which no longer receives anything once hnN is a port.
    #[error("{hn} carries {vlan}, which would receive nothing with {hn} in a lagg")]
    HasVlan {
        /// hnN.
        hn: InterfaceName,
        /// The vlan.
        vlan: InterfaceName,
    },
    /// hnN or its VF is a member of a bridge(4), which no longer receives anything once it is a port
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
    /// A value of rc.conf cannot be used.
    #[error(transparent)]
    RcConf(#[from] RcConfError),
}

/// How much of a move an earlier run has done. Decided once, for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing: everything that is wanted is given.
    New,
    /// An unknown part, by a killed run or base's script: everything that is wanted and missing is given, and
    /// the routers of rc.conf for a family without one.
    Interrupted,
    /// All of it. Only what the other interfaces still have, or a family that lost everything, is given,
    /// because an administrator or the host may have changed addresses since.
    Complete,
}

/// The plan that joins `hn` and its VF. `None` if the VF is gone.
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
        // It is unknown how much base's script has done.
        Some(_) if facts.interrupted || !facts.link(hn.lagg()).is_marked() => Stage::Interrupted,
        Some(_) => Stage::Complete,
    };
    let wanted = facts.rc_conf.wanted_for_lagg(hn.lagg(), hn.name())?;
    let target = Target::with_live(wanted, facts, (hn.name(), hn.lagg()), decided(hn, facts)?);
    Ok(Some(join::Up { hn, vf, facts, target, existing, stage }.plan()))
}

/// The plan that takes the lagg of `hn` apart and gives `hn` its configuration back. Empty if there is no
/// lagg, unless such a run was killed.
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

/// The plan that leaves the network to `hn` after joining has failed: while a VF is up, `hn` has no carrier.
/// Empty if the VF is down or in use, as a port or with addresses of its own.
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

/// Whether addresses and clients of `hn` are where a complete move to the lagg puts them: the ports have none
/// left, and none was added since.
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

/// Checks the ports: a port receives all packets, so other interfaces stacked on it would silently receive
/// none.
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
