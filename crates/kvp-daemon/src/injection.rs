//! SET_IP_INFO: reads the facts, plans, and performs the plan within the time of an answer.

mod error;
mod lease;
mod leftovers;
mod restore;

use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use hv_core::abi::kvp::Code;
use hv_core::hn::Adapter;
use hv_core::hn::lock::Lock;
use hv_core::injection::apply::{Deadlines, InjectionPort, supply_name_servers};
use hv_core::injection::file::{self, Content};
use hv_core::injection::plan::{self, Files, Target, name_server_lines};
use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::Record;
use hv_core::injection::report::{GivenGateways, with_further_gateways};
use hv_core::injection::step::{FileChange, ResolvLabel, Step};
use hv_core::injection::{json, load, persist};
use hv_core::kvp::exchange::NetworkRequest;
use hv_core::kvp::ip_info::request::{self, Injection, Method};
use hv_core::net::{InterfaceAddress, InterfaceName, NetworkSnapshot};
use hv_core::plan::network::NetworkStep;
use hv_core::runtime::config::{Config, IpInjection, Kvp, Network};
use hv_core::runtime::error_chain;
use hv_core::runtime::exec::{Program, Running};
use hv_core::sys::clock;
use hv_core::sys::network::NetworkSource;
use hv_core::vf::load::{load_facts, load_vf, network_source};
use hv_core::vf::plan::{plan_down, plan_up};

pub(crate) use error::InjectionError;
use lease::LeaseWatch;
use leftovers::{Leftovers, Progress};
pub(crate) use restore::restore;

/// The host gets its answer within four seconds; the kernel waits for five. All of these count from the request on.
/// What is done must be done by then,
const STEPS: Duration = Duration::from_millis(2200);
/// taken back by then,
const UNDO: Duration = Duration::from_millis(3600);
/// and the external program has ended by then.
const APPLY: Duration = Duration::from_millis(3500);
/// How long another program may go on with the interface.
const LOCK: Duration = Duration::from_millis(300);
/// How long each of the two programs may take that tell the facts.
const FACTS: Duration = Duration::from_millis(900);
/// How long one program of the undo may take, so that one that hangs leaves time for the others.
const UNDO_SHARE: Duration = Duration::from_millis(400);
/// How long the daemon goes on after a signal that ends it, to take back what is half-done.
const LAST: Duration = Duration::from_secs(3);
/// How long resolvconf(8) may take when nobody waits for it.
const SUPPLY: Duration = Duration::from_secs(10);

/// Carries out what the host wants the network to become.
#[derive(Debug)]
pub(crate) struct Injector {
    kvp: Kvp,
    network: Network,
    lock_dir: std::path::PathBuf,
    source: NetworkSource,
    gateways: GivenGateways,
    lease: Option<LeaseWatch>,
    leftovers: Vec<Leftovers>,
    /// Interfaces on which an earlier daemon was at work when it was killed.
    unfinished: Vec<Adapter>,
    /// What resolvconf(8) is to be told after a boot, by the interface that holds the addresses.
    supplies: Vec<(InterfaceName, Record)>,
    supplying: Option<Running>,
}

impl Injector {
    /// An injector that finds again what it did in an earlier life.
    pub(crate) fn new(config: &Config) -> Self {
        let mut injector = Self {
            kvp: config.kvp.clone(),
            network: config.network.clone(),
            lock_dir: config.vf.lock_dir.clone(),
            source: network_source(config),
            gateways: GivenGateways::new(),
            lease: None,
            leftovers: Vec::new(),
            unfinished: match config.kvp.ip_injection {
                IpInjection::Off => Vec::new(),
                IpInjection::Persist | IpInjection::Runtime => unfinished(&config.vf.lock_dir),
            },
            supplies: Vec::new(),
            supplying: None,
        };
        for record in load_records(&config.kvp.ip_injection_dir) {
            // Otherwise somebody has configured the interface anew.
            let Some(live) = injector.holder(&record) else { continue };
            injector.remember(&live, record.given.gateways.clone());
            if !record.given.name_servers.is_empty() {
                injector.supplies.push((live, record));
            }
        }
        injector
    }

    /// Takes over a configuration that was read again.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        self.kvp = config.kvp.clone();
        self.network = config.network.clone();
        self.lock_dir.clone_from(&config.vf.lock_dir);
        self.source = network_source(config);
    }

    /// Makes the network what the host wants, or leaves it as it is.
    ///
    /// # Errors
    /// [`InjectionError`], whose code is the answer. What was done is undone.
    pub(crate) fn configure(&mut self, request: &NetworkRequest) -> Result<(), InjectionError> {
        let start = clock::monotonic();
        if self.kvp.ip_injection == IpInjection::Off {
            return Err(InjectionError::Off);
        }
        let injection = request::parse(request).map_err(InjectionError::Request)?;
        let hn = hn_of(&injection.interface)?;
        self.check_allowed(&injection.interface, &hn)?;
        let mut lock = Lock::take(&self.lock_dir, &hn, LOCK).map_err(InjectionError::Lock)?;
        let facts = load::load_facts(&self.network, &self.source, &injection.interface, FACTS)
            .map_err(InjectionError::Facts)?;
        let target = plan::target(&injection.interface, &facts).map_err(InjectionError::NoTarget)?;
        match &self.kvp.ip_injection_apply {
            Some(program) => self.run_external(program, &target, &injection, start)?,
            None => self.run_plan(&hn, &target, &injection, &facts, &mut lock, start)?,
        }
        let given = match injection.method {
            Method::Static(given) => given.gateways,
            Method::Dhcp => Vec::new(),
        };
        self.remember(target.live(), given);
        Ok(())
    }

    /// The network with what the host gave and the kernel does not hold.
    pub(crate) fn complete(&self, network: &NetworkSnapshot) -> NetworkSnapshot {
        with_further_gateways(network, &self.gateways)
    }

    /// An empty list allows all. The name of an hn allows its lagg too, and the other way round.
    fn check_allowed(&self, asked: &InterfaceName, hn: &Adapter) -> Result<(), InjectionError> {
        let list = &self.kvp.ip_injection_interfaces;
        let names = [hn.name().as_str(), hn.lagg().as_str()];
        if list.is_empty() || list.iter().any(|allowed| names.contains(&allowed.as_str())) {
            return Ok(());
        }
        Err(InjectionError::NotAllowed(asked.clone()))
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

    /// The lock is marked until nothing is half-done any more, so that the next daemon, or hyperv_vfup, makes good what a
    /// killed one leaves.
    fn run_plan(
        &mut self,
        hn: &Adapter,
        target: &Target,
        injection: &Injection,
        facts: &plan::Facts,
        lock: &mut Lock,
        start: Duration,
    ) -> Result<(), InjectionError> {
        let files = match self.kvp.ip_injection {
            IpInjection::Persist => Some(self.files(target, &injection.method)?),
            IpInjection::Runtime | IpInjection::Off => None,
        };
        let plan = plan::plan(target, &injection.method, facts, files.as_ref());
        let deadlines = Deadlines { steps: start + STEPS, undo: start + UNDO, share: UNDO_SHARE };
        let mut port = self.port(&target.hn, deadlines);
        lock.begin().map_err(InjectionError::Lock)?;
        if let Err(mut failed) = plan.run(&mut port) {
            let left: Vec<Step> =
                std::mem::take(&mut failed.left_behind).into_iter().map(|(step, _)| step).collect();
            let pending = left.len();
            self.leave_behind(hn, left, lock);
            return Err(InjectionError::Failed { failed: Box::new(failed), pending });
        }
        log::info!("{}: configured as its host wants", target.hn);
        // They belong to a state that nobody wants any more.
        self.leftovers.retain(|leftovers| &leftovers.hn != hn);
        finish(lock);
        let starts_client = |step: &Step| matches!(step, Step::Network(NetworkStep::StartDhcp { .. }));
        self.lease = None;
        if plan.steps().iter().any(|planned| starts_client(&planned.step)) {
            self.lease = Some(LeaseWatch::new(target.live().clone(), self.network.lease_limit()));
        }
        Ok(())
    }

    fn port(&self, hn: &InterfaceName, deadlines: Deadlines) -> InjectionPort {
        InjectionPort::new(&self.network, &self.source, hn.as_str(), deadlines)
    }

    /// rc.conf and the undo file, as they are and as they are to be.
    fn files(&self, target: &Target, method: &Method) -> Result<Files, InjectionError> {
        let path = Record::path(&self.kvp.ip_injection_dir, &target.hn);
        let old_record = file::load(&path).map_err(InjectionError::File)?;
        let old = file::load(&self.kvp.rc_conf).map_err(InjectionError::File)?;
        let before = RcFile::new(old.as_ref().map(|old| old.bytes.clone()).unwrap_or_default());
        let record = match &old_record {
            Some(content) => Record::parse(&content.bytes)
                .map_err(|source| InjectionError::Record { path: path.clone(), source })?,
            None => Record::new(target.hn.clone(), &self.kvp.rc_conf, &before),
        };
        if record.rc_conf != self.kvp.rc_conf {
            return Err(InjectionError::OtherRcConf { path, rc_conf: record.rc_conf });
        }
        let new = persist::persist(&target.hn, method, &before, &record).map_err(InjectionError::Value)?;
        let (mode, owner) = old.as_ref().map_or((0o644, None), |old| (old.mode, old.owner));
        let bytes = new.record.to_text().into_bytes();
        let record = Content { bytes, mode: 0o600, owner: None };
        let rc_conf = Content { bytes: new.file.as_bytes().to_vec(), mode, owner };
        Ok(Files {
            record: FileChange { path, from: old_record, to: Some(record) },
            rc_conf: FileChange { path: self.kvp.rc_conf.clone(), from: old, to: Some(rc_conf) },
        })
    }

    /// What is done when nobody waits: the name servers after a boot.
    pub(crate) fn at_leisure(&mut self) {
        self.make_good();
        self.supply_next();
    }

    /// Steps of a failed injection that are still to be taken back, if there are any here or from an earlier one.
    fn leave_behind(&mut self, hn: &Adapter, steps: Vec<Step>, lock: &mut Lock) {
        match self.leftovers.iter_mut().find(|leftovers| &leftovers.hn == hn) {
            Some(leftovers) => leftovers.put_in_front(steps),
            None if steps.is_empty() => finish(lock),
            None => self.leftovers.push(Leftovers::undo(hn.clone(), steps)),
        }
    }

    /// One step of one interface: requests must be answered in between.
    fn work_on_leftovers(&mut self) {
        let now = clock::monotonic();
        let Some(place) = self.leftovers.iter().position(|leftovers| leftovers.due() <= now) else { return };
        let mut leftovers = self.leftovers.remove(place);
        let Ok(mut lock) = Lock::take(&self.lock_dir, &leftovers.hn, Duration::ZERO) else {
            leftovers.postpone();
            return self.leftovers.push(leftovers);
        };
        if !lock.is_interrupted().unwrap_or(true) {
            // hyperv_vfup has made the interface what it should be meanwhile.
            return;
        }
        let mut port = self.port(leftovers.hn.name(), Leftovers::deadlines());
        match leftovers.attempt(&mut port) {
            Progress::Going => self.leftovers.push(leftovers),
            Progress::Done => finish(&mut lock),
            Progress::GivenUp => {}
        }
    }

    /// The last thing that the daemon does. What is still half-done then is made good by the next one.
    pub(crate) fn finish(&mut self) {
        let until = clock::monotonic() + LAST;
        for mut leftovers in std::mem::take(&mut self.leftovers) {
            let Ok(mut lock) = Lock::take(&self.lock_dir, &leftovers.hn, LOCK) else { continue };
            let deadlines = Deadlines { steps: until, undo: until, share: UNDO_SHARE };
            let mut port = self.port(leftovers.hn.name(), deadlines);
            if leftovers.attempt_all(&mut port) == Progress::Done {
                finish(&mut lock);
            }
        }
    }

    /// What an earlier daemon left half-done when it was killed: then rc.conf(5) decides, which is what it was before or
    /// already what the host wants.
    fn make_good(&mut self) {
        for hn in std::mem::take(&mut self.unfinished) {
            match self.completion(&hn) {
                Ok(steps) => {
                    log::warn!("{hn}: an earlier change was not finished; it is made what rc.conf says");
                    self.leftovers.push(Leftovers::completion(hn, steps));
                }
                Err(error) => log::error!("{hn}: an earlier change was not finished: {error}"),
            }
        }
    }

    /// The steps that make an interface, or its lagg, what rc.conf(5) says. A lagg without its VF is taken apart; the next
    /// VF joins it again.
    fn completion(&self, hn: &Adapter) -> Result<Vec<Step>, String> {
        let mut network = self.network.clone();
        network.set_command_limit(FACTS);
        let text = |error: &dyn std::error::Error| error_chain(error);
        let vf = load_vf(&self.source.facts, hn).map_err(|error| text(&error))?;
        let mut facts = load_facts(&network, &self.source, hn, vf).map_err(|error| text(&error))?;
        facts.interrupted = true;
        let joined = facts.is_joined(hn).then(|| plan_up(hn, &facts)).transpose().map_err(|e| text(&e))?;
        let plan = match joined.flatten() {
            Some(plan) => plan,
            None => {
                // The VF is none of this program's business.
                facts.vf = None;
                plan_down(hn, &facts).map_err(|error| text(&error))?
            }
        };
        let steps = plan.steps().iter().map(|planned| match &planned.step {
            NetworkStep::StartDhcp { interface, .. } => {
                Step::Network(NetworkStep::StartDhcp { interface: interface.clone(), wait: false })
            }
            step => Step::Network(step.clone()),
        });
        Ok(steps.collect())
    }

    /// What resolvconf(8) holds is gone after a boot.
    fn supply_next(&mut self) {
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

    /// The interface, hn or its lagg, that holds an address of the record.
    fn holder(&self, record: &Record) -> Option<InterfaceName> {
        let hn = hn_of(&record.interface).ok()?;
        let network = self.source.snapshot().ok()?;
        let mut interfaces = network.interfaces.into_iter();
        let holds = |address: &InterfaceAddress| record.given.addresses.contains(address);
        let found = interfaces.find(|interface| {
            (&interface.name == hn.name() || &interface.name == hn.lagg())
                && interface.addresses.iter().any(&holds)
        });
        found.map(|interface| interface.name)
    }

    /// What wakes the daemon.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.supplying.iter().flat_map(Running::descriptors)
    }

    /// When something is due although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let watch = self.lease.as_ref().map(LeaseWatch::next_look);
        let leftovers = self.leftovers.iter().map(Leftovers::due);
        watch.into_iter().chain(leftovers).chain(self.supplying.as_ref().map(Running::deadline)).min()
    }

    /// Does what is due.
    pub(crate) fn advance(&mut self) {
        self.advance_supply();
        self.work_on_leftovers();
        let now = clock::monotonic();
        let Some(watch) = self.lease.as_mut().filter(|watch| watch.next_look() <= now) else { return };
        match self.source.snapshot() {
            Ok(network) if watch.look(now, &network) => self.lease = None,
            Ok(_) => {}
            Err(error) => {
                log::warn!("{}: the DHCP client is not watched any more: {error}", watch.interface());
                self.lease = None;
            }
        }
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

/// Nothing is half-done any more. A mark that stays makes the next one look once more, which does no harm.
fn finish(lock: &mut Lock) {
    if let Err(error) = lock.finish() {
        log::warn!("{}", error_chain(&error));
    }
}

/// The interfaces whose lock is marked and free.
fn unfinished(lock_dir: &Path) -> Vec<Adapter> {
    let entries = fs::read_dir(lock_dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let marked = |hn: &Adapter| {
        Lock::take(lock_dir, hn, Duration::ZERO).and_then(|lock| lock.is_interrupted()).unwrap_or(false)
    };
    names.filter_map(|name| Lock::interface(&name)).filter(marked).collect()
}

/// The hn of a name of hn(4) or lagg(4).
fn hn_of(name: &InterfaceName) -> Result<Adapter, InjectionError> {
    let unit = name.driver_and_unit().map_or(0, |(_, unit)| unit);
    format!("hn{unit}").parse().map_err(|_| InjectionError::NoTarget(plan::NoTarget::Missing(name.clone())))
}

/// The undo files of all interfaces. One that cannot be read is said so and left out.
fn load_records(directory: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut records = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        match restore::load_record(&path) {
            Ok(record) => records.extend(record),
            Err(error) => log::warn!("{}", error_chain(&error)),
        }
    }
    records
}

impl InjectionError {
    /// What the host is told.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Off | Self::NotAllowed(_) => Code::NotSupported,
            Self::Request(error) => error.code(),
            Self::NoTarget(_) => Code::GuidNotFound,
            _ => Code::Fail,
        }
    }
}
