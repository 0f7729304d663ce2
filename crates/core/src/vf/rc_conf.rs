//! rc.conf(5) as rc(8) reads it: a shell script, so the shell reads it.
//!
//! One fixed snippet sources rc.subr and network.subr, loads what rc.d/netif loads, and prints the raw values of the
//! variables that configure an interface. Everything else is decided here, so the snippet starts no further process:
//! the getters of network.subr would start several each.

use std::collections::BTreeMap;

use super::arguments::{self, ArgumentError, split_words};
use crate::net::InterfaceName;
use crate::plan::network::IfconfigArguments;

/// What `sh -c` runs. Arguments: the name of the shell, rc.subr, network.subr, then interfaces, whose names must be
/// letters and digits. Prints `name=value` records that end in NUL; what rc.conf itself prints stays in front of the
/// first NUL.
///
/// `load_rc_config network` comes first: values in rc.conf.d/network are invisible to whoever only loads netif.
pub const SNIPPET: &str = r#"
. "$1"; . "$2"; shift 2
load_rc_config network
load_rc_config netif
show() {
    eval "[ -z \"\${$1+set}\" ] || printf '%s=%s\\0' \"\$1\" \"\${$1}\""
}
printf '\0'
for name in ifconfig_DEFAULT synchronous_dhclient ipv6_network_interfaces ipv6_activate_all_interfaces \
    defaultrouter ipv6_defaultrouter
do
    show "$name"
done
for interface
do
    show "ifconfig_$interface"
    show "ifconfig_${interface}_ipv6"
    show "ifconfig_${interface}_aliases"
    show "ipv4_addrs_$interface"
    number=0
    while [ "$number" -lt 512 ]
    do
        show "ifconfig_${interface}_alias$number"
        number=$((number + 1))
    done
done
"#;

/// What `sh -c` runs to learn how long a VF is left alone before it is brought up. Arguments: the name of the shell
/// and rc.subr.
pub const DELAY_SNIPPET: &str = r#"
. "$1"
load_rc_config network
load_rc_config netif
load_rc_config hyperv
printf '\0hyperv_vf_delay=%s\0' "${hyperv_vf_delay-}"
"#;

/// What `sh -c` runs to learn what one file sets. Arguments: the name of the shell, the file, variables.
pub const FILE_SNIPPET: &str = r#"
. "$1"; shift
printf '\0'
for name
do
    eval "[ -z \"\${$name+set}\" ] || printf '%s=%s\\0' \"\$name\" \"\${$name}\""
done
"#;

/// Seconds that a VF is left alone at least, and where rc.conf(5) says nothing.
pub const SHORTEST_VF_DELAY: u32 = 2;

/// The highest N of `ifconfig_IF_aliasN`, plus one.
const ALIASES: u32 = 512;

/// The variables, as rc.conf(5) sets them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcConf {
    values: BTreeMap<String, String>,
}

/// How an interface is to be configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether dhclient(8) configures it, and whether rc(8) would wait for the lease.
    pub dhcp: Option<Lease>,
    /// Runs of ifconfig(8), in order.
    pub configure: Vec<IfconfigArguments>,
    /// Whether it takes part in IPv6.
    pub ipv6: bool,
    /// Whether it autoconfigures from router advertisements.
    pub accept_rtadv: bool,
}

impl Wanted {
    /// Whether it sets an IPv4 address or gets one by DHCP.
    #[must_use]
    pub fn decides_ipv4(&self) -> bool {
        self.dhcp.is_some() || self.configure.iter().any(sets_ipv4)
    }
}

/// A host name stands for an address, too.
fn sets_ipv4(arguments: &IfconfigArguments) -> bool {
    let named = || arguments.words.iter().skip_while(|word| *word != "inet").nth(1).is_some();
    arguments.address.map_or_else(named, |address| address.address.is_ipv4())
}

/// Whether the lease is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// SYNCDHCP.
    Awaited,
    /// DHCP, NOSYNCDHCP.
    InBackground,
}

/// A value that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {variable} of rc.conf: {problem}")]
pub struct RcConfError {
    variable: String,
    problem: ArgumentError,
}

impl RcConf {
    /// Reads what a snippet printed.
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let records = text.split('\0').skip(1).filter_map(|record| record.split_once('='));
        Self { values: records.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// The variable, if it is set at all.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Seconds to wait before a VF is brought up: `hyperv_vf_delay`, at least 2, and 2 where it is no number.
    #[must_use]
    pub fn vf_delay(&self) -> u32 {
        let seconds = self.value("hyperv_vf_delay").and_then(|text| text.trim().parse().ok());
        seconds.unwrap_or(SHORTEST_VF_DELAY).max(SHORTEST_VF_DELAY)
    }

    /// Whether IPv6 is on where nothing else is said.
    #[must_use]
    pub fn activates_ipv6_everywhere(&self) -> bool {
        self.value("ipv6_activate_all_interfaces").is_some_and(is_yes)
    }

    /// How the lagg that takes the place of `hn` is to be configured: by its own variables where they give it addresses,
    /// else by those of `hn`, with what the lagg's set besides, such as an MTU.
    ///
    /// # Errors
    /// A value that rc(8) would hand to a shell and that is more than plain words.
    pub fn wanted_for_lagg(&self, lagg: &InterfaceName, hn: &InterfaceName) -> Result<Wanted, RcConfError> {
        let own = self.own(lagg)?;
        if own.as_ref().is_some_and(Wanted::decides_ipv4) {
            return Ok(own.unwrap_or_default());
        }
        let mut wanted = self.wanted(hn)?;
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

    /// Whether the administrator has given the lagg a configuration of its own for a family, so that nothing of hn's counts.
    ///
    /// # Errors
    /// As for [`Self::wanted_for_lagg`].
    pub fn lagg_decides(&self, lagg: &InterfaceName, ipv4: bool) -> Result<bool, RcConfError> {
        let decides = self.own(lagg)?.as_ref().is_some_and(Wanted::decides_ipv4);
        Ok(decides || (!ipv4 && self.has_own(lagg, "_ipv6")))
    }

    /// What `ifconfig_IF` and its aliases say, where the variable is set.
    fn own(&self, interface: &InterfaceName) -> Result<Option<Wanted>, RcConfError> {
        self.has_own(interface, "").then(|| self.wanted(interface)).transpose()
    }

    /// How `interface` is to be configured.
    ///
    /// # Errors
    /// A value that rc(8) would hand to a shell and that is more than plain words.
    pub fn wanted(&self, interface: &InterfaceName) -> Result<Wanted, RcConfError> {
        let mut wanted = Wanted::default();
        self.read_main(interface, &mut wanted)?;
        self.read_ipv6(interface, &mut wanted)?;
        let uses_ipv6 = wanted.ipv6;
        let aliases = self.aliases(interface)?;
        let takes = |arguments: &IfconfigArguments| uses_ipv6 || !is_inet6(arguments);
        wanted.configure.extend(aliases.into_iter().filter(takes));
        wanted.ipv6 = uses_ipv6 || self.activates_ipv6_everywhere();
        Ok(wanted)
    }

    fn has_own(&self, interface: &InterfaceName, suffix: &str) -> bool {
        self.values.contains_key(&format!("ifconfig_{interface}{suffix}"))
    }

    /// `ifconfig_IF`: keywords for rc(8) and arguments for ifconfig(8).
    fn read_main(&self, interface: &InterfaceName, wanted: &mut Wanted) -> Result<(), RcConfError> {
        let own = format!("ifconfig_{interface}");
        let variable = if self.values.contains_key(&own) { own.as_str() } else { "ifconfig_DEFAULT" };
        let (keywords, words) = arguments::separate_keywords(self.words(variable)?);
        wanted.dhcp = self.lease(&keywords);
        if !words.is_empty() {
            wanted.configure.push(interpret(variable, words)?);
        }
        Ok(())
    }

    /// DHCP alone means what `synchronous_dhclient` says; of several keywords the first that decides wins, as in
    /// network.subr.
    fn lease(&self, keywords: &[String]) -> Option<Lease> {
        keywords
            .iter()
            .find_map(|word| match word.to_ascii_uppercase().as_str() {
                "SYNCDHCP" => Some(Lease::Awaited),
                "NOSYNCDHCP" => Some(Lease::InBackground),
                _ => None,
            })
            .or_else(|| {
                let plain = keywords.iter().any(|word| word.eq_ignore_ascii_case("DHCP"));
                let synchronous = self.value("synchronous_dhclient").is_some_and(is_yes);
                plain.then_some(if synchronous { Lease::Awaited } else { Lease::InBackground })
            })
    }

    /// `ifconfig_IF_ipv6`. `ifconfig_DEFAULT` stands in for it too, but then only the word inet6 makes it IPv6.
    fn read_ipv6(&self, interface: &InterfaceName, wanted: &mut Wanted) -> Result<(), RcConfError> {
        if !self.allows_ipv6(interface) {
            return Ok(());
        }
        let own = format!("ifconfig_{interface}_ipv6");
        let is_own = self.values.contains_key(&own);
        let variable = if is_own { own.as_str() } else { "ifconfig_DEFAULT" };
        let (_, mut words) = arguments::separate_keywords(self.words(variable)?);
        let leading = words.first().is_some_and(|word| word == "inet6");
        if words.is_empty() || (!is_own && !leading) {
            return Ok(());
        }
        if !leading {
            // Old configurations lack the word; rc(8) supplies it for an address.
            words.insert(0, "inet6".to_owned());
        }
        wanted.ipv6 = true;
        wanted.accept_rtadv = words.iter().any(|word| word == "accept_rtadv");
        let says_no_more = words.len() == 2 && wanted.accept_rtadv;
        let is_repeated = wanted.configure.iter().any(|arguments| arguments.words == words);
        if !(says_no_more || is_repeated) {
            wanted.configure.push(interpret(variable, words)?);
        }
        Ok(())
    }

    fn allows_ipv6(&self, interface: &InterfaceName) -> bool {
        // The default in /etc/defaults/rc.conf is auto.
        self.value("ipv6_network_interfaces")
            .unwrap_or("auto")
            .split_whitespace()
            .any(|word| word.eq_ignore_ascii_case("auto") || word == interface.as_str())
    }

    /// In the order of network.subr: `ifconfig_IF_aliases`, `ifconfig_IF_aliasN` by N, `ipv4_addrs_IF`.
    fn aliases(&self, interface: &InterfaceName) -> Result<Vec<IfconfigArguments>, RcConfError> {
        let mut all = Vec::new();
        self.read_aliases(&format!("ifconfig_{interface}_aliases"), &mut all)?;
        for number in 0..ALIASES {
            let variable = format!("ifconfig_{interface}_alias{number}");
            // A variable that is set but empty ends the list; one that is not set does not.
            if self.value(&variable).is_some_and(|value| value.trim().is_empty()) {
                break;
            }
            self.read_aliases(&variable, &mut all)?;
        }
        let variable = format!("ipv4_addrs_{interface}");
        for address in self.words(&variable)? {
            add_aliases(&variable, vec!["inet".to_owned(), address], &mut all)?;
        }
        Ok(all)
    }

    /// One variable can hold several aliases, each beginning with its address family.
    fn read_aliases(&self, variable: &str, all: &mut Vec<IfconfigArguments>) -> Result<(), RcConfError> {
        let mut item: Vec<String> = Vec::new();
        for word in self.words(variable)? {
            if is_family(&word) && !item.is_empty() {
                add_aliases(variable, std::mem::take(&mut item), all)?;
            }
            if item.is_empty() && !is_family(&word) {
                item.push("inet".to_owned());
            }
            item.push(word);
        }
        if item.is_empty() { Ok(()) } else { add_aliases(variable, item, all) }
    }

    fn words(&self, variable: &str) -> Result<Vec<String>, RcConfError> {
        let value = self.value(variable).unwrap_or_default();
        split_words(value).map_err(|problem| RcConfError { variable: variable.to_owned(), problem })
    }
}

fn interpret(variable: &str, words: Vec<String>) -> Result<IfconfigArguments, RcConfError> {
    arguments::interpret(words).map_err(|problem| RcConfError { variable: variable.to_owned(), problem })
}

/// The alias of `item`, or each of a range.
fn add_aliases(
    variable: &str,
    item: Vec<String>,
    all: &mut Vec<IfconfigArguments>,
) -> Result<(), RcConfError> {
    let error = |problem| RcConfError { variable: variable.to_owned(), problem };
    for mut words in arguments::expand_range(item).map_err(error)? {
        if matches!(words.first().map(String::as_str), Some("inet" | "inet6")) {
            words.push("alias".to_owned());
        }
        all.push(interpret(variable, words)?);
    }
    Ok(())
}

fn is_family(word: &str) -> bool {
    matches!(word, "inet" | "inet6" | "link" | "ether")
}

fn is_inet6(arguments: &IfconfigArguments) -> bool {
    arguments.words.iter().find(|word| arguments::is_address_family(word)).is_some_and(|word| word == "inet6")
}

/// As checkyesno of rc.subr.
fn is_yes(value: &str) -> bool {
    ["yes", "true", "on", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests;
