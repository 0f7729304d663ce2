//! Checks of the daemons, their devices, and devd(8)'s rules. It reads reports and files, and changes
//! nothing.

use hv_core::runtime::{VERSION, is_absent};

use super::{Finding, Patient};
use crate::live::Live;

/// A daemon as the checks name it.
struct Subject {
    check: &'static str,
    program: &'static str,
    /// The name of its service in Hyper-V's settings.
    service: &'static str,
}

const KVP: Subject =
    Subject { check: "kvp daemon", program: "hv_kvp_daemon", service: "Key-Value Pair Exchange" };
const VSS: Subject = Subject { check: "backup daemon", program: "hv_vss_daemon", service: "VSS" };

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let kvp = version_and_config(&patient.kvp, |report| &report.common);
    let vss = version_and_config(&patient.vss, |report| &report.common);
    let mut findings = vec![
        daemon(patient, &KVP, !is_absent(&patient.config.kvp.device), kvp),
        daemon(patient, &VSS, !is_absent(&patient.config.vss.device), vss),
    ];
    findings.push(rules(patient));
    findings
}

/// The answer of a daemon on its control socket.
enum Known {
    Version(String),
    Silent,
    NotPermitted,
    Strange(String),
}

fn version_and_config<T>(live: &Live<T>, common: impl Fn(&T) -> &hv_core::report::Common) -> Known {
    match live {
        Live::Report(report) => Known::Version(common(report).version.clone()),
        Live::NotRunning => Known::Silent,
        Live::NotPermitted => Known::NotPermitted,
        Live::Strange(why) => Known::Strange(why.clone()),
    }
}

fn daemon(patient: &Patient<'_>, subject: &Subject, device: bool, known: Known) -> Finding {
    let &Subject { check, program, service } = subject;
    let processes = patient.running(program);
    let restart = format!("service {program} onerestart");
    match known {
        Known::Version(version) if version != VERSION => {
            Finding::problem(check, format!("version {version} still runs, {VERSION} is installed"), restart)
        }
        Known::Version(_) if processes.len() > 1 => {
            let pids: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
            Finding::problem(
                check,
                format!("{program} runs {} times: pids {}", pids.len(), pids.join(" ")),
                format!("pkill -x {program}; service {program} onestart"),
            )
        }
        Known::Version(version) => Finding::ok(check, format!("{program} {version} serves")),
        Known::NotPermitted => Finding::unknown(check, "only root can ask it", "run hvctl doctor as root"),
        Known::Strange(why) => Finding::problem(check, why, restart),
        // devd(8) or an administrator started a daemon without a control socket.
        Known::Silent if !processes.is_empty() => Finding::problem(
            check,
            format!("{program} runs, but not that of this suite: {}", processes[0].command),
            format!("pkill -x {program}; service {program} onestart"),
        ),
        Known::Silent if device => {
            Finding::problem(check, format!("{program} does not run"), format!("service {program} onestart"))
        }
        Known::Silent => Finding::problem(
            check,
            "the host does not offer this service: there is no device",
            format!("on the host: Enable-VMIntegrationService -VMName NAME -Name \"{service}\""),
        ),
    }
}

/// devd(8) runs only the matching rule with the highest number, so a port's rules must have higher numbers
/// than base's.
fn rules(patient: &Patient<'_>) -> Finding {
    const CHECK: &str = "devd rules";
    const BASE: &str = "/etc/devd/hyperv.conf";
    const PORT: &str = "/usr/local/etc/devd/hyperv.conf";
    let numbers = |path: &str| {
        let text = std::fs::read_to_string(patient.path(path)).ok()?;
        Some(text.lines().filter_map(priority).collect::<Vec<u32>>())
    };
    match (numbers(BASE), numbers(PORT)) {
        (None, None) => Finding::problem(
            CHECK,
            "no rule starts the daemons when their devices come",
            "install the suite again, then: service devd restart",
        ),
        (Some(base), Some(port)) if port.iter().min() <= base.iter().max() => Finding::problem(
            CHECK,
            format!("rules of {PORT} do not win over those of {BASE}"),
            "install the suite again, then: service devd restart",
        ),
        (Some(_), Some(_)) => Finding::ok(CHECK, format!("{PORT} wins over {BASE}")),
        (Some(_), None) => Finding::ok(CHECK, BASE),
        (None, Some(_)) => Finding::ok(CHECK, PORT),
    }
}

/// The number of a line such as `notify 10 {`.
fn priority(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    matches!(kind, "notify" | "attach" | "detach" | "nomatch").then(|| words.next()?.parse().ok())?
}
