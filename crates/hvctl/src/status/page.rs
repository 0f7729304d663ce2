//! The page of `hvctl status` as text. It is given the facts and reads nothing.

use std::fmt::Write as _;

use hv_core::report::{Backup, Requests, Verdict};

use super::{Daemon, DaemonState, Status};
use crate::output::{Mood, Table, ago, coloured, duration, moment, printable, size, width};

pub(super) fn render(status: &Status, now: u64) -> String {
    let mut page = String::new();
    let mood = if status.machine.hyper_v { Mood::Good } else { Mood::Doubtful };
    line(&mut page, "machine", &coloured(mood, &status.machine.line()));
    for daemon in &status.daemons {
        daemon_lines(&mut page, daemon, now);
    }
    frozen(&mut page, status, now);
    backup(&mut page, status.last_backup.as_ref(), now);
    pools(&mut page, status, now);
    vfs(&mut page, status);
    injected(&mut page, status, now);
    for note in &status.notes {
        line(&mut page, "note", note);
    }
    page
}

/// A label in its column, followed by a text.
fn line(page: &mut String, label: &str, text: &str) {
    let pad = " ".repeat(15_usize.saturating_sub(label.len()));
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}{pad}{text}", coloured(Mood::Heading, label));
}

fn more(page: &mut String, text: &str) {
    let _ = writeln!(page, "{:15}{text}", "");
}

fn daemon_lines(page: &mut String, daemon: &Daemon, now: u64) {
    let text = match daemon.state {
        DaemonState::Running => format!(
            "{}, pid {}, version {}, up {}, {}at most {} of memory",
            coloured(Mood::Good, "running"),
            daemon.pid.unwrap_or(0),
            daemon.version.as_deref().unwrap_or("?"),
            uptime(daemon.uptime.unwrap_or(0)),
            if daemon.registered == Some(true) { "registered, " } else { "" },
            size(daemon.peak_memory_kib.unwrap_or(0).saturating_mul(1024)),
        ),
        DaemonState::NotRunning if daemon.device => {
            coloured(Mood::Bad, "not running, though its device is there")
        }
        DaemonState::NotRunning => "not running: its device is not there".to_owned(),
        DaemonState::Unknown => daemon.trouble.clone().unwrap_or_else(|| "only root can ask it".to_owned()),
    };
    line(page, daemon.name, &text);
    if let Some(requests) = &daemon.requests {
        requests_lines(page, requests, now);
    }
}

fn uptime(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { duration(seconds.saturating_mul(1_000_000)) }
}

fn requests_lines(page: &mut String, requests: &Requests, now: u64) {
    if requests.counts.is_empty() {
        more(page, "no request since its start");
        return;
    }
    let counts: Vec<String> = requests.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    more(page, &format!("requests: {}", counts.join(", ")));
    if let (Some(last), Some(slowest)) = (&requests.last, &requests.slowest) {
        more(
            page,
            &format!(
                "last: {} in {}, {}; slowest: {} in {}",
                last.request,
                duration(last.took),
                ago(last.at, now),
                slowest.request,
                duration(slowest.took),
            ),
        );
    }
    if let Some(refused) = &requests.last_refused {
        let reason = printable(&refused.reason);
        let text = format!("refused: {}, the last {}: {reason}", requests.refused, ago(refused.at, now));
        more(page, &coloured(Mood::Doubtful, &text));
    }
}

fn frozen(page: &mut String, status: &Status, now: u64) {
    if status.frozen.is_empty() {
        return;
    }
    let since = status.frozen_since.map(|since| format!(", {}", ago(since, now))).unwrap_or_default();
    let mounts = printable(&status.frozen.join(" "));
    line(page, "frozen now", &coloured(Mood::Doubtful, &format!("{mounts}{since}")));
}

fn backup(page: &mut String, backup: Option<&Backup>, now: u64) {
    let Some(backup) = backup else { return line(page, "last backup", "none is known") };
    line(page, "last backup", &format!("{}, {}", verdict(backup), ago(backup.at, now)));
    backup_details(backup).iter().for_each(|text| more(page, text));
}

/// The result of a backup in a few words.
pub(crate) fn verdict(backup: &Backup) -> String {
    let reason =
        backup.reason.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
    match backup.verdict {
        Verdict::Good => coloured(Mood::Good, "good"),
        Verdict::Failed => coloured(Mood::Bad, &format!("failed{reason}")),
        Verdict::Void => coloured(Mood::Bad, &format!("void{reason}")),
    }
}

/// What the backup took, one line each.
pub(crate) fn backup_details(backup: &Backup) -> Vec<String> {
    let mut lines = vec![format!(
        "answered in {}{}",
        duration(backup.answered_in),
        backup.frozen_for.map(|frozen| format!(", frozen for {}", duration(frozen))).unwrap_or_default()
    )];
    let failed = |failed: &Option<String>| failed.as_ref().map_or("", |_| " (failed)");
    let mounts =
        backup.mounts.iter().map(|mount| format!("{} {}", printable(&mount.mount), duration(mount.took)));
    let hooks = backup.hooks.iter().map(|hook| {
        format!("{} {} {}{}", printable(&hook.name), hook.phase, duration(hook.took), failed(&hook.failed))
    });
    let steps = backup
        .steps
        .iter()
        .map(|step| format!("{} {}{}", printable(&step.what), duration(step.took), failed(&step.failed)));
    for (what, texts) in
        [("suspended", mounts.collect::<Vec<_>>()), ("hooks", hooks.collect()), ("steps", steps.collect())]
    {
        if !texts.is_empty() {
            lines.push(format!("{what}: {}", texts.join(", ")));
        }
    }
    for flushed in &backup.flushed {
        let why = printable(&flushed.why);
        lines.push(format!("flushed only: {}, {why}", printable(&flushed.mount)));
    }
    lines
}

fn pools(page: &mut String, status: &Status, now: u64) {
    let Some(pools) = status.pools.as_ref().filter(|pools| !pools.is_empty()) else { return };
    let mut table = Table::new(&[]);
    for pool in pools {
        table.row([
            pool.pool.to_owned(),
            if pool.items == 1 { "1 item".to_owned() } else { format!("{} items", pool.items) },
            size(pool.bytes),
            format!("changed {}", ago(pool.changed, now)),
        ]);
    }
    block(page, "pools", &table);
}

fn vfs(page: &mut String, status: &Status) {
    let mut table = Table::new(&[]);
    for vf in &status.vfs {
        let lagg =
            vf.lagg.as_ref().map(|lagg| format!("{lagg} ({})", vf.ports.join(" "))).unwrap_or_default();
        table.row([
            vf.hn.clone(),
            vf.vf.as_ref().map_or("no VF".to_owned(), |name| format!("VF {name}, {}", vf.mode)),
            lagg,
            format!("data through {}", vf.data),
        ]);
    }
    block(page, "network", &table);
}

fn injected(page: &mut String, status: &Status, now: u64) {
    let Some(injected) = &status.injected else { return };
    let mut table = Table::new(&[]);
    for injected in injected {
        let addresses = match injected.method {
            "dhcp" => "DHCP".to_owned(),
            _ => injected.addresses.join(" "),
        };
        table.row([injected.interface.clone(), format!("since {}", moment(injected.since)), addresses]);
    }
    let _ = now;
    block(page, "host's addresses", &table);
}

/// A table beside its label.
fn block(page: &mut String, label: &str, table: &Table) {
    if table.is_empty() {
        return;
    }
    let text = table.render(0, width().map(|width| width.saturating_sub(15)));
    let mut lines = text.lines();
    if label.len() > 14 {
        line(page, label, "");
    } else {
        line(page, label, lines.next().unwrap_or_default());
    }
    lines.for_each(|text| more(page, text));
}
