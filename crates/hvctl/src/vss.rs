//! `hvctl vss`: checks, history and a trial freeze, by the code of hv_vss_daemon.

use std::io::IsTerminal;
use std::time::Duration;

use hv_core::report::{Backup, Verdict, VssReport};
use hv_core::runtime::config::Config;
use nix::unistd::{AccessFlags, access};
use vss_daemon::check::{self, Checked};
use vss_daemon::trial;

use crate::live::{self, Live};
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Mood, coloured, moment, print, print_json};
use crate::status::{self, backup_details, verdict};

/// As many as the daemon records.
const SHOWN: usize = 20;

/// Prints the result of `hv_vss_daemon -c`.
pub(crate) fn check(config: &Config, json: bool) -> Outcome {
    let checked = check::check(config).map_err(|error| Failure::Unavailable(error.to_string()))?;
    if json {
        print_json(&as_json(&checked));
    } else {
        print(&checked.report());
    }
    Ok(if checked.allows_backup() { Exit::Ok } else { Exit::Failure })
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let mounts = checked.findings.verdict.decisions.iter().map(|decision| {
        serde_json::json!({
            "mount": decision.mount.on,
            "type": decision.mount.fs_type,
            "action": decision.treatment.to_string(),
            "why": decision.reason.to_string(),
        })
    });
    let hooks = &checked.findings.hooks;
    let names: Vec<&str> = hooks.hooks.iter().map(|hook| hook.name.as_str()).collect();
    let texts = |skipped: &[hv_core::vss::hooks::Skipped]| -> Vec<String> {
        skipped.iter().map(ToString::to_string).collect()
    };
    serde_json::json!({
        "version": 1,
        "possible": checked.allows_backup(),
        "refusals": checked.refusals,
        "mounts": mounts.collect::<Vec<_>>(),
        "hooks": names,
        "hooks-at-fault": texts(&hooks.faults),
        "hooks-passed-over": texts(&hooks.passed_over),
    })
}

/// Freezes and thaws the guest.
pub(crate) fn test(config: &Config, seconds: u64, yes: bool, json: bool) -> Outcome {
    let device = &config.vss.suspend_device;
    match access(device, AccessFlags::R_OK | AccessFlags::W_OK) {
        Ok(()) => {}
        Err(nix::errno::Errno::ENOENT) => {
            return Err(Failure::Unavailable(format!("{} does not exist", device.display())));
        }
        Err(error) => return Err(Failure::io("open", device)(error.into())),
    }
    match live::ask::<VssReport>(&config.vss.control_socket) {
        Live::Report(report) if report.under_way => {
            return Err(Failure::No("the host has a backup under way".to_owned()));
        }
        Live::Strange(why) => return Err(Failure::Unavailable(format!("hv_vss_daemon: {why}"))),
        _ => {}
    }
    if !yes && !confirmed(seconds)? {
        return Err(Failure::No("nothing was frozen".to_owned()));
    }
    // Nothing is printed while frozen: the output might be written to a suspended file system.
    let backup = trial::run(config, Duration::from_secs(seconds));
    let backup =
        backup.map_err(|error| Failure::Unavailable(format!("the freeze cannot be tried: {error}")))?;
    if json {
        print_json(&serde_json::json!({ "version": 1, "test": backup }));
    } else {
        print(&verdict(&backup));
        backup_details(&backup).iter().for_each(|line| print(line));
    }
    Ok(if backup.verdict == Verdict::Good { Exit::Ok } else { Exit::Failure })
}

/// Asks the user at the terminal.
fn confirmed(seconds: u64) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("nobody is there to ask: --yes says that you mean it".to_owned()));
    }
    eprint!(
        "This runs the hooks and freezes the file systems for {seconds} s: programs that write there wait. Go on? [y/N] "
    );
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::io("read", "standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints the last backups, newest first.
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
