//! Plans the lagg: creates or repairs it, and moves the network of hnN to it. It adds steps and performs
//! none.

use super::Stage;
use super::strip::{strip_ipv4, strip_ipv6};
use super::target::Target;
use super::transfer::Transfer;
use crate::hn::Adapter;
use crate::net::InterfaceName;
use crate::plan::Plan;
use crate::plan::network::{Ipv6Options, Lagg, NetworkStep as Step};
use crate::vf::facts::Facts;

pub(super) struct Up<'a> {
    pub(super) hn: &'a Adapter,
    pub(super) vf: &'a InterfaceName,
    pub(super) facts: &'a Facts,
    pub(super) target: Target,
    pub(super) existing: Option<Lagg>,
    pub(super) stage: Stage,
}

impl Up<'_> {
    pub(super) fn plan(&self) -> Plan<Step> {
        let mut plan = Plan::default();
        let members = [self.hn.name(), self.vf];
        let transfer = Transfer {
            facts: self.facts,
            target: &self.target,
            from: self.hn.name(),
            to: self.hn.lagg(),
            stage: self.stage,
            is_made: self.existing.is_none(),
        };
        self.prepare_ports(&mut plan);
        strip_ipv6(self.facts, self.hn.name(), |gateway| transfer.is_wanted_route(gateway), &mut plan);
        strip_ipv6(self.facts, self.vf, |_| false, &mut plan);
        self.join_ports(&mut plan);
        members.iter().for_each(|member| strip_ipv4(self.facts, member, &mut plan));
        transfer.plan(&mut plan);
        plan
    }

    fn lagg(&self) -> InterfaceName {
        self.hn.lagg().clone()
    }

    fn prepare_ports(&self, plan: &mut Plan<Step>) {
        // The first port gives the lagg its MTU, and the kernel forces it on the other ports without
        // restoring theirs later. So a difference is a step of its own.
        let leader = if self.existing.is_some() { self.hn.lagg() } else { self.hn.name() };
        let mtu = self.facts.link(leader).mtu;
        for member in [self.hn.name(), self.vf].into_iter().filter(|member| !self.is_port(member)) {
            let link = self.facts.link(member);
            if link.mtu != mtu && link.mtu != 0 && mtu != 0 {
                let set = |mtu| Step::SetMtu { interface: member.clone(), mtu };
                plan.push(set(mtu), vec![set(link.mtu)]);
            }
            if self.facts.interface(member).is_some_and(|interface| !interface.up) {
                plan.push(
                    Step::BringUp { interface: member.clone() },
                    vec![Step::BringDown { interface: member.clone() }],
                );
            }
        }
    }

    fn join_ports(&self, plan: &mut Plan<Step>) {
        match &self.existing {
            None => plan.push(self.create(), vec![Step::DestroyLagg { lagg: self.lagg() }]),
            Some(lagg) => self.repair_ports(lagg, plan),
        }
    }

    fn is_port(&self, member: &InterfaceName) -> bool {
        self.existing.as_ref().is_some_and(|lagg| lagg.ports.contains(member))
    }

    fn create(&self) -> Step {
        // hn is first and so the master. Traffic moves to the VF because the kernel reports hn's link down
        // while the VF carries the data.
        let ports = vec![self.hn.name().clone(), self.vf.clone()];
        let ipv6 = Ipv6Options {
            disabled: !self.target.wanted.ipv6,
            accept_rtadv: self.target.wanted.accept_rtadv,
            auto_linklocal: self.target.wanted.ipv6,
            no_dad: true,
        };
        Step::CreateLagg { lagg: self.lagg(), ports, description: String::new(), ipv6 }
    }

    /// Repairs the ports. A VF can appear under another name; then an interface with its old name may still
    /// be a port.
    fn repair_ports(&self, lagg: &Lagg, plan: &mut Plan<Step>) {
        if !self.facts.link(self.hn.lagg()).is_marked() {
            plan.push(Step::MarkLagg { lagg: self.lagg() }, vec![Step::UnmarkLagg { lagg: self.lagg() }]);
        }
        if self.facts.interface(self.hn.lagg()).is_some_and(|interface| !interface.up) {
            plan.push(
                Step::BringUp { interface: self.lagg() },
                vec![Step::BringDown { interface: self.lagg() }],
            );
        }
        let add = |port: &InterfaceName| Step::AddPort { lagg: self.lagg(), port: port.clone() };
        let remove = |port: &InterfaceName| Step::RemovePort { lagg: self.lagg(), port: port.clone() };
        for member in [self.hn.name(), self.vf] {
            if !self.is_port(member) {
                plan.push(add(member), vec![remove(member)]);
            }
        }
        for port in lagg.ports.iter().filter(|port| *port != self.hn.name() && *port != self.vf) {
            plan.push(remove(port), vec![add(port)]);
        }
    }
}
