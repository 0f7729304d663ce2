//! Checks of laggs, VFs and everything that prevents a hand-over. It reads interfaces, rc.conf and processes.

use std::collections::BTreeMap;

use hv_core::hn::Adapter;
use hv_core::injection::rc_file::{RcFile, Variable};
use hv_core::net::InterfaceName;
use hv_core::plan::network::Link;
use hv_core::vf::load::{load_vf, load_vf_facts};

use super::{Finding, Patient};
use crate::interfaces::{self, Interfaces};

const CHECK: &str = "network";

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let interfaces = match interfaces::load(patient.config) {
        Ok(interfaces) => interfaces,
        Err(error) => {
            return vec![Finding::unknown(CHECK, error, "look at what ifconfig(8) says")];
        }
    };
    let transparent = match load_vf_facts(&patient.facts) {
        Ok(facts) => facts.is_transparent(),
        Err(error) => return vec![Finding::unknown(CHECK, error.to_string(), "look at sysctl hw.hn")],
    };
    let mut findings = Vec::new();
    for hn in interfaces.adapters() {
        let vf = load_vf(&patient.facts, &hn).ok().flatten();
        findings.extend(adapter(patient, &interfaces, &hn, vf.as_ref(), transparent));
    }
    findings.extend(default_catches_vf(patient, transparent));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "hn(4) and VFs are as they should be"));
    }
    findings
}

fn adapter(
    patient: &Patient<'_>,
    interfaces: &Interfaces,
    hn: &Adapter,
    vf: Option<&InterfaceName>,
    transparent: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let links = &interfaces.links;
    let plan = format!("hvctl vf plan {}", hn.device());
    if let Some(lagg) = lagg_in_the_way(links, hn, vf) {
        let text = format!("{lagg} is not of this suite, so {hn} and a VF cannot be joined in it");
        findings.push(Finding::problem(CHECK, text, format!("give it another number than {}", hn.device())));
    }
    if stale_lagg(links, hn) {
        let text = format!("{} was made by hyperv_vfup, and {hn} is no port of it", hn.lagg());
        findings.push(Finding::problem(CHECK, text, format!("hvctl vf undo {}", hn.device())));
    }
    if let Some(vf) = vf.filter(|_| !transparent)
        && links.get(vf).is_some_and(|link| link.up)
        && !is_joined(links, hn)
    {
        let text = format!("{vf} is up and takes the data of {hn}, but they are not joined");
        findings.push(Finding::problem(CHECK, text, format!("{plan}, then: hvctl vf apply {}", hn.device())));
    }
    if let Some(bridge) = interfaces.bridge_of(hn.name()) {
        let text = format!("{hn} is a member of {bridge}: no VF can be joined with it");
        findings.push(Finding::problem(CHECK, text, "switch SR-IOV off for this adapter on the host"));
    }
    if let Some(vlan) = vlan_over(links, hn.name()) {
        let text = format!("{vlan} is a vlan over {hn}: no VF can be joined with it");
        findings.push(Finding::problem(CHECK, text, "switch SR-IOV off for this adapter on the host"));
    }
    findings.extend(clients(patient, hn, vf));
    findings
}

fn is_joined(links: &BTreeMap<InterfaceName, Link>, hn: &Adapter) -> bool {
    let lagg = links.get(hn.lagg()).and_then(|link| link.lagg.as_ref());
    lagg.is_some_and(|lagg| lagg.ports.contains(hn.name()))
}

/// The lagg with the adapter's number that neither this suite nor base has made.
fn lagg_in_the_way<'a>(
    links: &BTreeMap<InterfaceName, Link>,
    hn: &'a Adapter,
    vf: Option<&InterfaceName>,
) -> Option<&'a InterfaceName> {
    let link = links.get(hn.lagg())?;
    link.lagg_of(hn, vf).is_none().then(|| hn.lagg())
}

fn stale_lagg(links: &BTreeMap<InterfaceName, Link>, hn: &Adapter) -> bool {
    links.get(hn.lagg()).is_some_and(Link::is_marked) && !is_joined(links, hn)
}

fn vlan_over<'a>(
    links: &'a BTreeMap<InterfaceName, Link>,
    parent: &InterfaceName,
) -> Option<&'a InterfaceName> {
    links.iter().find(|(_, link)| link.vlan_parent.as_ref() == Some(parent)).map(|(name, _)| name)
}

/// DHCP clients on more than one interface of an adapter.
fn clients(patient: &Patient<'_>, hn: &Adapter, vf: Option<&InterfaceName>) -> Option<Finding> {
    let names = [Some(hn.name()), vf, Some(hn.lagg())];
    let served: Vec<&str> = names
        .into_iter()
        .flatten()
        .map(InterfaceName::as_str)
        .filter(|name| {
            patient.processes.iter().flatten().any(|process| {
                ["dhclient", "dhcpcd", "dual-dhclient"].iter().any(|client| process.runs(client))
                    && process.command.split(' ').skip(1).any(|word| word == *name)
            })
        })
        .collect();
    (served.len() > 1).then(|| {
        Finding::problem(
            CHECK,
            format!("DHCP clients run on {}, which are one network", served.join(" and ")),
            format!("hvctl vf apply {}", hn.device()),
        )
    })
}

/// Whether `ifconfig_DEFAULT` gives a VF an address of its own.
fn default_catches_vf(patient: &Patient<'_>, transparent: bool) -> Option<Finding> {
    if transparent {
        return None;
    }
    let bytes = std::fs::read(&patient.config.kvp.rc_conf).ok()?;
    let value = RcFile::new(bytes).value(&Variable::new("ifconfig_DEFAULT").ok()?)?;
    // Rules that keep the stock rules away from a VF. They apply to every new interface.
    let has_rule = ["/etc/devd/hyperv.conf", "/usr/local/etc/devd/hyperv.conf"]
        .iter()
        .any(|path| std::fs::read_to_string(patient.path(path)).is_ok_and(|text| text.contains("\"IFNET\"")));
    (!value.is_empty() && !has_rule).then(|| {
        Finding::note(
            CHECK,
            format!("ifconfig_DEFAULT=\"{value}\" configures a VF, too, when it comes"),
            "give the adapters lines of their own, such as ifconfig_hn0, and remove ifconfig_DEFAULT",
        )
    })
}
