//! Waits for the lease of a dhclient(8) that another program has started. It is given the sources of facts, and
//! changes nothing.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::net::{InterfaceName, NetworkSnapshot};
use crate::sys::clock;
use crate::sys::network::NetworkSource;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What the wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The lease is in force.
    InForce,
    /// The client has ended without a lease, as it does without a link.
    Ended,
    /// The client still has no lease, and the time is up.
    TimeUp,
}

/// Waits until the lease of the interface's client is in force, at most until `until` of the monotonic clock.
///
/// # Errors
/// The network or the processes cannot be read.
pub(super) fn await_lease(
    source: &NetworkSource,
    interface: &InterfaceName,
    until: Duration,
) -> io::Result<Awaited> {
    loop {
        let network = source.snapshot()?;
        if !network.dhcp_clients.contains(interface) {
            return Ok(Awaited::Ended);
        }
        if is_in_force(source, interface, &network)? {
            return Ok(Awaited::InForce);
        }
        if clock::monotonic() >= until {
            return Ok(Awaited::TimeUp);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether the interface has the leased address, and dhclient-script(8) has ended. dhclient(8) writes the lease
/// to its file before it runs the script (sbin/dhclient/dhclient.c:891, `bind_lease`), and the script sets the
/// address before the routes. The processes are listed after the addresses: a script that has set the address
/// and is not listed has ended.
fn is_in_force(
    source: &NetworkSource,
    interface: &InterfaceName,
    network: &NetworkSnapshot,
) -> io::Result<bool> {
    let Some(leased) = source.last_lease(interface).and_then(|lease| lease.address) else { return Ok(false) };
    let held = network.interfaces.iter().filter(|held| &held.name == interface);
    let is_set = held.flat_map(|held| &held.addresses).any(|held| held.address == IpAddr::V4(leased));
    Ok(is_set && !source.runs_dhclient_script(interface)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::system_facts::FactsSource;
    use std::fs;

    const WORKER: &str = "proc 5 dhclient\n";
    const ARGUMENTS: &str = "1.14.7.5:str=dhclient: hn0\n";

    fn awaited(addresses: &str, leases: &str, (procs, sysctl): (&str, &str)) -> Awaited {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let link = "hn0 link 00:15:5d:01:02:03 up index=2\n";
        fs::write(path("ifaddrs"), format!("{link}{addresses}")).unwrap();
        fs::write(path("dhclient.leases.hn0"), leases).unwrap();
        fs::write(path("procs"), procs).unwrap();
        fs::write(path("sysctl"), sysctl).unwrap();
        let source = NetworkSource {
            facts: FactsSource::Directory(directory.path().to_owned()),
            resolv_conf: path("resolv.conf"),
            dhclient_directories: Vec::new(),
            lease_directory: directory.path().to_owned(),
        };
        await_lease(&source, &"hn0".parse().unwrap(), Duration::ZERO).unwrap()
    }

    #[test]
    fn a_lease_is_in_force_when_address_and_script_are_done() {
        let lease = "lease {\n  fixed-address 10.9.0.50;\n}\n";
        let (held, client) = ("hn0 inet 10.9.0.50/16\n", (WORKER, ARGUMENTS));
        assert_eq!(awaited(held, lease, client), Awaited::InForce);
        assert_eq!(awaited("hn0 inet 10.9.0.77/32\n", lease, client), Awaited::TimeUp);
        assert_eq!(awaited(held, "", client), Awaited::TimeUp);
        let script = (
            "proc 5 dhclient\nproc 6 dhclient\nproc 7 sh ppid=6\n",
            "1.14.7.5:str=dhclient: hn0\n1.14.7.6:str=dhclient: hn0 [priv]\n\
             1.14.7.7:hex=2f62696e2f7368002f7362696e2f6468636c69656e742d736372697074\n",
        );
        assert_eq!(awaited(held, lease, script), Awaited::TimeUp);
        assert_eq!(awaited(held, lease, ("", "")), Awaited::Ended);
    }
}
