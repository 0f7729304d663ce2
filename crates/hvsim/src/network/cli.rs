//! `hvsim network` and `hvsim host … vf`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hv_core::sys::file_lock::holder;
use lexopt::prelude::*;

use super::guest::{Guest, SHIPPED_RULES, static_rc_conf};
use super::state::State;
use crate::cli::Failure;

/// How long a VF may take from its arrival to the end of what follows from it: a delay of rc.conf and a lease.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(10);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(crate::cli::chain(&error))
    }
}

/// `hvsim network create --dir DIR [--dhcp] [--rules FILE]` and `hvsim network demo`.
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
        (Some("create"), Some(dir)) => create(&dir, &rules, dhcp).map(drop),
        (Some("create"), None) => Err(Failure::Usage("--dir is missing".to_owned())),
        (Some("demo"), None) => demo(),
        _ => Err(Failure::Usage("network create or network demo".to_owned())),
    }
}

fn create(dir: &Path, rules: &str, dhcp: bool) -> Result<Guest, Failure> {
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
    if dhcp {
        std::process::Command::new(dir.join("sbin/dhclient")).arg("hn0").status()?;
    }
    Ok(guest)
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
    devd(guest)?;
    let end = Instant::now() + PATIENCE;
    // What devd has started waits in the background, and its work causes the next event.
    while is_waited_for(guest, vf) && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
    devd(guest)
}

fn leave(guest: &Guest, vf: &str) -> Result<(), Failure> {
    println!("# the host takes the VF {vf} away");
    guest.take_vf(vf)?;
    devd(guest)
}

fn devd(guest: &Guest) -> Result<(), Failure> {
    for command in guest.run_devd()? {
        println!("# devd ran: {command}");
    }
    Ok(())
}

fn is_waited_for(guest: &Guest, vf: &str) -> bool {
    let lock = guest.root().path(&format!("var/run/hyperv_vfattach.{vf}.lock"));
    std::fs::OpenOptions::new().write(true).open(lock).is_ok_and(|file| matches!(holder(&file), Ok(Some(_))))
}

/// A live migration, as the administrator sees it.
fn demo() -> Result<(), Failure> {
    let scratch = tempfile::Builder::new().prefix("hvsim-").tempdir()?;
    let guest = create(scratch.path(), SHIPPED_RULES, false)?;
    show(&guest, "hn0")?;
    arrive(&guest, "mce0", "hn0")?;
    show(&guest, "lagg0")?;
    leave(&guest, "mce0")?;
    println!("# hn0 carries on");
    show(&guest, "lagg0")?;
    arrive(&guest, "mlx0", "hn0")?;
    show(&guest, "lagg0")
}

fn show(guest: &Guest, name: &str) -> Result<(), Failure> {
    print!("guest# ifconfig {name}\n{}", guest.ifconfig(name)?);
    Ok(())
}
