//! The simulated dhclient(8): one test for each rule in the table of its module. It plays no product; the
//! programs of the suite meet it in their own tests.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use hvsim::network::Guest;
use hvsim::network::guest::SHIPPED_RULES;
use hvsim::network::process_list;
use hvsim::network::state::{Address, Interface, Route, State};
use hvsim::testing::{eventually, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LEASE: &str = "10.9.0.50";

struct Net {
    guest: Guest,
    directory: tempfile::TempDir,
}

fn dhcp_state() -> State {
    let mut state = State::default();
    state.add_hn(0);
    state.add_hn(1);
    state.add_dhcp_server();
    state.dhcp.as_mut().unwrap().name_servers = vec!["10.9.0.2".parse().unwrap()];
    state
}

impl Net {
    fn new(state: &State) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tools = program("hvsim-tools");
        let guest =
            Guest::create(directory.path(), &tools, SHIPPED_RULES, tools.parent().unwrap(), state).unwrap();
        fs::create_dir_all(directory.path().join("var/run/dhclient")).unwrap();
        Self { guest, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A time of the client in milliseconds.
    fn set_time(&self, name: &str, milliseconds: &str) {
        fs::write(self.path("network").join(name), milliseconds).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("sbin/dhclient"));
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn state(&self) -> State {
        self.guest.root().read().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Interface)) {
        self.guest.root().change(|state| change(state.interfaces.get_mut("hn0").unwrap())).unwrap();
    }

    fn addresses(&self) -> Vec<String> {
        let state = self.state();
        state.interfaces["hn0"].addresses.iter().map(|address| address.ip.to_string()).collect()
    }

    /// Process id and title or arguments of all processes of clients, as the guest lists them.
    fn processes(&self) -> Vec<(u32, String)> {
        let known = process_list::all(self.directory.path()).into_iter();
        let text = |known: &process_list::Known| String::from_utf8_lossy(&known.arguments).replace('\0', " ");
        known.map(|known| (known.pid, text(&known).trim().to_owned())).collect()
    }

    fn titles(&self) -> Vec<String> {
        self.processes().into_iter().map(|(_, title)| title).collect()
    }

    fn worker(&self) -> Option<u32> {
        self.processes().into_iter().find(|(_, title)| title == "dhclient: hn0").map(|(pid, _)| pid)
    }

    fn end_worker(&self) {
        let pid = i32::try_from(self.worker().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }

    fn gateways(&self) -> Vec<String> {
        self.state().routes.iter().map(|route| format!("{} {}", route.gateway, route.interface)).collect()
    }
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_client_is_refused() {
    let net = Net::new(&dhcp_state());
    assert!(net.run(&["hn0"]).status.success());
    let second = net.run(&["hn0"]);
    assert_eq!(second.status.code(), Some(1));
    let wanted = format!("dhclient already running, pid: {}.", net.worker().unwrap());
    assert!(error_text(&second).contains(&wanted), "{}", error_text(&second));
    assert!(net.run(&["hn1"]).status.success());
}

#[test]
fn without_a_link_the_client_gives_up_in_the_background_too() {
    let net = Net::new(&dhcp_state());
    net.set_time("dhclient-link-wait", "50");
    net.change(|hn0| hn0.carrier = false);
    for words in [&["hn0"][..], &["-b", "hn0"]] {
        let output = net.run(words);
        assert_eq!(output.status.code(), Some(1));
        assert!(error_text(&output).contains("hn0: no link"), "{}", error_text(&output));
        assert_eq!(net.titles(), [""; 0]);
    }
}

#[test]
fn a_client_is_three_processes() {
    let net = Net::new(&dhcp_state());
    assert!(net.run(&["hn0"]).status.success());
    let mut titles = net.titles();
    titles.sort();
    assert_eq!(titles, ["dhclient: hn0", "dhclient: hn0 [priv]"]);
    let mark = net.directory.path().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    let casper = lines.filter(|line| line.starts_with("dhclient: system.") && line.contains(&mark));
    assert_eq!(casper.count(), 1);
}

#[test]
fn a_signal_takes_nothing_away() {
    let net = Net::new(&dhcp_state());
    assert!(net.run(&["hn0"]).status.success());
    net.end_worker();
    eventually("the end of all processes", || net.titles().is_empty());
    assert_eq!((net.addresses(), net.gateways()), (vec![LEASE.to_owned()], vec!["10.9.0.1 hn0".to_owned()]));
    assert!(net.state().name_servers.contains_key("hn0"));
    assert!(net.path("var/run/dhclient/dhclient.hn0.pid").exists());
}

#[test]
fn the_process_with_privileges_ends_after_its_script() {
    let net = Net::new(&dhcp_state());
    net.set_time("dhclient-script-pause", "150");
    let is_script = |title: &String| title.contains("dhclient-script");
    let mut start = net.command(&["-b", "hn0"]).spawn().unwrap();
    eventually("the script", || net.titles().iter().any(is_script));
    assert_eq!(net.addresses(), [""; 0]);
    net.end_worker();
    eventually("the end of all processes", || {
        let titles = net.titles();
        let has_privileges = titles.iter().any(|title| title == "dhclient: hn0 [priv]");
        assert!(has_privileges || !titles.iter().any(is_script), "{titles:?}");
        titles.is_empty()
    });
    assert_eq!(net.addresses(), [LEASE], "the script has gone on without its worker");
    start.wait().unwrap();
}

#[test]
fn the_first_ipv4_address_goes() {
    let net = Net::new(&dhcp_state());
    net.change(|hn0| hn0.addresses = vec![Address::new("10.0.0.5", 24), Address::new("10.1.0.5", 32)]);
    assert!(net.run(&["hn0"]).status.success());
    assert_eq!(net.addresses(), ["10.1.0.5", LEASE]);
}

#[test]
fn the_lease_is_in_its_file_before_the_script() {
    let net = Net::new(&dhcp_state());
    // The script does nothing as long as the test runs.
    net.set_time("dhclient-script-pause", "600000");
    let mut client = net.command(&["hn0"]).spawn().unwrap();
    let leases = net.path("var/db/dhclient.leases.hn0");
    eventually("the lease in its file", || {
        fs::read_to_string(&leases).is_ok_and(|text| text.contains(LEASE))
    });
    assert_eq!(net.addresses(), [""; 0]);
    client.kill().unwrap();
    client.wait().unwrap();
    for (pid, _) in net.processes() {
        // The end of one may be that of the next.
        let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
}

#[test]
fn router_and_name_servers_are_those_of_the_default_interface() {
    let mut state = dhcp_state();
    let route = Route { gateway: "10.3.0.1".parse().unwrap(), interface: "hn1".to_owned() };
    state.routes.push(route);
    let net = Net::new(&state);
    assert!(net.run(&["hn0"]).status.success());
    assert_eq!((net.addresses(), net.gateways()), (vec![LEASE.to_owned()], vec!["10.3.0.1 hn1".to_owned()]));
    assert!(net.state().name_servers.is_empty());
}

#[test]
fn an_address_lost_soon_after_the_script_is_not_missed_and_a_link_that_comes_brings_it_back() {
    let net = Net::new(&dhcp_state());
    assert!(net.run(&["hn0"]).status.success());
    let before = net.worker();
    net.change(|hn0| hn0.addresses.clear());
    eventually("the lease again", || {
        net.change(|hn0| hn0.carrier = false);
        net.change(|hn0| hn0.carrier = true);
        net.addresses() == [LEASE]
    });
    assert_eq!(net.worker(), before);
}

#[test]
fn an_address_that_is_lost_later_and_an_interface_that_is_down_end_the_worker() {
    let net = Net::new(&dhcp_state());
    net.set_time("dhclient-deaf", "0");
    assert!(net.run(&["hn0"]).status.success());
    net.change(|hn0| hn0.addresses.push(Address::new("10.8.0.5", 24)));
    net.change(|hn0| hn0.addresses.retain(|held| held.ip.to_string() != LEASE));
    eventually("the end of all processes", || net.titles().is_empty());
    assert_eq!((net.addresses(), net.gateways().len()), (vec!["10.8.0.5".to_owned()], 1));
    let net = Net::new(&dhcp_state());
    assert!(net.run(&["hn0"]).status.success());
    net.change(|hn0| hn0.up = false);
    eventually("the end of all processes", || net.titles().is_empty());
    assert_eq!((net.addresses(), net.gateways().len()), (vec![LEASE.to_owned()], 1));
}

#[test]
fn an_old_lease_is_tried_and_taken_away_with_the_default_route() {
    let mut state = dhcp_state();
    state.dhcp = None;
    state.routes.push(Route { gateway: "10.7.0.1".parse().unwrap(), interface: "hn0".to_owned() });
    state.name_servers.insert("hn0".to_owned(), "nameserver 10.9.0.2\n".to_owned());
    let net = Net::new(&state);
    net.set_time("dhclient-timeout", "10");
    net.set_time("dhclient-second", "300");
    fs::create_dir_all(net.path("var/db")).unwrap();
    let lease = "lease {\n  interface \"hn0\";\n  fixed-address 10.9.0.77;\n}\n";
    fs::write(net.path("var/db/dhclient.leases.hn0"), lease).unwrap();
    let mut start = net.command(&["hn0"]).spawn().unwrap();
    eventually("the old address", || net.addresses() == ["10.9.0.77"]);
    eventually("its end", || net.addresses().is_empty());
    assert!(start.wait().unwrap().success(), "it goes on asking");
    assert_eq!(net.gateways(), [""; 0]);
    assert!(net.state().name_servers.is_empty());
    assert!(net.worker().is_some());
}
