//! The keys of `[kvp]` for addresses that the host sets. It checks their values and decides nothing about an
//! injection.

use serde::Deserialize;

use super::ConfigError;
use crate::net::InterfaceName;

/// What is done with addresses that the host sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpInjection {
    /// They take effect and survive a reboot.
    #[default]
    Persist,
    /// They take effect until the next boot.
    Runtime,
    /// They are refused.
    Off,
}

/// Checks names of interfaces. Only interfaces of hn(4) and lagg(4) can be configured.
pub(super) fn validate_interfaces(names: &[String]) -> Result<(), ConfigError> {
    let good = |name: &String| name.parse::<InterfaceName>().is_ok_and(|name| name.is_hn() || name.is_lagg());
    if names.iter().all(good) {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "kvp.ip-injection-interfaces",
        expected: "a list of names such as \"hn0\" or \"lagg0\"",
    })
}
