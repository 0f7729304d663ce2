//! Checks of the pool directory and of the files' contents. It reads the files directly, so it also finds
//! what the engine would refuse.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use hv_core::kvp::PoolId;

use super::{Finding, Patient};
use crate::pools::{Pool, Reading};

const CHECK: &str = "pools";
/// Size of a record in bytes.
const RECORD: usize = 2560;
const KEY: usize = 512;
/// The rest of a larger file is not read.
const LONGEST: u64 = 64 * 1024 * 1024;

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let dir = &patient.config.kvp.pool_dir;
    let shown = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![Finding::note(
                CHECK,
                format!("{shown} does not exist"),
                "hv_kvp_daemon makes it at its start",
            )];
        }
        Err(error) => {
            return vec![Finding::unknown(CHECK, format!("{shown}: {error}"), "run hvctl doctor as root")];
        }
    };
    let mut findings = Vec::new();
    if mode(&metadata) != 0o700 {
        let text = format!("{shown} has mode {:04o}: values in it may be read by others", mode(&metadata));
        findings.push(Finding::problem(CHECK, text, format!("chmod 700 {shown}")));
    }
    for pool in Pool::all().filter(|pool| pool.0 != PoolId::Auto) {
        match file(patient, pool) {
            Ok(found) => findings.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("pool {pool} cannot be read: {error}");
                findings.push(Finding::unknown(CHECK, text, "run hvctl doctor as root"));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{shown} is in order")));
    }
    findings
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

fn file(patient: &Patient<'_>, pool: Pool) -> io::Result<Vec<Finding>> {
    let path = Reading::path(&patient.config.kvp.pool_dir, pool.0);
    let shown = path.display();
    let metadata = fs::symlink_metadata(&path)?;
    if !metadata.is_file() {
        let text = format!("{shown} is not a regular file: its pool is not served");
        return Ok(vec![Finding::problem(CHECK, text, format!("rm {shown}"))]);
    }
    let mut findings = Vec::new();
    if mode(&metadata) != 0o600 {
        let text = format!("{shown} has mode {:04o}", mode(&metadata));
        findings.push(Finding::problem(CHECK, text, format!("chmod 600 {shown}")));
    }
    if metadata.len() > LONGEST {
        let text = format!("{shown} has {} bytes", metadata.len());
        findings.push(Finding::problem(
            CHECK,
            text,
            "find out which program writes it, and empty it: hvctl kvp delete",
        ));
        return Ok(findings);
    }
    let bytes = fs::read(&path)?;
    if bytes.len() % RECORD != 0 {
        let text = format!("{shown} ends with a part of a record: other readers refuse it");
        findings.push(Finding::problem(CHECK, text, "service hv_kvp_daemon onerestart"));
    }
    findings.extend(contents(pool, &bytes));
    Ok(findings)
}

/// Finds keys and values that the host would get cut, and keys that occur more than once.
fn contents(pool: Pool, bytes: &[u8]) -> Vec<Finding> {
    let mut keys: BTreeMap<&[u8], u32> = BTreeMap::new();
    let mut long = None;
    for record in bytes.as_chunks::<RECORD>().0 {
        let (key, value) = (text(&record[..KEY]), text(&record[KEY..]));
        if key.is_empty() {
            continue;
        }
        *keys.entry(key).or_default() += 1;
        if units(key) > 254 || units(value) > 1022 {
            long.get_or_insert(key);
        }
    }
    let mut findings = Vec::new();
    let shown = |key: &[u8]| String::from_utf8_lossy(key).chars().take(40).collect::<String>();
    if let Some(key) = long {
        let text = format!("pool {pool}: the host gets {:?} cut at 254 and 1022 UTF-16 units", shown(key));
        findings.push(Finding::problem(CHECK, text, "let its program split it over several keys"));
    }
    let doubled: Vec<_> = keys.iter().filter(|(_, count)| **count > 1).collect();
    if let Some((key, count)) = doubled.first() {
        let more =
            if doubled.len() > 1 { format!(" and {} more keys", doubled.len() - 1) } else { String::new() };
        let text =
            format!("pool {pool}: {:?}{more} is there {count} times, the last record counts", shown(key));
        let option = if pool.0 == PoolId::Guest { String::new() } else { format!(" --pool {pool} --force") };
        findings.push(Finding::note(CHECK, text, format!("hvctl kvp put KEY VALUE{option} leaves one")));
    }
    findings
}

fn text(array: &[u8]) -> &[u8] {
    let end = array.iter().position(|byte| *byte == 0).unwrap_or(array.len());
    &array[..end]
}

fn units(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).encode_utf16().count()
}
