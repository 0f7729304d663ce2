//! Plans the end of the lagg: takes it apart and moves its network to hnN. It adds steps and performs none.

use super::strip::{default_routes, is_link_local_gateway};
use super::target::Target;
use super::transfer::Transfer;
use super::{Stage, bring_down};
use crate::hn::Adapter;
use crate::plan::Plan;
use crate::plan::network::{Lagg, NetworkStep as Step};
use crate::vf::facts::Facts;

pub(super) struct Down<'a> {
    pub(super) hn: &'a Adapter,
    pub(super) facts: &'a Facts,
    pub(super) target: Target,
    /// `None` if a killed run has destroyed it already.
    pub(super) existing: Option<Lagg>,
    pub(super) stage: Stage,
}

impl Down<'_> {
    pub(super) fn plan(&self) -> Plan<Step> {
        let lagg = self.hn.lagg();
        let mut plan = Plan::default();
        if self.facts.has_dhclient(lagg) {
            plan.push(
                Step::StopDhcp { interface: lagg.clone() },
                vec![Step::StartDhcp { interface: lagg.clone(), wait: false }],
            );
        }
        if let Some(parts) = &self.existing {
            plan.push(Step::DestroyLagg { lagg: lagg.clone() }, self.rebuild(parts));
        }
        // The kernel leaves the network to hn only while the VF is down.
        if let Some(vf) = &self.facts.vf {
            bring_down(vf, self.facts, &mut plan);
        }
        let transfer = Transfer {
            facts: self.facts,
            target: &self.target,
            from: lagg,
            to: self.hn.name(),
            stage: self.stage,
            is_made: false,
        };
        transfer.plan(&mut plan);
        plan
    }

    /// The steps that create the lagg again as it was, without what router advertisements bring.
    fn rebuild(&self, parts: &Lagg) -> Vec<Step> {
        let lagg = self.hn.lagg();
        // hn first, because it was the master. ifconfig(8) lists ports by index.
        let mut ports = parts.ports.clone();
        ports.sort_by_key(|port| port != self.hn.name());
        let link = self.facts.link(lagg);
        let advertised = link.ipv6.accept_rtadv;
        let description = link.description;
        let mut steps = vec![Step::CreateLagg { lagg: lagg.clone(), ports, description, ipv6: link.ipv6 }];
        let addresses = self.facts.lasting(lagg).into_iter();
        steps.extend(addresses.map(|address| self.facts.give(lagg, lagg, address)));
        let mut gateways = self.facts.gateways(lagg);
        gateways.retain(|gateway| !(advertised && is_link_local_gateway(gateway)));
        steps.extend(default_routes(gateways, lagg));
        steps.extend(self.facts.static_routes(lagg, |_| true).into_iter().map(Step::AddRoute));
        if advertised {
            steps.push(Step::SolicitRouters { interface: lagg.clone() });
        }
        steps
    }
}
