//! A snapshot of the network: interfaces, default routes, name servers, DHCP clients.
//!
//! No program is run and nothing is cached. A snapshot takes a few system calls: getifaddrs, one read of the
//! routes, resolv.conf, and at most two pid files for each interface.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::system_facts::FactsSource;
use super::{ifaddrs, os, simulated};
use crate::net::lease::{self, DhcpLease};
use crate::net::processes::{AtWork, Part};
use crate::net::{Interface, InterfaceName, NetworkSnapshot, dhclient, resolv_conf};

/// Only this much of resolv.conf is read.
const RESOLV_CONF_LIMIT: u64 = 64 * 1024;
/// Only this much of a lease file is read. dhclient(8) rewrites it with few leases at each start.
const LEASES_LIMIT: u64 = 256 * 1024;
/// A pid file holds one decimal number.
const PID_FILE_LIMIT: u64 = 32;

/// Where facts about the network are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSource {
    /// Interfaces, routes and processes.
    pub facts: FactsSource,
    /// The file that names the name servers.
    pub resolv_conf: PathBuf,
    /// The directories of dhclient(8)'s files `dhclient.IF.pid`. The first one with the pid of a running
    /// client decides.
    pub dhclient_directories: Vec<PathBuf>,
    /// The directory of its files `dhclient.leases.IF`.
    pub lease_directory: PathBuf,
}

impl Default for NetworkSource {
    /// The running system. dhclient's directory is `/var/run/dhclient` since FreeBSD 12.0; before that, and
    /// for a client started with `-p`, it is `/var/run`.
    fn default() -> Self {
        Self {
            facts: FactsSource::System,
            resolv_conf: "/etc/resolv.conf".into(),
            dhclient_directories: vec!["/var/run/dhclient".into(), "/var/run".into()],
            lease_directory: "/var/db".into(),
        }
    }
}

impl NetworkSource {
    /// The DHCP clients and scripts of rc(8) that work on the interfaces.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn at_work(&self, interfaces: &[InterfaceName]) -> io::Result<AtWork> {
        Ok(AtWork::on(interfaces, &self.facts.network_processes()?))
    }

    /// Whether dhclient-script(8) works for a client of the interface.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn runs_dhclient_script(&self, interface: &InterfaceName) -> io::Result<bool> {
        let at_work = self.at_work(std::slice::from_ref(interface))?;
        Ok(at_work.dhclient_of(interface).any(|client| client.part == Part::Script))
    }

    /// The newest lease of the interface, in use or not. `None` if none can be read.
    #[must_use]
    pub fn last_lease(&self, interface: &InterfaceName) -> Option<DhcpLease> {
        let file = self.lease_directory.join(format!("dhclient.leases.{interface}"));
        let bytes = read_start(&file, LEASES_LIMIT).ok()?;
        lease::parse_last(&String::from_utf8_lossy(&bytes))
    }

    /// Takes a snapshot.
    ///
    /// A resolv.conf or pid file that is missing or unreadable counts as empty: the host must get the other
    /// facts nevertheless.
    ///
    /// # Errors
    /// The interfaces or the routes cannot be read.
    pub fn snapshot(&self) -> io::Result<NetworkSnapshot> {
        let (mut interfaces, routes) = match &self.facts {
            FactsSource::System => {
                let interfaces = ifaddrs::interfaces()?;
                let routes = os::routes::routes(&interfaces)?;
                (interfaces, routes)
            }
            FactsSource::Directory(directory) => {
                let interfaces = simulated::interfaces(directory)?;
                let routes = simulated::routes(directory, &interfaces)?;
                (interfaces, routes)
            }
        };
        for interface in &mut interfaces {
            // dhclient-script(8) sets 0.0.0.0 while it has no lease. That is not reported.
            interface.addresses.retain(|address| !address.address.is_unspecified());
        }
        let dhcp_clients = self.dhcp_clients(&interfaces);
        Ok(NetworkSnapshot {
            interfaces,
            default_routes: routes.default,
            static_routes: routes.statics,
            name_servers: self.name_servers(),
            dhcp_clients,
        })
    }

    fn name_servers(&self) -> Vec<String> {
        match read_start(&self.resolv_conf, RESOLV_CONF_LIMIT) {
            Ok(bytes) => resolv_conf::parse_name_servers(&bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::debug!("cannot read {}: {error}", self.resolv_conf.display());
                }
                Vec::new()
            }
        }
    }

    /// By the list of processes, or by pid files if that fails.
    fn dhcp_clients(&self, interfaces: &[Interface]) -> Vec<InterfaceName> {
        let adapters = interfaces.iter().filter(|interface| interface.mac.is_some());
        let names: Vec<InterfaceName> = adapters.map(|interface| interface.name.clone()).collect();
        let at_work = AtWork::on(&names, &self.facts.network_processes().unwrap_or_default());
        names.into_iter().filter(|name| at_work.has_dhclient(name) || self.has_dhclient(name)).collect()
    }

    /// Whether a pid file has the number of a running dhclient of exactly this interface.
    fn has_dhclient(&self, interface: &InterfaceName) -> bool {
        self.dhclient_directories.iter().any(|directory| {
            let file = directory.join(format!("dhclient.{interface}.pid"));
            read_start(&file, PID_FILE_LIMIT)
                .ok()
                .and_then(|bytes| dhclient::parse_pid(&bytes))
                .and_then(|pid| self.facts.process_arguments(pid).ok())
                .is_some_and(|arguments| dhclient::serves(&arguments, interface))
        })
    }
}

/// At most `limit` bytes from the beginning of a file. A FIFO does not block it.
fn read_start(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Machine {
        directory: tempfile::TempDir,
        source: NetworkSource,
    }

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            fs::create_dir(path("run")).unwrap();
            fs::create_dir(path("run/dhclient")).unwrap();
            for (name, text) in files {
                fs::write(path(name), text).unwrap();
            }
            let source = NetworkSource {
                facts: FactsSource::Directory(directory.path().to_owned()),
                resolv_conf: path("resolv.conf"),
                dhclient_directories: vec![path("run/dhclient"), path("run")],
                lease_directory: path("db"),
            };
            Self { directory, source }
        }

        fn clients(&self) -> Vec<String> {
            self.source.snapshot().unwrap().dhcp_clients.iter().map(ToString::to_string).collect()
        }
    }

    const IFADDRS: &str = "hn1 link 00:15:5d:00:00:01 up\nhn10 link 00:15:5d:00:00:0a up\n";

    #[test]
    fn the_running_system_has_a_snapshot() {
        let source = NetworkSource { resolv_conf: "/nonexistent".into(), ..NetworkSource::default() };
        let snapshot = source.snapshot().unwrap();
        assert!(snapshot.interfaces.is_sorted_by_key(|interface| interface.index));
        assert!(snapshot.name_servers.is_empty());
    }

    #[test]
    fn a_snapshot_can_be_read_from_a_directory() {
        let machine = Machine::new(&[
            ("ifaddrs", "lo0 link - up\nhn0 link 00:15:5d:01:02:03 up\nhn0 inet 10.0.0.5/24\n"),
            (
                "routes",
                "10.0.0.0/24 - hn0\ndefault 10.0.0.1 hn0\ndefault fe80::1%hn0 hn0\ndefault 10.9.9.9 hn9\n",
            ),
            ("resolv.conf", "nameserver 10.0.0.2\n"),
        ]);
        let snapshot = machine.source.snapshot().unwrap();
        assert_eq!(snapshot.interfaces.len(), 2);
        let gateways: Vec<_> =
            snapshot.default_routes.iter().map(|route| route.gateway.to_string()).collect();
        assert_eq!(gateways, ["10.0.0.1", "fe80::1"]);
        assert_eq!(snapshot.name_servers, ["10.0.0.2"]);
    }

    #[test]
    fn a_client_of_hn10_does_not_count_for_hn1() {
        let machine = Machine::new(&[
            ("ifaddrs", IFADDRS),
            ("sysctl", "1.14.7.77:str=dhclient: hn10 [priv]\n"),
            ("run/dhclient/dhclient.hn10.pid", "77\n"),
            ("run/dhclient/dhclient.hn1.pid", "77"),
        ]);
        assert_eq!(machine.clients(), ["hn10"]);
    }

    #[test]
    fn a_stale_pid_file_does_not_hide_the_old_directory() {
        let machine = Machine::new(&[
            ("ifaddrs", IFADDRS),
            ("sysctl", "1.14.7.77:str=dhclient: hn1\n1.14.7.78:str=/usr/sbin/sshd\n"),
            ("run/dhclient/dhclient.hn1.pid", "78"),
            ("run/dhclient.hn1.pid", "77"),
        ]);
        assert_eq!(machine.clients(), ["hn1"]);
        fs::remove_file(machine.directory.path().join("run/dhclient.hn1.pid")).unwrap();
        assert!(machine.clients().is_empty());
    }

    /// A running process with this name. It ends when its input does.
    fn process_named(name: &str) -> std::process::Child {
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};
        let mut command = Command::new("/bin/sh");
        command.arg0(name).args(["-c", "echo begun; read line"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Before it has written, its arguments may not be in place.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        child
    }

    #[test]
    fn a_pid_must_belong_to_a_running_dhclient() {
        let machine = Machine::new(&[("ifaddrs", IFADDRS)]);
        let pid_file = machine.directory.path().join("run/dhclient/dhclient.hn1.pid");
        let mut child = process_named("dhclient: hn1");
        fs::write(&pid_file, child.id().to_string()).unwrap();
        let while_alive = machine.clients();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(while_alive, ["hn1"]);
        assert!(machine.clients().is_empty());
        fs::write(&pid_file, std::process::id().to_string()).unwrap();
        assert!(machine.clients().is_empty());
    }

    #[test]
    fn unreadable_files_do_not_hide_the_interfaces() {
        let machine = Machine::new(&[("ifaddrs", IFADDRS), ("run/dhclient/dhclient.hn1.pid", "-1")]);
        fs::create_dir(machine.directory.path().join("resolv.conf")).unwrap();
        let snapshot = machine.source.snapshot().unwrap();
        assert_eq!(snapshot.interfaces.len(), 2);
        assert!(snapshot.name_servers.is_empty() && snapshot.dhcp_clients.is_empty());
    }
}
