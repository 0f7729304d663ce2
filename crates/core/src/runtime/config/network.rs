//! The section `[network]`: paths and time limits of the programs that read and change the network. It starts
//! none of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;

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
        let missing = all.into_iter().filter(|(path, _)| !path.exists());
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
