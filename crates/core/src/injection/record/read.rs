//! Reads a [`Record`] from TOML. It accepts only texts that `record` could have written.
//!
//! It uses the configuration's parser directly: derived deserializers of these tables would add about 60 KiB
//! to the daemon.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::{Change, FORMAT, Fingerprint, Line, Record, RecordError, Variable, Was};
use crate::kvp::ip_info::request::StaticAddresses;
use crate::net::InterfaceName;

type Result<T> = std::result::Result<T, RecordError>;

/// The keys of what an injection changes, which an earlier record has alone.
const VALUES: [&str; 7] =
    ["final-newline", "addresses", "gateways", "name-servers", "written-length", "written-crc32", "variable"];

pub(super) fn record(table: &DeTable<'_>) -> Result<Record> {
    only(table, &[&["format", "interface", "rc-conf", "earlier"], &VALUES[..]].concat())?;
    let format = number(table, "format")?;
    if format != FORMAT {
        return Err(RecordError(format!("its format {format} is unknown")));
    }
    let names = Names {
        interface: parse(text(table, "interface")?)?,
        rc_conf: PathBuf::from(text(table, "rc-conf")?),
    };
    let earlier = match table.get("earlier") {
        Some(earlier) => {
            let earlier = earlier.get_ref().as_table().ok_or_else(|| wrong("earlier"))?;
            only(earlier, &VALUES)?;
            Some(Box::new(values(earlier, names.clone(), None)?))
        }
        None => None,
    };
    values(table, names, earlier)
}

#[derive(Clone)]
struct Names {
    interface: InterfaceName,
    rc_conf: PathBuf,
}

fn values(table: &DeTable<'_>, names: Names, earlier: Option<Box<Record>>) -> Result<Record> {
    Ok(Record {
        interface: names.interface,
        rc_conf: names.rc_conf,
        final_newline: value(table, "final-newline")?.as_bool().ok_or_else(|| wrong("final-newline"))?,
        given: StaticAddresses {
            addresses: list(table, "addresses")?,
            gateways: list(table, "gateways")?,
            name_servers: list(table, "name-servers")?,
        },
        variables: tables(table, "variable")?.into_iter().map(change).collect::<Result<_>>()?,
        written: fingerprint(table)?,
        earlier,
    })
}

fn fingerprint(table: &DeTable<'_>) -> Result<Option<Fingerprint>> {
    if !table.contains_key("written-length") {
        return Ok(None);
    }
    let crc = u32::try_from(number(table, "written-crc32")?).map_err(|_| wrong("written-crc32"))?;
    Ok(Some(Fingerprint { length: number(table, "written-length")?, crc }))
}

fn was(table: &DeTable<'_>) -> Result<Was> {
    if table.contains_key("was") {
        return Ok(Was::Set(text(table, "was")?.to_owned()));
    }
    Ok(if table.contains_key("was-set") { Was::Unset } else { Was::Unknown })
}

fn change(table: &DeTable<'_>) -> Result<Change> {
    only(table, &["name", "written", "old", "was", "was-set"])?;
    let name = Variable::new(text(table, "name")?).map_err(|error| RecordError(error.to_string()))?;
    let written = if table.contains_key("written") { Some(text(table, "written")?.to_owned()) } else { None };
    let old = tables(table, "old")?.into_iter().map(line).collect::<Result<_>>()?;
    Ok(Change { name, written, old, was: was(table)? })
}

fn line(table: &DeTable<'_>) -> Result<Line> {
    only(table, &["number", "text"])?;
    Ok(Line { number: number(table, "number")?, text: text(table, "text")?.to_owned() })
}

fn wrong(key: impl Display) -> RecordError {
    RecordError(format!("{key} is missing, unknown or of the wrong kind"))
}

fn only(table: &DeTable<'_>, keys: &[&str]) -> Result<()> {
    match table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
        Some(key) => Err(wrong(key.get_ref())),
        None => Ok(()),
    }
}

fn value<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Result<&'t DeValue<'i>> {
    table.get(key).map(|value| value.get_ref()).ok_or_else(|| wrong(key))
}

fn text<'t>(table: &'t DeTable<'_>, key: &str) -> Result<&'t str> {
    value(table, key)?.as_str().ok_or_else(|| wrong(key))
}

fn number(table: &DeTable<'_>, key: &str) -> Result<usize> {
    value(table, key)?.as_integer().and_then(|number| number.as_str().parse().ok()).ok_or_else(|| wrong(key))
}

fn list<T: FromStr<Err: Display>>(table: &DeTable<'_>, key: &str) -> Result<Vec<T>> {
    let items = value(table, key)?.as_array().ok_or_else(|| wrong(key))?;
    items.iter().map(|item| parse(item.get_ref().as_str().ok_or_else(|| wrong(key))?)).collect()
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| RecordError(error.to_string()))
}

/// The tables of an array. A missing array is empty.
fn tables<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Result<Vec<&'t DeTable<'i>>> {
    let Some(items) = table.get(key) else { return Ok(Vec::new()) };
    let items = items.get_ref().as_array().ok_or_else(|| wrong(key))?;
    items.iter().map(|item| item.get_ref().as_table().ok_or_else(|| wrong(key))).collect()
}
