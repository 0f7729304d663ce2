//! rc.conf(5) as rc(8) reads it. It is a shell script, so a shell reads it, and the system's own network.subr
//! interprets it. This module parses the result; it never interprets shell text.
//!
//! One fixed script (`record.sh`) sources rc.subr and network.subr, loads what the scripts of rc.d load, and
//! calls `ifconfig_up`, `ipv4_up` and `ipv6_up` of network.subr with ifconfig(8) replaced by a function that
//! records its arguments. So FreeBSD itself expands ranges, lists of aliases, `ipv4_addrs_IF`,
//! `ipv6_prefix_IF` and additions of later releases, and only argument vectors are read here. The script
//! starts no program; rc.subr runs kenv(1) and sysctl(8) when it is read, and sysctl(8) once for each address
//! family.

mod arguments;
mod load;

use std::collections::BTreeMap;

use crate::net::InterfaceName;
use crate::plan::network::IfconfigArguments;
use arguments::ArgumentError;

pub use load::{load_rc_conf, load_variables, load_vf_delay};

/// The script for `sh -c`. Its arguments are the name of the shell, rc.subr, network.subr, then for each
/// interface its name and [`variable_stem`]. The first one is configured as rc(8) would. Another one, such as
/// the lagg, is only configured where a variable of its own is set, so `ifconfig_DEFAULT` alone means nothing
/// to it.
pub const SCRIPT: &str = include_str!("record.sh");

/// The script for `sh -c` that reads how long to wait before a VF is brought up. Its arguments are the name
/// of the shell and rc.subr.
const DELAY_SCRIPT: &str = r#"
exec 3>&1 >/dev/null
. "$1"
load_rc_config network
load_rc_config netif
load_rc_config hyperv
printf 'vhyperv_vf_delay=%s\0' "${hyperv_vf_delay-}" >&3
"#;

/// The script for `sh -c` that reads the values of one file. Its arguments are the name of the shell, the
/// file, and variables.
pub const FILE_SCRIPT: &str = r#"
exec 3>&1 >/dev/null
. "$1"; shift
for name
do
    eval "[ -z \"\${$name+set}\" ] || printf 'v%s=%s\\0' \"\$name\" \"\${$name}\" >&3"
done
"#;

/// The least delay before a VF is brought up, in seconds. It is also the default.
pub const SHORTEST_VF_DELAY: u32 = 2;

/// The form of a name in variables of rc.conf(5): `get_if_var` of network.subr.
#[must_use]
pub fn variable_stem(interface: &InterfaceName) -> String {
    interface.as_str().replace(['.', '-', '/', '+'], "_")
}

/// The values and calls of rc(8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcConf {
    /// Variables that are set.
    values: BTreeMap<String, String>,
    /// The interfaces that get their address by DHCP.
    leases: BTreeMap<String, Lease>,
    /// The calls of ifconfig(8). The interface is first.
    calls: Vec<Vec<String>>,
}

/// The configuration of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether dhclient(8) configures it, and whether rc(8) would wait for the lease.
    pub dhcp: Option<Lease>,
    /// The calls of ifconfig(8) in order, without those that only bring it up or switch IPv6.
    pub configure: Vec<IfconfigArguments>,
    /// Whether IPv6 is enabled.
    pub ipv6: bool,
    /// Whether it is autoconfigured by router advertisements.
    pub accept_rtadv: bool,
}

impl Wanted {
    /// Whether it sets an IPv4 address or gets one by DHCP.
    #[must_use]
    pub fn decides_ipv4(&self) -> bool {
        self.dhcp.is_some() || self.configure.iter().any(sets_ipv4)
    }
}

/// Whether the arguments set an IPv4 address. A host name counts as one.
fn sets_ipv4(arguments: &IfconfigArguments) -> bool {
    let named = || arguments.words.iter().skip_while(|word| *word != "inet").nth(1).is_some();
    arguments.address.map_or_else(named, |address| address.address.is_ipv4())
}

/// Whether rc(8) waits for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// SYNCDHCP.
    Awaited,
    /// DHCP, NOSYNCDHCP.
    InBackground,
}

/// How rc(8) would start the DHCP client of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DhcpClient {
    /// `dhclient_program`.
    pub program: Option<String>,
    /// `dhclient_flags_IF` or `dhclient_flags`, split at blanks, and `-b` if `background_dhclient` is set.
    pub flags: Vec<String>,
}

/// A call of ifconfig(8) by rc(8) that must fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the configuration of {interface} in rc.conf: {problem}")]
pub struct RcConfError {
    interface: InterfaceName,
    problem: ArgumentError,
}

impl RcConf {
    /// Parses the output of a script. Malformed records are left out.
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let mut records = text.split_terminator('\0');
        let mut read = Self::default();
        while let Some(record) = records.next() {
            read.take(record, &mut records);
        }
        read
    }

    fn take<'a>(&mut self, record: &str, others: &mut impl Iterator<Item = &'a str>) {
        let mut letters = record.chars();
        match (letters.next(), letters.as_str()) {
            (Some('v'), rest) => {
                if let Some((name, value)) = rest.split_once('=') {
                    self.values.insert(name.to_owned(), value.to_owned());
                }
            }
            (Some('d'), rest) => {
                if let Some((interface, wait)) = rest.split_once('=') {
                    let lease = if wait.is_empty() { Lease::InBackground } else { Lease::Awaited };
                    self.leases.insert(interface.to_owned(), lease);
                }
            }
            (Some('c'), count) => {
                let count = count.parse().unwrap_or(0);
                self.calls.push(others.take(count).map(str::to_owned).collect());
            }
            _ => {}
        }
    }

    /// The value of the variable, if it is set.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The seconds to wait before a VF is brought up: `hyperv_vf_delay`, at least 2, and 2 if it is no
    /// number.
    #[must_use]
    pub fn vf_delay(&self) -> u32 {
        let seconds = self.value("hyperv_vf_delay").and_then(|text| text.trim().parse().ok());
        seconds.unwrap_or(SHORTEST_VF_DELAY).max(SHORTEST_VF_DELAY)
    }

    /// Whether IPv6 is on by default.
    #[must_use]
    pub fn activates_ipv6_everywhere(&self) -> bool {
        self.value("ipv6_activate_all_interfaces").is_some_and(is_yes)
    }

    /// `defaultrouter` or `ipv6_defaultrouter`, unless it is empty or `NO` (rc.d/routing).
    #[must_use]
    pub fn default_router(&self, ipv4: bool) -> Option<&str> {
        let value = self.value(if ipv4 { "defaultrouter" } else { "ipv6_defaultrouter" })?.trim();
        (!value.is_empty() && !value.eq_ignore_ascii_case("no")).then_some(value)
    }

    /// The client that rc.d/dhclient would start on the interface.
    #[must_use]
    pub fn dhcp_client(&self, interface: &InterfaceName) -> DhcpClient {
        let stem = variable_stem(interface);
        let set = |name: &str| self.value(name).map(str::trim).filter(|value| !value.is_empty());
        let own = set(&format!("dhclient_flags_{stem}"));
        // rc.d/dhclient uses the interface's flags only if the general ones are empty.
        let flags = set("dhclient_flags").or(own).unwrap_or_default();
        let mut flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let background = self.value(&format!("background_dhclient_{stem}"));
        if background.or_else(|| self.value("background_dhclient")).is_some_and(is_yes) {
            flags.push("-b".to_owned());
        }
        DhcpClient { program: set("dhclient_program").map(str::to_owned), flags }
    }

    /// The configuration of the lagg that replaces `hn`: its own variables if they set addresses, otherwise
    /// those of `hn` with the other words of the lagg's, such as an MTU.
    ///
    /// # Errors
    /// A call of ifconfig(8) that must fail.
    pub fn wanted_for_lagg(&self, lagg: &InterfaceName, hn: &InterfaceName) -> Result<Wanted, RcConfError> {
        let own = self.own(lagg)?;
        if own.as_ref().is_some_and(Wanted::decides_ipv4) {
            return Ok(own.unwrap_or_default());
        }
        let mut wanted = self.wanted(hn)?;
        let others = wanted.configure.into_iter().map(|arguments| IfconfigArguments {
            words: arguments::without_own_words(arguments.words),
            address: arguments.address,
        });
        let says_something = |arguments: &IfconfigArguments| {
            !arguments.words.iter().all(|word| SWITCHES.contains(&word.as_str()))
        };
        // A vhid without an address has no meaning on another interface.
        let is_lone_vhid = |arguments: &IfconfigArguments| {
            arguments.address.is_none() && arguments.words.iter().any(|word| word == "vhid")
        };
        wanted.configure =
            others.filter(|arguments| says_something(arguments) && !is_lone_vhid(arguments)).collect();
        if self.has_own(lagg, "_ipv6") {
            let own = self.wanted(lagg)?;
            wanted.configure.retain(|arguments| !is_inet6(arguments));
            wanted.configure.extend(own.configure.into_iter().filter(is_inet6));
            (wanted.ipv6, wanted.accept_rtadv) = (own.ipv6, own.accept_rtadv);
        }
        if let Some(own) = own {
            let others =
                own.configure.into_iter().filter(|own| !wanted.configure.contains(own)).collect::<Vec<_>>();
            wanted.configure.splice(0..0, others);
        }
        Ok(wanted)
    }

    /// Whether the lagg has a configuration of its own for a family, so that hn's does not apply.
    ///
    /// # Errors
    /// As for [`Self::wanted_for_lagg`].
    pub fn lagg_decides(&self, lagg: &InterfaceName, ipv4: bool) -> Result<bool, RcConfError> {
        let decides = self.own(lagg)?.as_ref().is_some_and(Wanted::decides_ipv4);
        Ok(decides || (!ipv4 && self.has_own(lagg, "_ipv6")))
    }

    /// The configuration by `ifconfig_IF` and its aliases, if the variable is set.
    fn own(&self, interface: &InterfaceName) -> Result<Option<Wanted>, RcConfError> {
        self.has_own(interface, "").then(|| self.wanted(interface)).transpose()
    }

    fn has_own(&self, interface: &InterfaceName, suffix: &str) -> bool {
        self.values.contains_key(&format!("ifconfig_{}{suffix}", variable_stem(interface)))
    }

    /// The configuration of `interface`.
    ///
    /// # Errors
    /// A call of ifconfig(8) that must fail.
    pub fn wanted(&self, interface: &InterfaceName) -> Result<Wanted, RcConfError> {
        let mut wanted = Wanted { dhcp: self.leases.get(interface.as_str()).copied(), ..Wanted::default() };
        for call in
            self.calls.iter().filter(|call| call.first().is_some_and(|name| name == interface.as_str()))
        {
            let words = arguments::without_lagg_words(call[1..].to_vec());
            let inet6 = words.first().is_some_and(|word| word == "inet6");
            wanted.ipv6 |= inet6 && words.iter().any(|word| word == "-ifdisabled");
            wanted.accept_rtadv |= inet6 && words.iter().any(|word| word == "accept_rtadv");
            if words.iter().all(|word| SWITCHES.contains(&word.as_str())) {
                continue;
            }
            let interpreted = arguments::interpret(words)
                .map_err(|problem| RcConfError { interface: interface.clone(), problem })?;
            if !wanted.configure.contains(&interpreted) {
                wanted.configure.push(interpreted);
            }
        }
        wanted.ipv6 |= self.activates_ipv6_everywhere();
        Ok(wanted)
    }
}

/// The words of calls that only bring an interface up or switch IPv6.
const SWITCHES: [&str; 6] = ["up", "inet", "inet6", "-ifdisabled", "accept_rtadv", "-no_radr"];

fn is_inet6(arguments: &IfconfigArguments) -> bool {
    arguments.words.iter().find(|word| arguments::is_address_family(word)).is_some_and(|word| word == "inet6")
}

/// As checkyesno of rc.subr.
fn is_yes(value: &str) -> bool {
    ["yes", "true", "on", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
pub(crate) mod evaluated;
#[cfg(test)]
mod tests;
