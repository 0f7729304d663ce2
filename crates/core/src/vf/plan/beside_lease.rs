//! What a lease has taken away: finds the steps of a plan whose addresses are missing after it. It is given the
//! plan and a snapshot, and performs nothing.

use crate::net::{InterfaceAddress, InterfaceName, NetworkSnapshot};
use crate::plan::Plan;
use crate::plan::network::NetworkStep as Step;

/// The interface for whose lease the plan waits.
#[must_use]
pub fn awaits_lease(plan: &Plan<Step>) -> Option<&InterfaceName> {
    plan.steps().iter().find_map(|planned| match &planned.step {
        Step::StartDhcp { interface, wait: true } => Some(interface),
        _ => None,
    })
}

/// The steps of the plan, each once, that give `interface` an IPv4 address that it does not have. Empty if there
/// is no such interface any more.
#[must_use]
pub fn lost_to_lease<'a>(
    plan: &'a Plan<Step>,
    interface: &InterfaceName,
    network: &NetworkSnapshot,
) -> Vec<&'a Step> {
    let Some(now) = network.interfaces.iter().find(|now| &now.name == interface) else { return Vec::new() };
    let is_lost = |given: &InterfaceAddress| {
        given.address.is_ipv4() && now.addresses.iter().all(|held| held.address != given.address)
    };
    let mut lost: Vec<&Step> = Vec::new();
    for planned in plan.steps() {
        let given = match &planned.step {
            Step::AddAddress { interface: to, address } if to == interface => Some(address),
            Step::Configure { interface: to, arguments } if to == interface => arguments.address.as_ref(),
            _ => None,
        };
        if given.is_some_and(is_lost) && !lost.contains(&&planned.step) {
            lost.push(&planned.step);
        }
    }
    lost
}
