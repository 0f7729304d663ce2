//! Reads the facts of a hand-over: sysctls and addresses from the kernel, the rest by ifconfig(8) and sh(1).
//! It changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::attach::VfFacts;
use super::facts::Facts;
use crate::hn::{self, Adapter};
use crate::net::{InterfaceName, NetworkSnapshot};
use crate::plan::network::{Link, parse_ifconfig};
use crate::rc::load_rc_conf;
use crate::runtime::config::{Config, Network};
use crate::runtime::exec::{LONG_OUTPUT_LIMIT, Program, ProgramError};
use crate::sys::network::NetworkSource;
use crate::sys::system_facts::FactsSource;

/// The interface groups of interfaces that can be stacked on others. The cloner puts its interfaces into a
/// group with its name.
const STACKED: [&str; 3] = ["lagg", "bridge", "vlan"];

/// Why the facts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A sysctl cannot be read.
    #[error("cannot read sysctl {name}")]
    Sysctl {
        /// Its name.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Interfaces or routes cannot be read.
    #[error("cannot read interfaces and routes")]
    Network(#[source] io::Error),
    /// A program gave no result.
    #[error("cannot read {what}")]
    Program {
        /// What it should read.
        what: &'static str,
        /// The error.
        source: ProgramError,
    },
}

/// The sources in the configuration.
#[must_use]
pub fn network_source(config: &Config) -> NetworkSource {
    NetworkSource {
        facts: config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory),
        resolv_conf: config.facts.resolv_conf.clone(),
        dhclient_directories: config.facts.dhclient_pid_dirs.clone(),
        lease_directory: config.facts.dhclient_lease_dir.clone(),
    }
}

/// The kernel's facts about VFs.
///
/// # Errors
/// [`LoadError::Sysctl`]. A sysctl that does not exist is no error.
pub fn load_vf_facts(facts: &FactsSource) -> Result<VfFacts, LoadError> {
    let error = |name: &str, source| LoadError::Sysctl { name: name.to_owned(), source };
    let (transparent, list) = ("hw.hn.vf_transparent", "hw.hn.vflist");
    Ok(VfFacts {
        transparent: facts.sysctl_number(transparent).map_err(|source| error(transparent, source))?,
        list: facts.sysctl_text(list).map_err(|source| error(list, source))?,
    })
}

/// The VF of `hn`. `None` if the VF or `hn` is gone.
///
/// # Errors
/// [`LoadError::Sysctl`].
pub fn load_vf(facts: &FactsSource, hn: &Adapter) -> Result<Option<InterfaceName>, LoadError> {
    let name = hn.vf_sysctl();
    let text = facts.sysctl_text(&name).map_err(|source| LoadError::Sysctl { name, source })?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// The VF of an interface by any of its names: `dev.hn.N.vf` of an adapter, otherwise the entry in
/// `hw.hn.vfmap` (`VF:HN …`, sys/dev/hyperv/netvsc/if_hn.c, `hn_vfmap_sysctl`).
///
/// # Errors
/// [`LoadError::Network`], [`LoadError::Sysctl`].
pub fn load_vf_of(source: &NetworkSource, name: &InterfaceName) -> Result<Option<InterfaceName>, LoadError> {
    if let Some(hn) = load_adapter(source, name)? {
        return load_vf(&source.facts, &hn);
    }
    let map = "hw.hn.vfmap";
    let text = source.facts.sysctl_text(map);
    let text = text.map_err(|source| LoadError::Sysctl { name: map.to_owned(), source })?.unwrap_or_default();
    let mut pairs = text.split_whitespace().filter_map(|pair| pair.split_once(':'));
    Ok(pairs.find(|(_, hn)| *hn == name.as_str()).and_then(|(vf, _)| vf.parse().ok()))
}

/// The facts about `vf` alone, to decide whether the VF is used. It starts a process for it, and those of
/// [`load_links`].
///
/// # Errors
/// See [`LoadError`].
pub fn load_one(settings: &Network, source: &NetworkSource, vf: InterfaceName) -> Result<Facts, LoadError> {
    let network = source.snapshot().map_err(LoadError::Network)?;
    let links = load_links(settings, &source.facts, &network, &[&vf], settings.command_limit())?;
    Ok(Facts { vf: Some(vf), network, links, ..Facts::default() })
}

/// The adapter with this name. `None` if there is none.
///
/// # Errors
/// [`LoadError::Network`].
pub fn load_adapter(source: &NetworkSource, name: &InterfaceName) -> Result<Option<Adapter>, LoadError> {
    let network = source.snapshot().map_err(LoadError::Network)?;
    Ok(hn::find(&source.facts, &network.interfaces, name))
}

/// All facts for a plan for `hn`. It starts one process for rc.conf(5) and those of [`load_network`].
///
/// # Errors
/// See [`LoadError`].
pub fn load_facts(
    settings: &Network,
    source: &NetworkSource,
    hn: &Adapter,
    vf: Option<InterfaceName>,
) -> Result<Facts, LoadError> {
    let rc_conf = load_rc_conf(settings, &[hn.name(), hn.lagg()])?;
    Ok(Facts { rc_conf, ..load_network(settings, source, hn, vf)? })
}

/// The facts without rc.conf(5). It starts a process for hnN, one for its VF, and one each for lagg(4),
/// bridge(4) and vlan(4) if there are interfaces of that kind.
///
/// # Errors
/// See [`LoadError`].
pub fn load_network(
    settings: &Network,
    source: &NetworkSource,
    hn: &Adapter,
    vf: Option<InterfaceName>,
) -> Result<Facts, LoadError> {
    let network = source.snapshot().map_err(LoadError::Network)?;
    let names: Vec<&InterfaceName> = std::iter::once(hn.name()).chain(&vf).collect();
    let links = load_links(settings, &source.facts, &network, &names, settings.command_limit())?;
    let hooks = load_hooks(settings, &source.facts, hn)?;
    Ok(Facts { vf, network, links, hooks, ..Facts::default() })
}

/// The facts of ifconfig(8) about the existing interfaces among `names`, and about all interfaces that can be
/// stacked on them: those of lagg(4), bridge(4) and vlan(4). Other interfaces, of which there can be
/// hundreds, are not read. Each program has `limit`.
///
/// # Errors
/// [`LoadError::Program`], also for output that was cut.
pub fn load_links(
    settings: &Network,
    facts: &FactsSource,
    network: &NetworkSnapshot,
    names: &[&InterfaceName],
    limit: Duration,
) -> Result<BTreeMap<InterfaceName, Link>, LoadError> {
    // With the passwords of carp(4), because an address cannot be set again without them.
    let ifconfig = |words: &[&str]| {
        let mut program = Program { keep: LONG_OUTPUT_LIMIT, ..Program::new(&settings.ifconfig, limit) };
        program.arguments = std::iter::once(&"-k").chain(words).map(Into::into).collect();
        run(&program, "interfaces").map(|output| parse_ifconfig(&String::from_utf8_lossy(&output)))
    };
    let kinds: Vec<(&InterfaceName, String)> = network
        .interfaces
        .iter()
        .map(|interface| {
            let device = facts.driver_name(interface.index).ok().flatten();
            let device = device.unwrap_or_else(|| interface.name.to_string());
            (&interface.name, device.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned())
        })
        .collect();
    let mut links = BTreeMap::new();
    for (name, kind) in &kinds {
        if names.contains(name) && !STACKED.contains(&kind.as_str()) {
            links.extend(ifconfig(&[name.as_str()])?);
        }
    }
    for group in STACKED {
        if kinds.iter().any(|(_, kind)| kind == group) {
            links.extend(ifconfig(&["-a", "-g", group])?);
        }
    }
    Ok(links)
}

/// The number of connected hooks of `hn`'s ng_ether(4) node. It starts a process if the kernel has
/// netgraph(4).
fn load_hooks(settings: &Network, facts: &FactsSource, hn: &Adapter) -> Result<u32, LoadError> {
    let name = "net.graph.abi_version";
    let version = facts.sysctl_number(name);
    if version.map_err(|source| LoadError::Sysctl { name: name.to_owned(), source })?.is_none() {
        return Ok(0);
    }
    // ng_ether(4) replaces these characters of a name by underscores (ng_ether_sanitize_ifname).
    let node = hn.name().as_str().replace(['.', ':'], "_") + ":";
    let program = Program::new(&settings.ngctl, settings.command_limit()).arg("show").arg("-n").arg(node);
    let finished = program.run().map_err(|source| LoadError::Program { what: "netgraph", source })?;
    // Without ng_ether(4) there is no such node, and ngctl(8) fails.
    let text = String::from_utf8_lossy(&finished.stdout);
    let count = text.split("Num hooks:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok(count.filter(|_| finished.status.success()).unwrap_or(0))
}

fn run(program: &Program, what: &'static str) -> Result<Vec<u8>, LoadError> {
    program.output().map_err(|source| LoadError::Program { what, source })
}

#[cfg(test)]
mod tests;
