//! dhclient(8): sbin/dhclient/{dhclient.c,dhclient-script}. The process that keeps the lease is a real one, so it can be
//! found by its title, sent signals and left behind.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hv_core::net::dhclient;
use hv_core::sys::system_facts::FactsSource;
use nix::sys::signal::{SigSet, Signal};

use super::Outcome;
use crate::network::state::{Address, Root, State};

/// How often the keeper of a lease looks whether it still has its interface.
const PAUSE: Duration = Duration::from_millis(20);
/// `timeout` of dhclient.conf(5).
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let mut background = false;
    let mut interface = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-b" => background = true,
            "-d" | "-q" | "-u" | "-n" => {}
            "-c" | "-l" | "-p" => drop(words.next()),
            word if word.starts_with('-') => return Ok(Outcome::failed(usage())),
            word => interface = Some(word),
        }
    }
    let Some(interface) = interface else { return Ok(Outcome::failed(usage())) };
    // The real one leaves its mask alone, and could then not be ended by a signal.
    if SigSet::thread_get_mask()?.contains(Signal::SIGTERM) {
        return Ok(Outcome::failed("dhclient was started with SIGTERM blocked"));
    }
    if !root.read()?.interfaces.contains_key(interface) {
        return Ok(Outcome::failed(format!("{interface}: not found\nexiting.")));
    }
    if let Some(pid) = running(root, interface) {
        return Ok(Outcome::failed(format!("dhclient already running, pid: {pid}.\nexiting.")));
    }
    start(root, interface, background)
}

fn usage() -> &'static str {
    "usage: dhclient [-bdqu] [-c file] [-l file] [-p file] interface"
}

fn pid_file(root: &Root, interface: &str) -> PathBuf {
    root.path(&format!("var/run/dhclient/dhclient.{interface}.pid"))
}

fn running(root: &Root, interface: &str) -> Option<u32> {
    let pid = dhclient::parse_pid(&fs::read(pid_file(root, interface)).ok()?)?;
    let arguments = FactsSource::System.process_arguments(pid).ok()?;
    dhclient::serves(&arguments, &interface.parse().ok()?).then_some(pid)
}

/// Starts the keeper and waits until it has a lease, or only until it serves.
fn start(root: &Root, interface: &str, background: bool) -> io::Result<Outcome> {
    let mut keeper = Command::new(std::env::current_exe()?)
        .arg0(format!("dhclient: {interface}"))
        .arg(root.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(keeper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if !background {
        lines.read_line(&mut line)?;
    }
    let told = line.lines().nth(1).unwrap_or_default();
    let err = match told.strip_prefix("bound to ") {
        Some(address) => format!(
            "DHCPREQUEST on {interface} to 255.255.255.255 port 67\nbound to {address} -- renewal in 1800 seconds.\n"
        ),
        None if background => String::new(),
        None => "No DHCPOFFERS received.\nNo working leases in persistent database - sleeping.\n".to_owned(),
    };
    Ok(Outcome { err, ..Outcome::default() })
}

/// Keeps a lease until a signal comes or the interface is lost. This is the process that the pid file names.
pub(super) fn serve(interface: &str, arguments: &[String]) -> u8 {
    let Some(root) = arguments.first().map(Root::new) else { return 1 };
    match keep(&root, interface) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("dhclient: {error}");
            1
        }
    }
}

fn keep(root: &Root, interface: &str) -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Before there is a second thread, so that both leave the signals to sigwait.
    signals.thread_block()?;
    let _ = nix::unistd::setsid();
    let (signalled_root, signalled) = (root.clone(), interface.to_owned());
    std::thread::spawn(move || {
        let _ = signals.wait();
        give_up(&signalled_root, &signalled);
        std::process::exit(0);
    });
    fs::write(pid_file(root, interface), std::process::id().to_string())?;
    root.refresh_facts()?;
    tell("serving")?;
    let Some(address) = obtain(root, interface)? else {
        give_up(root, interface);
        return Ok(());
    };
    // The caller may have gone.
    let _ = tell(&format!("bound to {address}"));
    while holds(root, interface, address) {
        std::thread::sleep(PAUSE);
    }
    give_up(root, interface);
    Ok(())
}

fn tell(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Asks until there is a lease; `None` when the interface is gone. The caller hears of it when it has waited enough.
fn obtain(root: &Root, interface: &str) -> io::Result<Option<IpAddr>> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let answer = root.change(|state| {
            if !state.interfaces.contains_key(interface) {
                return None;
            }
            Some(take_lease(state, interface))
        })?;
        match answer {
            None => return Ok(None),
            Some(Some(address)) => return Ok(Some(address)),
            Some(None) if !told && started.elapsed() >= TIMEOUT => {
                told = true;
                let _ = tell("no lease");
            }
            Some(None) => {}
        }
        std::thread::sleep(PAUSE);
    }
}

/// The server answers one whose interface is up and has carrier; the script sets address and default route.
fn take_lease(state: &mut State, interface: &str) -> Option<IpAddr> {
    let server = state.dhcp.clone()?;
    // dhclient brings its interface up.
    state.set_up(interface, true).ok()?;
    let mac = state.interfaces.get(interface)?.mac.clone()?;
    let ip: IpAddr = server.leases.get(&mac)?.parse().ok()?;
    state.add_address(interface, Address { ip, prefix: server.prefix, autoconf: false }).ok()?;
    if let Some(router) = server.router {
        let foreign =
            state.routes.iter().any(|route| route.gateway.is_ipv4() && route.interface != interface);
        if !foreign {
            // There may be one of its own already.
            let _ = state.remove_route(None, true);
            let _ = state.add_route(router, None);
        }
    }
    Some(ip)
}

fn holds(root: &Root, interface: &str, address: IpAddr) -> bool {
    let Ok(state) = root.read() else { return false };
    state
        .interfaces
        .get(interface)
        .is_some_and(|held| held.up && held.addresses.iter().any(|own| own.ip == address))
}

/// The script with reason FAIL, and the end of the pid file.
fn give_up(root: &Root, interface: &str) {
    let _ = root.change(|state| {
        let own: Vec<IpAddr> = state
            .dhcp
            .iter()
            .flat_map(|server| server.leases.values())
            .filter_map(|ip| ip.parse().ok())
            .collect();
        for address in own {
            let _ = state.remove_address(interface, address);
        }
    });
    // A client that came after this one has the file now. A test can have moved it to the place of old releases.
    let old = root.path(&format!("var/run/dhclient.{interface}.pid"));
    for file in [pid_file(root, interface), old] {
        if fs::read_to_string(&file).is_ok_and(|text| text == std::process::id().to_string()) {
            let _ = fs::remove_file(file);
        }
    }
    let _ = root.refresh_facts();
}
