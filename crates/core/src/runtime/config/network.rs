//! The section `[network]`: paths and time limits of the programs that read and change the network. It starts
//! none of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::runtime::is_absent;

/// The section `[network]`: the programs that read and change the network configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Network {
    /// ifconfig(8).
    pub ifconfig: PathBuf,
    /// route(8).
    pub route: PathBuf,
    /// dhclient(8).
    pub dhclient: PathBuf,
    /// rtsol(8).
    pub rtsol: PathBuf,
    /// resolvconf(8).
    pub resolvconf: PathBuf,
    /// Where name servers from the host are written.
    pub name_servers: NameServers,
    /// ngctl(8).
    pub ngctl: PathBuf,
    /// The shell that reads rc.conf(5).
    pub sh: PathBuf,
    /// rc.subr(8).
    pub rc_subr: PathBuf,
    /// The functions of rc(8) for the network.
    pub network_subr: PathBuf,
    /// How long one program may take, in milliseconds: 100 to 60000.
    pub command_limit_ms: u64,
    /// How long to wait for a DHCP lease if rc.conf(5) says SYNCDHCP, in milliseconds: 100 to 600000.
    pub lease_limit_ms: u64,
}

/// Where name servers from the host are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameServers {
    /// To resolvconf(8), if it exists.
    Resolvconf,
    /// Nowhere: resolv.conf(5) is the administrator's.
    Off,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            ifconfig: "/sbin/ifconfig".into(),
            route: "/sbin/route".into(),
            dhclient: "/sbin/dhclient".into(),
            rtsol: "/sbin/rtsol".into(),
            resolvconf: "/sbin/resolvconf".into(),
            name_servers: NameServers::Resolvconf,
            ngctl: "/usr/sbin/ngctl".into(),
            sh: "/bin/sh".into(),
            rc_subr: "/etc/rc.subr".into(),
            network_subr: "/etc/network.subr".into(),
            command_limit_ms: 5000,
            // dhclient(8) itself gives up after 60 seconds.
            lease_limit_ms: 90_000,
        }
    }
}

impl Network {
    /// The programs that do not exist, each with the consequence.
    #[must_use]
    pub fn missing_programs(&self) -> Vec<(&Path, &'static str)> {
        let all = [
            (&self.ifconfig, "nobody can change the network"),
            (&self.route, "no default route can be set"),
            (
                &self.dhclient,
                "the host cannot switch an interface to DHCP, unless rc.conf names another client",
            ),
            (&self.resolvconf, "name servers of the host are not taken"),
            (&self.rtsol, "routers are not asked to advertise"),
            (&self.sh, "rc.conf cannot be read"),
            (&self.rc_subr, "rc.conf cannot be read"),
            (&self.network_subr, "rc.conf cannot be read"),
        ];
        let missing = all.into_iter().filter(|(path, _)| is_absent(path));
        missing.map(|(path, loss)| (path.as_path(), loss)).collect()
    }

    /// [`Self::command_limit_ms`] as a duration.
    #[must_use]
    pub fn command_limit(&self) -> Duration {
        Duration::from_millis(self.command_limit_ms)
    }

    /// Sets [`Self::command_limit_ms`], at least a millisecond.
    pub fn set_command_limit(&mut self, limit: Duration) {
        self.command_limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    }

    /// [`Self::lease_limit_ms`] as a duration.
    #[must_use]
    pub fn lease_limit(&self) -> Duration {
        Duration::from_millis(self.lease_limit_ms)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(100..=60_000).contains(&self.command_limit_ms) {
            let key = "network.command-limit-ms";
            return Err(ConfigError::Value { key, expected: "from 100 to 60000" });
        }
        if !(100..=600_000).contains(&self.lease_limit_ms) {
            return Err(ConfigError::Value { key: "network.lease-limit-ms", expected: "from 100 to 600000" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_program_has_its_consequence() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names = ["ifconfig", "route", "dhclient", "resolvconf", "rtsol", "sh", "rc.subr", "network.subr"];
        let network = Network {
            ifconfig: path("ifconfig"),
            route: path("route"),
            dhclient: path("dhclient"),
            resolvconf: path("resolvconf"),
            rtsol: path("rtsol"),
            sh: path("sh"),
            rc_subr: path("rc.subr"),
            network_subr: path("network.subr"),
            ..Network::default()
        };
        let missing: Vec<PathBuf> =
            network.missing_programs().into_iter().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(missing, names.map(path));
        for name in names {
            std::fs::write(path(name), "").unwrap();
        }
        assert_eq!(network.missing_programs(), []);
        std::fs::remove_file(path("rtsol")).unwrap();
        let rtsol = path("rtsol");
        assert_eq!(network.missing_programs(), [(rtsol.as_path(), "routers are not asked to advertise")]);
    }

    #[test]
    fn limits_out_of_range_name_their_key() {
        let with = |command_limit_ms, lease_limit_ms| {
            let network = Network { command_limit_ms, lease_limit_ms, ..Network::default() };
            network.validate().map_err(|error| error.to_string())
        };
        assert_eq!((with(100, 600_000), with(60_000, 100)), (Ok(()), Ok(())));
        for command in [0, 99, 60_001, u64::MAX] {
            let error = with(command, 90_000).unwrap_err();
            assert_eq!(error, "network.command-limit-ms must be from 100 to 60000", "{command}");
        }
        for lease in [0, 99, 600_001, u64::MAX] {
            let error = with(5000, lease).unwrap_err();
            assert_eq!(error, "network.lease-limit-ms must be from 100 to 600000", "{lease}");
        }
    }

    #[test]
    fn a_limit_is_never_zero() {
        let mut network = Network::default();
        for (limit, wanted) in [
            (Duration::ZERO, Duration::from_millis(1)),
            (Duration::from_micros(999), Duration::from_millis(1)),
            (Duration::from_millis(70_000), Duration::from_millis(70_000)),
            (Duration::MAX, Duration::from_millis(u64::MAX)),
        ] {
            network.set_command_limit(limit);
            assert_eq!(network.command_limit(), wanted);
        }
    }
}
