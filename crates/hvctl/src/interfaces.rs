//! Reads all interfaces from the output of ifconfig(8). It changes none.

use std::collections::BTreeMap;

use hv_core::hn::Adapter;
use hv_core::net::InterfaceName;
use hv_core::plan::network::{Link, parse_ifconfig};
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;
use hv_core::runtime::exec::Program;

/// The interfaces as one run of ifconfig(8) lists them.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    pub(crate) links: BTreeMap<InterfaceName, Link>,
    /// Members of bridges, each with its bridge.
    members: Vec<(String, String)>,
}

/// Runs ifconfig(8).
///
/// # Errors
/// The reason in one line.
pub(crate) fn load(config: &Config) -> Result<Interfaces, String> {
    let program = Program::new(&config.network.ifconfig, config.network.command_limit());
    let finished = program.run().map_err(|error| error_chain(&error))?;
    if !finished.status.success() {
        return Err(format!("ifconfig: {}", finished.complaint_or_status()));
    }
    let text = String::from_utf8_lossy(&finished.stdout);
    Ok(Interfaces { links: parse_ifconfig(&text), members: members(&text) })
}

impl Interfaces {
    /// The adapters of hn(4) whose interfaces have the names of their devices.
    pub(crate) fn adapters(&self) -> Vec<Adapter> {
        self.links.keys().filter_map(|name| name.as_str().parse().ok()).collect()
    }

    /// The bridge(4) that the interface is a member of.
    pub(crate) fn bridge_of(&self, name: &InterfaceName) -> Option<&str> {
        let found = self.members.iter().find(|(member, _)| member == name.as_str());
        found.map(|(_, bridge)| bridge.as_str())
    }
}

fn members(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut current = "";
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            current = line.split(':').next().unwrap_or_default();
        } else if let Some(rest) = line.trim().strip_prefix("member: ") {
            let member = rest.split(' ').next().unwrap_or_default();
            found.push((member.to_owned(), current.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_bridges_are_found() {
        let text = "hn0: flags=8843<UP> metric 0 mtu 1500\n\tether 00:15:5d:01:02:03\nbridge0: flags=8843<UP>\n\
                    \tid 00:00:00:00:00:00\n\tmember: hn0 flags=143<LEARNING>\n\tmember: epair0a flags=143\n";
        let interfaces = Interfaces { links: parse_ifconfig(text), members: members(text) };
        assert_eq!(interfaces.bridge_of(&"hn0".parse().unwrap()), Some("bridge0"));
        assert_eq!(interfaces.bridge_of(&"hn1".parse().unwrap()), None);
        assert_eq!(interfaces.adapters().len(), 1);
    }
}
