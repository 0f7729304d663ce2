//! Checks of backups, of other programs with the same tasks, and of the clock. It reads files, reports and
//! processes.

use super::{Finding, Patient};

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = mounts(patient);
    findings.extend(last_backup(patient));
    findings.extend(configurators(patient));
    findings.extend(linux_path(patient));
    findings.push(clock(patient));
    findings
}

/// The reasons against a backup: mounts, hooks, and files that the daemon has open.
fn mounts(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "next backup";
    let checked = match vss_daemon::check::check(patient.config) {
        Ok(checked) => checked,
        Err(error) => return vec![Finding::unknown(CHECK, error.to_string(), "run hvctl doctor as root")],
    };
    // The daemon knows its own open files, and which configuration it uses.
    let told = patient.vss.report().map(|report| report.refusals.as_slice()).unwrap_or_default();
    let mut refusals = checked.refusals.clone();
    refusals.extend(told.iter().filter(|reason| !checked.refusals.contains(reason)).cloned());
    if refusals.is_empty() {
        return vec![Finding::ok(CHECK, "nothing is in its way")];
    }
    refusals
        .into_iter()
        .map(|reason| Finding::problem(CHECK, mend_of(&reason).0, mend_of(&reason).1))
        .collect()
}

/// The text of a finding for a reason, and its remedy.
fn mend_of(reason: &str) -> (String, String) {
    let text = format!("the host would hear no: {reason}");
    let mend = if reason.starts_with("hook ") {
        "give it to root with mode 755 or 644, or remove it".to_owned()
    } else if reason.contains("this daemon itself") {
        "service hv_vss_daemon onerestart, from a terminal or from cron(8) with its output to /dev/null"
            .to_owned()
    } else if let Some((mount, _)) = reason.split_once(" (") {
        format!("unmount it, or in hyperv.toml: [[vss.mounts]] mount-point = \"{mount}\" action = \"sync\"")
    } else {
        "hvctl vss check says more".to_owned()
    };
    (text, mend)
}

/// A backup that was not good stays a problem until the next one.
fn last_backup(patient: &Patient<'_>) -> Option<Finding> {
    const CHECK: &str = "last backup";
    let live = patient.vss.report().and_then(|report| report.last_backup.clone());
    let backup = live.or_else(|| crate::status::history(&patient.config.vss.history).pop())?;
    let when = crate::output::moment(backup.at);
    Some(match backup.verdict {
        hv_core::report::Verdict::Good => Finding::ok(CHECK, format!("good, {when}")),
        _ => Finding::problem(
            CHECK,
            format!("{when}: {}", backup.reason.unwrap_or_else(|| "it was not good".to_owned())),
            "hvctl vss check, then let the host make one again",
        ),
    })
}

/// Other programs that configure the network or report to the host.
fn configurators(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "other programs";
    const KNOWN: [(&str, &[&str]); 4] = [
        ("cloud-init", &["/usr/local/bin/cloud-init", "/usr/local/etc/cloud"]),
        ("azure-init", &["/usr/local/bin/azure-init", "/usr/local/sbin/azure-init"]),
        ("the Azure Linux agent", &["/usr/local/sbin/waagent"]),
        ("an appliance's own scripts", &["/etc/rc.initial", "/usr/local/opnsense", "/etc/inc/config.inc"]),
    ];
    let found: Vec<&str> = KNOWN
        .iter()
        .filter(|(_, paths)| paths.iter().any(|path| patient.has(path)))
        .map(|(name, _)| *name)
        .collect();
    if found.is_empty() {
        return vec![Finding::ok(CHECK, "none that configures the network is known here")];
    }
    let injection = "in hyperv.toml: [kvp] ip-injection = \"off\", unless the host is to set addresses";
    vec![Finding::note(CHECK, format!("{} may configure the network, too", found.join(" and ")), injection)]
}

/// cloud-init and azure-init have Linux's path built in.
fn linux_path(patient: &Patient<'_>) -> Option<Finding> {
    const CHECK: &str = "reports";
    let reporters = ["/usr/local/bin/cloud-init", "/usr/local/bin/azure-init", "/usr/local/sbin/azure-init"];
    let name = reporters.iter().find(|path| patient.has(path))?;
    if patient.config.kvp.linux_path.is_some() {
        return Some(Finding::ok(CHECK, format!("{name} finds the pools where Linux has them")));
    }
    Some(Finding::note(
        CHECK,
        format!("{name} reports to the host through /var/lib/hyperv, which does not lead to the pools"),
        "in hyperv.toml: [kvp] linux-path = true; then: service hv_kvp_daemon reload",
    ))
}

/// The kernel takes over the host's clock, unless an administrator switched that off
/// (sys/dev/hyperv/utilities/ vmbus_timesync.c).
fn clock(patient: &Patient<'_>) -> Finding {
    const CHECK: &str = "clock";
    let ignored = patient.facts.sysctl_number("hw.hvtimesync.ignore_sync").ok().flatten();
    let other = ["ntpd", "chronyd", "openntpd"].into_iter().find(|name| !patient.running(name).is_empty());
    match (ignored, other) {
        (Some(0) | None, _) => Finding::ok(CHECK, "the kernel takes over the host's clock"),
        (Some(_), Some(other)) => Finding::ok(CHECK, format!("{other} sets it, not the host")),
        (Some(_), None) => Finding::problem(
            CHECK,
            "nobody sets it: hw.hvtimesync.ignore_sync is on, and no ntpd(8) runs",
            "sysctl hw.hvtimesync.ignore_sync=0, or: service ntpd onestart",
        ),
    }
}
