//! `hvctl`: the commands for administrators inside a guest of Hyper-V.
//!
//! All decisions and changes are made by the daemons' own code. This crate asks, shows and explains.

mod cli;
mod doctor;
mod interfaces;
mod ip;
mod kvp;
mod live;
mod machine;
mod metrics;
mod outcome;
mod output;
mod pools;
mod processes;
mod status;
mod vf;
mod vss;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;

use cli::{Cli, Command, IpCommand, VfCommand, VssCommand};
use outcome::{Exit, Failure};

/// Runs the command line, which includes the program's name. Returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed terminal must not cause a panic.
            let _ = error.print();
            return ExitCode::from(exit as u8);
        }
    };
    match perform(cli) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("hvctl: {}", error_chain(&failure));
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn perform(cli: Cli) -> Result<ExitCode, Failure> {
    let (path, json) = (cli.config.as_deref(), cli.json);
    let config = || Config::load(path);
    let exit = match cli.command {
        Command::Completions { shell } => completions(shell),
        // It reports a wrong configuration itself.
        Command::Doctor { root } => doctor::run(path, &root, json)?,
        Command::Kvp(command) => kvp::run(&config()?, command, json)?,
        Command::Host => kvp::host(&config()?, json)?,
        Command::Status(arguments) => status::run(&config()?, &arguments, json)?,
        Command::Metrics(arguments) => metrics::run(&config()?, &arguments)?,
        Command::Vss(VssCommand::Check) => vss::check(&config()?, json)?,
        Command::Vss(VssCommand::Test { seconds, yes }) => vss::test(&config()?, seconds, yes, json)?,
        Command::Vss(VssCommand::History) => vss::history(&config()?, json)?,
        Command::Vf(VfCommand::List) => vf::list(&config()?, json)?,
        Command::Vf(VfCommand::Plan { hn, undo }) if json => return vf::plan_json(path, undo, &hn),
        Command::Vf(VfCommand::Plan { hn, undo: false }) => return Ok(vf::vfup(path, &["-n"], &hn)),
        Command::Vf(VfCommand::Plan { hn, undo: true }) => return Ok(vf::vfup(path, &["-n", "-d"], &hn)),
        Command::Vf(VfCommand::Apply { hn }) => return Ok(vf::vfup(path, &[], &hn)),
        Command::Vf(VfCommand::Undo { hn }) => return Ok(vf::vfup(path, &["-d"], &hn)),
        Command::Ip(IpCommand::Show) => ip::show(&config()?, json)?,
        Command::Ip(IpCommand::History) => ip::history(&config()?, json)?,
        Command::Ip(IpCommand::Restore { hn }) => return Ok(ip::restore(path, &hn)),
    };
    Ok(exit.into())
}

/// Prints the completions for a shell.
fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hvctl", &mut script);
    let _ = std::io::stdout().lock().write_all(&script);
    Exit::Ok
}
