//! `hvsim network`, `hvsim bench vf` and `hvsim host … vf`: parses their words and prints. The simulated
//! network is in `network`.

use std::io;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use super::Failure;
use crate::network::guest::{Guest, SHIPPED_RULES, static_rc_conf};
use crate::network::state::State;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(super::chain(&error))
    }
}

/// `hvsim network create --dir DIR [--dhcp] [--rules FILE]`.
pub(crate) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let (mut dir, mut dhcp, mut rules, mut verb) = (None, false, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("dhcp") => dhcp = true,
            Long("rules") => rules = Some(PathBuf::from(parser.value()?)),
            Value(word) if verb.is_none() => verb = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let rules = match rules {
        Some(path) => std::fs::read_to_string(path)?,
        None => SHIPPED_RULES.to_owned(),
    };
    match (verb.as_deref(), dir) {
        (Some("create"), Some(dir)) => create(&dir, &rules, dhcp),
        (Some("create"), None) => Err(Failure::Usage("--dir is missing".to_owned())),
        _ => Err(Failure::Usage("network create is all there is".to_owned())),
    }
}

/// `hvsim bench vf [--json]`.
pub(crate) fn bench(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let mut json = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let costs = crate::network::cost::measure().map_err(Failure::Unavailable)?;
    if json {
        println!("{}", serde_json::to_string(&costs).unwrap_or_default());
    } else {
        print!("{costs}");
    }
    if costs.are_within() { Ok(()) } else { Err(Failure::Bad) }
}

fn create(dir: &Path, rules: &str, dhcp: bool) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let mut state = State::default();
    let rc_conf = if dhcp {
        state.add_hn(0);
        state.add_dhcp_server();
        "ifconfig_hn0=\"SYNCDHCP\"\n".to_owned()
    } else {
        state.add_static_hn(0);
        static_rc_conf(0)
    };
    let program = std::env::current_exe()?;
    let programs = program.parent().unwrap_or(Path::new("/"));
    let guest = Guest::create(&dir, &programs.join("hvsim-tools"), rules, programs, &state)?;
    guest.set_rc_conf(&rc_conf)?;
    // The guest outlives this program.
    std::fs::remove_file(guest.root().path("network/maker"))?;
    if dhcp {
        std::process::Command::new(dir.join("sbin/dhclient")).arg("hn0").status()?;
    }
    Ok(())
}

/// `hvsim host --dir DIR vf VERB …`.
pub(crate) fn host(dir: &Path, verb: &str, words: &[&str]) -> Result<(), Failure> {
    let guest = Guest::open(&dir.canonicalize()?)?;
    match (verb, words) {
        ("attach", [vf, hn]) => arrive(&guest, vf, hn),
        ("up", [vf]) => {
            guest.switch_vf(vf, true)?;
            devd(&guest)
        }
        ("down", [vf]) => {
            guest.switch_vf(vf, false)?;
            devd(&guest)
        }
        ("detach", [vf]) => leave(&guest, vf),
        ("migrate", [vf, new]) => {
            let hn = guest.root().read()?.vfs.get(*vf).cloned();
            let hn = hn.ok_or_else(|| Failure::Unavailable(format!("{vf} is no VF")))?;
            leave(&guest, vf)?;
            arrive(&guest, new, &hn)
        }
        _ => Err(Failure::Usage(format!("vf {verb} is unknown or lacks an argument"))),
    }
}

fn arrive(guest: &Guest, vf: &str, hn: &str) -> Result<(), Failure> {
    println!("# the host gives {hn} the VF {vf}");
    guest.give_vf(vf, hn)?;
    told(&guest.settle(vf)?);
    Ok(())
}

fn leave(guest: &Guest, vf: &str) -> Result<(), Failure> {
    println!("# the host takes the VF {vf} away");
    guest.take_vf(vf)?;
    devd(guest)
}

fn devd(guest: &Guest) -> Result<(), Failure> {
    told(&guest.run_devd()?);
    Ok(())
}

fn told(commands: &[String]) {
    for command in commands {
        println!("# devd ran: {command}");
    }
}
