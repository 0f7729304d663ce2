//! SET_IP_INFO: reads the facts, plans, and performs the plan within the time of an answer. The decisions are
//! in `hv_core::injection`.

mod aftercare;
mod error;
mod lease;
mod pending_undo;
mod recovery;
mod restore;
mod watch;

use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use hv_core::abi::kvp::Code;
use hv_core::hn::lock::Lock;
use hv_core::hn::{self, Adapter};
use hv_core::injection::apply::{Deadlines, InjectionPort, supply_name_servers};
use hv_core::injection::file::{self, Content};
use hv_core::injection::plan::{self, Files, Target, name_server_lines};
use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::{Change, Fingerprint, Record, Was};
use hv_core::injection::report::{GivenGateways, with_further_gateways};
use hv_core::injection::step::{FileChange, ResolvLabel, Step};
use hv_core::injection::transaction::Transaction;
use hv_core::injection::{json, load, persist};
use hv_core::kvp::exchange::NetworkRequest;
use hv_core::kvp::ip_info::request::{self, Injection, Method};
use hv_core::net::{InterfaceAddress, InterfaceName, NetworkSnapshot};
use hv_core::rc::load_variables;
use hv_core::runtime::config::{Config, IpInjection, Kvp, Network};
use hv_core::runtime::error_chain;
use hv_core::runtime::exec::{self, Program, Running};
use hv_core::sys::clock;
use hv_core::sys::network::NetworkSource;
use hv_core::sys::route_socket::RouteSocket;
use hv_core::vf::load::network_source;

pub(crate) use error::InjectionError;
use lease::LeaseWatch;
use pending_undo::PendingUndo;
pub(crate) use restore::restore;
use watch::Watch;

/// The host gets its answer within four seconds, and the kernel waits for five. All limits count from the
/// request on. The steps end by then,
const STEPS: Duration = Duration::from_millis(2500);
/// the undo ends by then,
const UNDO: Duration = Duration::from_millis(3500);
/// and the external program ends by then.
const APPLY: Duration = Duration::from_millis(3400);
/// How long to wait for another program that works on the interface.
const LOCK: Duration = Duration::from_millis(300);
/// The time limit of each of the two programs that read facts.
const FACTS: Duration = Duration::from_millis(900);
/// The time limit of one program of the undo, so that one that hangs leaves time for the others.
const UNDO_SHARE: Duration = Duration::from_millis(400);
/// How long the daemon continues after a signal that ends it, to take back what is half-done.
const LAST: Duration = Duration::from_secs(3);
/// The time limit of resolvconf(8) after an answer.
const SUPPLY: Duration = Duration::from_secs(10);

/// Performs the host's configurations of the network.
#[derive(Debug)]
pub(crate) struct Injector {
    kvp: Kvp,
    network: Network,
    lock_dir: std::path::PathBuf,
    source: NetworkSource,
    /// Whether an interface counts as one of hn(4) by its name.
    hn_by_name: bool,
    gateways: GivenGateways,
    lease: Option<LeaseWatch>,
    pending: Vec<PendingUndo>,
    /// The interfaces that are watched after an answer, and the socket that reports changes. The socket is
    /// open only while there are any.
    watches: Vec<Watch>,
    routes: Option<RouteSocket>,
    /// The interfaces on which an earlier daemon worked when it was killed.
    unfinished: Vec<Adapter>,
    /// What resolvconf(8) must get after a boot, by the interface with the addresses.
    supplies: Vec<(InterfaceName, Record)>,
    supplying: Option<Running>,
}

impl Injector {
    /// An injector that recovers the work of earlier processes.
    pub(crate) fn new(config: &Config) -> Self {
        let source = network_source(config);
        let mut injector = Self {
            kvp: config.kvp.clone(),
            network: config.network.clone(),
            lock_dir: config.vf.lock_dir.clone(),
            hn_by_name: config.facts.hn_by_name,
            gateways: GivenGateways::new(),
            lease: None,
            pending: Vec::new(),
            watches: Vec::new(),
            routes: None,
            unfinished: match config.kvp.ip_injection {
                IpInjection::Off => Vec::new(),
                IpInjection::Persist | IpInjection::Runtime => {
                    recovery::unfinished(&config.vf.lock_dir, &source)
                }
            },
            source,
            supplies: Vec::new(),
            supplying: None,
        };
        for record in load_records(&config.kvp.ip_injection_dir) {
            // Otherwise the interface was configured anew.
            let Some(live) = injector.holder(&record) else { continue };
            injector.remember(&live, record.given.gateways.clone());
            if !record.given.name_servers.is_empty() {
                injector.supplies.push((live, record));
            }
        }
        injector
    }

    /// Applies a configuration that was read again.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        self.kvp = config.kvp.clone();
        self.network = config.network.clone();
        self.lock_dir.clone_from(&config.vf.lock_dir);
        self.source = network_source(config);
        self.hn_by_name = config.facts.hn_by_name;
    }

    /// Brings the network to the host's configuration, or leaves it as it is.
    ///
    /// # Errors
    /// [`InjectionError`], whose code is the answer. Its changes are undone.
    pub(crate) fn configure(&mut self, request: &NetworkRequest) -> Result<(), InjectionError> {
        let start = clock::monotonic();
        if self.kvp.ip_injection == IpInjection::Off {
            return Err(InjectionError::Off);
        }
        let injection = request::parse(request).map_err(InjectionError::Request)?;
        let hn = match self.adapter(&injection.interface) {
            Err(InjectionError::NoTarget(_)) if !self.is_listed(&injection.interface) => {
                return Err(InjectionError::NotAllowed(injection.interface));
            }
            found => found?,
        };
        self.check_allowed(&injection.interface, &hn)?;
        if injection.method == Method::Dhcp && !request.name_servers.trim().is_empty() {
            log::info!("{hn}: the host's name servers are ignored, those of DHCP count");
        }
        let mut lock = Lock::take(&self.lock_dir, &hn, LOCK).map_err(InjectionError::Lock)?;
        let facts =
            load::load_facts(&self.network, &self.source, &hn, FACTS).map_err(InjectionError::Facts)?;
        let target = plan::target(&hn, &facts).map_err(InjectionError::NoTarget)?;
        if injection.interface.is_lagg() && target.lagg.as_ref() != Some(&injection.interface) {
            return Err(InjectionError::NoTarget(plan::NoTarget::Foreign(injection.interface)));
        }
        self.forget_watch(&hn);
        match &self.kvp.ip_injection_apply {
            Some(program) => self.run_external(program, &target, &injection, start)?,
            None => self.run_transaction(&hn, &target, &injection, facts, &mut lock, start)?,
        }
        let given = match injection.method {
            Method::Static(given) => given.gateways,
            Method::Dhcp => Vec::new(),
        };
        self.remember(target.live(), given);
        Ok(())
    }

    /// The adapter in the request. The kernel passes the device (`if_xname` of hn(4) at its attach). A lagg
    /// means the adapter with its number. An interface of another driver with the name of that device, such as
    /// a renamed epair(4), is not the host's: hn(4) gives each of its interfaces its own name as the driver's
    /// (sys/dev/hyperv/netvsc/if_hn.c:2158, `hn_attach`), and no rename changes that (sys/net/if_mib.c:117).
    fn adapter(&self, name: &InterfaceName) -> Result<Adapter, InjectionError> {
        let interfaces = self.source.snapshot().map_err(InjectionError::Network)?.interfaces;
        let missing = || InjectionError::NoTarget(plan::NoTarget::Missing(name.clone()));
        if name.is_lagg() && !interfaces.iter().any(|interface| &interface.name == name) {
            return Err(missing());
        }
        let unit = name.driver_and_unit().map_or(0, |(_, unit)| unit);
        let device = if name.is_lagg() { format!("hn{unit}") } else { name.to_string() };
        let known = hn::adapters(&self.source.facts, &interfaces);
        if let Some(found) = known.into_iter().find(|adapter| adapter.device().as_str() == device) {
            return Ok(found);
        }
        let by_name: Option<Adapter> = device.parse().ok();
        let (Some(by_name), Some(named)) =
            (by_name, interfaces.iter().find(|interface| interface.name.as_str() == device))
        else {
            return Err(missing());
        };
        if self.hn_by_name {
            return Ok(by_name);
        }
        let told = self.source.facts.driver_name(named.index).ok().flatten();
        let device = told.unwrap_or_else(|| "unknown".to_owned());
        Err(InjectionError::NoTarget(plan::NoTarget::NotHn { name: named.name.clone(), device }))
    }

    /// The network with the host's values that the kernel does not have.
    pub(crate) fn complete(&self, network: &NetworkSnapshot) -> NetworkSnapshot {
        with_further_gateways(network, &self.gateways)
    }

    /// Checks the administrator's list. An empty list allows all. The name of an hn allows its lagg, too, and
    /// the reverse.
    fn check_allowed(&self, asked: &InterfaceName, hn: &Adapter) -> Result<(), InjectionError> {
        let list = &self.kvp.ip_injection_interfaces;
        let names = [hn.name().as_str(), hn.device().as_str(), hn.lagg().as_str()];
        if list.is_empty() || list.iter().any(|allowed| names.contains(&allowed.as_str())) {
            return Ok(());
        }
        Err(InjectionError::NotAllowed(asked.clone()))
    }

    fn is_listed(&self, name: &InterfaceName) -> bool {
        let list = &self.kvp.ip_injection_interfaces;
        list.is_empty() || list.iter().any(|allowed| allowed == name.as_str())
    }

    fn remember(&mut self, interface: &InterfaceName, gateways: Vec<IpAddr>) {
        self.gateways.retain(|(name, _)| name != interface);
        if !gateways.is_empty() {
            self.gateways.push((interface.clone(), gateways));
        }
    }

    fn run_external(
        &self,
        program: &Path,
        target: &Target,
        injection: &Injection,
        start: Duration,
    ) -> Result<(), InjectionError> {
        let left = (start + APPLY).saturating_sub(clock::monotonic());
        let persist = self.kvp.ip_injection == IpInjection::Persist;
        let input = json::document(target, &injection.method, persist).into_bytes();
        log::info!("{}: {} configures it", target.hn, program.display());
        let program = Program { input, ..Program::new(program, left) };
        program.succeed().map(drop).map_err(InjectionError::External)
    }

    /// The lock has a mark until nothing is half-done, so that the next daemon, or hyperv_vfup, completes
    /// what a killed one leaves.
    fn run_transaction(
        &mut self,
        hn: &Adapter,
        target: &Target,
        injection: &Injection,
        facts: plan::Facts,
        lock: &mut Lock,
        start: Duration,
    ) -> Result<(), InjectionError> {
        let files = match self.kvp.ip_injection {
            IpInjection::Persist => Some(self.files(target, &injection.method)?),
            IpInjection::Runtime | IpInjection::Off => None,
        };
        let deadlines = Deadlines { steps: start + STEPS, undo: start + UNDO, share: UNDO_SHARE };
        let mut port = self.port(hn, deadlines);
        lock.begin(hn, &facts.network).map_err(InjectionError::Lock)?;
        let before = facts.method(target);
        let earlier = facts.earlier(target);
        let without = facts.without_name_servers;
        let transaction =
            Transaction { target, method: &injection.method, files: files.as_ref(), earlier: &earlier };
        let (witnessed, result) = transaction.run(facts, &mut port);
        if let Err(mut failed) = result {
            let left: Vec<Step> =
                std::mem::take(&mut failed.left_behind).into_iter().map(|(step, _)| step).collect();
            let pending = left.len();
            self.leave_behind(hn, left, lock);
            if !witnessed.rivals.is_empty() {
                // A rival may have read the values that were taken back.
                self.watch_rc_conf(hn, before, earlier);
            }
            return Err(InjectionError::Failed { failed: Box::new(failed), pending });
        }
        log::info!("{}: configured as its host wants", target.hn);
        self.warn_of_name_servers(target, &injection.method, without);
        // They lead to a state that is no longer wanted.
        self.pending.retain(|pending| &pending.hn != hn);
        finish(lock);
        self.lease = None;
        if witnessed.started_client {
            let limit = self.network.lease_limit();
            self.lease = Some(LeaseWatch::new(target.clone(), hn.clone(), limit));
        }
        // Also to the lease of a client that devd(8) has started.
        let may_lose_addresses = injection.method == Method::Dhcp && !earlier.shared.is_empty();
        self.watch(hn, injection.method.clone(), earlier);
        if may_lose_addresses {
            self.watch_for_lease(hn);
            // A lease that came after the last look and before the routing socket was open is not heard of.
            self.look_soon(hn);
        }
        Ok(())
    }

    /// The addresses are set nevertheless: a guest without name servers can be reached.
    fn warn_of_name_servers(&self, target: &Target, method: &Method, without: Option<&str>) {
        let Method::Static(given) = method else { return };
        if given.name_servers.is_empty() {
            return;
        }
        if let Some(reason) = without {
            return log::warn!("{}: the host's name servers were not taken: {reason}", target.hn);
        }
        let used = self.source.snapshot().map(|network| network.name_servers).unwrap_or_default();
        let is_used = |server: &IpAddr| {
            used.iter().any(|text| text.split('%').next() == Some(server.to_string().as_str()))
        };
        if !given.name_servers.iter().any(is_used) {
            let path = self.source.resolv_conf.display();
            log::warn!("{}: the host's name servers were not taken: {path} does not name them", target.hn);
        }
    }

    fn port(&self, hn: &Adapter, deadlines: Deadlines) -> InjectionPort {
        InjectionPort::new(&self.network, &self.source, hn, deadlines)
    }

    /// rc.conf and the undo file, with their present and their new contents.
    fn files(&self, target: &Target, method: &Method) -> Result<Files, InjectionError> {
        let path = Record::path(&self.kvp.ip_injection_dir, &target.hn);
        let old_record = file::load_own(&path).map_err(InjectionError::File)?;
        let old = file::load(&self.kvp.rc_conf).map_err(InjectionError::File)?;
        let before = RcFile::new(old.as_ref().map(|old| old.bytes.clone()).unwrap_or_default());
        let record = match &old_record {
            Some(content) => Record::parse(&content.bytes)
                .map_err(|source| InjectionError::Record { path: path.clone(), source })?
                .settled(&before),
            None => Record::new(target.hn.clone(), &self.kvp.rc_conf, &before),
        };
        if record.rc_conf != self.kvp.rc_conf {
            return Err(InjectionError::OtherRcConf { path, rc_conf: record.rc_conf });
        }
        let mut new =
            persist::persist(&target.hn, method, &before, &record).map_err(InjectionError::Value)?;
        self.measure(&mut new.record, old.is_some())?;
        // An edit by another program would be lost if the former bytes were restored.
        let untouched = match (&old_record, &old) {
            (None, _) => true,
            (Some(_), Some(old)) => record.written == Some(Fingerprint::of(&old.bytes)),
            (Some(_), None) => false,
        };
        new.record.written = untouched.then(|| Fingerprint::of(new.file.as_bytes()));
        let before_path = Record::before_path(&self.kvp.ip_injection_dir, &target.hn);
        let kept = file::load_own(&before_path).map_err(InjectionError::File)?;
        let keep = match (&old_record, untouched) {
            (None, _) => {
                old.as_ref().map(|old| Content { bytes: old.bytes.clone(), mode: 0o600, owner: None })
            }
            (Some(_), true) => kept.clone(),
            (Some(_), false) => None,
        };
        let (mode, owner) = old.as_ref().map_or((0o644, None), |old| (old.mode, old.owner));
        let bytes = new.record.to_text().into_bytes();
        let record = Content { bytes, mode: 0o600, owner: None };
        let rc_conf = Content { bytes: new.file.as_bytes().to_vec(), mode, owner };
        Ok(Files {
            record: FileChange { path, from: old_record, to: Some(record) },
            before: FileChange { path: before_path, from: kept, to: keep },
            rc_conf: FileChange { path: file::real(&self.kvp.rc_conf), from: old, to: Some(rc_conf) },
        })
    }

    /// Records the values that the shell reads before they are first changed. The lines are not enough if
    /// there are loops, `case` or `${x:=}`. `there` says whether there is an rc.conf.
    fn measure(&self, record: &mut Record, there: bool) -> Result<(), InjectionError> {
        let unknown = |change: &&mut Change| change.was == Was::Unknown;
        let names: Vec<String> =
            record.variables.iter_mut().filter(unknown).map(|change| change.name.to_string()).collect();
        if names.is_empty() || !there {
            record.variables.iter_mut().filter(unknown).for_each(|change| change.was = Was::Unset);
            return Ok(());
        }
        let mut network = self.network.clone();
        network.set_command_limit(FACTS);
        let read = load_variables(&network, &self.kvp.rc_conf, names.iter().map(String::as_str));
        let read = read.map_err(InjectionError::RcConf)?;
        for change in record.variables.iter_mut().filter(unknown) {
            let value = read.value(change.name.as_str());
            change.was = value.map_or(Was::Unset, |value| Was::Set(value.to_owned()));
        }
        Ok(())
    }

    /// The work after an answer: the name servers after a boot.
    pub(crate) fn after_answer(&mut self) {
        self.supply_next();
    }

    /// The name servers of resolvconf(8) are gone after a boot.
    fn supply_next(&mut self) {
        // This runs after every answer, and the question asks the file system.
        if !self.supplies.is_empty() && load::without_name_servers(&self.network).is_some() {
            self.supplies.clear();
        }
        while self.supplying.is_none()
            && let Some((live, record)) = self.supplies.pop()
        {
            let label = ResolvLabel::of_host(&record.interface);
            let text = name_server_lines(&record.given.name_servers, &live);
            match supply_name_servers(&self.network, &label, &text, SUPPLY).start() {
                Ok(running) => self.supplying = Some(running),
                Err(error) => log::warn!("{live}: name servers not set: {}", error_chain(&error)),
            }
        }
    }

    /// The interface, hn or its lagg, that has an address of the record.
    fn holder(&self, record: &Record) -> Option<InterfaceName> {
        let network = self.source.snapshot().ok()?;
        let hn = hn::find(&self.source.facts, &network.interfaces, &record.interface)?;
        let mut interfaces = network.interfaces.into_iter();
        let holds = |address: &InterfaceAddress| record.given.addresses.contains(address);
        let found = interfaces.find(|interface| {
            (&interface.name == hn.name() || &interface.name == hn.lagg())
                && interface.addresses.iter().any(&holds)
        });
        found.map(|interface| interface.name)
    }

    /// The descriptors that wake the daemon.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let routes = self.routes.iter().map(RouteSocket::descriptor);
        self.supplying.iter().flat_map(Running::descriptors).chain(routes)
    }

    /// When postponed work is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let lease = self.lease.as_ref().map(LeaseWatch::next_look);
        let pending = self.pending.iter().map(PendingUndo::due);
        let watches = self.watches.iter().map(Watch::due);
        let unfinished = (!self.unfinished.is_empty()).then_some(Duration::ZERO);
        let supplying = self.supplying.as_ref().map(Running::deadline);
        lease.into_iter().chain(pending).chain(watches).chain(unfinished).chain(supplying).min()
    }

    /// Does the postponed work that is due, one step of each kind.
    pub(crate) fn advance(&mut self) {
        exec::reap();
        self.advance_supply();
        self.recover_interrupted();
        self.work_on_pending();
        self.advance_watches();
        self.advance_lease();
    }

    fn advance_supply(&mut self) {
        let Some(result) = self.supplying.as_mut().and_then(Running::advance) else { return };
        self.supplying = None;
        match result {
            Ok(finished) if finished.status.success() => log::debug!("name servers set again"),
            Ok(finished) => log::warn!("name servers not set again: {}", finished.complaint()),
            Err(error) => log::warn!("name servers not set again: {}", error_chain(&error)),
        }
        self.supply_next();
    }
}

/// Removes the mark: nothing is half-done. If that fails, the next process looks once more, which does no
/// harm.
fn finish(lock: &mut Lock) {
    if let Err(error) = lock.finish() {
        log::warn!("{}", error_chain(&error));
    }
}

/// The undo files of all interfaces. One that cannot be read is logged and left out.
fn load_records(directory: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut records = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        match restore::load_settled(&path) {
            Ok(record) => records.extend(record),
            Err(error) => log::warn!("{}", error_chain(&error)),
        }
    }
    records
}

impl InjectionError {
    /// The code of the answer.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Off | Self::NotAllowed(_) => Code::NotSupported,
            Self::Request(error) => error.code(),
            Self::NoTarget(plan::NoTarget::BridgeMember { .. }) => Code::Fail,
            Self::NoTarget(_) => Code::GuidNotFound,
            _ => Code::Fail,
        }
    }
}
