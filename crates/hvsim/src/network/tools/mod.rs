//! The stand-in programs: chooses the program by name, and applies planned faults. Each program is in a
//! module of its own.

pub(super) mod dhclient;
mod ifconfig;
mod ngctl;
mod print;
mod resolvconf;
mod route;
mod rtsol;
mod sysctl;
mod sysrc;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::faults::{self, Action};
use super::processes;
use super::root::Root;

/// The names of the programs in a guest's `sbin`.
pub const NAMES: [&str; 9] =
    ["ifconfig", "route", "dhclient", "rtsol", "sysctl", "sysrc", "resolvconf", "ngctl", processes::TOOL];

/// The output of a program, and its exit status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit status.
    pub status: u8,
}

impl Outcome {
    fn ok(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    fn failed(err: impl Into<String>) -> Self {
        Self { err: err.into() + "\n", status: 1, ..Self::default() }
    }
}

/// Runs the program with the name in `argv0`. Returns its exit status.
#[must_use]
pub fn main(argv0: &str, arguments: Vec<String>) -> u8 {
    if let Some(title) = argv0.strip_prefix("dhclient: ") {
        return dhclient::serve(title, &arguments);
    }
    if let Some(status) = dhclient::main_part().or_else(|| dhclient::script(argv0, &arguments)) {
        return status;
    }
    let path = Path::new(argv0);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(root) = Root::of_program(path).filter(|root| root.path("network/state.json").is_file()) else {
        eprintln!("{argv0}: it must be called as GUEST/sbin/NAME");
        return 71;
    };
    match call(&root, name, &arguments) {
        Ok(outcome) => {
            let _ = io::stderr().write_all(outcome.err.as_bytes());
            let _ = io::stdout().write_all(outcome.out.as_bytes());
            outcome.status
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            71
        }
    }
}

/// Calls the program `name` in the guest `root`.
///
/// # Errors
/// A file of the guest cannot be read or written.
pub fn call(root: &Root, name: &str, arguments: &[String]) -> io::Result<Outcome> {
    if name == processes::TOOL {
        // This is the kernel's own work, and no program of the guest.
        return processes::note(root, arguments).map(|()| Outcome::default());
    }
    let action = faults::enter(root, name, arguments)?;
    match action {
        Some(Action::Fail) => return Ok(Outcome::failed(format!("{name}: injected fault"))),
        Some(Action::Hang) => hang(root),
        Some(Action::Delay(time)) => std::thread::sleep(time),
        Some(Action::Gate) => faults::pass_gate(root),
        _ => {}
    }
    let outcome = match name {
        "ifconfig" => ifconfig::run(root, arguments),
        "route" => route::run(root, arguments),
        "dhclient" => dhclient::run(root, arguments),
        "rtsol" => rtsol::run(root, arguments),
        "ngctl" => ngctl::run(root, arguments),
        "sysctl" => sysctl::run(root, arguments),
        "sysrc" => sysrc::run(root, arguments),
        "resolvconf" => resolvconf::run(root, arguments),
        _ => Ok(Outcome { err: format!("{name}: no such stand-in\n"), status: 127, ..Outcome::default() }),
    }?;
    match action {
        Some(Action::FailLate) => Ok(Outcome::failed(format!("{name}: injected fault"))),
        Some(Action::HangLate) => hang(root),
        _ => Ok(outcome),
    }
}

/// Sleeps until it is killed or the guest is removed.
fn hang(root: &Root) -> ! {
    while root.path("network").is_dir() {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::process::exit(1)
}

/// The texts of FreeBSD's strerror(3).
fn strerror(errno: nix::errno::Errno) -> &'static str {
    use nix::errno::Errno;
    match errno {
        Errno::EADDRNOTAVAIL => "Can't assign requested address",
        Errno::EBUSY => "Device busy",
        Errno::EEXIST => "File exists",
        Errno::EINVAL => "Invalid argument",
        Errno::ENETUNREACH => "Network is unreachable",
        Errno::ENOENT => "No such file or directory",
        Errno::ENXIO => "Device not configured",
        Errno::ESRCH => "No such process",
        _ => "Unknown error",
    }
}

#[cfg(test)]
mod tests;
