//! The section `[kvp]`: its keys, their defaults and their ranges. The daemon decides what they mean.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::injection::{IpInjection, validate_interfaces};
use crate::kvp::pool;

/// The section `[kvp]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Kvp {
    /// The device of the kernel's key-value exchange.
    pub device: PathBuf,
    /// The directory of the pool files.
    pub pool_dir: PathBuf,
    /// The most records that the host can put into one pool: 1 to 100,000. Other programs may put more there;
    /// up to 100,000 are served.
    pub max_records: u32,
    /// How long a request waits for another program's lock, in milliseconds: 0 to 4000. The kernel gives up
    /// on an answer after five seconds.
    pub lock_wait_ms: u64,
    /// getent(1), which completes a host name that has no domain.
    pub getent: PathBuf,
    /// What is done with addresses that the host sets.
    pub ip_injection: IpInjection,
    /// The interfaces that the host may configure. Empty: all of hn(4).
    pub ip_injection_interfaces: Vec<String>,
    /// The absolute path of a program that configures interfaces instead of the daemon. It gets the addresses
    /// as JSON on standard input.
    pub ip_injection_apply: Option<PathBuf>,
    /// The directory of the undo files.
    pub ip_injection_dir: PathBuf,
    /// The file of rc.conf(5) that the addresses are written to.
    pub rc_conf: PathBuf,
    /// The socket on which the daemon reports to hvctl(8).
    pub control_socket: PathBuf,
    /// A symbolic link to [`Self::pool_dir`] for programs that only know Linux's path. In the file `false`
    /// means none, and `true` means [`LINUX_PATH`].
    #[serde(deserialize_with = "linux_path")]
    pub linux_path: Option<PathBuf>,
}

/// The directory of the pools in a Linux guest.
pub const LINUX_PATH: &str = "/var/lib/hyperv";

fn linux_path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    struct Switch;
    impl serde::de::Visitor<'_> for Switch {
        type Value = Option<PathBuf>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true, false or an absolute path")
        }

        fn visit_bool<E>(self, wanted: bool) -> Result<Self::Value, E> {
            Ok(wanted.then(|| LINUX_PATH.into()))
        }

        fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Self::Value, E> {
            Ok(Some(path.into()))
        }
    }
    deserializer.deserialize_any(Switch)
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
            control_socket: "/var/run/hv_kvp_daemon.sock".into(),
            linux_path: None,
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
        if !(1..=pool::MAX_RECORDS).contains(&self.max_records) {
            return Err(ConfigError::Value { key: "kvp.max-records", expected: "from 1 to 100000" });
        }
        if self.lock_wait_ms > 4000 {
            return Err(ConfigError::Value { key: "kvp.lock-wait-ms", expected: "from 0 to 4000" });
        }
        if self.ip_injection_apply.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(ConfigError::Value { key: "kvp.ip-injection-apply", expected: "an absolute path" });
        }
        if self.linux_path.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(ConfigError::Value {
                key: "kvp.linux-path",
                expected: "true, false or an absolute path",
            });
        }
        validate_interfaces(&self.ip_injection_interfaces)
    }
}
