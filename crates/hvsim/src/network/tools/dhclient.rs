//! dhclient(8). Its processes are real ones: they can be found by their titles, sent signals and left
//! behind. It changes only the state of the simulated guest.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | a second client of an interface is refused by the pid file | `sbin/dhclient/dhclient.c:425 (main)` | `a_second_client_is_refused` |
//! | without a link it waits 11 seconds, then exits 1, with `-b` too; no process of it is left (contract V21) | `sbin/dhclient/dhclient.c:459 (main)` | `without_a_link_the_client_gives_up_in_the_background_too` |
//! | three processes: casper's, `[priv]` and worker (contract V20) | `sbin/dhclient/dhclient.c:355 (init_casper)`, `sbin/dhclient/dhclient.c:503 (main)`, `sbin/dhclient/dhclient.c:2828 (fork_privchld)` | `a_client_is_three_processes` |
//! | no signal handler: after SIGTERM address, route, resolvconf's label and pid file stay | (none in `sbin/dhclient`) | `a_signal_takes_nothing_away` |
//! | `[priv]` ends when the worker has ended, after the script that it runs | `sbin/dhclient/privsep.c:103 (dispatch_imsg)` | `the_process_with_privileges_ends_after_its_script` |
//! | an address is set without `alias`: the first IPv4 address goes | `sbin/dhclient/dhclient-script:59 (add_new_address)` | `the_first_ipv4_address_goes` |
//! | the lease is in its file before its script begins | `sbin/dhclient/dhclient.c:891 (bind_lease)` | `the_lease_is_in_its_file_before_the_script` |
//! | router and name servers only where no other interface has the default route | `sbin/dhclient/dhclient-script:277 (is_default_interface)` | `router_and_name_servers_are_those_of_the_default_interface` |
//! | an address that is removed within 10 seconds of the script is not missed | `sbin/dhclient/dhclient.c:255 (routehandler)` | `an_address_lost_soon_after_the_script_is_not_missed_and_a_link_that_comes_brings_it_back` |
//! | after that, or with the interface down, the worker exits; address and route are not touched | `sbin/dhclient/dhclient.c:344 (routehandler)` | `an_address_that_is_lost_later_and_an_interface_that_is_down_end_the_worker` |
//! | the link comes back: the lease is asked for again | `sbin/dhclient/dhclient.c:306 (routehandler)`, `sbin/dhclient/dhclient.c:333 (routehandler)` | `an_address_lost_soon_after_the_script_is_not_missed_and_a_link_that_comes_brings_it_back` |
//! | no server answers: an old lease is tried for a second, then taken away with the default route | `sbin/dhclient/dhclient.c:1373 (state_panic)`, `sbin/dhclient/dhclient.c:1393 (state_panic)` | `an_old_lease_is_tried_and_taken_away_with_the_default_route` |

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hv_core::net::{dhclient, lease};
use hv_core::sys::system_facts::FactsSource;
use nix::sys::signal::{SigSet, Signal};

use super::{Outcome, resolvconf};
use crate::network::process_list;
use crate::network::processes::{self, Registered};
use crate::network::root::Root;
use crate::network::state::{Address, State};

/// How often the link is checked.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a worker checks whether its guest still exists, when nothing changes.
const CHECK: Duration = Duration::from_millis(500);
/// How long a process that has just been started may take to be registered.
const REGISTERED: Duration = Duration::from_secs(10);
/// The variable with the guest and the interface, for the program itself.
const MAIN: &str = "HVSIM_DHCLIENT";
/// The variable with the arguments of dhclient-script(8).
const SCRIPT: &str = "HVSIM_DHCLIENT_SCRIPT";
/// The path of dhclient-script(8).
const SCRIPT_PATH: &str = "/sbin/dhclient-script";

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
    // The real program does not change its mask, so a signal could not end it then.
    if SigSet::thread_get_mask()?.contains(Signal::SIGTERM) {
        return Ok(Outcome::failed("dhclient was started with SIGTERM blocked"));
    }
    if !root.read()?.interfaces.contains_key(interface) {
        return Ok(Outcome::failed(format!("{interface}: not found\nexiting.")));
    }
    let directory = root.path("var/run/dhclient");
    if !directory.is_dir() {
        return Ok(Outcome::failed("Cannot open or create pidfile: No such file or directory"));
    }
    if let Some(pid) = running(root, interface) {
        return Ok(Outcome::failed(format!("dhclient already running, pid: {pid}.\nexiting.")));
    }
    start(root, arguments, interface, background)
}

fn usage() -> String {
    "usage: dhclient [-bdqu] [-c conffile] [-l leasefile] [-p pidfile] interface".to_owned()
}

fn pid_file(root: &Root, interface: &str) -> PathBuf {
    root.path(&format!("var/run/dhclient/dhclient.{interface}.pid"))
}

fn running(root: &Root, interface: &str) -> Option<u32> {
    let pid = dhclient::parse_pid(&fs::read(pid_file(root, interface)).ok()?)?;
    let arguments = FactsSource::System.process_arguments(pid).ok()?;
    dhclient::serves(&arguments, &interface.parse().ok()?).then_some(pid)
}

/// A time of dhclient(8) in milliseconds. A test can shorten it by a file.
fn duration(root: &Root, name: &str, default: u64) -> Duration {
    let text = fs::read_to_string(root.path(&format!("network/{name}"))).unwrap_or_default();
    Duration::from_millis(text.trim().parse().unwrap_or(default))
}

/// Starts the program and waits until it has a lease, or only until it serves. The program is a child, so
/// that its end by a signal is noticed.
fn start(root: &Root, arguments: &[String], interface: &str, background: bool) -> io::Result<Outcome> {
    let program = root.path("sbin/dhclient").display().to_string();
    let words: Vec<&str> =
        std::iter::once(program.as_str()).chain(arguments.iter().map(String::as_str)).collect();
    let mut main = Command::new(std::env::current_exe()?)
        .arg0(&program)
        .args(arguments)
        .env(MAIN, format!("{}\n{interface}", root.path("").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    fs::write(pid_file(root, interface), main.id().to_string())?;
    processes::register(root, main.id(), std::process::id(), "dhclient", &words)?;
    let mut lines = BufReader::new(main.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut said = String::new();
    if lines.read_line(&mut said)? == 0 {
        main.wait()?;
        processes::forget(root, main.id());
        return Ok(Outcome::failed(format!("{interface}: no link ........... giving up")));
    }
    // The worker can be faster than casper's process, which says "serving".
    if !background || said.trim() != "serving" {
        lines.read_line(&mut said)?;
    }
    let told = said.lines().find(|line| *line != "serving").unwrap_or_default();
    let err = match told.strip_prefix("bound to ") {
        Some(address) => format!(
            "DHCPREQUEST on {interface} to 255.255.255.255 port 67\nbound to {address} -- renewal in 1800 seconds.\n"
        ),
        None if background => String::new(),
        None => "No DHCPOFFERS received.\nNo working leases in persistent database - sleeping.\n".to_owned(),
    };
    Ok(Outcome { err, ..Outcome::default() })
}

/// Runs the program itself, if this process is it before it has its parts. Returns the exit status.
pub(super) fn main_part() -> Option<u8> {
    let told = std::env::var(MAIN).ok()?;
    let (root, interface) = told.split_once('\n')?;
    let root = Root::new(root);
    Some(u8::from(run_main(&root, interface).is_err()))
}

fn run_main(root: &Root, interface: &str) -> io::Result<()> {
    // The process that started it has registered it by then, and it is not removed before.
    let known = || process_list::all(root.directory()).iter().any(|known| known.pid == std::process::id());
    let begin = Instant::now();
    while !known() {
        if begin.elapsed() >= REGISTERED {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if !await_link(root, interface)? {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // The script with reason PREINIT.
    let _ = root.change(|state| state.set_up(interface, true))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("dhclient: system.syslog").arg(root.path("")).arg(interface).env_remove(MAIN);
    Err(command.exec())
}

fn await_link(root: &Root, interface: &str) -> io::Result<bool> {
    let started = Instant::now();
    let limit = duration(root, "dhclient-link-wait", 11_500);
    loop {
        if root.read()?.interfaces.get(interface).is_some_and(|interface| interface.carrier) {
            return Ok(true);
        }
        if started.elapsed() >= limit {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Runs one of the processes, chosen by its title.
pub(super) fn serve(title: &str, arguments: &[String]) -> u8 {
    let Some(root) = arguments.first().map(Root::new) else { return 1 };
    let result = match (title.strip_suffix(" [priv]"), arguments.get(1)) {
        (Some(_), _) => serve_scripts(&root),
        (None, Some(interface)) => start_parts(&root, interface),
        (None, None) => work(&root, title),
    };
    u8::from(result.is_err())
}

/// From here on this is casper's process. It has started the others, and removes each from the list when it
/// ends, as FreeBSD's kernel does.
fn start_parts(root: &Root, interface: &str) -> io::Result<()> {
    let _ = nix::unistd::setsid();
    // A SIGTERM after the start of the worker and before "serving" would leave a worker that is in no list.
    // The caller of `start` would wait for ever, because the worker keeps standard output open. The parts
    // inherit the mask and unblock the signal.
    sigterm().thread_block()?;
    let (scripts, worker) = UnixStream::pair()?;
    let part = |title: String, input: UnixStream| -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg0(title)
            .arg(root.path(""))
            .env_remove(MAIN)
            .stdin(OwnedFd::from(input))
            .stderr(Stdio::null());
        Ok(command)
    };
    let title = |suffix: &str| format!("dhclient: {interface}{suffix}");
    let mut privileged = part(title(" [priv]"), scripts)?.stdout(Stdio::null()).spawn()?;
    processes::register(root, privileged.id(), 1, "dhclient", &[&title(" [priv]")])?;
    let mut command = part(title(""), worker)?;
    let mut worker = command.stdout(Stdio::inherit()).spawn()?;
    // Copies of the sockets in this process would hide the end of one process from the other.
    drop(command);
    processes::register(root, worker.id(), 1, "dhclient", &[&title("")])?;
    fs::write(pid_file(root, interface), worker.id().to_string())?;
    processes::forget(root, std::process::id());
    tell("serving")?;
    silence();
    sigterm().thread_unblock()?;
    worker.wait()?;
    let _ = fs::remove_file(listener(root, worker.id()));
    processes::forget(root, worker.id());
    privileged.wait()?;
    processes::forget(root, privileged.id());
    Ok(())
}

fn sigterm() -> SigSet {
    SigSet::from(Signal::SIGTERM)
}

/// Closes standard output: a process that waits for its end waits only for the worker's.
fn silence() {
    if let Ok(null) = fs::File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(null);
    }
}

/// The privileged process: runs one script after the other, until the worker has ended.
fn serve_scripts(root: &Root) -> io::Result<()> {
    sigterm().thread_unblock()?;
    let stdin = io::stdin();
    let mut answers = UnixStream::from(std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned()?);
    for request in BufReader::new(stdin.lock()).lines() {
        let mut script = Command::new(std::env::current_exe()?)
            .arg0("/bin/sh")
            .arg(SCRIPT_PATH)
            .env(SCRIPT, format!("{}\n{}", root.path("").display(), request?))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let status = script.wait()?;
        writeln!(answers, "{}", status.code().unwrap_or(1))?;
    }
    Ok(())
}

/// Runs dhclient-script(8), if this process is it. Returns the exit status.
pub(super) fn script(argv0: &str, arguments: &[String]) -> Option<u8> {
    if argv0 != "/bin/sh" || arguments != [SCRIPT_PATH] {
        return None;
    }
    let told = std::env::var(SCRIPT).unwrap_or_default();
    let words: Vec<&str> = told.lines().flat_map(|line| line.split(' ')).collect();
    let [root, interface, reason, rest @ ..] = words.as_slice() else { return Some(1) };
    let root = Root::new(*root);
    let result = Registered::this(&root, "sh", &["/bin/sh", SCRIPT_PATH])
        .and_then(|_registered| Script { root: &root, interface }.run(reason, rest.first().copied()));
    Some(u8::from(!matches!(result, Ok(true))))
}

struct Script<'a> {
    root: &'a Root,
    interface: &'a str,
}

impl Script<'_> {
    fn run(&self, reason: &str, address: Option<&str>) -> io::Result<bool> {
        let address = address.and_then(|text| text.split_once('/'));
        let address = address.and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok()?)));
        let address = address.map(|(ip, prefix)| Address::of(ip, prefix));
        self.pause();
        match (reason, address) {
            ("BOUND" | "REBOOT", Some(address)) => {
                self.root.change(|state| set_address(state, self.interface, address))?;
                self.pause();
                self.root.change(|state| add_routes(state, self.interface))?;
                self.pause();
                self.add_name_servers()?;
                Ok(true)
            }
            ("TIMEOUT", Some(address)) => {
                self.root.change(|state| set_address(state, self.interface, address))?;
                // It sleeps for a second. The router does not answer ping(8): otherwise the server would have
                // been there.
                std::thread::sleep(duration(self.root, "dhclient-second", 1000));
                self.root.change(|state| {
                    let _ = state.remove_address(self.interface, address.ip);
                    if is_default_interface(state, self.interface) {
                        let _ = state.remove_route(None, true);
                    }
                })?;
                Ok(false)
            }
            ("FAIL", _) => {
                if is_default_interface(&self.root.read()?, self.interface) {
                    resolvconf::run(self.root, &["-d".to_owned(), self.interface.to_owned()])?;
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Waits between its commands.
    fn pause(&self) {
        std::thread::sleep(duration(self.root, "dhclient-script-pause", 0));
    }

    fn add_name_servers(&self) -> io::Result<()> {
        let state = self.root.read()?;
        let servers = state.dhcp.as_ref().map(|server| server.name_servers.clone()).unwrap_or_default();
        if servers.is_empty() || !is_default_interface(&state, self.interface) {
            return Ok(());
        }
        let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        resolvconf::add(self.root, self.interface, &text)?;
        Ok(())
    }
}

fn is_default_interface(state: &State, interface: &str) -> bool {
    state.routes.iter().filter(|route| route.gateway.is_ipv4()).all(|route| route.interface == interface)
}

fn set_address(state: &mut State, interface: &str, address: Address) {
    let held = state.interfaces.get(interface).into_iter().flat_map(|held| &held.addresses);
    let first = held.map(|held| held.ip).find(IpAddr::is_ipv4);
    if let Some(first) = first.filter(|first| *first != address.ip) {
        let _ = state.remove_address(interface, first);
    }
    let _ = state.add_address(interface, address);
}

fn add_routes(state: &mut State, interface: &str) {
    let router = state.dhcp.as_ref().and_then(|server| server.router);
    if let Some(router) = router.filter(|_| is_default_interface(state, interface)) {
        // "route add" fails if there is one already.
        let _ = state.add_route(router, None);
    }
}

/// The worker's end of the socket to the privileged process.
struct Scripts {
    stream: BufReader<UnixStream>,
    interface: String,
    /// When the last script ended.
    ended: Instant,
}

impl Scripts {
    fn run(&mut self, reason: &str, address: &str) -> io::Result<bool> {
        writeln!(self.stream.get_mut(), "{} {reason} {address}", self.interface)?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        self.ended = Instant::now();
        Ok(answer.trim() == "0")
    }
}

/// The worker's routing socket, which reports changes.
struct Changes {
    socket: UnixDatagram,
    root: Root,
}

impl Changes {
    fn listen(root: &Root) -> io::Result<Self> {
        let socket = UnixDatagram::bind(listener(root, std::process::id()))?;
        socket.set_read_timeout(Some(CHECK))?;
        Ok(Self { socket, root: root.clone() })
    }

    /// Sleeps until something has changed, or for a while.
    ///
    /// # Errors
    /// The guest, or the test that created it, is gone.
    fn wait(&self) -> io::Result<()> {
        let _ = self.socket.recv(&mut [0; 64]);
        let maker = fs::read_to_string(self.root.path("network/maker")).unwrap_or_default();
        let gone = maker.trim().parse().is_ok_and(|pid| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
        });
        if gone || !self.root.path("network").is_dir() { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
}

fn listener(root: &Root, pid: u32) -> PathBuf {
    root.path(&format!("facts/route.sock.{pid}.dhclient"))
}

/// The worker: gets a lease and watches it, until a signal ends it or the interface is lost.
fn work(root: &Root, interface: &str) -> io::Result<()> {
    sigterm().thread_unblock()?;
    let stdin = io::stdin();
    let stream = UnixStream::from(std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned()?);
    let mut scripts =
        Scripts { stream: BufReader::new(stream), interface: interface.to_owned(), ended: Instant::now() };
    let changes = Changes::listen(root)?;
    await_pid_file(root, interface)?;
    if let Some(address) = obtain(root, interface, &mut scripts, &changes)? {
        // The caller may have ended.
        let _ = tell(&format!("bound to {}", address.ip));
        watch(root, interface, address, &mut scripts, &changes)?;
    }
    scripts.run("FAIL", "")?;
    let _ = fs::remove_file(pid_file(root, interface));
    Err(io::ErrorKind::NotConnected.into())
}

/// Waits until the pid file names this worker. A signal that comes before reaches the process that started it
/// (`sbin/dhclient/dhclient.c:457 (main)`), which is the worker itself on FreeBSD.
fn await_pid_file(root: &Root, interface: &str) -> io::Result<()> {
    let (parent, own) = (nix::unistd::getppid(), std::process::id());
    loop {
        let pid = fs::read(pid_file(root, interface)).ok().and_then(|bytes| dhclient::parse_pid(&bytes));
        if pid == Some(own) {
            return Ok(());
        }
        if nix::unistd::getppid() != parent {
            return Err(io::ErrorKind::Interrupted.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn leases(root: &Root, interface: &str) -> PathBuf {
    root.path(&format!("var/db/dhclient.leases.{interface}"))
}

/// Writes the lease as in dhclient.leases(5), the newest last.
fn remember(root: &Root, interface: &str, address: Address) -> io::Result<()> {
    fs::create_dir_all(root.path("var/db"))?;
    let mut text = format!("lease {{\n  interface \"{interface}\";\n  fixed-address {};\n", address.ip);
    if let Some(router) = root.read()?.dhcp.and_then(|server| server.router) {
        text += &format!("  option routers {router};\n");
    }
    let mut file = fs::File::options().create(true).append(true).open(leases(root, interface))?;
    file.write_all((text + "}\n").as_bytes())
}

fn tell(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Asks until there is a lease. `None` if the interface is lost. The caller gets a message when it has waited
/// long enough.
fn obtain(
    root: &Root,
    interface: &str,
    scripts: &mut Scripts,
    changes: &Changes,
) -> io::Result<Option<Address>> {
    let started = Instant::now();
    let limit = duration(root, "dhclient-timeout", 60_000);
    let mut told = false;
    loop {
        let state = root.read()?;
        if !state.interfaces.get(interface).is_some_and(|interface| interface.up) {
            return Ok(None);
        }
        if let Some(address) = offer(&state, interface) {
            remember(root, interface, address)?;
            scripts.run("BOUND", &format!("{}/{}", address.ip, address.prefix))?;
            return Ok(Some(address));
        }
        if !told && started.elapsed() >= limit {
            told = true;
            let old = fs::read_to_string(leases(root, interface)).unwrap_or_default();
            if let Some(ip) = lease::parse_last(&old).and_then(|lease| lease.address) {
                scripts.run("TIMEOUT", &format!("{ip}/24"))?;
            }
            scripts.run("FAIL", "")?;
            let _ = tell("no lease");
        }
        changes.wait()?;
    }
}

/// The offer of the server, if the interface has carrier.
fn offer(state: &State, interface: &str) -> Option<Address> {
    let server = state.dhcp.as_ref()?;
    let held = state.interfaces.get(interface).filter(|held| held.carrier)?;
    let ip = server.leases.get(held.mac.as_ref()?)?.parse().ok()?;
    Some(Address::of(ip, server.prefix))
}

/// Watches until the interface or the address is lost.
fn watch(
    root: &Root,
    interface: &str,
    address: Address,
    scripts: &mut Scripts,
    changes: &Changes,
) -> io::Result<()> {
    let text = format!("{}/{}", address.ip, address.prefix);
    let deaf = duration(root, "dhclient-deaf", 10_000);
    let (mut link, mut held) = (true, true);
    loop {
        changes.wait()?;
        let state = root.read()?;
        let Some(now) = state.interfaces.get(interface).filter(|now| now.up) else { return Ok(()) };
        if now.carrier && !link {
            scripts.run("REBOOT", &text)?;
        }
        link = now.carrier;
        let holds = now.addresses.iter().any(|own| own.ip == address.ip);
        if held && !holds && scripts.ended.elapsed() >= deaf {
            return Ok(());
        }
        held = holds;
    }
}

/// Ends all processes of all clients, as the end of the system does.
pub(in crate::network) fn end_all(root: &Root) {
    for known in process_list::all(root.directory()) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(known.pid).unwrap_or(i32::MAX));
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    let _ = fs::remove_dir_all(root.path("var/run/dhclient"));
    let _ = fs::create_dir_all(root.path("var/run/dhclient"));
    let _: io::Result<()> = root.refresh_facts();
}
