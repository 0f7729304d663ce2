//! A guest with a simulated network in a directory: its files, programs and configuration, and what its host
//! does to it. The rules of the network are in `kernel`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hv_core::sys::file_lock::holder;

use super::devd::{Devd, STOCK_RULES};
use super::root::Root;
use super::state::{Address, DhcpServer, Interface, Route, State};
use super::tools::{self, NAMES};
use crate::testing::{self, freebsd_root};

/// How long the arrival of a VF and everything that follows may take: a delay of rc.conf and a lease.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(10);

/// The devd rules that the suite ships.
pub const SHIPPED_RULES: &str = include_str!("../../../../etc/devd/hyperv.conf");

/// The scripts of rc(8), as stand-ins.
const SCRIPTS: [(&str, &str); 5] = [
    ("etc/rc.d/netif", include_str!("rc/rc.d/netif")),
    ("etc/rc.d/dhclient", include_str!("rc/rc.d/dhclient")),
    ("etc/rc.d/routing", include_str!("rc/rc.d/routing")),
    ("etc/pccard_ether", include_str!("rc/pccard_ether")),
    ("usr/sbin/service", include_str!("rc/service")),
];

/// A guest with a simulated network.
#[derive(Debug)]
pub struct Guest {
    root: Root,
    devd: Devd,
}

/// The Ethernet address of hnN in a simulated guest.
#[must_use]
pub fn mac_of(unit: u8) -> hv_core::net::MacAddress {
    hv_core::net::MacAddress([0x00, 0x15, 0x5d, 0x01, 0x02, unit])
}

impl State {
    /// Adds hnN with carrier, up, without addresses.
    pub fn add_hn(&mut self, unit: u8) -> &mut Interface {
        let index = self.take_index();
        let mut interface = Interface::new(index, Some(mac_of(unit)));
        interface.up = true;
        self.interfaces.entry(format!("hn{unit}")).or_insert(interface)
    }

    /// Adds hnN with two IPv4 addresses, one IPv6 address and, for hn0, both default routes.
    pub fn add_static_hn(&mut self, unit: u8) {
        let interface = self.add_hn(unit);
        interface.nd6.disabled = false;
        let link_local = super::kernel::link_local(&mac_of(unit).to_string());
        interface.addresses =
            vec![Address::new(&format!("10.0.{unit}.5"), 24), Address::new(&format!("10.1.{unit}.5"), 32)];
        interface.addresses.extend(link_local.map(|ip| Address::of(ip.into(), 64)));
        interface.addresses.push(Address::new(&format!("fd00:{unit}::5"), 64));
        if unit == 0 {
            for gateway in ["10.0.0.1", "fd00:0::1"] {
                let gateway = gateway.parse().expect("an address");
                self.routes.push(Route { gateway, interface: "hn0".to_owned() });
            }
        }
    }

    /// Removes everything that a new start does not keep. Returns the interfaces of hn(4).
    fn forget_configuration(&mut self) -> Vec<String> {
        self.interfaces.retain(|_, interface| interface.lagg.is_none());
        for interface in self.interfaces.values_mut().filter(|interface| interface.mac.is_some()) {
            *interface = Interface {
                mac: interface.mac.clone(),
                max_mtu: interface.max_mtu,
                ..Interface::new(interface.index, None)
            };
        }
        self.routes.clear();
        self.name_servers.clear();
        self.interfaces.keys().filter(|name| name.starts_with("hn")).cloned().collect()
    }

    /// Brings an interface up, as the kernel does.
    ///
    /// # Panics
    /// There is none of this name.
    pub fn interface_up(&mut self, name: &str) {
        self.set_up(name, true).expect("an interface");
    }

    /// Adds a DHCP server that has 10.9.N.50 for hnN and all interfaces with its Ethernet address.
    pub fn add_dhcp_server(&mut self) {
        let leases = (0..=10).map(|unit| (mac_of(unit).to_string(), format!("10.9.{unit}.50"))).collect();
        self.dhcp = Some(DhcpServer {
            leases,
            prefix: 16,
            router: "10.9.0.1".parse().ok(),
            name_servers: Vec::new(),
        });
    }
}

/// The rc.conf of [`State::add_static_hn`].
#[must_use]
pub fn static_rc_conf(unit: u8) -> String {
    format!(
        "ifconfig_hn{unit}=\"inet 10.0.{unit}.5/24\"\n\
         ifconfig_hn{unit}_alias0=\"inet 10.1.{unit}.5/32\"\n\
         ifconfig_hn{unit}_ipv6=\"inet6 fd00:{unit}::5/64\"\n\
         defaultrouter=\"10.0.0.1\"\nipv6_defaultrouter=\"fd00:0::1\"\n"
    )
}

impl Guest {
    /// Creates the files of a guest in the existing directory `directory`. `tools` is the executable
    /// `hvsim-tools`, `rules` the text of devd rules, and the directory `programs` has hyperv_vfup and
    /// hyperv_vfattach.
    ///
    /// # Errors
    /// A file cannot be created.
    pub fn create(
        directory: &Path,
        tools: &Path,
        rules: &str,
        programs: &Path,
        state: &State,
    ) -> io::Result<Self> {
        let root = Root::new(directory);
        root.create(state)?;
        for name in [
            "sbin",
            "usr/sbin",
            "etc/rc.d",
            "etc/defaults",
            "etc/rc.conf.d",
            "usr/libexec/hyperv",
            "usr/local/etc/rc.conf.d",
        ] {
            fs::create_dir_all(root.path(name))?;
        }
        for name in NAMES {
            symlink(tools, root.path("sbin").join(name))?;
        }
        let place = directory.display().to_string();
        let script = |text: &str| text.replace("@ROOT@", &place);
        fs::write(root.path("etc/rc.subr"), script(include_str!("rc/rc.subr")))?;
        fs::write(root.path("etc/network.subr"), script(include_str!("rc/network.subr")))?;
        fs::write(root.path("etc/boot"), script(include_str!("rc/boot")))?;
        fs::write(root.path("etc/defaults/rc.conf"), script(include_str!("rc/defaults.conf")))?;
        for (name, text) in SCRIPTS {
            fs::write(root.path(name), script(text))?;
            fs::set_permissions(root.path(name), fs::Permissions::from_mode(0o755))?;
        }
        fs::write(root.path("etc/hyperv.toml"), configuration(&place))?;
        fs::write(root.path("etc/devd.conf"), rules)?;
        fs::write(root.path("network/programs"), programs.display().to_string())?;
        // The guest's DHCP clients end with the process that created it.
        fs::write(root.path("network/maker"), std::process::id().to_string())?;
        Self::open(directory)
    }

    /// The guest of an earlier [`Guest::create`] in `directory`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let root = Root::new(directory);
        let rules = STOCK_RULES.to_owned() + &fs::read_to_string(root.path("etc/devd.conf"))?;
        let mut devd = Devd::parse(&rules).map_err(io::Error::other)?;
        for (name, place) in [
            ("/sbin/ifconfig", "sbin/ifconfig"),
            ("/sbin/sysctl", "sbin/sysctl"),
            ("/etc/pccard_ether", "etc/pccard_ether"),
            ("service", "usr/sbin/service"),
        ] {
            devd.map_program(name, format!("'{}'", root.path(place).display()));
        }
        let programs = PathBuf::from(fs::read_to_string(root.path("network/programs"))?);
        for name in ["hyperv_vfup", "hyperv_vfattach"] {
            let mut words = match freebsd_root() {
                Some(_) => testing::words(name, &[directory]),
                None => vec![programs.join(name)],
            };
            words.extend(["-f".into(), root.path("etc/hyperv.toml")]);
            let words: Vec<String> = words.iter().map(|word| format!("'{}'", word.display())).collect();
            let command = words.join(" ");
            devd.map_program(&format!("/usr/libexec/hyperv/{name}"), command);
        }
        Ok(Self { root, devd })
    }

    /// Its files.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The configuration for the suite's programs.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.path("etc/hyperv.toml")
    }

    /// Replaces rc.conf.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_rc_conf(&self, text: &str) -> io::Result<()> {
        fs::write(self.root.path("etc/rc.conf"), text)
    }

    /// The host gives a VF to an hn.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written.
    pub fn give_vf(&self, vf: &str, hn: &str) -> io::Result<()> {
        self.root.change(|state| state.attach_vf(vf, hn))
    }

    /// The host takes the VF away.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written.
    pub fn take_vf(&self, vf: &str) -> io::Result<()> {
        self.root.change(|state| state.detach(vf))
    }

    /// The VF goes up or down without a program in the guest.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written, or there is no such interface.
    pub fn switch_vf(&self, vf: &str, up: bool) -> io::Result<()> {
        self.root.change(|state| state.set_up(vf, up))?.map_err(io::Error::from)
    }

    /// Hands the waiting events to devd's rules, one after the other. Returns the commands that ran.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written, or the shell cannot be run.
    pub fn run_devd(&self) -> io::Result<Vec<String>> {
        let mut commands = Vec::new();
        while let Some(command) = self.handle_event()? {
            commands.extend(command);
        }
        Ok(commands)
    }

    /// Hands the next waiting event to devd's rules. Returns the command that ran, if a rule matched. `None`
    /// if no event waits.
    ///
    /// # Errors
    /// As [`Self::run_devd`].
    pub fn handle_event(&self) -> io::Result<Option<Option<String>>> {
        let event = self.root.change(|state| (!state.events.is_empty()).then(|| state.events.remove(0)))?;
        let Some(event) = event else { return Ok(None) };
        self.devd.handle(&event)?;
        Ok(Some(self.devd.action(&event)))
    }

    /// Runs devd until everything that follows the arrival of a VF is done. Returns the commands that ran.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written, or the shell cannot be run.
    pub fn settle(&self, vf: &str) -> io::Result<Vec<String>> {
        let mut commands = self.run_devd()?;
        let end = Instant::now() + PATIENCE;
        // The process that devd has started waits in the background, and its work causes the next event.
        while self.is_waited_for(vf) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        commands.extend(self.run_devd()?);
        Ok(commands)
    }

    fn is_waited_for(&self, vf: &str) -> bool {
        let lock = self.root.path(&format!("var/run/hyperv_vfattach.{vf}.lock"));
        fs::OpenOptions::new().write(true).open(lock).is_ok_and(|file| matches!(holder(&file), Ok(Some(_))))
    }

    /// Starts the guest again: only its files remain, and rc.d/netif and rc.d/routing configure the
    /// interfaces of hn(4) from them.
    ///
    /// # Errors
    /// A file of the guest cannot be read or written, or the script fails.
    pub fn reboot(&self) -> io::Result<()> {
        let names = self.root.change(State::forget_configuration)?;
        tools::dhclient::end_all(&self.root);
        let output = Command::new("/bin/sh").arg(self.root.path("etc/boot")).args(names).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(io::Error::other(said.into_owned())) }
    }

    /// The output of `ifconfig NAME`. Empty if there is no such interface.
    ///
    /// # Errors
    /// The stand-in cannot be run.
    pub fn ifconfig(&self, name: &str) -> io::Result<String> {
        let output = Command::new(self.root.path("sbin/ifconfig")).arg(name).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn configuration(root: &str) -> String {
    format!("[log]\nsockets = [\"{root}/var/run/log\"]\n{}", network_settings(root))
}

/// The sections of the configuration with the paths of the facts and programs of the guest in `root`.
#[must_use]
pub fn network_settings(root: &str) -> String {
    // FreeBSD's executables read the system's facts, which their root takes from the same files.
    let facts = if freebsd_root().is_some() { String::new() } else { format!("dir = \"{root}/facts\"\n") };
    format!(
        "[facts]\n{facts}resolv-conf = \"{root}/etc/resolv.conf\"\n\
         dhclient-pid-dirs = [\"{root}/var/run/dhclient\", \"{root}/var/run\"]\n\
         dhclient-lease-dir = \"{root}/var/db\"\n\
         [network]\nifconfig = \"{root}/sbin/ifconfig\"\nroute = \"{root}/sbin/route\"\n\
         dhclient = \"{root}/sbin/dhclient\"\nrtsol = \"{root}/sbin/rtsol\"\nresolvconf = \"{root}/sbin/resolvconf\"\n\
         ngctl = \"{root}/sbin/ngctl\"\n\
         rc-subr = \"{root}/etc/rc.subr\"\nnetwork-subr = \"{root}/etc/network.subr\"\n\
         [vf]\noverride-dir = \"{root}/usr/libexec/hyperv\"\nlock-dir = \"{root}/var/run\"\n"
    )
}
