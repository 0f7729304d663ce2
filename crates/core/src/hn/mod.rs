//! A network adapter of hn(4): its device, its interface, the lagg(4) that joins it with its VF, and the lock
//! under which all of them are changed. It finds and names them; it changes none.
//!
//! Device and interface have two names. The host's requests and the sysctls use the device (`hn0`,
//! `dev.hn.0.vf`). devd's events, rc.conf(5) and ifconfig(8) use the interface, which `ifconfig_hn0_name` or
//! cloud-init's `set-name` can rename. The kernel gives the device of an interface as
//! `net.link.generic.ifdata.INDEX.IFDATA_DRIVERNAME` (sys/net/if_mib.c, `sysctl_ifdata`), which no rename
//! changes.

pub mod lock;

use std::fmt;
use std::str::FromStr;

use crate::net::{Interface, InterfaceName, ParseError};
use crate::sys::system_facts::FactsSource;

/// The interface group (ifconfig(8), `group`) that marks laggs of hyperv_vfup. The description is left to the
/// administrator.
pub const GROUP: &str = "hyperv";

/// A network adapter of hn(4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    unit: u32,
    device: InterfaceName,
    interface: InterfaceName,
    lagg: InterfaceName,
}

impl Adapter {
    /// The name of the device, such as `hn0`.
    #[must_use]
    pub fn device(&self) -> &InterfaceName {
        &self.device
    }

    /// The name of the interface: that of the device, unless it was renamed.
    #[must_use]
    pub fn name(&self) -> &InterfaceName {
        &self.interface
    }

    /// The lagg that joins it with its VF. It has the device's number.
    #[must_use]
    pub fn lagg(&self) -> &InterfaceName {
        &self.lagg
    }

    /// The sysctl with the name of its VF.
    #[must_use]
    pub fn vf_sysctl(&self) -> String {
        format!("dev.hn.{}.vf", self.unit)
    }

    /// The same adapter with another name of its interface.
    #[must_use]
    pub fn with_interface(self, interface: InterfaceName) -> Self {
        Self { interface, ..self }
    }
}

impl FromStr for Adapter {
    type Err = ParseError;

    /// The adapter of a device, which is exactly `hn` and a number. Its interface is not renamed.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("interface of hn(4)", text);
        let device: InterfaceName = text.parse().map_err(|_| error())?;
        let unit = match device.driver_and_unit() {
            Some(("hn", unit)) => unit,
            _ => return Err(error()),
        };
        let lagg = format!("lagg{unit}").parse().map_err(|_| error())?;
        Ok(Self { unit, interface: device.clone(), device, lagg })
    }
}

impl fmt::Display for Adapter {
    /// Shows the interface, which is the name that the administrator knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interface.fmt(f)
    }
}

/// The adapters among `interfaces`, found by their devices. Where the kernel does not know the device, as on
/// Linux, the interface's name is used.
#[must_use]
pub fn adapters(facts: &FactsSource, interfaces: &[Interface]) -> Vec<Adapter> {
    let adapter = |interface: &Interface| {
        let told = facts.driver_name(interface.index).ok().flatten();
        let device = told.as_deref().unwrap_or(interface.name.as_str());
        Some(device.parse::<Adapter>().ok()?.with_interface(interface.name.clone()))
    };
    interfaces.iter().filter(|interface| interface.mac.is_some()).filter_map(adapter).collect()
}

/// The adapter with an interface of this name, or else with a device of this name. `None` if there is none.
#[must_use]
pub fn find(facts: &FactsSource, interfaces: &[Interface], name: &InterfaceName) -> Option<Adapter> {
    let all = adapters(facts, interfaces);
    let by_interface = all.iter().find(|adapter| adapter.name() == name);
    by_interface.or_else(|| all.iter().find(|adapter| adapter.device() == name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hn_and_a_number_are_a_device_of_hn() {
        let long = "h".repeat(300);
        for text in ["", "hn", "hn0; reboot", "../x", "hn00", "hn-1", "hnx0", "lagg0", "hn0 ", "hn0.5", &long]
        {
            assert!(text.parse::<Adapter>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_the_number() {
        let hn: Adapter = "hn10".parse().unwrap();
        assert_eq!((hn.lagg().as_str(), hn.vf_sysctl().as_str()), ("lagg10", "dev.hn.10.vf"));
        let renamed = hn.with_interface("eth0".parse().unwrap());
        assert_eq!((renamed.device().as_str(), renamed.name().as_str()), ("hn10", "eth0"));
        assert_eq!((renamed.lagg().as_str(), renamed.vf_sysctl().as_str()), ("lagg10", "dev.hn.10.vf"));
        assert_eq!(renamed.to_string(), "eth0");
    }

    #[test]
    fn renamed_interfaces_are_found_by_both_names() {
        let directory = tempfile::tempdir().unwrap();
        let text = "eth0 link - up index=2 driver=hn0\nhn0 link - up index=3 driver=hn1\n\
                    lagg0 link - up index=4 driver=lagg0\nhn5 link - up index=5 driver=mce0\n";
        std::fs::write(directory.path().join("ifaddrs"), text).unwrap();
        let facts = FactsSource::Directory(directory.path().to_owned());
        let interface = |name: &str, index| Interface {
            name: name.parse().unwrap(),
            index,
            up: true,
            loopback: false,
            mac: "00:15:5d:01:02:03".parse().ok(),
            addresses: Vec::new(),
        };
        // hn1 has the name that hn0 had.
        let all = [interface("eth0", 2), interface("hn0", 3), interface("lagg0", 4), interface("hn5", 5)];
        let found = |name: &str| {
            let adapter = find(&facts, &all, &name.parse().unwrap())?;
            Some(format!("{} {}", adapter.device(), adapter.name()))
        };
        assert_eq!(found("eth0").as_deref(), Some("hn0 eth0"));
        assert_eq!(found("hn0").as_deref(), Some("hn1 hn0"), "the interface's name comes first");
        assert_eq!(found("hn1").as_deref(), Some("hn1 hn0"));
        for name in ["lagg0", "hn5", "mce0", "hn7"] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
