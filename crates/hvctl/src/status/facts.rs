//! The facts for status, metrics and doctor. They are collected from daemons, files and the kernel; nothing
//! is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hv_core::hn::Adapter;
use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::Record;
use hv_core::report::{Backup, KvpReport, Requests, VssReport};
use hv_core::runtime::config::Config;
use hv_core::runtime::is_absent;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vf::load::{load_vf, load_vf_facts};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interfaces::{self, Interfaces};
use crate::live::{self, Live};
use crate::machine::{self, Machine};
use crate::outcome::Exit;
use crate::pools::{self, Pool, Reading};

/// Size of a record in bytes.
const RECORD: u64 = 2560;

/// The contents of the page. `version` is the version of the format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Status {
    pub(crate) version: u32,
    pub(crate) machine: Machine,
    pub(crate) daemons: Vec<Daemon>,
    /// The file systems that are frozen now.
    pub(crate) frozen: Vec<String>,
    pub(crate) frozen_since: Option<u64>,
    pub(crate) last_backup: Option<Backup>,
    /// `None` if they cannot be read.
    pub(crate) pools: Option<Vec<PoolState>>,
    pub(crate) vfs: Vec<Vf>,
    /// `None` if they cannot be read.
    pub(crate) injected: Option<Vec<Injected>>,
    /// What could not be read, and why.
    pub(crate) notes: Vec<String>,
}

/// A daemon.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pub(crate) state: DaemonState,
    /// Whether its device exists.
    pub(crate) device: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) started: Option<u64>,
    pub(crate) uptime: Option<u64>,
    pub(crate) peak_memory_kib: Option<u64>,
    pub(crate) registered: Option<bool>,
    pub(crate) requests: Option<Requests>,
    /// The configuration file that it was started with, if one was named.
    pub(crate) config: Option<String>,
    /// Why its state is unknown.
    pub(crate) trouble: Option<String>,
}

/// Whether a daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DaemonState {
    Running,
    NotRunning,
    Unknown,
}

/// A pool file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PoolState {
    pub(crate) pool: &'static str,
    pub(crate) number: usize,
    /// Items that the host sees.
    pub(crate) items: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// When the file was last changed.
    pub(crate) changed: u64,
}

/// An interface of hn(4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Vf {
    pub(crate) hn: String,
    pub(crate) vf: Option<String>,
    /// What joins them: `transparent` is the kernel, `lagg` is hyperv_vfup.
    pub(crate) mode: &'static str,
    /// The lagg, if there is one.
    pub(crate) lagg: Option<String>,
    /// Its ports.
    pub(crate) ports: Vec<String>,
    /// The interface that carries the data.
    pub(crate) data: String,
}

/// The addresses that the host set on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Injected {
    pub(crate) interface: String,
    /// When they were last set.
    pub(crate) since: u64,
    /// `dhcp` or `static`.
    pub(crate) method: &'static str,
    pub(crate) addresses: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) name_servers: Vec<String>,
    /// The variables of rc.conf that were changed.
    pub(crate) variables: Vec<String>,
}

impl Status {
    pub(crate) fn look(config: &Config) -> Self {
        let facts = machine::facts(config);
        let mut notes = Vec::new();
        let kvp: Live<KvpReport> = live::ask(&config.kvp.control_socket);
        let vss: Live<VssReport> = live::ask(&config.vss.control_socket);
        let daemons =
            vec![Daemon::of_kvp(&kvp, &config.kvp.device), Daemon::of_vss(&vss, &config.vss.device)];
        let vss = vss.report();
        let history = || history(&config.vss.history).pop();
        let mut needs_root = Vec::new();
        if daemons.iter().any(|daemon| daemon.state == DaemonState::Unknown && daemon.trouble.is_none()) {
            needs_root.push("the daemons");
        }
        let pools = pool_states(config).inspect_err(|error| {
            note(&mut needs_root, &mut notes, "the pools", error);
        });
        let injected = injected(&config.kvp.ip_injection_dir).inspect_err(|error| {
            note(&mut needs_root, &mut notes, "the host's addresses", error);
        });
        let vfs = vfs(config, &facts).unwrap_or_else(|error| {
            notes.push(format!("VFs cannot be looked at: {error}"));
            Vec::new()
        });
        if !needs_root.is_empty() {
            notes.push(format!("only root sees {}", needs_root.join(", ")));
        }
        Self {
            version: 1,
            machine: Machine::look(&facts),
            daemons,
            frozen: vss.map(|report| report.frozen.clone()).unwrap_or_default(),
            frozen_since: vss.and_then(|report| report.frozen_since),
            last_backup: vss.and_then(|report| report.last_backup.clone()).or_else(history),
            pools: pools.ok(),
            vfs,
            injected: injected.ok(),
            notes,
        }
    }

    /// A machine that is not a guest of Hyper-V is no failure. A daemon that should run and does not is one.
    pub(crate) fn exit(&self) -> Exit {
        let missing = |daemon: &&Daemon| daemon.device && daemon.state == DaemonState::NotRunning;
        if self.daemons.iter().any(|daemon| missing(&daemon)) { Exit::Unavailable } else { Exit::Ok }
    }
}

fn note(
    needs_root: &mut Vec<&'static str>,
    notes: &mut Vec<String>,
    what: &'static str,
    error: &std::io::Error,
) {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => needs_root.push(what),
        std::io::ErrorKind::NotFound => {}
        _ => notes.push(format!("{what} cannot be read: {error}")),
    }
}

impl Daemon {
    fn empty<T>(name: &'static str, live: &Live<T>, device: &Path) -> Self {
        let (state, trouble) = match live {
            Live::Report(_) => (DaemonState::Running, None),
            Live::NotRunning => (DaemonState::NotRunning, None),
            Live::NotPermitted => (DaemonState::Unknown, None),
            Live::Strange(why) => (DaemonState::Unknown, Some(why.clone())),
        };
        Self {
            name,
            state,
            device: !is_absent(device),
            pid: None,
            version: None,
            started: None,
            uptime: None,
            peak_memory_kib: None,
            registered: None,
            requests: None,
            config: None,
            trouble,
        }
    }

    fn with(self, common: &hv_core::report::Common, requests: &Requests, registered: bool) -> Self {
        Self {
            pid: Some(common.pid),
            version: Some(common.version.clone()),
            started: Some(common.started),
            uptime: Some(common.uptime),
            peak_memory_kib: Some(common.peak_memory_kib),
            registered: Some(registered),
            requests: Some(requests.clone()),
            config: common.config.clone(),
            ..self
        }
    }

    pub(crate) fn of_kvp(live: &Live<KvpReport>, device: &Path) -> Self {
        let daemon = Self::empty("hv_kvp_daemon", live, device);
        match live.report() {
            Some(report) => daemon.with(&report.common, &report.requests, report.registered),
            None => daemon,
        }
    }

    pub(crate) fn of_vss(live: &Live<VssReport>, device: &Path) -> Self {
        let daemon = Self::empty("hv_vss_daemon", live, device);
        match live.report() {
            // The kernel wants the device opened, nothing else.
            Some(report) => daemon.with(&report.common, &report.requests, true),
            None => daemon,
        }
    }
}

/// The lines of a file that a daemon appends to, oldest first. Malformed lines are left out.
pub(crate) fn json_lines<T: DeserializeOwned>(path: &Path) -> std::io::Result<Vec<T>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The recorded backups.
pub(crate) fn history(path: &Path) -> Vec<Backup> {
    json_lines(path).unwrap_or_default()
}

fn pool_states(config: &Config) -> std::io::Result<Vec<PoolState>> {
    let mut states = Vec::new();
    for pool in Pool::all().filter(|pool| pool.0 != hv_core::kvp::PoolId::Auto) {
        let path = Reading::path(&config.kvp.pool_dir, pool.0);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let items = pools::items(&config.kvp, pool.0).map_err(std::io::Error::other)?;
        states.push(PoolState {
            pool: pool.name(),
            number: pool.number(),
            items: u64::try_from(items.len()).unwrap_or(u64::MAX),
            records: metadata.len() / RECORD,
            bytes: metadata.len(),
            changed: u64::try_from(metadata.mtime()).unwrap_or(0),
        });
    }
    Ok(states)
}

/// The injections that are in force, by interface.
pub(crate) fn injected(dir: &Path) -> std::io::Result<Vec<Injected>> {
    let mut injected = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let (bytes, metadata) = (fs::read(&path)?, fs::metadata(&path)?);
        let Ok(record) = Record::parse(&bytes) else { continue };
        let rc_conf = RcFile::new(fs::read(&record.rc_conf).unwrap_or_default());
        let record = record.settled(&rc_conf);
        let texts = |items: &[std::net::IpAddr]| items.iter().map(ToString::to_string).collect();
        injected.push(Injected {
            interface: record.interface.to_string(),
            since: u64::try_from(metadata.mtime()).unwrap_or(0),
            method: if record.given.addresses.is_empty() { "dhcp" } else { "static" },
            addresses: record.given.addresses.iter().map(ToString::to_string).collect(),
            gateways: texts(&record.given.gateways),
            name_servers: texts(&record.given.name_servers),
            variables: record.variables.iter().map(|change| change.name.to_string()).collect(),
        });
    }
    injected.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(injected)
}

/// The interfaces of hn(4) with their VFs.
///
/// # Errors
/// The reason in one line.
pub(crate) fn vfs(config: &Config, facts: &FactsSource) -> Result<Vec<Vf>, String> {
    let transparent = load_vf_facts(facts).map_err(|error| error.to_string())?.is_transparent();
    let interfaces = match interfaces::load(config) {
        Ok(interfaces) => interfaces,
        // A machine without hn(4), such as one that is no guest.
        Err(_) if !Machine::look(facts).hyper_v => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut vfs = Vec::new();
    for hn in interfaces.adapters() {
        let vf = load_vf(facts, &hn).map_err(|error| error.to_string())?;
        vfs.push(describe(&hn, vf.map(|vf| vf.to_string()), transparent, &interfaces));
    }
    Ok(vfs)
}

fn describe(hn: &Adapter, vf: Option<String>, transparent: bool, interfaces: &Interfaces) -> Vf {
    let lagg = interfaces.links.get(hn.lagg()).and_then(|link| link.lagg.as_ref());
    let ports: Vec<String> =
        lagg.map(|lagg| lagg.ports.iter().map(ToString::to_string).collect()).unwrap_or_default();
    let joined = ports.iter().any(|port| port == hn.name().as_str());
    let mode = match (&vf, transparent, joined) {
        (_, _, true) => "lagg",
        (Some(_), true, _) => "transparent",
        (Some(_), false, _) => "not joined",
        (None, ..) => "no VF",
    };
    // The kernel sends through the VF while the VF is up, whatever is stacked above hn(4).
    let data = vf.clone().unwrap_or_else(|| hn.to_string());
    Vf {
        hn: hn.to_string(),
        vf,
        mode,
        lagg: joined.then(|| hn.lagg().to_string()),
        ports: if joined { ports } else { Vec::new() },
        data,
    }
}
