//! Runs the scripts that read rc.conf(5), each in one process of sh(1). Their output is parsed by the module
//! above.

use std::path::Path;

use super::{DELAY_SCRIPT, FILE_SCRIPT, RcConf, SCRIPT, variable_stem};
use crate::net::InterfaceName;
use crate::runtime::config::Network;
use crate::runtime::exec::Program;
use crate::vf::load::LoadError;

/// What rc(8) would do with the first of `interfaces`, and with each other one that rc.conf(5) names.
///
/// # Errors
/// The shell cannot be run, meets its time limit, or cannot read a file of rc.conf(5).
pub fn load_rc_conf(settings: &Network, interfaces: &[&InterfaceName]) -> Result<RcConf, LoadError> {
    let mut program = shell(settings, SCRIPT).arg(&settings.rc_subr).arg(&settings.network_subr);
    for name in interfaces {
        program = program.arg(name.as_str()).arg(variable_stem(name));
    }
    Ok(RcConf::parse(&run(&program, "rc.conf")?))
}

/// The values that one file sets for these variables, whose names are identifiers.
///
/// # Errors
/// As [`load_rc_conf`].
pub fn load_variables<'a>(
    settings: &Network,
    file: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<RcConf, LoadError> {
    let mut program = shell(settings, FILE_SCRIPT).arg(file);
    program.arguments.extend(names.into_iter().map(Into::into));
    Ok(RcConf::parse(&run(&program, "the new rc.conf")?))
}

/// `hyperv_vf_delay` of rc.conf(5), in seconds.
///
/// # Errors
/// As [`load_rc_conf`].
pub fn load_vf_delay(settings: &Network) -> Result<u32, LoadError> {
    let program = shell(settings, DELAY_SCRIPT).arg(&settings.rc_subr);
    Ok(RcConf::parse(&run(&program, "rc.conf")?).vf_delay())
}

fn shell(settings: &Network, script: &str) -> Program {
    Program::new(&settings.sh, settings.command_limit()).arg("-c").arg(script).arg("sh")
}

fn run(program: &Program, what: &'static str) -> Result<Vec<u8>, LoadError> {
    program.output().map_err(|source| LoadError::Program { what, source })
}
