//! A guest in a scratch directory, and the programs under test. It contains no test.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use hvsim::network::faults::{self, Fault};
use hvsim::network::guest::SHIPPED_RULES;
use hvsim::network::{Guest, State};
use hvsim::testing::{command, eventually, program};

pub(crate) struct Scratch {
    pub(crate) guest: Guest,
    directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new(state: &State, rc_conf: &str) -> Self {
        Self::with_rules(state, rc_conf, SHIPPED_RULES)
    }

    /// A guest whose devd(8) has these rules in addition to those of FreeBSD.
    pub(crate) fn with_rules(state: &State, rc_conf: &str, rules: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("hv-vf-").tempdir().unwrap();
        let tools = program("hvsim-tools");
        let guest = Guest::create(directory.path(), &tools, rules, tools.parent().unwrap(), state).unwrap();
        guest.set_rc_conf(rc_conf).unwrap();
        Self { guest, directory }
    }

    pub(crate) fn vfup(&self) -> Command {
        let mut command = command("hyperv_vfup", self.directory.path());
        command.arg("-f").arg(self.guest.config());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.vfup().args(arguments).output().unwrap()
    }

    /// Runs hyperv_vfup, which must succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn state(&self) -> State {
        self.guest.root().read().unwrap()
    }

    /// The state without the waiting events of devd(8).
    pub(crate) fn network(&self) -> State {
        State { events: Vec::new(), ..self.state() }
    }

    pub(crate) fn inject(&self, faults: &[Fault]) {
        faults::plan_faults(self.guest.root(), faults).unwrap();
        faults::forget_spawns(self.guest.root()).unwrap();
    }

    pub(crate) fn spawns(&self) -> Vec<String> {
        faults::spawns(self.guest.root()).unwrap()
    }

    pub(crate) fn addresses(&self, interface: &str) -> Vec<String> {
        let state = self.state();
        let Some(interface) = state.interfaces.get(interface) else { return Vec::new() };
        let held = interface.addresses.iter().filter(|held| !held.is_link_local());
        let mut all: Vec<String> = held.map(|held| format!("{}/{}", held.ip, held.prefix)).collect();
        all.sort();
        all
    }

    pub(crate) fn ports(&self, lagg: &str) -> Vec<String> {
        let state = self.state();
        let lagg = state.interfaces.get(lagg).and_then(|lagg| lagg.lagg.clone());
        let mut ports = lagg.map(|lagg| lagg.ports).unwrap_or_default();
        ports.sort();
        ports
    }

    pub(crate) fn routes(&self) -> Vec<String> {
        let state = self.state();
        let mut all: Vec<String> =
            state.routes.iter().map(|route| format!("{} {}", route.gateway, route.interface)).collect();
        all.sort();
        all
    }

    /// Waits until the DHCP client of this interface has set up its whole lease: its script sets the address
    /// first, then the route, then the name servers.
    pub(crate) fn await_lease(&self, interface: &str) {
        eventually("the lease", || {
            self.addresses(interface) == ["10.9.0.50/16"] && !self.runs_dhclient_script()
        });
    }

    fn runs_dhclient_script(&self) -> bool {
        let known = hvsim::network::process_list::all(self.directory.path());
        known.iter().any(|process| text(&process.arguments).contains("dhclient-script"))
    }

    /// The processes of this guest. Their arguments contain its directory.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = self.directory.path().display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.map(|line| text(&line).replace('\0', " ")).filter(|line| line.contains(&mark)).collect()
    }

    /// Kills the processes of this guest and waits for their end.
    pub(crate) fn kill_processes(&self) {
        eventually("the end of all processes", || self.signal_processes() == 0);
    }

    /// Kills the processes of this guest. Returns their number.
    fn signal_processes(&self) -> usize {
        let mut found = 0;
        let mark = self.directory.path().display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        for entry in entries {
            let line = text(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
            if let (true, Some(Ok(pid))) = (line.contains(&mark), entry.file_name().to_str().map(str::parse))
            {
                found += 1;
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        found
    }

    pub(crate) fn clients(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .processes()
            .iter()
            .filter_map(|line| line.strip_prefix("dhclient: "))
            // Each client has two more processes: the privileged one, and casper's.
            .filter(|rest| !rest.contains("[priv]") && !rest.starts_with("system."))
            .map(|rest| rest.split(' ').next().unwrap().to_owned())
            .collect();
        all.sort();
        all
    }

    pub(crate) fn start_client(&self, interface: &str) {
        let output = Command::new(self.path("sbin/dhclient")).arg(interface).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

impl Drop for Scratch {
    /// A client that still writes would keep the directory, and run for ever.
    fn drop(&mut self) {
        for _ in 0..100 {
            if self.signal_processes() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
