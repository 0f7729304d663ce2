//! A guest with a simulated network under a host, for the tests of injection. It contains no test.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hvsim::kvp::{HostAnswer, IpInfo};
use hvsim::network::faults::{self, Fault};
use hvsim::network::guest::mac_of;
use hvsim::network::process_list;
use hvsim::network::state::{Address, State};
use hvsim::session::kvp::{NetworkSetup, Session, Setup};
use hvsim::testing::{command, look_for};

pub(crate) use hvsim::testing::eventually;

pub(crate) const E_FAIL: u32 = 0x8000_4005;
pub(crate) const NOT_SUPPORTED: u32 = 0x8007_0032;
pub(crate) const INVALIDARG: u32 = 0x8007_0057;
pub(crate) const GUID_NOTFOUND: u32 = 0x8004_1002;

/// The host must have its answer by then.
pub(crate) const IN_TIME: Duration = Duration::from_secs(4);

pub(crate) struct Scene {
    pub(crate) session: Session,
}

/// Files that belong to the simulation or never change.
const STAND_INS: [&str; 10] = [
    "rc.subr",
    "network.subr",
    "boot",
    "rc.d/netif",
    "rc.d/dhclient",
    "rc.d/routing",
    "pccard_ether",
    "devd.conf",
    "defaults/rc.conf",
    "hyperv.toml",
];

/// Everything that a failed injection must leave unchanged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct World {
    network: State,
    files: BTreeMap<PathBuf, String>,
    dhcp: Vec<String>,
}

/// hn0 with addresses of both families and both default routes.
pub(crate) fn static_state() -> State {
    let mut state = State::default();
    state.add_static_hn(0);
    state
}

/// hn0 without addresses, and a DHCP server.
pub(crate) fn dhcp_state() -> State {
    let mut state = State::default();
    state.add_hn(0);
    state.add_dhcp_server();
    state
}

pub(crate) fn mac(unit: u8) -> String {
    mac_of(unit).to_string().to_uppercase()
}

pub(crate) fn info(adapter: &str, addresses: &[&str], gateways: &str, name_servers: &str) -> IpInfo {
    IpInfo {
        gateways: gateways.into(),
        name_servers: name_servers.into(),
        ..IpInfo::with_addresses(adapter, addresses).unwrap()
    }
}

pub(crate) fn dhcp(adapter: &str) -> IpInfo {
    IpInfo { adapter: adapter.into(), family: 1, dhcp: true, ..IpInfo::default() }
}

impl World {
    /// The same without the order of addresses.
    pub(crate) fn unordered(mut self) -> Self {
        for interface in self.network.interfaces.values_mut() {
            interface.addresses.sort_by_key(|address| address.ip);
        }
        self
    }
}

impl Scene {
    pub(crate) fn new(state: State, rc_conf: &str) -> Self {
        Self::with_settings(state, rc_conf, "")
    }

    pub(crate) fn with_settings(state: State, rc_conf: &str, kvp_settings: &str) -> Self {
        let network = Some(NetworkSetup { state, rc_conf: rc_conf.into() });
        let setup = Setup { network, kvp_settings: kvp_settings.into(), ..Setup::default() };
        let scene = Self { session: Session::start(&setup) };
        // As after a boot: resolvconf writes resolv.conf from its name servers.
        assert!(Command::new(scene.path("guest/sbin/resolvconf")).arg("-u").status().unwrap().success());
        scene
    }

    /// hn0 with a lease.
    pub(crate) fn leased(rc_conf: &str) -> Self {
        let scene = Self::new(dhcp_state(), rc_conf);
        let client = scene.path("guest/sbin/dhclient");
        assert!(Command::new(client).arg("hn0").output().unwrap().status.success());
        scene
    }

    /// Sends the request. The answer must arrive in time.
    pub(crate) fn set(&mut self, info: IpInfo) -> HostAnswer {
        let start = Instant::now();
        let answer = self.session.host().set_ip_info(info).unwrap();
        assert!(start.elapsed() < IN_TIME && !answer.timed_out, "answer after {:?}", start.elapsed());
        answer
    }

    pub(crate) fn succeed(&mut self, info: IpInfo) {
        let answer = self.set(info);
        assert!(answer.is_ok(), "{:#010x}\n{}", answer.code, self.log());
    }

    pub(crate) fn get(&mut self, unit: u8) -> IpInfo {
        self.session.host().ip_info(&mac(unit)).unwrap().ip.unwrap()
    }

    /// The lists of GET_IP_INFO as one text, without link-local addresses.
    pub(crate) fn seen(&mut self, unit: u8) -> String {
        let ip = self.get(unit);
        let pairs = ip.addresses.split(';').zip(ip.masks.split(';'));
        let pairs: Vec<String> = pairs
            .filter(|(address, _)| !address.starts_with("fe80"))
            .map(|(address, mask)| format!("{address} {mask}"))
            .collect();
        format!(
            "{} | {} | {} | {}",
            pairs.join(";"),
            ip.gateways,
            ip.name_servers,
            if ip.dhcp { "dhcp" } else { "static" }
        )
    }

    pub(crate) fn state(&self) -> State {
        self.session.guest().root().read().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.session.path(name)
    }

    pub(crate) fn rc_conf(&self) -> String {
        fs::read_to_string(self.path("guest/etc/rc.conf")).unwrap()
    }

    pub(crate) fn plan_faults(&self, faults: &[Fault]) {
        faults::plan_faults(self.session.guest().root(), faults).unwrap();
        faults::forget_spawns(self.session.guest().root()).unwrap();
    }

    pub(crate) fn spawns(&self) -> Vec<String> {
        faults::spawns(self.session.guest().root()).unwrap()
    }

    pub(crate) fn world(&self) -> World {
        let mut network = State { events: Vec::new(), ..self.state() };
        // The kernel's list has both families, and their order has no meaning. Nor has the order of addresses
        // with a vhid, which stay while others are removed and set again.
        for interface in network.interfaces.values_mut() {
            let shared: Vec<_> = interface.carp.iter().flat_map(|carp| carp.addresses.clone()).collect();
            interface.addresses.sort_by_key(|address| {
                (address.ip.is_ipv6(), Address::is_link_local(address), shared.contains(&address.ip))
            });
        }
        network.routes.sort_by_key(|route| route.gateway);
        network.static_routes.sort_by_key(|route| route.destination.clone());
        let mut files = BTreeMap::new();
        collect(&self.path("guest/etc"), &mut files);
        files.retain(|path, _| !STAND_INS.iter().any(|name| path.ends_with(name)));
        collect(&self.path("var/hyperv/injection"), &mut files);
        // Requests and answers are recorded in any case.
        files.retain(|path, _| {
            path.parent() != Some(&self.path("var/hyperv/injection")) || is_undo_file(path)
        });
        // So that it can be compared with that of another scene.
        let own = self.path("").display().to_string();
        let named = |path: PathBuf| PathBuf::from(path.display().to_string().replace(&own, ""));
        let files = files.into_iter().map(|(path, text)| (named(path), text.replace(&own, ""))).collect();
        World { network, files, dhcp: self.clients() }
    }

    /// The processes of DHCP clients, by title.
    pub(crate) fn clients(&self) -> Vec<String> {
        let known = process_list::all(self.session.guest().root().directory()).into_iter();
        let titles = known.filter(|known| known.program == "dhclient");
        let text = |known: process_list::Known| String::from_utf8_lossy(&known.arguments).replace('\0', " ");
        let mut titles: Vec<String> = titles.map(|known| text(known).trim().to_owned()).collect();
        titles.sort();
        titles
    }

    /// Waits until everything is as before.
    pub(crate) fn await_world(&mut self, before: &World, after: &str) {
        let same = || (&self.world() == before).then_some(());
        if look_for(Duration::from_secs(5), same).is_none() {
            assert_eq!(&self.world(), before, "after {after}\n{}", self.log());
        }
    }

    pub(crate) fn log(&mut self) -> String {
        self.session.daemon().map_or_else(String::new, |daemon| daemon.output())
    }

    /// The daemon ends with the system and starts with it again, if it is a process.
    pub(crate) fn reboot(&mut self) {
        if let Some(daemon) = self.session.daemon() {
            daemon.signal(nix::sys::signal::Signal::SIGKILL);
            assert!(daemon.wait_for(IN_TIME).is_some());
        }
        self.session.guest().reboot().unwrap();
        self.session.start_daemon();
    }
}

/// `hv_kvp_daemon -R` in the guest.
pub(crate) fn restore(scene: &Scene, interface: &str) -> Output {
    let mut command = command("hv_kvp_daemon", &scene.path(""));
    command.arg("-f").arg(scene.path("hyperv.toml")).args(["-R", interface]).output().unwrap()
}

pub(crate) fn is_undo_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml" || extension == "before")
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let read = || {
                Ok::<_, io::Error>((fs::metadata(&path)?.permissions().mode(), fs::read_to_string(&path)?))
            };
            match read() {
                // A program has removed it since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => {
                    let (mode, text) = found.unwrap();
                    files.insert(path.clone(), format!("{mode:o}\n{text}"));
                }
            }
        }
    }
}
