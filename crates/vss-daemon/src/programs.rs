//! Translates tasks into programs, and ends of programs into results. It builds argument vectors and reads
//! output; the process itself is started elsewhere.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use hv_core::runtime::error_chain;
use hv_core::runtime::exec::{Finished, Program, ProgramError};
use hv_core::vss::hooks::Phase;
use hv_core::vss::{Ended, Outcome, Task};

/// rc(8)'s path lacks the directories of ports.
const HOOK_PATH: &str = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin";

/// How many lines of a hook's output are quoted.
const OUTPUT_LINES: usize = 20;
const OUTPUT_CHARACTERS: usize = 400;

/// The program for a task. A preparation has none.
pub(crate) fn program(zpool: &Path, task: &Task, limit: Duration) -> Option<Program> {
    let with = |path: &Path, arguments: Vec<OsString>| Program { arguments, ..Program::new(path, limit) };
    Some(match task {
        Task::Hook(hook, phase) => Program {
            environment: vec![("PATH".into(), HOOK_PATH.into())],
            // When the backup fails, processes that the hook left are killed.
            keep_group: *phase == Phase::Freeze,
            ..with(&hook.path, vec![phase.as_str().into()])
        },
        Task::ListPools => with(zpool, vec!["list".into(), "-HPv".into()]),
        Task::SyncPools(pools) => {
            let pools = pools.iter().map(OsString::from);
            with(zpool, std::iter::once("sync".into()).chain(pools).collect())
        }
        Task::Prepare(_) => return None,
    })
}

/// The meaning of the end of a task's program.
pub(crate) fn ended(task: &Task, result: Result<Finished, ProgramError>) -> Ended {
    match result {
        Ok(finished) => Ended { outcome: outcome(task, &finished), output: output(task, &finished) },
        Err(error @ ProgramError::Start { .. }) => {
            Ended { outcome: Outcome::NotStarted(error_chain(&error)), output: Vec::new() }
        }
        Err(error) => Ended { outcome: Outcome::Failed(error_chain(&error)), output: Vec::new() },
    }
}

fn outcome(task: &Task, finished: &Finished) -> Outcome {
    if finished.status.success() {
        return Outcome::Succeeded;
    }
    let how = match (finished.status.code(), finished.status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    };
    let complaint = finished.complaint();
    let colon = if complaint.is_empty() { "" } else { ": " };
    Outcome::Failed(format!("{} {how}{colon}{complaint}", describe(task)))
}

fn describe(task: &Task) -> String {
    match task {
        Task::Hook(hook, phase) => format!("hook {} {phase}", hook.name),
        Task::SyncPools(pools) => format!("zpool sync {}", pools.join(" ")),
        Task::ListPools => "zpool list".to_owned(),
        Task::Prepare(_) => "the preparation".to_owned(),
    }
}

/// The output to keep: of a hook the lines for the log, of zpool(8) every line of its standard output.
fn output(task: &Task, finished: &Finished) -> Vec<String> {
    match task {
        Task::ListPools => String::from_utf8_lossy(&finished.stdout).lines().map(str::to_owned).collect(),
        _ => lines(finished),
    }
}

fn lines(finished: &Finished) -> Vec<String> {
    let text = [&finished.stdout, &finished.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let lines = text.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty());
    lines.take(OUTPUT_LINES).map(|line| line.trim_end().chars().take(OUTPUT_CHARACTERS).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::vss::hooks::Hook;

    fn hook(script: &str) -> (Task, Ended) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("10-app");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let task = Task::Hook(Hook { name: "10-app".into(), path }, Phase::Abort);
        let program = program(Path::new("/sbin/zpool"), &task, Duration::from_secs(30)).unwrap();
        let ended = ended(&task, program.run());
        (task, ended)
    }

    #[test]
    fn a_hook_gets_its_phase_and_a_clean_environment() {
        let (_, ended) = hook("echo \"$# $1 $PATH\"; echo oops >&2");
        assert_eq!(ended.outcome, Outcome::Succeeded);
        assert_eq!(ended.output, [format!("1 abort {HOOK_PATH}"), "oops".to_owned()]);
    }

    #[test]
    fn failures_name_the_cause() {
        let failed = |script| hook(script).1.outcome;
        assert_eq!(failed("exit 3"), Outcome::Failed("hook 10-app abort ended with status 3".into()));
        let text = "hook 10-app abort ended with status 1: no server".to_owned();
        assert_eq!(failed("echo no server >&2; exit 1"), Outcome::Failed(text));
        let text = "hook 10-app abort was ended by signal 9".to_owned();
        assert_eq!(failed("kill -KILL $$"), Outcome::Failed(text));
    }

    #[test]
    fn a_program_that_is_not_there_never_ran() {
        let task = Task::SyncPools(vec!["zroot".into()]);
        let program = program(Path::new("/nonexistent/zpool"), &task, Duration::from_secs(1)).unwrap();
        assert_eq!(program.arguments, ["sync", "zroot"]);
        assert!(matches!(ended(&task, program.run()).outcome, Outcome::NotStarted(_)));
    }

    #[test]
    fn output_is_bounded() {
        let (_, ended) = hook("for i in 1 2 3; do printf '%01000d\\n' $i; done; seq 1 100");
        assert_eq!(ended.output.len(), OUTPUT_LINES);
        assert_eq!(ended.output[0].len(), OUTPUT_CHARACTERS);
    }
}
