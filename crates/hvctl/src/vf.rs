//! `hvctl vf`: shows hn(4) and VFs, and runs the plans of hyperv_vfup by its own code.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use hv_core::runtime::config::Config;

use crate::machine;
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Table, print, print_json, width};
use crate::status;

/// Prints the interfaces, their VFs and laggs.
pub(crate) fn list(config: &Config, json: bool) -> Outcome {
    let facts = machine::facts(config);
    let vfs = status::vfs(config, &facts).map_err(Failure::Unavailable)?;
    if json {
        print_json(&serde_json::json!({ "version": 1, "vfs": vfs }));
        return Ok(Exit::Ok);
    }
    if vfs.is_empty() {
        let machine = machine::Machine::look(&facts);
        let why = if machine.hyper_v { "there is no interface of hn(4)".to_owned() } else { machine.line() };
        return Err(Failure::Unavailable(why));
    }
    let mut table = Table::new(&["INTERFACE", "VF", "MODE", "LAGG", "PORTS", "DATA"]);
    for vf in vfs {
        let dash =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        let ports = dash(Some(vf.ports.join(" ")));
        table.row([vf.hn, dash(vf.vf), vf.mode.to_owned(), dash(vf.lagg), ports, vf.data]);
    }
    print(&table.render(0, width()));
    Ok(Exit::Ok)
}

/// Prints the lines of the plan as JSON. This program runs itself again to get them.
pub(crate) fn plan_json(config: Option<&Path>, undo: bool, hn: &str) -> Result<ExitCode, Failure> {
    let failed = Failure::io("run", "hvctl");
    let run = || {
        let mut command = Command::new(std::env::current_exe()?);
        let config = config.map(|config| ["-f".as_ref(), config.as_os_str()]);
        command.args(config.into_iter().flatten());
        command.args(["vf", "plan"]).args(undo.then_some("--undo")).arg(hn);
        command.stderr(Stdio::inherit()).output()
    };
    let output = run().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let prefix = format!("{hn}: ");
    let steps: Vec<&str> = text.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line)).collect();
    if output.status.success() {
        print_json(&serde_json::json!({ "version": 1, "interface": hn, "undo": undo, "steps": steps }));
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(Exit::Failure as u8)))
}

/// Runs hyperv_vfup with these options.
pub(crate) fn vfup(config: Option<&Path>, options: &[&str], hn: &str) -> ExitCode {
    let mut words: Vec<OsString> = options.iter().map(OsString::from).collect();
    if let Some(config) = config {
        words.extend(["-f".into(), config.into()]);
    }
    words.push(hn.into());
    vfup::run(words)
}
