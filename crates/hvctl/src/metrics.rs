//! `hvctl metrics`: the numbers of `hvctl status` in Prometheus' text exposition format, version 0.0.4. It
//! measures nothing itself.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use hv_core::report::Verdict;
use hv_core::runtime::config::Config;

use crate::cli::MetricsArgs;
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::print;
use crate::status::{DaemonState, Status};

pub(crate) fn run(config: &Config, arguments: &MetricsArgs) -> Outcome {
    let text = render(&Status::look(config));
    match &arguments.output {
        None => print(&text),
        Some(path) => write_whole(path, &text).map_err(Failure::io("write", path))?,
    }
    Ok(Exit::Ok)
}

/// Writes a file that its readers, other users, see complete or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    // The collector reads files that end in .prom.
    let new = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::File::create(&new).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| drop(fs::remove_file(&new)))
}

/// The text of the document.
#[derive(Debug, Default)]
struct Exposition(String);

impl Exposition {
    /// Begins a metric. Its samples follow.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers, and these are below 2^52")]
fn number(number: u64) -> f64 {
    number as f64
}

fn seconds(micros: u64) -> f64 {
    number(micros) / 1e6
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn render(status: &Status) -> String {
    let mut out = Exposition::default();
    out.metric("hyperv_guest", "gauge", "Whether this machine is a guest of Hyper-V.");
    out.sample("hyperv_guest", &[], truth(status.machine.hyper_v));
    daemons(&mut out, status);
    requests(&mut out, status);
    backups(&mut out, status);
    pools(&mut out, status);
    network(&mut out, status);
    out.0
}

fn daemons(out: &mut Exposition, status: &Status) {
    let known = || status.daemons.iter().filter(|daemon| daemon.state != DaemonState::Unknown);
    out.metric("hyperv_daemon_up", "gauge", "Whether the daemon serves.");
    for daemon in known() {
        out.sample(
            "hyperv_daemon_up",
            &[("daemon", daemon.name)],
            truth(daemon.state == DaemonState::Running),
        );
    }
    out.metric("hyperv_daemon_info", "gauge", "The version of a daemon that serves.");
    for daemon in known() {
        if let Some(version) = &daemon.version {
            out.sample("hyperv_daemon_info", &[("daemon", daemon.name), ("version", version)], 1.0);
        }
    }
    out.metric("hyperv_daemon_device_present", "gauge", "Whether the kernel offers the daemon's device.");
    for daemon in &status.daemons {
        out.sample("hyperv_daemon_device_present", &[("daemon", daemon.name)], truth(daemon.device));
    }
    out.metric(
        "hyperv_daemon_start_time_seconds",
        "gauge",
        "When the daemon began to serve, since the epoch.",
    );
    for daemon in known() {
        if let Some(started) = daemon.started {
            out.sample("hyperv_daemon_start_time_seconds", &[("daemon", daemon.name)], number(started));
        }
    }
    out.metric("hyperv_daemon_peak_memory_bytes", "gauge", "The most memory that the daemon had resident.");
    for daemon in known() {
        if let Some(kib) = daemon.peak_memory_kib {
            out.sample("hyperv_daemon_peak_memory_bytes", &[("daemon", daemon.name)], number(kib) * 1024.0);
        }
    }
}

fn requests(out: &mut Exposition, status: &Status) {
    let known = || status.daemons.iter().filter_map(|daemon| Some((daemon.name, daemon.requests.as_ref()?)));
    out.metric("hyperv_requests_total", "counter", "Requests of the host since the daemon's start, by kind.");
    for (name, requests) in known() {
        for (kind, count) in &requests.counts {
            out.sample("hyperv_requests_total", &[("daemon", name), ("request", kind)], number(*count));
        }
    }
    out.metric("hyperv_requests_refused_total", "counter", "Requests that were refused or failed.");
    for (name, requests) in known() {
        out.sample("hyperv_requests_refused_total", &[("daemon", name)], number(requests.refused));
    }
    out.metric("hyperv_last_answer_seconds", "gauge", "How long the last answer took.");
    for (name, requests) in known() {
        if let Some(last) = &requests.last {
            out.sample("hyperv_last_answer_seconds", &[("daemon", name)], seconds(last.took));
        }
    }
    out.metric("hyperv_slowest_answer_seconds", "gauge", "How long the slowest answer took since the start.");
    for (name, requests) in known() {
        if let Some(slowest) = &requests.slowest {
            out.sample("hyperv_slowest_answer_seconds", &[("daemon", name)], seconds(slowest.took));
        }
    }
}

fn backups(out: &mut Exposition, status: &Status) {
    out.metric("hyperv_frozen_file_systems", "gauge", "File systems that are frozen now.");
    out.sample("hyperv_frozen_file_systems", &[], number(u64::try_from(status.frozen.len()).unwrap_or(0)));
    out.metric(
        "hyperv_last_backup_timestamp_seconds",
        "gauge",
        "When the last backup was asked for, since the epoch.",
    );
    let Some(backup) = &status.last_backup else { return };
    out.sample("hyperv_last_backup_timestamp_seconds", &[], number(backup.at));
    out.metric("hyperv_last_backup_success", "gauge", "Whether the last backup was good.");
    out.sample("hyperv_last_backup_success", &[], truth(backup.verdict == Verdict::Good));
    out.metric(
        "hyperv_last_backup_answer_seconds",
        "gauge",
        "From the freeze that was asked for to its answer.",
    );
    out.sample("hyperv_last_backup_answer_seconds", &[], seconds(backup.answered_in));
    if let Some(frozen) = backup.frozen_for {
        out.metric("hyperv_last_backup_frozen_seconds", "gauge", "How long file systems were frozen.");
        out.sample("hyperv_last_backup_frozen_seconds", &[], seconds(frozen));
    }
}

fn pools(out: &mut Exposition, status: &Status) {
    let Some(pools) = &status.pools else { return };
    out.metric("hyperv_pool_items", "gauge", "Items of a pool that the host sees.");
    for pool in pools {
        out.sample("hyperv_pool_items", &[("pool", pool.pool)], number(pool.items));
    }
    out.metric("hyperv_pool_size_bytes", "gauge", "The size of a pool's file.");
    for pool in pools {
        out.sample("hyperv_pool_size_bytes", &[("pool", pool.pool)], number(pool.bytes));
    }
    out.metric(
        "hyperv_pool_last_change_timestamp_seconds",
        "gauge",
        "When a pool's file was changed last, since the epoch.",
    );
    for pool in pools {
        let labels = [("pool", pool.pool)];
        out.sample("hyperv_pool_last_change_timestamp_seconds", &labels, number(pool.changed));
    }
}

fn network(out: &mut Exposition, status: &Status) {
    out.metric("hyperv_vf_joined", "gauge", "Whether an adapter's VF is there and joined with it.");
    for vf in &status.vfs {
        let labels =
            [("interface", vf.hn.as_str()), ("vf", vf.vf.as_deref().unwrap_or("")), ("mode", vf.mode)];
        let joined = vf.vf.is_some() && matches!(vf.mode, "lagg" | "transparent");
        out.sample("hyperv_vf_joined", &labels, truth(joined));
    }
    let Some(injected) = &status.injected else { return };
    out.metric(
        "hyperv_injected_addresses",
        "gauge",
        "Addresses that the host set on an interface and that are in force.",
    );
    for injected in injected {
        let count = u64::try_from(injected.addresses.len()).unwrap_or(0);
        out.sample("hyperv_injected_addresses", &[("interface", &injected.interface)], number(count));
    }
}
