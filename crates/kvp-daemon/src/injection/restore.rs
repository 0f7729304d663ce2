//! `hv_kvp_daemon -R IF`: takes back what injections have written to rc.conf(5).

use std::path::Path;
use std::time::Duration;

use hv_core::injection::apply::drop_name_servers;
use hv_core::injection::file;
use hv_core::injection::rc_file::{RcFile, Variable};
use hv_core::injection::record::Record;
use hv_core::injection::step::ResolvLabel;
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;
use hv_core::vf::HnInterface;
use hv_core::vf::lock::Lock;

use super::InjectionError;

/// How long another program may go on with the interface.
const LOCK: Duration = Duration::from_secs(10);

/// The undo file at `path`; `None` where there is none.
pub(super) fn load_record(path: &Path) -> Result<Option<Record>, InjectionError> {
    let content = file::load(path).map_err(InjectionError::File)?;
    let parse = |content: file::Content| {
        Record::parse(&content.bytes)
            .map_err(|source| InjectionError::Record { path: path.to_owned(), source })
    };
    content.map(parse).transpose()
}

/// Restores rc.conf and removes the undo file; returns what to tell the administrator.
///
/// # Errors
/// [`InjectionError`]; rc.conf is as it was.
pub(crate) fn restore(config: &Config, hn: &HnInterface) -> Result<String, InjectionError> {
    let _lock = Lock::take(&config.vf.lock_dir, hn, LOCK).map_err(InjectionError::Lock)?;
    let path = Record::path(&config.kvp.ip_injection_dir, hn.name());
    let record = load_record(&path)?.ok_or_else(|| InjectionError::NoRecord(path.clone()))?;
    let held = file::load(&record.rc_conf).map_err(InjectionError::File)?;
    let mut left_alone = Vec::new();
    if let Some(mut content) = held {
        let mut rc_conf = RcFile::new(content.bytes);
        left_alone = record.restore(&mut rc_conf);
        content.bytes = rc_conf.as_bytes().to_vec();
        file::store(&record.rc_conf, Some(&content)).map_err(InjectionError::File)?;
    }
    file::store(&path, None).map_err(InjectionError::File)?;
    let mut text = report(hn, &record, &left_alone);
    let label = ResolvLabel::of_host(hn.name());
    if let Err(error) = drop_name_servers(&config.network, &label) {
        text.push_str(&format!("\nthe name servers of {label} are still set: {}", error_chain(&error)));
    }
    Ok(text)
}

fn report(hn: &HnInterface, record: &Record, left_alone: &[Variable]) -> String {
    let mut text = format!("{hn}: {} is as it was before the host's configuration", record.rc_conf.display());
    for name in left_alone {
        text.push_str(&format!("\n{name} was changed by somebody else since then and is left alone"));
    }
    text.push_str(&format!(
        "\n\"service netif restart {hn}\" and \"service routing restart\" put it into effect"
    ));
    text
}
