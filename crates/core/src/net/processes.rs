//! Recognises processes that work on an interface: its DHCP clients, and scripts of rc(8). It is given a list
//! of processes and signals none.

use super::InterfaceName;
use super::dhclient;

/// A process with its argument vector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// The process id of its parent.
    pub parent: u32,
    /// Its arguments, each followed by a NUL. A title of setproctitle(3) replaces them.
    pub arguments: Vec<u8>,
}

/// A process of a dhclient(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientProcess {
    /// Its process id.
    pub pid: u32,
    /// Its part of the client.
    pub part: Part,
}

/// The parts of a dhclient(8) (sbin/dhclient/dhclient.c). None of them handles a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The process that talks to the server. Before it asks for a lease it is the whole program.
    Worker,
    /// The privileged process, `dhclient: IF [priv]`. It ends after the worker and its script have ended.
    Privileged,
    /// dhclient-script(8), which sets addresses and routes.
    Script,
}

/// A process that will change an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its process id.
    pub pid: u32,
    /// Its name in the log.
    pub name: String,
}

/// All processes that work on some interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtWork {
    /// The parts of dhclient(8), workers first.
    pub clients: Vec<(InterfaceName, ClientProcess)>,
    /// DHCP clients of other kinds, by interface.
    pub foreign_clients: Vec<(InterfaceName, Named)>,
    /// Scripts of rc(8).
    pub scripts: Vec<Named>,
}

impl AtWork {
    /// Evaluates a list of processes. Only work on `interfaces` counts.
    #[must_use]
    pub fn on(interfaces: &[InterfaceName], processes: &[Process]) -> Self {
        let mut found = Self::default();
        for process in processes {
            let words = Words::of(&process.arguments);
            for interface in interfaces {
                if dhclient::serves(&process.arguments, interface) {
                    let part = if words.title_ends_with("[priv]") { Part::Privileged } else { Part::Worker };
                    found.clients.push((interface.clone(), ClientProcess { pid: process.pid, part }));
                } else if let Some(name) = words.foreign_client(interface) {
                    found.foreign_clients.push((interface.clone(), Named { pid: process.pid, name }));
                }
            }
            found.scripts.extend(words.rc_script(interfaces).map(|name| Named { pid: process.pid, name }));
        }
        let parents: Vec<(InterfaceName, u32)> =
            found.clients.iter().map(|(interface, client)| (interface.clone(), client.pid)).collect();
        for process in processes.iter().filter(|process| Words::of(&process.arguments).is_dhclient_script()) {
            if let Some((interface, _)) = parents.iter().find(|(_, pid)| *pid == process.parent) {
                let script = ClientProcess { pid: process.pid, part: Part::Script };
                found.clients.push((interface.clone(), script));
            }
        }
        found.clients.sort_by_key(|(_, client)| client.part != Part::Worker);
        found
    }

    /// Whether a dhclient(8) serves the interface.
    #[must_use]
    pub fn has_dhclient(&self, interface: &InterfaceName) -> bool {
        self.clients.iter().any(|(served, client)| served == interface && client.part == Part::Worker)
    }

    /// All processes of the interface's dhclient(8).
    pub fn dhclient_of<'a>(
        &'a self,
        interface: &'a InterfaceName,
    ) -> impl Iterator<Item = ClientProcess> + 'a {
        self.clients.iter().filter(move |(served, _)| served == interface).map(|(_, client)| *client)
    }
}

/// Programs that get addresses as dhclient(8) does, but are not part of the base system.
const FOREIGN_CLIENTS: [&str; 3] = ["dhcpcd", "udhcpc", "dual-dhclient"];

/// The scripts of rc(8) that configure interfaces, by the end of their path, and which of their words is an
/// interface.
const RC_SCRIPTS: [(&str, usize); 4] =
    [("/rc.d/netif", 2), ("/rc.d/dhclient", 2), ("/rc.d/routing", 3), ("/pccard_ether", 1)];

/// An argument vector as text.
struct Words(Vec<String>);

impl Words {
    fn of(arguments: &[u8]) -> Self {
        let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        Self(arguments.split(|byte| *byte == 0).map(text).collect())
    }

    fn title_ends_with(&self, end: &str) -> bool {
        self.0.first().is_some_and(|title| title.ends_with(end))
    }

    fn is_dhclient_script(&self) -> bool {
        self.0.iter().take(3).any(|word| word.ends_with("/dhclient-script"))
    }

    /// Recognises `dhcpcd: hn0 [ip4]`, `dhcpcd -b hn0`, `udhcpc -i hn0`, `/bin/sh
    /// /usr/local/sbin/dual-dhclient hn0`.
    fn foreign_client(&self, interface: &InterfaceName) -> Option<String> {
        let is_foreign = |word: &String| {
            let name = word.split(": ").next().unwrap_or(word).rsplit('/').next().unwrap_or_default();
            FOREIGN_CLIENTS.iter().find(|known| **known == name).map(|known| (*known).to_owned())
        };
        let name = self.0.iter().take(2).find_map(is_foreign)?;
        let title = self.0.first().and_then(|title| title.split_once(": ")).map_or("", |(_, title)| title);
        let serves = title.split(' ').next() == Some(interface.as_str())
            || self.0.iter().skip(1).any(|word| word == interface.as_str());
        serves.then_some(name)
    }

    /// Recognises `/bin/sh /etc/rc.d/netif restart hn0`. Without an interface the script works on all of
    /// them.
    fn rc_script(&self, interfaces: &[InterfaceName]) -> Option<String> {
        let scripts = RC_SCRIPTS.iter();
        let (place, (path, operand)) = self.0.iter().take(3).enumerate().find_map(|(place, word)| {
            let script = scripts.clone().find(|(path, _)| word.ends_with(path))?;
            Some((place, script))
        })?;
        let mut operands = self.0.iter().skip(place + operand);
        let concerned = match operands.next() {
            None => true,
            first => {
                first.into_iter().chain(operands).any(|word| interfaces.iter().any(|i| i.as_str() == word))
            }
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        let words = self.0.iter().skip(place + 1).take(3);
        concerned
            .then(|| std::iter::once(name).chain(words.map(String::as_str)).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, words: &[&str]) -> Process {
        Process {
            pid,
            parent,
            arguments: words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect(),
        }
    }

    fn at_work(words: &[&str]) -> AtWork {
        AtWork::on(&["hn1".parse().unwrap()], &[process(7, 1, words)])
    }

    #[test]
    fn the_parts_of_a_client_are_recognised() {
        let hn1: InterfaceName = "hn1".parse().unwrap();
        let all = [
            process(3, 1, &["dhclient: hn1 [priv]"]),
            process(4, 3, &["/bin/sh", "/sbin/dhclient-script"]),
            process(5, 1, &["dhclient: hn1"]),
            process(6, 1, &["dhclient: system.syslog"]),
            process(7, 1, &["dhclient: hn10"]),
            process(8, 7, &["/bin/sh", "/sbin/dhclient-script"]),
        ];
        let found = AtWork::on(std::slice::from_ref(&hn1), &all);
        let parts: Vec<(u32, Part)> =
            found.dhclient_of(&hn1).map(|client| (client.pid, client.part)).collect();
        assert_eq!(parts, [(5, Part::Worker), (3, Part::Privileged), (4, Part::Script)]);
        assert!(found.has_dhclient(&hn1));
        let rest = AtWork::on(std::slice::from_ref(&hn1), &all[..2]);
        assert!(!rest.has_dhclient(&hn1) && rest.dhclient_of(&hn1).count() == 2);
    }

    #[test]
    fn scripts_of_rc_that_work_on_the_interface_are_named() {
        for (words, name) in [
            (&["/bin/sh", "/etc/rc.d/netif", "restart", "hn1"][..], "netif restart hn1"),
            (&["/bin/sh", "/etc/rc.d/netif", "restart"], "netif restart"),
            (&["/bin/sh", "/etc/rc.d/netif", "quietstart", "hn0", "hn1"], "netif quietstart hn0 hn1"),
            (&["sh", "/etc/rc.d/dhclient", "quietstart", "hn1"], "dhclient quietstart hn1"),
            (&["/bin/sh", "/etc/rc.d/routing", "static", "any", "hn1"], "routing static any hn1"),
            (&["/bin/sh", "/etc/rc.d/routing", "restart"], "routing restart"),
            (&["/bin/sh", "-", "/etc/pccard_ether", "hn1", "start"], "pccard_ether hn1 start"),
        ] {
            let scripts = at_work(words).scripts;
            assert_eq!(scripts, [Named { pid: 7, name: name.to_owned() }], "{words:?}");
        }
        for words in [
            &["/bin/sh", "/etc/rc.d/netif", "restart", "hn10"][..],
            &["/bin/sh", "-", "/etc/pccard_ether", "hn0", "start"],
            &["/bin/sh", "/etc/rc.d/sshd", "restart"],
            &["vi", "x", "y", "/etc/rc.d/netif"],
            &[],
        ] {
            assert_eq!(at_work(words), AtWork::default(), "{words:?}");
        }
    }

    #[test]
    fn foreign_clients_are_recognised_by_name() {
        for words in [
            &["dhcpcd: hn1 [ip4]"][..],
            &["/usr/local/sbin/dhcpcd", "-b", "hn1"],
            &["udhcpc", "-i", "hn1"],
            &["/bin/sh", "/usr/local/sbin/dual-dhclient", "hn1"],
        ] {
            assert_eq!(at_work(words).foreign_clients.len(), 1, "{words:?}");
        }
        for words in [&["dhcpcd: [manager] [ip4]"][..], &["dhcpcd: hn10"], &["cat", "dhcpcd", "hn0"]] {
            assert_eq!(at_work(words).foreign_clients, [], "{words:?}");
        }
    }
}
