//! `hvctl doctor`: runs all checks, and prints each finding with a remedy. It changes nothing in the guest.

mod daemons;
mod network;
mod others;
mod pools;

use std::path::{Path, PathBuf};

use hv_core::report::{KvpReport, VssReport};
use hv_core::runtime::config::Config;
use hv_core::runtime::{error_chain, is_absent};
use hv_core::sys::system_facts::FactsSource;
use serde::Serialize;

use crate::live::{self, Live};
use crate::machine::{self, Machine};
use crate::outcome::{Exit, Outcome};
use crate::output::{Mood, coloured, print, print_json, printable};
use crate::processes::{self, Process};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// No problem, but worth knowing.
    Note,
    /// A problem that should be repaired.
    Problem,
    /// The check was not possible.
    Unknown,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
    /// The remedy: a command, or what to do.
    mend: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, text: text.into(), mend: None }
    }

    pub(crate) fn note(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Note, text: text.into(), mend: Some(mend.into()) }
    }

    pub(crate) fn problem(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, text: text.into(), mend: Some(mend.into()) }
    }

    pub(crate) fn unknown(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unknown, text: text.into(), mend: Some(mend.into()) }
    }
}

/// The facts for all checks.
pub(crate) struct Patient<'a> {
    pub(crate) config: &'a Config,
    pub(crate) facts: FactsSource,
    /// `/`, or a directory that stands for it in a test.
    pub(crate) root: PathBuf,
    pub(crate) processes: Option<Vec<Process>>,
    pub(crate) kvp: Live<KvpReport>,
    pub(crate) vss: Live<VssReport>,
}

impl Patient<'_> {
    /// The path of a file that the configuration does not name.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    pub(crate) fn has(&self, absolute: &str) -> bool {
        !is_absent(&self.path(absolute))
    }

    /// The processes that run a program of this name.
    pub(crate) fn running(&self, name: &str) -> Vec<&Process> {
        self.processes.iter().flatten().filter(|process| process.runs(name)).collect()
    }
}

pub(crate) fn run(path: Option<&Path>, root: &Path, json: bool) -> Outcome {
    let (config, mut findings) = match Config::load(path) {
        Ok(config) => (config, vec![Finding::ok("configuration", "it can be used")]),
        Err(error) => {
            let mend = "mend the file, then: hv_kvp_daemon -t";
            (Config::default(), vec![Finding::problem("configuration", error_chain(&error), mend)])
        }
    };
    let facts = machine::facts(&config);
    let machine = Machine::look(&facts);
    if machine.hyper_v {
        findings.insert(0, Finding::ok("machine", machine.line()));
        let processes = processes::list(&facts).ok();
        let kvp = live::ask(&config.kvp.control_socket);
        let vss = live::ask(&config.vss.control_socket);
        let patient = Patient { config: &config, facts, root: root.to_owned(), processes, kvp, vss };
        findings.extend(daemons::look(&patient));
        findings.extend(pools::look(&patient));
        findings.extend(network::look(&patient));
        findings.extend(others::look(&patient));
    } else {
        let mend = "nothing of this suite is needed here";
        findings.insert(0, Finding::problem("machine", machine.line(), mend));
    }
    report(&findings, json);
    let problem = findings.iter().any(|finding| finding.verdict == Verdict::Problem);
    Ok(if problem { Exit::Failure } else { Exit::Ok })
}

fn report(findings: &[Finding], json: bool) {
    if json {
        print_json(&serde_json::json!({ "version": 1, "findings": findings }));
        return;
    }
    let mut text = String::new();
    for finding in findings {
        let (mood, word) = match finding.verdict {
            Verdict::Ok => (Mood::Good, "ok"),
            Verdict::Note => (Mood::Doubtful, "note"),
            Verdict::Problem => (Mood::Bad, "problem"),
            Verdict::Unknown => (Mood::Doubtful, "unknown"),
        };
        let pad = " ".repeat(9 - word.len());
        text.push_str(&format!(
            "{}{pad}{:16}{}\n",
            coloured(mood, word),
            finding.check,
            printable(&finding.text)
        ));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("{:25}{}\n", "", printable(mend)));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text.push_str(&match count(Verdict::Problem) {
        0 => "no problem found\n".to_owned(),
        1 => "1 problem found\n".to_owned(),
        problems => format!("{problems} problems found\n"),
    });
    print(&text);
}
