//! One configuration file serves several programs, which may have different versions. This module reads the
//! file for one of them: it is strict about the tables that the program uses, and returns errors elsewhere as
//! warnings.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::{Config, ConfigError};

/// The part of the configuration that a program uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uses {
    /// The tables in which an error is fatal.
    pub tables: &'static [&'static str],
    /// Whether an unknown key in those tables is passed over. A program with this set must work with the file
    /// of any version.
    pub newer: bool,
}

impl Uses {
    fn contains(&self, table: &str) -> bool {
        self.tables.contains(&table)
    }
}

/// Parses the file for `uses`. Errors elsewhere are returned, and the wrong values are replaced by defaults.
pub(super) fn parse(text: &str, path: &Path, uses: &Uses) -> Result<(Config, Vec<ConfigError>), ConfigError> {
    let syntax = |error: &toml::de::Error| ConfigError::syntax(text, path, error);
    let mut document = DeTable::parse(text).map_err(|error| syntax(&error))?;
    let mut passed_over = Vec::new();
    let mut config = loop {
        let error = match Config::deserialize(Deserializer::from(document.clone())) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let at = error.span().map_or(0, |span| span.start);
        let unknown = error.message().starts_with("unknown field");
        if !drop_at(document.get_mut(), at, unknown, uses) {
            return Err(syntax(&error));
        }
        passed_over.push(syntax(&error));
    };
    while let Err(error) = config.validate() {
        let ConfigError::Value { key, .. } = &error else { return Err(error) };
        let table = key.split('.').next().unwrap_or_default();
        if uses.contains(table) || !config.reset(table) {
            return Err(error);
        }
        passed_over.push(error);
    }
    Ok((config, passed_over))
}

/// Removes the wrong key or table at a place of the text, if the program does not use it.
fn drop_at(document: &mut DeTable<'_>, at: usize, unknown: bool, uses: &Uses) -> bool {
    let Some((name, is_name)) = key_at(document, at) else { return false };
    let inside = |document: &mut DeTable<'_>| match document.get_mut(&*name).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) if unknown && !is_name => remove_at(table, at),
        _ => false,
    };
    match uses.contains(&name) {
        true => uses.newer && inside(document),
        false => inside(document) || document.remove(&*name).is_some(),
    }
}

/// Removes the key at a place of the text.
fn remove_at(table: &mut DeTable<'_>, at: usize) -> bool {
    key_at(table, at).is_some_and(|(name, _)| table.remove(&*name).is_some())
}

/// The key whose name or value is at a place of the text. The second value is true for the name.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<(String, bool)> {
    let (key, _) = table.iter().find(|(key, value)| key.span().contains(&at) || holds(value, at))?;
    Some((key.get_ref().clone().into_owned(), key.span().contains(&at)))
}

/// Whether a place of the text is in this value. The span of a table may only cover its heading.
fn holds(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    value.span().contains(&at)
        || match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().any(|(key, value)| key.span().contains(&at) || holds(value, at))
            }
            DeValue::Array(array) => array.iter().any(|value| holds(value, at)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: Uses = Uses { tables: &["log", "kvp"], newer: false };
    const HELPER: Uses = Uses { tables: &["log", "network", "vf"], newer: true };

    fn read(text: &str, uses: &Uses) -> Result<(Config, Vec<String>), String> {
        let read = parse(text, Path::new("x.toml"), uses).map_err(|error| error.to_string());
        read.map(|(config, passed)| (config, passed.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn errors_in_other_tables_are_warnings() {
        let good = "[kvp]\nmax-records = 7\n";
        for (wrong, said) in [
            ("[vss]\nanswer-within = 5\n", "x.toml:4:1: unknown field `answer-within`"),
            ("[vss]\nzpool = 5\nhook-dir = \"/h\"\n", "x.toml:4:9: invalid type"),
            ("[vss]\nzpool = \"zpool\"\n", "vss.zpool must be an absolute path"),
            ("vss = 5\n", "x.toml:"),
            ("[[vss.mounts]]\nwhat = 5\n", "x.toml:4:1: unknown field `what`"),
            ("[brand-new]\nkey = 1\n[brand-new.below]\nkey = 2\n", "x.toml:3:2: unknown field `brand-new`"),
        ] {
            let text =
                if wrong.starts_with('[') { format!("{good}{wrong}") } else { format!("{wrong}{good}") };
            let (config, passed) = read(&text, &DAEMON).unwrap();
            assert_eq!((config.kvp.max_records, config.vss), (7, Config::default().vss), "{wrong}");
            assert!(passed.len() == 1 && passed[0].starts_with(said), "{wrong}: {passed:?}");
            assert!(Config::parse(&text, Path::new("x.toml")).is_err(), "{wrong}: a check is strict");
        }
    }

    #[test]
    fn an_unknown_key_keeps_the_other_keys_of_its_table() {
        let text = "[vss]\nnew = 1\nzpool = \"/z\"\nnewer = [ { a = 1 } ]\n[vf]\n";
        let (config, passed) = read(text, &DAEMON).unwrap();
        assert_eq!((config.vss.zpool.to_str(), passed.len()), (Some("/z"), 2), "{passed:?}");
    }

    #[test]
    fn errors_in_own_tables_are_fatal_and_have_a_place() {
        for (text, said) in [
            ("[vss]\nx = 1\n[kvp]\nmax-recrods = 5\n", "x.toml:4:1: unknown field `max-recrods`"),
            ("[kvp]\nmax-records = 0\n", "kvp.max-records must be"),
            ("[log]\nlevel = \"loud\"\n", "x.toml:2:9: unknown variant"),
            ("[vss\n", "x.toml:1:"),
        ] {
            let error = read(text, &DAEMON).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn network_helpers_ignore_unknown_keys_but_not_wrong_values() {
        let text = "[vf]\nnewer = 1\nlock-dir = \"/l\"\n[network]\nnewest = \"x\"\n[kvp]\nnew = []\n";
        let (config, passed) = read(text, &HELPER).unwrap();
        assert_eq!((config.vf.lock_dir.to_str(), passed.len()), (Some("/l"), 3), "{passed:?}");
        assert!(read("[vf]\nlock-dir = 5\n", &HELPER).is_err());
        assert!(read("[vf]\nlock-dir = \"relative\"\n", &HELPER).is_err());
    }
}
