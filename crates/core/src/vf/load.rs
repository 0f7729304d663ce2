//! Reads the facts: sysctls and addresses from the kernel, the rest by one run of ifconfig(8) and one of sh(1).

use std::io;

use super::attach::VfFacts;
use super::facts::Facts;
use crate::hn::Adapter;
use crate::net::InterfaceName;
use crate::plan::network::parse_ifconfig;
use crate::rc::load_rc_conf;
use crate::runtime::config::{Config, Network};
use crate::runtime::exec::{Program, ProgramError};
use crate::sys::network::NetworkSource;
use crate::sys::system_facts::FactsSource;

/// Why the facts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A sysctl.
    #[error("cannot read sysctl {name}")]
    Sysctl {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Interfaces or routes.
    #[error("cannot read interfaces and routes")]
    Network(#[source] io::Error),
    /// A program gave no result.
    #[error("cannot read {what}")]
    Program {
        /// What it was to read.
        what: &'static str,
        /// Why.
        source: ProgramError,
    },
}

/// The sources that the configuration names.
#[must_use]
pub fn network_source(config: &Config) -> NetworkSource {
    NetworkSource {
        facts: config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory),
        resolv_conf: config.facts.resolv_conf.clone(),
        dhclient_directories: config.facts.dhclient_pid_dirs.clone(),
        lease_directory: config.facts.dhclient_lease_dir.clone(),
    }
}

/// What the kernel says about VFs.
///
/// # Errors
/// [`LoadError::Sysctl`]; a sysctl that does not exist is no error.
pub fn load_vf_facts(facts: &FactsSource) -> Result<VfFacts, LoadError> {
    let error = |name: &str, source| LoadError::Sysctl { name: name.to_owned(), source };
    let (transparent, list) = ("hw.hn.vf_transparent", "hw.hn.vflist");
    Ok(VfFacts {
        transparent: facts.sysctl_number(transparent).map_err(|source| error(transparent, source))?,
        list: facts.sysctl_text(list).map_err(|source| error(list, source))?,
    })
}

/// The VF of `hn`; `None` when it is gone, or `hn` is.
///
/// # Errors
/// [`LoadError::Sysctl`].
pub fn load_vf(facts: &FactsSource, hn: &Adapter) -> Result<Option<InterfaceName>, LoadError> {
    let name = hn.vf_sysctl();
    let text = facts.sysctl_text(&name).map_err(|source| LoadError::Sysctl { name, source })?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// All that a plan for `hn` depends on. Starts two processes.
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
    Ok(Facts { rc_conf, ..load_network(settings, source, vf)? })
}

/// The facts without rc.conf(5). Starts one process.
///
/// # Errors
/// See [`LoadError`].
pub fn load_network(
    settings: &Network,
    source: &NetworkSource,
    vf: Option<InterfaceName>,
) -> Result<Facts, LoadError> {
    let output = run(&Program::new(&settings.ifconfig, settings.command_limit()), "interfaces")?;
    let links = parse_ifconfig(&String::from_utf8_lossy(&output));
    let network = source.snapshot().map_err(LoadError::Network)?;
    Ok(Facts { vf, network, links, ..Facts::default() })
}

fn run(program: &Program, what: &'static str) -> Result<Vec<u8>, LoadError> {
    program.output().map_err(|source| LoadError::Program { what, source })
}
