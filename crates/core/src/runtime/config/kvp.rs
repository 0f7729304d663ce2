//! `[kvp]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::injection::{IpInjection, validate_interfaces};

/// `[kvp]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Kvp {
    /// The device of the kernel's key-value exchange.
    pub device: PathBuf,
    /// The directory of the pool files.
    pub pool_dir: PathBuf,
    /// The most records that the host can put into one pool: 1 to 1,000,000. More records that other
    /// programs put there are served all the same.
    pub max_records: u32,
    /// How long a request waits for a lock that another program holds, in milliseconds: 0 to 4000.
    /// The kernel gives up on an answer after five seconds.
    pub lock_wait_ms: u64,
    /// getent(1), which completes a host name that has no domain.
    pub getent: PathBuf,
    /// What happens to the addresses that the host sets.
    pub ip_injection: IpInjection,
    /// The interfaces that the host may configure; none named: all of hn(4).
    pub ip_injection_interfaces: Vec<String>,
    /// The program that configures interfaces in place of the daemon, by its absolute path. It gets the addresses as
    /// JSON on standard input.
    pub ip_injection_apply: Option<PathBuf>,
    /// The directory of the undo files.
    pub ip_injection_dir: PathBuf,
    /// The file of rc.conf(5) that the addresses are written to.
    pub rc_conf: PathBuf,
}

impl Default for Kvp {
    fn default() -> Self {
        Self {
            device: "/dev/hv_kvp_dev".into(),
            pool_dir: "/var/db/hyperv/pool".into(),
            max_records: 1024,
            lock_wait_ms: 2500,
            getent: "/usr/bin/getent".into(),
            ip_injection: IpInjection::default(),
            ip_injection_interfaces: Vec::new(),
            ip_injection_apply: None,
            ip_injection_dir: "/var/db/hyperv/injection".into(),
            rc_conf: "/etc/rc.conf".into(),
        }
    }
}

impl Kvp {
    /// [`Self::lock_wait_ms`] as a duration.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_ms)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=1_000_000).contains(&self.max_records) {
            return Err(ConfigError::Value { key: "kvp.max-records", expected: "from 1 to 1000000" });
        }
        if self.lock_wait_ms > 4000 {
            return Err(ConfigError::Value { key: "kvp.lock-wait-ms", expected: "from 0 to 4000" });
        }
        if self.ip_injection_apply.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(ConfigError::Value { key: "kvp.ip-injection-apply", expected: "an absolute path" });
        }
        validate_interfaces(&self.ip_injection_interfaces)
    }
}
