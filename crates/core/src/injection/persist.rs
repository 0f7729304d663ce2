//! Decides what is written to rc.conf(5), and whether rc(8) will make of it what the host wants. It works on
//! texts and facts; files are read and written elsewhere.

use std::net::IpAddr;

use super::rc_file::{RcFile, Value, Variable};
use super::record::Record;
use crate::kvp::ip_info::request::{Method, StaticAddresses};
use crate::net::{InterfaceAddress, InterfaceName, ParseError};
use crate::rc::{RcConf, RcConfError, Wanted, variable_stem};

/// A new rc.conf and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persisted {
    /// The file.
    pub file: RcFile,
    /// All changes that injections have made in it.
    pub record: Record,
}

/// The file and the record after an injection into `hn`.
///
/// Words of `ifconfig_IF` that mean the same with any address, such as an MTU, stay. IPv6 autoconfiguration
/// stays if the host gives no IPv6 address.
///
/// # Errors
/// A value has unsafe characters, which cannot come from typed addresses.
pub fn persist(
    hn: &InterfaceName,
    method: &Method,
    before: &RcFile,
    record: &Record,
) -> Result<Persisted, ParseError> {
    let mut editor = Editor { hn, before, record, file: before.clone(), names: Vec::new() };
    match method {
        Method::Static(given) => editor.write_static(given)?,
        Method::Dhcp => editor.write_dhcp()?,
    }
    let record = record.updated(before, &editor.file, &editor.names, method);
    Ok(Persisted { file: editor.file, record })
}

/// Words of ifconfig(8) that stay, with the number after them.
const WITH_NUMBER: [&str; 3] = ["mtu", "metric", "fib"];
/// Words that are removed, with the argument after them.
const WITH_ARGUMENT: [&str; 19] = [
    "netmask",
    "broadcast",
    "prefixlen",
    "description",
    "descr",
    "name",
    "group",
    "vhid",
    "advskew",
    "advbase",
    "pass",
    "media",
    "mediaopt",
    "mode",
    "instance",
    "ether",
    "lladdr",
    "link",
    "tunnelfib",
];
/// Capabilities and flags that stay, with and without a `-`.
const SWITCHES: [&str; 27] = [
    "rxcsum",
    "txcsum",
    "rxcsum6",
    "txcsum6",
    "tso",
    "tso4",
    "tso6",
    "lro",
    "vlanmtu",
    "vlanhwtag",
    "vlanhwfilter",
    "vlanhwtso",
    "vlanhwcsum",
    "wol",
    "wol_ucast",
    "wol_mcast",
    "wol_magic",
    "polling",
    "promisc",
    "arp",
    "staticarp",
    "stickyarp",
    "monitor",
    "toe",
    "txrtlmt",
    "mextpg",
    "netmap",
];

struct Editor<'a> {
    hn: &'a InterfaceName,
    before: &'a RcFile,
    record: &'a Record,
    file: RcFile,
    /// The variables that were examined.
    names: Vec<Variable>,
}

impl Editor<'_> {
    fn write_static(&mut self, given: &StaticAddresses) -> Result<(), ParseError> {
        let mut words = self.other_words()?;
        let mut aliases = Vec::new();
        let mut first = [None, None];
        for address in &given.addresses {
            let text = words_of(self.hn, *address);
            match &mut first[usize::from(address.address.is_ipv6())] {
                place @ None => *place = Some(text),
                Some(_) => aliases.push(text),
            }
        }
        let [ipv4, ipv6] = first;
        // It is also set without an IPv4 address, because `ifconfig_DEFAULT` would apply otherwise.
        words.insert(0, ipv4.unwrap_or_else(|| "up".to_owned()));
        self.set("", &words.join(" "))?;
        match ipv6 {
            Some(text) => self.set("_ipv6", &text)?,
            None => self.remove_static_ipv6()?,
        }
        self.replace_aliases(&aliases)?;
        for ipv4 in [true, false] {
            self.write_router(ipv4, given.gateway(ipv4))?;
        }
        Ok(())
    }

    fn write_dhcp(&mut self) -> Result<(), ParseError> {
        let words = self.other_words()?;
        let keyword = self.dhcp_keyword()?;
        self.set("", &std::iter::once(keyword).chain(words).collect::<Vec<_>>().join(" "))?;
        self.remove_static_ipv6()?;
        let gone = self.static_addresses();
        self.replace_aliases(&[])?;
        for ipv4 in [true, false] {
            // The server gives a router. One that was reached through removed addresses would hide it.
            let name = router(ipv4)?;
            let value = self.before.value(&name).unwrap_or_default();
            let address = value.split('%').next().and_then(|text| text.trim().parse::<IpAddr>().ok());
            let scoped = value.ends_with(&format!("%{}", self.hn));
            if scoped || address.is_some_and(|router| gone.iter().any(|address| address.reaches(router))) {
                self.file.remove(&name);
            }
            self.forget_router(ipv4)?;
        }
        Ok(())
    }

    fn variable(&self, suffix: &str) -> Result<Variable, ParseError> {
        Variable::new(&format!("ifconfig_{}{suffix}", variable_stem(self.hn)))
    }

    fn set(&mut self, suffix: &str, value: &str) -> Result<(), ParseError> {
        let name = self.variable(suffix)?;
        self.file.set(&name, &Value::new(value)?);
        self.names.push(name);
        Ok(())
    }

    fn remove(&mut self, name: Variable) {
        self.file.remove(&name);
        self.names.push(name);
    }

    /// The words of `ifconfig_IF` that mean the same with any address. Of the other words some take an
    /// argument, and ifconfig(8) would refuse the whole line at the next boot if one lost its argument.
    fn other_words(&self) -> Result<Vec<String>, ParseError> {
        let value = self.before.value(&self.variable("")?).unwrap_or_default();
        let mut words = value.split_whitespace();
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            if WITH_NUMBER.contains(&word) {
                let number = words.next().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                kept.extend(number.into_iter().flat_map(|number| [word.to_owned(), number.to_owned()]));
            } else if WITH_ARGUMENT.contains(&word) {
                // The argument could look like a word that stays.
                words.next();
            } else if SWITCHES.contains(&word.strip_prefix('-').unwrap_or(word)) {
                kept.push(word.to_owned());
            }
        }
        Ok(kept)
    }

    /// The DHCP keyword of now, or from before the first injection: SYNCDHCP makes the boot wait.
    fn dhcp_keyword(&self) -> Result<String, ParseError> {
        let name = self.variable("")?;
        let mut texts = vec![self.before.value(&name).unwrap_or_default()];
        for change in self.record.variables.iter().filter(|change| change.name == name) {
            let old = change.old.iter().map(|line| RcFile::new(line.text.clone().into_bytes()));
            texts.extend(old.filter_map(|old| old.value(&name)));
        }
        let mut words = texts.iter().flat_map(|text| text.split_whitespace());
        Ok(words.find(|word| is_dhcp(word)).unwrap_or("DHCP").to_owned())
    }

    /// Autoconfigured addresses did not come from the host, so they stay.
    fn remove_static_ipv6(&mut self) -> Result<(), ParseError> {
        let name = self.variable("_ipv6")?;
        let value = self.before.value(&name).unwrap_or_default();
        let autoconfigures = value.split_whitespace().any(|word| word == "accept_rtadv");
        if autoconfigures && !value.split_whitespace().any(is_address) {
            return Ok(());
        }
        if autoconfigures {
            return self.set("_ipv6", "inet6 accept_rtadv");
        }
        self.remove(name);
        Ok(())
    }

    /// Writes the aliases from 0 on without a gap, because rc(8) may stop at one. Those of carp(4) follow the
    /// host's. Others are removed.
    fn replace_aliases(&mut self, aliases: &[String]) -> Result<(), ParseError> {
        let shared = self.carp_aliases();
        let all = aliases.iter().chain(&shared);
        for (number, alias) in all.clone().enumerate() {
            self.set(&format!("_alias{number}"), alias)?;
        }
        let keep: Vec<Variable> = (0..all.count())
            .map(|number| self.variable(&format!("_alias{number}")))
            .collect::<Result<_, _>>()?;
        let prefix = format!("ifconfig_{}_alias", variable_stem(self.hn));
        for name in self.before.variables() {
            let rest = name.as_str().strip_prefix(&prefix);
            let numbered = rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            if (numbered || rest == Some("es")) && !keep.contains(&name) {
                self.remove(name);
            }
        }
        for list in ["ipv4_addrs", "ipv6_prefix"] {
            self.remove(Variable::new(&format!("{list}_{}", variable_stem(self.hn)))?);
        }
        Ok(())
    }

    /// The values of aliases with a vhid, by number. Such an address belongs to a group of nodes, not to the
    /// host.
    fn carp_aliases(&self) -> Vec<String> {
        let prefix = format!("ifconfig_{}_alias", variable_stem(self.hn));
        let mut found: Vec<(u32, String)> = Vec::new();
        for name in self.before.variables() {
            let number = name.as_str().strip_prefix(&prefix).and_then(|rest| rest.parse().ok());
            if let (Some(number), Some(value)) = (number, self.before.value(&name))
                && value.split_whitespace().any(|word| word == "vhid")
                && found.iter().all(|(known, _)| *known != number)
            {
                found.push((number, value));
            }
        }
        found.sort();
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// A router is only replaced by another one. A router that an earlier injection wrote is removed.
    fn write_router(&mut self, ipv4: bool, gateway: Option<IpAddr>) -> Result<(), ParseError> {
        let Some(gateway) = gateway else { return self.forget_router(ipv4) };
        let name = router(ipv4)?;
        self.file.set(&name, &Value::new(&persisted_router(self.hn, gateway))?);
        self.names.push(name);
        Ok(())
    }

    fn forget_router(&mut self, ipv4: bool) -> Result<(), ParseError> {
        let name = router(ipv4)?;
        if self.record.still_written(self.before, &name).is_some() {
            self.file.remove(&name);
        }
        self.names.push(name);
        Ok(())
    }

    /// The addresses of the interface in the file.
    fn static_addresses(&self) -> Vec<InterfaceAddress> {
        let prefix = format!("ifconfig_{}", variable_stem(self.hn));
        let own = |name: &Variable| {
            name.as_str().strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let values =
            self.before.variables().into_iter().filter(own).filter_map(|name| self.before.value(&name));
        values.flat_map(|value| addresses_in(&value)).collect()
    }
}

/// The router for rc.conf(5). A link-local one needs its interface, which is always hn at boot.
fn persisted_router(hn: &InterfaceName, gateway: IpAddr) -> String {
    match gateway {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{hn}"),
        other => other.to_string(),
    }
}

fn router(ipv4: bool) -> Result<Variable, ParseError> {
    Variable::new(if ipv4 { "defaultrouter" } else { "ipv6_defaultrouter" })
}

/// The words of ifconfig(8) that set an address.
fn words_of(hn: &InterfaceName, address: InterfaceAddress) -> String {
    let family = if address.address.is_ipv4() { "inet" } else { "inet6" };
    let scope =
        if address.address.is_ipv6() && address.is_link_local() { format!("%{hn}") } else { String::new() };
    format!("{family} {}{scope}/{}", address.address, address.prefix)
}

fn is_dhcp(word: &str) -> bool {
    ["DHCP", "SYNCDHCP", "NOSYNCDHCP"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn is_address(word: &str) -> bool {
    let address = word.split(['/', '%']).next().unwrap_or_default();
    address.parse::<IpAddr>().is_ok()
}

/// The addresses with a prefix length or a mask. Others are left out.
fn addresses_in(value: &str) -> Vec<InterfaceAddress> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let find = |(place, word): (usize, &&str)| {
        if word.contains('/') {
            return word.parse().ok();
        }
        let address: IpAddr = word.parse().ok()?;
        let option = words.get(place + 2)?;
        let prefix = match words.get(place + 1) {
            Some(&"netmask") => crate::net::ipv4_prefix(option.parse().ok()?)?,
            Some(&"prefixlen") => option.parse().ok().filter(|prefix| *prefix <= 128)?,
            _ => return None,
        };
        Some(InterfaceAddress { address, prefix })
    };
    words.iter().enumerate().filter_map(find).collect()
}

/// rc(8) would configure something else than the host wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{difference}, because another file or line of rc.conf overrides what was written")]
pub struct Mismatch {
    /// The difference.
    pub difference: Difference,
}

/// A difference at the next boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A value cannot be read.
    #[error(transparent)]
    Value(RcConfError),
    /// The addresses that rc(8) would set.
    #[error("at the next boot the addresses would be other ones:{}", list(.0))]
    Addresses(Vec<InterfaceAddress>),
    /// Whether dhclient(8) would serve the interface.
    #[error("at the next boot dhclient would {}serve the interface", if *.0 { "" } else { "not " })]
    Dhcp(bool),
    /// The default router of a family, as rc(8) would set it.
    #[error("at the next boot {name} would be {value:?}")]
    Router {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

impl From<Difference> for Mismatch {
    fn from(difference: Difference) -> Self {
        Self { difference }
    }
}

fn list(addresses: &[InterfaceAddress]) -> String {
    addresses.iter().map(|address| format!(" {address}")).collect()
}

/// The addresses that rc(8) would set, without those of carp(4).
fn own_addresses(wanted: &Wanted) -> Vec<InterfaceAddress> {
    let own = wanted.configure.iter().filter(|arguments| arguments.words.iter().all(|word| word != "vhid"));
    own.filter_map(|arguments| arguments.address).collect()
}

/// What rc(8) would make of an interface, as a method. `None` if a value cannot be read, or no variable is
/// set.
#[must_use]
pub fn method_of(hn: &InterfaceName, rc_conf: &RcConf) -> Option<Method> {
    let wanted = rc_conf.wanted(hn).ok()?;
    if wanted.dhcp.is_some() {
        return Some(Method::Dhcp);
    }
    let addresses = own_addresses(&wanted);
    let router = |ipv4| rc_conf.default_router(ipv4)?.split('%').next()?.parse::<IpAddr>().ok();
    let reached = |router: &IpAddr| {
        let link_local = matches!(router, IpAddr::V6(v6) if v6.is_unicast_link_local());
        link_local || addresses.iter().any(|address| address.reaches(*router))
    };
    let gateways = [true, false].into_iter().filter_map(router).filter(reached).collect();
    (!addresses.is_empty()).then_some(Method::Static(StaticAddresses {
        addresses,
        gateways,
        name_servers: Vec::new(),
    }))
}

/// Compares the configuration that rc(8) read, after all files and conditions, with the host's. If a lagg
/// replaces `hn`, the configuration of the lagg is compared.
///
/// # Errors
/// [`Mismatch`].
pub fn check(
    hn: &InterfaceName,
    lagg: Option<&InterfaceName>,
    method: &Method,
    rc_conf: &RcConf,
) -> Result<(), Mismatch> {
    let wanted = match lagg {
        Some(lagg) => rc_conf.wanted_for_lagg(lagg, hn),
        None => rc_conf.wanted(hn),
    };
    let wanted = wanted.map_err(Difference::Value)?;
    let dhcp = matches!(method, Method::Dhcp);
    if wanted.dhcp.is_some() != dhcp {
        return Err(Difference::Dhcp(!dhcp).into());
    }
    let found = own_addresses(&wanted);
    let given = match method {
        Method::Dhcp => &[][..],
        Method::Static(given) => &given.addresses,
    };
    if found.len() != given.len() || !given.iter().all(|address| found.contains(address)) {
        return Err(Difference::Addresses(found).into());
    }
    let Method::Static(given) = method else { return Ok(()) };
    for (ipv4, name) in [(true, "defaultrouter"), (false, "ipv6_defaultrouter")] {
        let value = rc_conf.value(name).unwrap_or_default();
        if given.gateway(ipv4).is_some_and(|gateway| persisted_router(hn, gateway) != value) {
            return Err(Difference::Router { name, value: value.to_owned() }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
