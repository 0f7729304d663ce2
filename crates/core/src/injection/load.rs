//! Reads the facts for an injection: one run of ifconfig(8), one of resolvconf(8), the rest from the kernel.
//! It changes nothing.

use std::time::Duration;

use super::plan::{self, Facts};
use super::step::ResolvLabel;
use crate::hn::Adapter;
use crate::plan::network::parse_ifconfig;
use crate::runtime::config::{NameServers, Network};
use crate::runtime::exec::{LONG_OUTPUT_LIMIT, OUTPUT_LIMIT, Program, ProgramError};
use crate::runtime::is_absent;
use crate::sys::network::NetworkSource;
use crate::vf::load::LoadError;

/// Reads the facts that a plan for the adapter needs, in at most twice `limit`.
///
/// # Errors
/// See [`LoadError`].
pub fn load_facts(
    settings: &Network,
    source: &NetworkSource,
    hn: &Adapter,
    limit: Duration,
) -> Result<Facts, LoadError> {
    let limit = limit.min(settings.command_limit());
    // With the passwords of carp(4), because an address cannot be set again without them.
    let program = Program { keep: LONG_OUTPUT_LIMIT, ..Program::new(&settings.ifconfig, limit) };
    let output = program.arg("-k").arg("-a").output();
    let output = output.map_err(|source| LoadError::Program { what: "interfaces", source })?;
    let links = parse_ifconfig(&String::from_utf8_lossy(&output));
    let network = source.snapshot().map_err(LoadError::Network)?;
    let names = [hn.name().clone(), hn.lagg().clone()];
    let labels = names.iter().flat_map(|name| [ResolvLabel::of_host(name), ResolvLabel::of_dhclient(name)]);
    let at_work = source.at_work(&names).map_err(LoadError::Network)?;
    let (name_servers, without_name_servers) = match without_name_servers(settings) {
        None => (load_name_servers(settings, labels.collect(), limit)?, None),
        reason => (Vec::new(), reason),
    };
    let mut facts = Facts { network, links, name_servers, without_name_servers, at_work, lease: None };
    if let Ok(target) = plan::target(hn, &facts) {
        facts.lease = source.last_lease(target.live());
    }
    Ok(facts)
}

/// Why name servers are not set. resolvconf(8) is a separate package in pkgbase, and an administrator can do
/// without it.
#[must_use]
pub fn without_name_servers(settings: &Network) -> Option<&'static str> {
    match settings.name_servers {
        NameServers::Off => Some("network.name-servers is off"),
        NameServers::Resolvconf if is_absent(&settings.resolvconf) => Some("there is no resolvconf"),
        NameServers::Resolvconf => None,
    }
}

/// resolvconf(8) fails silently if it has no name servers at all.
fn load_name_servers(
    settings: &Network,
    labels: Vec<ResolvLabel>,
    limit: Duration,
) -> Result<Vec<(ResolvLabel, String)>, LoadError> {
    let error = |source| LoadError::Program { what: "name servers", source };
    let finished = Program::new(&settings.resolvconf, limit).arg("-l").run().map_err(error)?;
    if !finished.status.success() && !finished.complaint().is_empty() {
        return Err(error(finished.failure(&settings.resolvconf)));
    }
    if finished.truncated {
        return Err(error(ProgramError::Truncated {
            path: settings.resolvconf.clone(),
            limit: OUTPUT_LIMIT,
        }));
    }
    let sections = parse_sections(&String::from_utf8_lossy(&finished.stdout));
    let own = |label: &ResolvLabel| sections.iter().find(|(name, _)| name == label.as_str());
    let known = |label: ResolvLabel| own(&label).map(|(_, text)| (label, text.clone()));
    Ok(labels.into_iter().filter_map(known).collect())
}

/// The texts under the headings `# resolv.conf from NAME` that openresolv prints, without blank lines.
fn parse_sections(output: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("# resolv.conf from ") {
            sections.push((name.to_owned(), String::new()));
        } else if let Some((_, text)) = sections.last_mut()
            && !line.trim().is_empty()
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

#[cfg(test)]
mod tests;
