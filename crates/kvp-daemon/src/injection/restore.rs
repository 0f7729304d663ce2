//! `hv_kvp_daemon -R IF`: takes back what injections have written to rc.conf(5). It changes files only; the
//! network follows by the commands that it prints.

use std::path::Path;
use std::time::Duration;

use hv_core::hn::lock::Lock;
use hv_core::hn::{self, Adapter};
use hv_core::injection::advice;
use hv_core::injection::apply::drop_name_servers;
use hv_core::injection::file;
use hv_core::injection::rc_file::{RcFile, Variable};
use hv_core::injection::record::{Change, Fingerprint, Places, Record, Was};
use hv_core::injection::step::ResolvLabel;
use hv_core::rc::{load_rc_conf, load_variables};
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;

use hv_core::vf::load::network_source;

use super::InjectionError;

/// How long to wait for another program that works on the interface.
const LOCK: Duration = Duration::from_secs(10);

/// The undo file at `path`. `None` if there is none.
fn load_record(path: &Path) -> Result<Option<Record>, InjectionError> {
    let content = file::load_own(path).map_err(InjectionError::File)?;
    let parse = |content: file::Content| {
        Record::parse(&content.bytes)
            .map_err(|source| InjectionError::Record { path: path.to_owned(), source })
    };
    content.map(parse).transpose()
}

/// The undo file at `path`, as it counts for the present rc.conf. `None` if there is none.
pub(super) fn load_settled(path: &Path) -> Result<Option<Record>, InjectionError> {
    Ok(load_with_rc_conf(path)?.map(|(record, _)| record))
}

/// The same with that rc.conf, which is `None` if it does not exist.
fn load_with_rc_conf(path: &Path) -> Result<Option<(Record, Option<file::Content>)>, InjectionError> {
    let Some(record) = load_record(path)? else { return Ok(None) };
    let held = file::load(&record.rc_conf).map_err(InjectionError::File)?;
    let bytes = held.as_ref().map(|held| held.bytes.clone()).unwrap_or_default();
    Ok(Some((record.settled(&RcFile::new(bytes)), held)))
}

/// Restores rc.conf and removes the undo file. Returns the text for the administrator.
///
/// # Errors
/// [`InjectionError`]. rc.conf is unchanged.
pub(crate) fn restore(config: &Config, hn: &Adapter) -> Result<String, InjectionError> {
    // Undo files have the present name of the interface, as rc.conf does.
    let source = network_source(config);
    let interfaces = source.snapshot().map(|network| network.interfaces).unwrap_or_default();
    let known = hn::adapters(&source.facts, &interfaces);
    let hn = known.iter().find(|known| known.device() == hn.device()).unwrap_or(hn);
    let _lock = Lock::take(&config.vf.lock_dir, hn, LOCK).map_err(InjectionError::Lock)?;
    let directory = &config.kvp.ip_injection_dir;
    let path = Record::path(directory, hn.name());
    let loaded = load_with_rc_conf(&path)?;
    let (record, held) = loaded.ok_or_else(|| InjectionError::NoRecord(path.clone()))?;
    let mut left_alone = Vec::new();
    if let Some(mut content) = held {
        if let Some(kept) = untouched(directory, hn, &record, &content.bytes)? {
            // Only injections have written it, so the copy from before is restored without any check.
            content.bytes = kept;
            file::store(&file::real(&record.rc_conf), Some(&content)).map_err(InjectionError::File)?;
            return finish(config, hn, &path, &record, &[]);
        }
        let before = RcFile::new(content.bytes);
        let attempt = |places| {
            let mut rc_conf = before.clone();
            let left_alone = record.restore(&mut rc_conf, places);
            read_with_shell(config, &path, &rc_conf, &record, &left_alone)?;
            Ok((rc_conf, left_alone))
        };
        let restored = match attempt(Places::OfOld) {
            Err(InjectionError::NotRestored { .. } | InjectionError::RcConf(_)) => {
                attempt(Places::OfTheHost)?
            }
            result => result?,
        };
        bequeath(directory, hn, &record)?;
        content.bytes = restored.0.as_bytes().to_vec();
        left_alone = restored.1;
        file::store(&file::real(&record.rc_conf), Some(&content)).map_err(InjectionError::File)?;
    }
    finish(config, hn, &path, &record, &left_alone)
}

/// The copy from before the first injection, if the present file is what injections wrote last.
fn untouched(
    directory: &Path,
    hn: &Adapter,
    record: &Record,
    now: &[u8],
) -> Result<Option<Vec<u8>>, InjectionError> {
    if record.written != Some(Fingerprint::of(now)) {
        return Ok(None);
    }
    let kept = file::load_own(&Record::before_path(directory, hn.name())).map_err(InjectionError::File)?;
    Ok(kept.map(|kept| kept.bytes))
}

/// rc.conf is restored, so the undo files and the host's name servers are removed.
fn finish(
    config: &Config,
    hn: &Adapter,
    path: &Path,
    record: &Record,
    left_alone: &[Variable],
) -> Result<String, InjectionError> {
    let before = Record::before_path(&config.kvp.ip_injection_dir, hn.name());
    for file in [path, &before] {
        file::store(file, None).map_err(InjectionError::File)?;
    }
    let mut text = report(config, hn, record, left_alone);
    let label = ResolvLabel::of_host(hn.name());
    if let Err(error) = drop_name_servers(&config.network, &label) {
        text.push_str(&format!("\nthe name servers of {label} are still set: {}", error_chain(&error)));
    }
    Ok(text)
}

/// Reads a copy of the restored rc.conf as rc(8) would. The file may have been edited since, and an old line
/// in the middle of something would disconnect the guest at the next boot.
fn read_with_shell(
    config: &Config,
    undo: &Path,
    rc_conf: &RcFile,
    record: &Record,
    left_alone: &[Variable],
) -> Result<(), InjectionError> {
    let copy = undo.with_extension("check");
    let content = file::Content { bytes: rc_conf.as_bytes().to_vec(), mode: 0o600, owner: None };
    file::store(&copy, Some(&content)).map_err(InjectionError::File)?;
    let changes: Vec<&Change> =
        record.variables.iter().filter(|change| !left_alone.contains(&change.name)).collect();
    let names = changes.iter().map(|change| change.name.as_str());
    let read = load_variables(&config.network, &copy, names);
    file::store(&copy, None).map_err(InjectionError::File)?;
    let read = read.map_err(InjectionError::RcConf)?;
    let differs = |change: &&&Change| {
        let now = read.value(change.name.as_str());
        match (&change.was, change.old_value()) {
            (Was::Set(value), _) => now != Some(value.as_str()),
            (Was::Unset, _) => now.is_some(),
            // An undo file of an earlier release has no value, so its lines are compared.
            (Was::Unknown, Some(value)) => now != Some(value.as_str()),
            (Was::Unknown, None) => change.old.is_empty() && !rc_conf.assigns(&change.name) && now.is_some(),
        }
    };
    match changes.iter().find(differs) {
        Some(change) => {
            let (rc_conf, name) = (record.rc_conf.clone(), change.name.clone());
            Err(InjectionError::NotRestored { rc_conf, name })
        }
        None => Ok(()),
    }
}

/// The default routers belong to all interfaces. A router that an injection into another interface found
/// there may be one that this interface's injection wrote, and must not be restored with that one.
fn bequeath(directory: &Path, hn: &Adapter, record: &Record) -> Result<(), InjectionError> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    let own = Record::path(directory, hn.name());
    for path in entries.flatten().map(|entry| entry.path()) {
        if path == own || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        // A damaged one is reported when it is taken back itself.
        let Ok(Some(mut other)) = load_settled(&path) else { continue };
        if other.rc_conf == record.rc_conf && other.inherit(record) {
            let held = file::load_own(&path).map_err(InjectionError::File)?;
            let content = held.map(|held| file::Content { bytes: other.to_text().into_bytes(), ..held });
            file::store(&path, content.as_ref()).map_err(InjectionError::File)?;
        }
    }
    Ok(())
}

fn report(config: &Config, hn: &Adapter, record: &Record, left_alone: &[Variable]) -> String {
    let except = if left_alone.is_empty() { "" } else { ", except" };
    let mut text =
        format!("{hn}: {} is as it was before the host's configuration{except}", record.rc_conf.display());
    for name in left_alone {
        text.push_str(&format!("\n{name}, which was changed since then and is left alone"));
    }
    let rc_conf = load_rc_conf(&config.network, &[hn.name()]);
    let dhcp = rc_conf.is_ok_and(|read| read.wanted(hn.name()).is_ok_and(|wanted| wanted.dhcp.is_some()));
    text.push('\n');
    text.push_str(&advice::sentence(hn.name(), dhcp));
    text
}
