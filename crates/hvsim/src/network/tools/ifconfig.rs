//! ifconfig(8). It parses the words; `kernel` makes the changes, and `print` the output.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | an address family counts as the first word, also behind `create`; a later one is taken for an address | `sbin/ifconfig/ifconfig.c:1174 (ifconfig_ioctl)`, `sbin/ifconfig/ifconfig.c:1193 (ifconfig_ioctl)` | `a_family_is_accepted_only_directly_after_create` |
//! | `create` of a name without number prints the name of the new interface | `sbin/ifconfig/ifclone.c:142 (ifclonecreate)`, `sbin/ifconfig/ifconfig.c:422 (printifnamemaybe)` | `a_generic_create_prints_the_name` |
//! | a refused port is reported, the other words are applied, and the status is 1 | `sbin/ifconfig/iflagg.c:50 (setlaggport)` | `a_refused_port_is_reported_and_other_words_apply` |
//! | flags of neighbour discovery need the family inet6, and a failure is a warning | `sbin/ifconfig/af_nd6.c:81 (setnd6flags)` | `flags_of_neighbour_discovery_need_their_family` |
//! | an IPv4 address without `alias` replaces the first one | `sbin/ifconfig/ifconfig.c:1255 (setifaddr)`, `sbin/ifconfig/ifconfig.c:1232 (ifconfig_ioctl)` | `addresses_are_added_replaced_and_removed` |
//! | `-alias` without an address removes the first IPv4 address, and succeeds where there is none | `sbin/ifconfig/ifconfig.c:1356 (notealias)`, `sbin/ifconfig/ifconfig.c:1062 (delifaddr)` | `removing_an_alias_without_address_succeeds_since_14` |
//! | settings of carp(4) need a vhid before them; the key is shown with `-k` only | `sbin/ifconfig/carp.c:150 (setcarp_passwd)`, `sbin/ifconfig/carp.c:85 (carp_status)` | `carp_needs_a_vhid_and_shows_its_key_on_request` |
//! | an IPv6 address is shown with its flags: tentative, duplicated, deprecated, autoconf, temporary, in this order | `sbin/ifconfig/af_inet6.c:256 (print_flags)` | `flags_of_an_ipv6_address_are_shown_in_their_order` |

use std::io;
use std::net::IpAddr;

use hv_core::net::ipv4_prefix;
use nix::errno::Errno;

use super::{Outcome, print, strerror};
use crate::network::root::Root;
use crate::network::state::{Address, Carp, Nd6, State};

/// Capabilities of drivers that are switched by name. They have no effect here.
const CAPABILITIES: [&str; 12] = [
    "rxcsum",
    "txcsum",
    "rxcsum6",
    "txcsum6",
    "tso",
    "tso4",
    "tso6",
    "lro",
    "vlanhwtag",
    "vlanmtu",
    "vlanhwfilter",
    "vlanhwtso",
];

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mut only_names, mut only_up, mut keys, mut all) = (false, false, false, false);
    while let Some(option) = words.first().filter(|word| word.starts_with('-') && word.len() > 1).copied() {
        words.remove(0);
        all |= option == "-a";
        match option {
            "-a" | "-n" | "-v" | "-u" | "-d" => {}
            "-k" => keys = true,
            "-g" => {
                let Some(group) = words.first().copied() else { return Ok(usage()) };
                let state = root.read()?;
                return Ok(Outcome::ok(match all {
                    true => print::group(&state, group, keys),
                    false => print::group_names(&state, group),
                }));
            }
            "-l" => only_names = true,
            "-ul" => (only_names, only_up) = (true, true),
            _ => return Ok(usage()),
        }
    }
    if only_names {
        let mut state = root.read()?;
        state.interfaces.retain(|_, interface| interface.up || !only_up);
        return Ok(Outcome::ok(print::names(&state)));
    }
    let Some((name, words)) = words.split_first() else {
        return Ok(Outcome::ok(print::all(&look(root)?, keys)));
    };
    if words.is_empty() {
        let state = look(root)?;
        return Ok(match state.interfaces.get(*name) {
            Some(interface) => Outcome::ok(print::one(&state, name, interface, keys)),
            None => missing(name),
        });
    }
    root.change(|state| Run::new(state, name).perform(words))
}

/// The state for the output. It counts a look at the tentative addresses.
fn look(root: &Root) -> io::Result<State> {
    let state = root.read()?;
    if state
        .interfaces
        .values()
        .flat_map(|interface| &interface.addresses)
        .any(|held| held.flags.tentative > 0)
    {
        root.change(State::look_at_tentative)?;
    }
    Ok(state)
}

fn usage() -> Outcome {
    Outcome {
        err: "usage: ifconfig [-f type:format] interface address_family\n".to_owned(),
        status: 1,
        ..Outcome::default()
    }
}

fn missing(name: &str) -> Outcome {
    Outcome::failed(format!("ifconfig: interface {name} does not exist"))
}

/// One run that changes something. Changes before an error stay.
struct Run<'a> {
    state: &'a mut State,
    name: String,
    inet6: bool,
    /// The address in the words, and whether `alias` or `-alias` belongs to it.
    address: Option<Address>,
    prefix_given: bool,
    alias: Option<bool>,
    /// The settings of a vhid, if the words have one.
    carp: Option<Carp>,
    outcome: Outcome,
}

/// The message with which the program ends.
struct Stop(String);

impl<'a> Run<'a> {
    fn new(state: &'a mut State, name: &str) -> Self {
        let name = name.to_owned();
        let outcome = Outcome::default();
        Self {
            state,
            name,
            inet6: false,
            address: None,
            prefix_given: false,
            alias: None,
            carp: None,
            outcome,
        }
    }

    fn perform(mut self, words: &[&str]) -> Outcome {
        let result = self.dispatch(words);
        if let Err(Stop(text)) = result {
            self.outcome.err += &format!("ifconfig: {text}\n");
            self.outcome.status = 1;
        }
        self.outcome
    }

    fn dispatch(&mut self, words: &[&str]) -> Result<(), Stop> {
        let exists = self.state.interfaces.contains_key(&self.name);
        match (words[0], exists) {
            ("create" | "plumb", true) => Err(Stop(format!("interface {} already exists", self.name))),
            ("create" | "plumb", false) => self.create(&words[1..]),
            (_, false) => Err(Stop(format!("interface {} does not exist", self.name))),
            (_, true) => self.parameters(words),
        }
    }

    fn create(&mut self, words: &[&str]) -> Result<(), Stop> {
        let generic = self.name == "lagg";
        if generic {
            let free = (0..)
                .map(|unit| format!("lagg{unit}"))
                .find(|name| !self.state.interfaces.contains_key(name));
            self.name = free.unwrap_or_default();
        }
        let created = match cloner(&self.name) {
            Some("lagg") => self.state.create_lagg(&self.name),
            Some(kind @ ("bridge" | "vlan")) => self.state.create_clone(&self.name, kind),
            _ => Err(Errno::EINVAL),
        };
        created.map_err(|errno| Stop(format!("SIOCIFCREATE2 ({}): {}", self.name, strerror(errno))))?;
        if generic {
            self.outcome.out = format!("{}\n", self.name);
        }
        if words.is_empty() { Ok(()) } else { self.parameters(words) }
    }

    /// An address family is recognised only as the first word here. Later it is taken for an address.
    fn parameters(&mut self, words: &[&str]) -> Result<(), Stop> {
        let mut words = words;
        if let Some(family) =
            words.first().filter(|word| matches!(**word, "inet" | "inet6" | "ether" | "link"))
        {
            self.inet6 = *family == "inet6";
            let link = matches!(*family, "ether" | "link");
            words = &words[1..];
            if link {
                return self.set_mac(words);
            }
        }
        while let Some((word, rest)) = words.split_first() {
            let taken = self.parameter(word, rest)?;
            words = rest.get(taken..).unwrap_or_default();
        }
        self.apply_address()
    }

    /// Handles one word. Returns how many of the following words belong to it.
    fn parameter(&mut self, word: &str, rest: &[&str]) -> Result<usize, Stop> {
        let capability = word.strip_prefix('-').unwrap_or(word);
        if CAPABILITIES.contains(&capability) {
            return Ok(0);
        }
        match word {
            "up" | "down" => {
                self.kernel("SIOCSIFFLAGS", |state, name| state.set_up(name, word == "up")).map(|()| 0)
            }
            "alias" | "add" => {
                self.alias = Some(true);
                Ok(0)
            }
            "-alias" | "delete" | "remove" => {
                self.alias = Some(false);
                Ok(0)
            }
            "destroy" => self.kernel("SIOCIFDESTROY", State::destroy).map(|()| 0),
            "-description" | "-descr" => self.describe(""),
            "accept_rtadv" | "-accept_rtadv" | "auto_linklocal" | "-auto_linklocal" | "ifdisabled"
            | "-ifdisabled" | "no_dad" | "-no_dad" => self.nd6_flag(word),
            "netmask" | "prefixlen" | "broadcast" | "mtu" | "description" | "descr" | "group" | "-group"
            | "vhid" | "pass" | "advskew" | "advbase" | "addm" | "vlan" | "vlandev" | "name"
            | "laggproto" | "laggport" | "-laggport" | "metric" | "media" | "mediaopt" => {
                let Some(value) = rest.first() else {
                    return Err(Stop(format!("'{word}' requires argument")));
                };
                self.parameter_with_value(word, value).map(|()| 1)
            }
            _ => self.set_address(word).map(|()| 0),
        }
    }

    fn parameter_with_value(&mut self, word: &str, value: &str) -> Result<(), Stop> {
        match word {
            "netmask" => self.set_prefix(read_mask(value), value),
            "prefixlen" => self.set_prefix(value.parse().ok(), value),
            "mtu" => {
                let mtu = value.parse().map_err(|_| Stop(format!("{value}: bad value")))?;
                self.kernel("SIOCSIFMTU (set mtu)", |state, name| state.set_mtu(name, mtu))
                    .map_err(|Stop(text)| Stop(text.replacen("SIOCSIFMTU", "ioctl SIOCSIFMTU", 1)))
            }
            "description" | "descr" => self.describe(value).map(drop),
            "group" if value.ends_with(|c: char| c.is_ascii_digit()) => {
                Err(Stop("setifgroup: group names may not end in a digit".to_owned()))
            }
            "group" => self.kernel("SIOCAIFGROUP", |state, name| {
                let groups = &mut state.interface(name)?.groups;
                if !groups.iter().any(|group| group == value) {
                    groups.push(value.to_owned());
                }
                Ok(())
            }),
            "-group" => self.kernel("SIOCDIFGROUP", |state, name| {
                state.interface(name)?.groups.retain(|group| group != value);
                Ok(())
            }),
            "name" => self.rename(value),
            "vhid" => {
                let vhid = value.parse().ok().filter(|vhid| *vhid > 0);
                let vhid =
                    vhid.ok_or_else(|| Stop("vhid must be greater than 0 and less than 255".to_owned()))?;
                let mut held = self.state.interfaces.get(&self.name).into_iter().flat_map(|held| &held.carp);
                let known = held.find(|carp| carp.vhid == vhid).cloned();
                self.carp = Some(known.unwrap_or(Carp { vhid, advbase: 1, ..Carp::default() }));
                Ok(())
            }
            "pass" | "advskew" | "advbase" => self.set_carp(word, value),
            "addm" => self.kernel("BRDGADD", |state, name| {
                state.interface(value)?;
                state.interface(name)?.members.push(value.to_owned());
                Ok(())
            }),
            "vlandev" => self.kernel("SIOCSETVLAN", |state, name| {
                let mac = state.interface(value)?.mac.clone();
                let vlan = state.interface(name)?;
                (vlan.vlan_parent, vlan.mac) = (Some(value.to_owned()), mac);
                Ok(())
            }),
            "laggproto" => self.set_protocol(value),
            "laggport" => {
                self.add_port(value);
                Ok(())
            }
            "-laggport" => self.kernel("SIOCSLAGGDELPORT", |state, name| state.remove_port(name, value)),
            _ => Ok(()),
        }
    }

    fn kernel(
        &mut self,
        call: &str,
        change: impl FnOnce(&mut State, &str) -> Result<(), Errno>,
    ) -> Result<(), Stop> {
        change(self.state, &self.name).map_err(|errno| Stop(format!("{call}: {}", strerror(errno))))
    }

    fn describe(&mut self, text: &str) -> Result<usize, Stop> {
        self.kernel("ioctl (set descr)", |state, name| {
            text.clone_into(&mut state.interface(name)?.description);
            Ok(())
        })?;
        Ok(0)
    }

    fn rename(&mut self, new: &str) -> Result<(), Stop> {
        self.kernel("ioctl SIOCSIFNAME (set name)", |state, name| state.rename(name, new))?;
        self.outcome.out += &format!("{new}\n");
        new.clone_into(&mut self.name);
        Ok(())
    }

    fn set_mac(&mut self, words: &[&str]) -> Result<(), Stop> {
        let Some(mac) = words.first() else { return Ok(()) };
        let mac: hv_core::net::MacAddress = mac.parse().map_err(|_| Stop(format!("{mac}: bad value")))?;
        self.kernel("SIOCSIFLLADDR", |state, name| {
            state.interface(name)?.mac = Some(mac.to_string());
            Ok(())
        })
    }

    fn set_protocol(&mut self, protocol: &str) -> Result<(), Stop> {
        if !matches!(protocol, "failover" | "lacp" | "loadbalance" | "roundrobin" | "broadcast" | "none") {
            return Err(Stop(format!("Invalid aggregation protocol: {protocol}")));
        }
        self.kernel("SIOCSLAGG", |state, name| {
            protocol.clone_into(&mut state.interface(name)?.lagg.as_mut().ok_or(Errno::EINVAL)?.protocol);
            Ok(())
        })
    }

    /// Adds a port. If it is refused, the program prints an error, applies the other words, and exits with
    /// status 1.
    fn add_port(&mut self, port: &str) {
        match self.state.add_port(&self.name, port) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => {
                self.outcome.err +=
                    &format!("ifconfig: {} {port}: SIOCSLAGGPORT: {}\n", self.name, strerror(errno));
                self.outcome.status = 1;
            }
        }
    }

    /// Changes a flag. It needs the family inet6, and an error is only a warning.
    fn nd6_flag(&mut self, word: &str) -> Result<usize, Stop> {
        if !self.inet6 {
            self.outcome.err += "ifconfig: ioctl(SIOCGIFINFO_IN6): Invalid argument\n";
            return Ok(0);
        }
        let on = !word.starts_with('-');
        self.kernel("ioctl(SIOCSIFINFO_IN6)", |state, name| {
            state.set_nd6(name, |nd6| *flag(nd6, word.trim_start_matches('-')) = on)
        })?;
        Ok(0)
    }

    fn set_address(&mut self, word: &str) -> Result<(), Stop> {
        let (text, prefix) = word.split_once('/').map_or((word, None), |(text, prefix)| (text, Some(prefix)));
        let ip: Option<IpAddr> = text.split('%').next().and_then(|text| text.parse().ok());
        let Some(ip) = ip.filter(|ip| ip.is_ipv6() == self.inet6 && self.address.is_none()) else {
            return Err(Stop(format!("{word}: bad value")));
        };
        let prefix = prefix
            .map(|digits| digits.parse().map_err(|_| Stop(format!("{word}: bad value"))))
            .transpose()?;
        self.prefix_given = prefix.is_some();
        self.address = Some(Address::of(ip, prefix.unwrap_or(default_prefix(ip))));
        Ok(())
    }

    fn set_prefix(&mut self, prefix: Option<u8>, text: &str) -> Result<(), Stop> {
        let prefix = prefix.ok_or_else(|| Stop(format!("{text}: bad value")))?;
        if let Some(address) = &mut self.address {
            address.prefix = prefix;
        }
        self.prefix_given = true;
        Ok(())
    }

    fn apply_address(&mut self) -> Result<(), Stop> {
        match (self.alias, self.address) {
            (Some(false), Some(address)) => {
                self.kernel("ioctl (SIOCDIFADDR)", |state, name| state.remove_address(name, address.ip))
            }
            (Some(false), None) => self.remove_first(),
            (_, None) => Ok(()),
            (alias, Some(address)) => {
                if address.ip.is_ipv4() && !self.prefix_given {
                    self.outcome.err += "ifconfig: WARNING: setting interface address without mask is deprecated,\n\
                         default mask may not be correct.\n";
                }
                if alias.is_none() && address.ip.is_ipv4() {
                    self.replace_first();
                }
                self.kernel("ioctl (SIOCAIFADDR)", |state, name| state.add_address(name, address))?;
                match self.carp.take() {
                    Some(carp) => {
                        self.kernel("SIOCSVH", |state, name| state.set_vhid(name, address.ip, carp))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Sets a property of a vhid, which must come before it (sbin/ifconfig/carp.c).
    fn set_carp(&mut self, word: &str, value: &str) -> Result<(), Stop> {
        let Some(carp) = &mut self.carp else {
            return Err(Stop(format!("{} requires vhid", if word == "pass" { "passwd" } else { word })));
        };
        match word {
            "pass" => value.clone_into(&mut carp.key),
            "advskew" => carp.advskew = value.parse().unwrap_or_default(),
            _ => carp.advbase = value.parse().unwrap_or_default(),
        }
        Ok(())
    }

    fn first_ipv4(&self) -> Option<IpAddr> {
        let mut held = self.state.interfaces.get(&self.name)?.addresses.iter();
        held.find(|held| held.ip.is_ipv4()).map(|held| held.ip)
    }

    /// An IPv4 address that is set without `alias` replaces the first one.
    fn replace_first(&mut self) {
        if let Some(first) = self.first_ipv4() {
            // It exists.
            let _ = self.state.remove_address(&self.name, first);
        }
    }

    /// Removes an address. Without a given one it is the first IPv4 address; 14 and later succeed if there is
    /// none.
    fn remove_first(&mut self) -> Result<(), Stop> {
        match self.first_ipv4() {
            Some(first) => {
                self.kernel("ioctl (SIOCDIFADDR)", |state, name| state.remove_address(name, first))
            }
            None if self.state.release >= 14 => Ok(()),
            None => Err(Stop(format!("ioctl (SIOCDIFADDR): {}", strerror(Errno::EADDRNOTAVAIL)))),
        }
    }
}

/// The cloner in a name: its letters, if a number follows.
fn cloner(name: &str) -> Option<&str> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (kind.len() < name.len()).then_some(kind)
}

fn flag<'a>(nd6: &'a mut Nd6, word: &str) -> &'a mut bool {
    match word {
        "accept_rtadv" => &mut nd6.accept_rtadv,
        "auto_linklocal" => &mut nd6.auto_linklocal,
        "no_dad" => &mut nd6.no_dad,
        _ => &mut nd6.disabled,
    }
}

fn default_prefix(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V6(_) => 64,
        IpAddr::V4(v4) => match v4.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        },
    }
}

fn read_mask(text: &str) -> Option<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => ipv4_prefix(u32::from_str_radix(digits, 16).ok()?.into()),
        None => ipv4_prefix(text.parse().ok()?),
    }
}

#[cfg(test)]
mod tests;
