//! The daemon's facts about its guest. They are read when they are needed and reused for a moment. What the
//! host gets of them is decided by `hv_core`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use hv_core::abi::kvp::IpAnswer;
use hv_core::kvp::auto::{self, AutoFacts};
use hv_core::kvp::host_name::FqdnCache;
use hv_core::kvp::ip_info::{self, as_the_host_sees};
use hv_core::net::{InterfaceName, NetworkSnapshot};
use hv_core::plan::network::{Link, parse_ifconfig};
use hv_core::runtime::config::Config;
use hv_core::runtime::exec::{Program, Running};
use hv_core::runtime::{VERSION, error_chain};
use hv_core::sys::clock;
use hv_core::sys::network::NetworkSource;
use hv_core::sys::system_facts::SystemFacts;
use hv_core::vf::load::network_source;

/// How long facts are reused. A host enumerates all ten items at once, so one read serves all of them.
const FRESH: Duration = Duration::from_secs(1);

/// How long ifconfig(8) may take for an answer. Without it the answer has the kernel's facts only.
const LINKS: Duration = Duration::from_secs(1);

/// The guest's facts with the sources they come from.
#[derive(Debug)]
pub(crate) struct Guest {
    source: NetworkSource,
    getent: std::path::PathBuf,
    system: SystemFacts,
    network: Aged<NetworkSnapshot>,
    /// Facts that only ifconfig(8) has: bridges, vlans, carp.
    links: Aged<BTreeMap<InterfaceName, Link>>,
    ifconfig: PathBuf,
    host_name: Aged<String>,
    fqdn: FqdnCache,
    /// Whether the host name was requested, or may be soon, so that completing it is useful.
    lookup_due: bool,
    lookup: Option<Running>,
}

/// The last value that was read without an error.
#[derive(Debug, Default)]
struct Aged<T> {
    value: T,
    taken: Option<Duration>,
}

impl<T> Aged<T> {
    /// Reads the value again if it is too old. An error keeps the old value.
    fn refresh(&mut self, what: &str, look: impl FnOnce() -> std::io::Result<T>) -> &T {
        let now = clock::monotonic();
        if self.taken.is_none_or(|taken| now.saturating_sub(taken) >= FRESH) {
            match look() {
                Ok(value) => self.value = value,
                Err(error) => log::debug!("cannot find out {what}: {error}"),
            }
            self.taken = Some(now);
        }
        &self.value
    }
}

fn sources(config: &Config) -> (NetworkSource, SystemFacts) {
    let source = network_source(config);
    let system = source.facts.system_facts().unwrap_or_else(|error| {
        log::error!("cannot find out what system this is: {}", error_chain(&error));
        SystemFacts::default()
    });
    (source, system)
}

impl Guest {
    /// A guest whose facts come from the sources in `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let (source, system) = sources(config);
        Self {
            source,
            getent: config.kvp.getent.clone(),
            system,
            network: Aged::default(),
            links: Aged::default(),
            ifconfig: config.network.ifconfig.clone(),
            host_name: Aged::default(),
            fqdn: FqdnCache::default(),
            lookup_due: true,
            lookup: None,
        }
    }

    /// Takes over the sources of a new configuration. The completed host name stays until another one is
    /// found.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        (self.source, self.system) = sources(config);
        self.getent.clone_from(&config.kvp.getent);
        (self.network.taken, self.host_name.taken) = (None, None);
        self.fqdn.look_again();
        self.lookup_due = true;
    }

    /// The intrinsic item at `index`.
    pub(crate) fn item(&mut self, index: u32) -> Option<(&'static str, String)> {
        auto::item(index, &self.facts(auto::needs_network(index)))
    }

    /// The value of an intrinsic item.
    pub(crate) fn value_of(&mut self, key: &str) -> Option<String> {
        auto::value_of(key, &self.facts(auto::key_needs_network(key)))
    }

    /// The configuration of an adapter. `complete` adds facts to the network first.
    pub(crate) fn ip_info(
        &mut self,
        adapter: &str,
        complete: impl FnOnce(&NetworkSnapshot) -> NetworkSnapshot,
    ) -> Result<IpAnswer, ip_info::UnknownAdapter> {
        let network = self.network.refresh("the network", || self.source.snapshot());
        let program = &self.ifconfig;
        let links = self.links.refresh("the links", || {
            let output = Program::new(program, LINKS).output().map_err(io::Error::other)?;
            Ok(parse_ifconfig(&String::from_utf8_lossy(&output)))
        });
        ip_info::answer(adapter, &as_the_host_sees(&complete(network), links))
    }

    /// The network has changed, so the next request reads it again.
    pub(crate) fn forget_network(&mut self) {
        self.network.taken = None;
        self.links.taken = None;
    }

    fn facts(&mut self, with_network: bool) -> AutoFacts<'_> {
        if with_network {
            self.network.refresh("the network", || self.source.snapshot());
        }
        let host = self.host_name.refresh("the host name", || self.source.facts.host_name());
        self.lookup_due = true;
        AutoFacts {
            fqdn: self.fqdn.value(host),
            suite_version: VERSION,
            system: &self.system,
            network: &self.network.value,
        }
    }

    /// Starts to complete the host name, if that is due. Called only after an answer.
    pub(crate) fn start_lookup(&mut self) {
        if !std::mem::take(&mut self.lookup_due) {
            return;
        }
        let host = self.host_name.refresh("the host name", || self.source.facts.host_name());
        let now = clock::monotonic();
        let Some(name) = self.fqdn.wants_lookup(host, now) else { return };
        let limit = self.fqdn.deadline().map_or(Duration::ZERO, |deadline| deadline.saturating_sub(now));
        match Program::new(&self.getent, limit).arg("hosts").arg(name).start() {
            Ok(running) => self.lookup = Some(running),
            Err(error) => {
                log::debug!("cannot complete the host name: {}", error_chain(&error));
                self.fqdn.lookup_finished(now, Err(()));
            }
        }
    }

    /// The descriptors that are ready when the lookup has made progress.
    pub(crate) fn lookup_descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.lookup.iter().flat_map(Running::descriptors)
    }

    /// When the lookup must be over.
    pub(crate) fn lookup_deadline(&self) -> Option<Duration> {
        self.lookup.as_ref().map(Running::deadline)
    }

    /// Takes the result of the lookup.
    pub(crate) fn advance_lookup(&mut self) {
        let Some(result) = self.lookup.as_mut().and_then(Running::advance) else { return };
        self.lookup = None;
        let now = clock::monotonic();
        match result {
            Ok(finished) if finished.status.success() => {
                self.fqdn.lookup_finished(now, Ok(&finished.stdout));
            }
            Ok(finished) => {
                log::debug!("host name not completed status={}", finished.status);
                self.fqdn.lookup_finished(now, Err(()));
            }
            Err(error) => {
                log::debug!("cannot complete the host name: {}", error_chain(&error));
                self.fqdn.lookup_finished(now, Err(()));
            }
        }
    }
}
