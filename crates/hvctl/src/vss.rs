//! `hvctl vss`: live backup.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use hv_core::report::Backup;
use hv_core::runtime::config::Config;

use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Mood, coloured, moment, print, print_json};
use crate::status::{self, backup_details, verdict};

/// As many as the daemon keeps.
const SHOWN: usize = 20;

/// What hv_vss_daemon -c says.
pub(crate) fn check(config: Option<&Path>) -> ExitCode {
    let mut words: Vec<OsString> = vec!["-c".into()];
    if let Some(config) = config {
        words.extend(["-f".into(), config.into()]);
    }
    vss_daemon::run(words)
}

/// The last backups, the newest first.
pub(crate) fn history(config: &Config, json: bool) -> Outcome {
    let path = &config.vss.history;
    let backups: Vec<Backup> = match status::json_lines(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        backups => backups.map_err(Failure::io("read", path))?,
    };
    let newest: Vec<Backup> = backups.into_iter().rev().take(SHOWN).collect();
    if json {
        print_json(&serde_json::json!({ "version": 1, "backups": newest }));
        return Ok(Exit::Ok);
    }
    if newest.is_empty() {
        print("no backup was asked for since hv_vss_daemon was installed");
    }
    for backup in newest {
        print(&format!("{}  {}", coloured(Mood::Heading, &moment(backup.at)), verdict(&backup)));
        backup_details(&backup).iter().for_each(|line| print(&format!("  {line}")));
    }
    Ok(Exit::Ok)
}
