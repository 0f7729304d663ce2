//! The section `[vf]`: settings of hyperv_vfattach and hyperv_vfup. It checks ranges and takes no lock.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;

/// The section `[vf]`: hyperv_vfattach and hyperv_vfup.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Vf {
    /// The directory in which a file `hyperv_vfup.hnN` replaces hyperv_vfup for that interface.
    pub override_dir: PathBuf,
    /// The directory of the lock files, one for each interface.
    pub lock_dir: PathBuf,
    /// How long hyperv_vfup waits for another process that works on the same interface, in milliseconds: 0 to
    /// 600000.
    pub lock_wait_ms: u64,
}

impl Default for Vf {
    fn default() -> Self {
        Self {
            override_dir: "/usr/libexec/hyperv".into(),
            lock_dir: "/var/run".into(),
            // The other process may be waiting for a DHCP lease.
            lock_wait_ms: 100_000,
        }
    }
}

impl Vf {
    /// [`Self::lock_wait_ms`] as a duration.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_ms)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.lock_wait_ms > 600_000 {
            return Err(ConfigError::Value { key: "vf.lock-wait-ms", expected: "from 0 to 600000" });
        }
        Ok(())
    }
}
