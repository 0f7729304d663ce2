//! A guest for the unit tests of drivers: facts in a directory, and programs that write down how they were
//! called. It never reads the running system and changes nothing outside of its directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::rc::evaluated;
use crate::runtime::config::Network;
use crate::sys::clock;
use crate::sys::network::NetworkSource;
use crate::sys::system_facts::FactsSource;

/// A guest of facts that do not change. Its programs succeed and print nothing, unless a test says otherwise.
pub(crate) struct Bench(tempfile::TempDir);

impl Bench {
    /// A guest with these interfaces, in lines of the file `ifaddrs`.
    pub(crate) fn new(interfaces: &str) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.write("facts/ifaddrs", interfaces);
        for name in ["ifconfig", "route", "dhclient", "rtsol", "resolvconf", "ngctl"] {
            bench.program(name, "");
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What the program does after it has written itself down.
    pub(crate) fn program(&self, name: &str, then: &str) {
        let text = format!("#!/bin/sh\necho {name} \"$@\" >>'{}'\n{then}\n", self.path("log").display());
        self.write(name, &text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets the program print `text`.
    pub(crate) fn prints(&self, name: &str, text: &str) {
        let file = format!("{name}.out");
        self.write(&file, text);
        self.program(name, &format!("exec cat '{}'", self.path(&file).display()));
    }

    /// Gives it the simulator's rc(8) and an rc.conf(5) with this text. Without that, reading rc.conf fails.
    pub(crate) fn rc_conf(&self, text: &str) {
        evaluated::install(self.0.path(), text);
    }

    pub(crate) fn settings(&self) -> Network {
        Network {
            ifconfig: self.path("ifconfig"),
            route: self.path("route"),
            dhclient: self.path("dhclient"),
            rtsol: self.path("rtsol"),
            resolvconf: self.path("resolvconf"),
            ngctl: self.path("ngctl"),
            rc_subr: self.path("etc/rc.subr"),
            network_subr: self.path("etc/network.subr"),
            // A test must not fail because the machine is slow.
            command_limit_ms: 60_000,
            ..Network::default()
        }
    }

    pub(crate) fn facts(&self) -> FactsSource {
        FactsSource::Directory(self.path("facts"))
    }

    pub(crate) fn source(&self) -> NetworkSource {
        NetworkSource {
            facts: self.facts(),
            resolv_conf: self.path("resolv.conf"),
            dhclient_directories: vec![self.path("pids")],
            lease_directory: self.path("leases"),
        }
    }

    /// The calls since the last question, once there are as many.
    pub(crate) fn calls(&self, count: usize) -> Vec<String> {
        let log = self.path("log");
        let deadline = clock::monotonic() + Duration::from_secs(20);
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.lines().count() >= count || clock::monotonic() >= deadline {
                let _ = fs::remove_file(&log);
                return text.lines().map(str::to_owned).collect();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
