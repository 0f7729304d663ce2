//! `hvctl ip`: shows the addresses that the host set, and takes them back by `hv_kvp_daemon`'s own code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use hv_core::report::Injection;
use hv_core::runtime::config::Config;

use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Mood, Table, moment, print, print_json, width};
use crate::status;

/// Prints the addresses in force.
pub(crate) fn show(config: &Config, json: bool) -> Outcome {
    let dir = &config.kvp.ip_injection_dir;
    let injected = match status::injected(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        injected => injected.map_err(Failure::io("read", dir))?,
    };
    if json {
        print_json(&serde_json::json!({ "version": 1, "injected": injected }));
        return Ok(Exit::Ok);
    }
    if injected.is_empty() {
        print("the host has set no addresses that are in force");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["INTERFACE", "SINCE", "ADDRESSES", "GATEWAYS", "NAME SERVERS", "RC.CONF"]);
    for entry in injected {
        let or =
            |texts: Vec<String>, none: &str| if texts.is_empty() { none.to_owned() } else { texts.join(" ") };
        table.row([
            entry.interface,
            moment(entry.since),
            or(entry.addresses, "DHCP"),
            or(entry.gateways, "-"),
            or(entry.name_servers, "-"),
            or(entry.variables, "-"),
        ]);
    }
    print(&table.render(0, width()));
    Ok(Exit::Ok)
}

/// Prints the host's attempts to set addresses, with their results.
pub(crate) fn history(config: &Config, json: bool) -> Outcome {
    let path = hv_core::report::injections_in(&config.kvp.ip_injection_dir);
    let entries: Vec<Injection> = match status::json_lines(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries.map_err(Failure::io("read", &path))?,
    };
    if json {
        print_json(&serde_json::json!({ "version": 1, "injections": entries }));
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        print("the host has not tried to set addresses");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["WHEN", "ADAPTER", "WANTED", "WHAT BECAME OF IT"]);
    for entry in entries {
        let (mood, result) = match entry.refused {
            None => (Mood::Good, "in force".to_owned()),
            Some(reason) => (Mood::Bad, format!("refused: {reason}")),
        };
        let plain = |text: String| (Mood::Plain, text);
        table.moody_row([plain(moment(entry.at)), plain(entry.adapter), plain(entry.wanted), (mood, result)]);
    }
    print(&table.render(0, width()));
    Ok(Exit::Ok)
}

/// Does what `hv_kvp_daemon -R` does.
pub(crate) fn restore(config: Option<&Path>, hn: &str) -> ExitCode {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(config) = config {
        words.extend(["-f".into(), config.into()]);
    }
    words.extend(["-R".into(), hn.into()]);
    kvp_daemon::run(words)
}
