//! A machine's facts from a directory of text files, for tests and the simulated host. It never reads the
//! running system.
//!
//! `sysctl` has lines `name=value` or `name:type=value`. `ifaddrs` has lines `hn0 link 00:15:5d:01:02:03 up`,
//! `hn0 inet 10.0.0.5/24`, `hn0 inet6 fe80::1%hn0/64`. `routes` has lines `default 10.0.0.1 hn0`. `procs` has
//! processes and their mappings. Blank lines and lines that begin with `#` are ignored. Without its file a
//! machine has one loopback, no route, and the sysctls of [`sysctl`].

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use super::ifaddrs::entry_for;
use super::mount_table::unescape;
use crate::net::{DefaultRoute, Interface, InterfaceAddress, InterfaceName, Routes, StaticRoute};
use crate::vss::mounts::Mount;
use crate::vss::scan::{MappedFile, Process};

const NO_IFADDRS: &str = "lo0 link - up\nlo0 inet 127.0.0.1/8\nlo0 inet6 ::1/128\n";

/// The sysctls of a FreeBSD guest that the file does not set.
const SYSCTLS: &[(&str, &str)] = &[
    ("kern.ostype", "FreeBSD"),
    ("kern.osrelease", "14.3-RELEASE"),
    ("kern.version", "FreeBSD 14.3-RELEASE releng/14.3-n271432-8c9ce319fef7 GENERIC"),
    ("kern.osreldate", "1403000"),
    ("hw.machine", "amd64"),
    ("hw.machine_arch", "amd64"),
    ("kern.vm_guest", "hv"),
    ("machdep.bootmethod", "UEFI"),
    ("dev.vmbus.0.version", "5.3"),
];

/// The text of `DIRECTORY/name`; `None` if there is no such file.
pub(super) fn read(directory: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read(directory.join(name)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lines that are not ignored.
pub(super) fn lines(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The sysctl `name` as text: from the last line that has it, otherwise of a stock guest, otherwise `None`.
pub(super) fn sysctl(directory: &Path, name: &str) -> io::Result<Option<String>> {
    let text = read(directory, "sysctl")?.unwrap_or_default();
    let stock = || SYSCTLS.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Ok(parse_sysctl(&text, name).or_else(stock))
}

fn parse_sysctl(text: &str, name: &str) -> Option<String> {
    lines(text).rev().find_map(|line| {
        let (left, value) = line.split_once('=')?;
        let (known, kind) = left.split_once(':').map_or((left, ""), |(known, kind)| (known, kind));
        if known.trim() != name {
            return None;
        }
        Some(if kind.trim() == "hex" { hex_text(value) } else { value.trim_start().to_owned() })
    })
}

/// Text from hexadecimal digits. Values with NULs are written like this.
fn hex_text(digits: &str) -> String {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.chunks_exact(2).filter_map(pair).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The interfaces of the file `ifaddrs`.
pub(super) fn interfaces(directory: &Path) -> io::Result<Vec<Interface>> {
    let text = read(directory, "ifaddrs")?;
    let mut interfaces = parse_interfaces(text.as_deref().unwrap_or(NO_IFADDRS));
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

fn parse_interfaces(text: &str) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for line in lines(text) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
        let Ok(name) = name.parse::<InterfaceName>() else { continue };
        let count = interfaces.len();
        let interface = entry_for(&mut interfaces, name);
        if interface.index == 0 {
            interface.index = u32::try_from(count + 1).unwrap_or(u32::MAX);
            interface.loopback = interface.name.as_str().starts_with("lo");
        }
        match kind {
            "link" => set_link(interface, words),
            "inet" | "inet6" => interface.addresses.extend(words.next().and_then(address)),
            _ => {}
        }
    }
    interfaces
}

fn set_link<'a>(interface: &mut Interface, mut words: impl Iterator<Item = &'a str>) {
    interface.mac = words.next().and_then(|word| word.parse().ok());
    for word in words {
        match word.split_once('=') {
            None if word == "up" => interface.up = true,
            None if word == "down" => interface.up = false,
            Some(("index", number)) => interface.index = number.parse().unwrap_or(interface.index),
            _ => {}
        }
    }
}

/// The value of `driver=` in the line `link` with `index=INDEX`.
pub(super) fn driver_name(directory: &Path, index: u32) -> io::Result<Option<String>> {
    let text = read(directory, "ifaddrs")?.unwrap_or_default();
    let wanted = format!("index={index}");
    let mut links = lines(&text).filter(|line| line.split_whitespace().any(|word| word == wanted));
    let driver = links.find_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("driver=")));
    Ok(driver.map(str::to_owned))
}

/// Parses `10.0.0.5/24`, or `fe80::1%hn0/64` without its scope.
fn address(word: &str) -> Option<InterfaceAddress> {
    match word.split_once('%') {
        None => word.parse().ok(),
        Some((address, scope)) => {
            let prefix = scope.split_once('/').map_or(String::new(), |(_, prefix)| format!("/{prefix}"));
            format!("{address}{prefix}").parse().ok()
        }
    }
}

/// The routes through a gateway in the file `routes`, on existing interfaces.
pub(super) fn routes(directory: &Path, interfaces: &[Interface]) -> io::Result<Routes> {
    let text = read(directory, "routes")?.unwrap_or_default();
    let mut routes = Routes::default();
    for line in lines(&text) {
        match route(line, interfaces) {
            Some((None, gateway, interface)) => routes.default.push(DefaultRoute { gateway, interface }),
            Some((Some(destination), gateway, interface)) => {
                routes.statics.push(StaticRoute { destination, gateway, interface });
            }
            None => {}
        }
    }
    Ok(routes)
}

fn route(line: &str, interfaces: &[Interface]) -> Option<(Option<InterfaceAddress>, IpAddr, InterfaceName)> {
    let mut words = line.split_whitespace();
    let destination = words.next()?;
    let gateway = words.next()?.split('%').next()?.parse().ok()?;
    let name = words.next()?;
    let interface = interfaces.iter().find(|interface| interface.name.as_str() == name)?;
    let destination = match destination {
        "default" | "0.0.0.0/0" | "::/0" => None,
        network => Some(network.parse().ok()?),
    };
    Some((destination, gateway, interface.name.clone()))
}

/// The number that stat(2) would return as `st_dev` for a mount: the first half of its id.
pub(super) fn device_number(mount: &Mount) -> u64 {
    u64::from(mount.id.0[0].cast_unsigned())
}

/// The processes of the file `procs` with the files that they can store into. A slow process delays the call.
pub(super) fn mapped_files(directory: &Path, table: &[Mount]) -> io::Result<Vec<(Process, Vec<MappedFile>)>> {
    let text = read(directory, "procs")?.unwrap_or_default();
    let mut processes: Vec<(Process, Vec<MappedFile>)> = Vec::new();
    let mut gone = false;
    for line in lines(&text) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let known = match *words.as_slice() {
            ["proc", pid, comm, ref options @ ..] => process(pid, comm, options).map(|(process, is_gone)| {
                gone = is_gone;
                processes.push((process, Vec::new()));
            }),
            ["map", path, on, ref options @ ..] => on.strip_prefix("on=").and_then(|on| {
                let file = mapped_file(path, on, options, table);
                let (_, files) = processes.last_mut()?;
                files.extend(file.filter(|_| !gone));
                Some(())
            }),
            _ => None,
        };
        known.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is no line of procs"))
        })?;
    }
    Ok(processes)
}

/// A process. The second value is true if it has ended when its mappings are read.
fn process(pid: &str, comm: &str, options: &[&str]) -> Option<(Process, bool)> {
    let mut process = Process { pid: pid.parse().ok()?, jail: 0, program: unescape(comm) };
    for option in options {
        match option.split_once('=') {
            Some(("jid", number)) => process.jail = number.parse().ok()?,
            Some(("slow", number)) => std::thread::sleep(Duration::from_millis(number.parse().ok()?)),
            _ => {}
        }
    }
    Some((process, options.contains(&"gone")))
}

/// `None` for a mapping through which no file can be changed.
fn mapped_file(path: &str, on: &str, options: &[&str], table: &[Mount]) -> Option<MappedFile> {
    if options.iter().any(|option| matches!(*option, "ro" | "private" | "anon")) {
        return None;
    }
    let on = unescape(on);
    let device = table.iter().rev().find(|mount| mount.on == on).map_or(u64::MAX, device_number);
    Some(MappedFile { device, path: unescape(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_of_a_sysctl_wins_and_types_are_read() {
        let text =
            "# a comment\nhw.hn.vflist=mce0\n a.b:str= 12 x\nhw.hn.vflist=mce1\n1.14.7.9:hex=61 0062\n";
        assert_eq!(parse_sysctl(text, "hw.hn.vflist").as_deref(), Some("mce1"));
        assert_eq!(parse_sysctl(text, "a.b").as_deref(), Some("12 x"));
        assert_eq!(parse_sysctl(text, "1.14.7.9").as_deref(), Some("a\0b"));
        assert_eq!(parse_sysctl(text, "hw.hn"), None);
    }

    #[test]
    fn interfaces_have_their_lines_together() {
        let text = "lo0 link - up\nhn0 link 00:15:5D:01:02:03 up mtu=9000 index=7\nlo0 inet 127.0.0.1/8\n\
                    hn0 inet 10.0.0.5/24\nhn0 inet6 fe80::1%hn0/64\nhn0 inet nonsense\n";
        let interfaces = parse_interfaces(text);
        assert_eq!(interfaces.len(), 2);
        assert!(interfaces[0].loopback && interfaces[0].mac.is_none());
        assert_eq!((interfaces[1].index, interfaces[1].up), (7, true));
        let addresses: Vec<_> = interfaces[1].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5/24", "fe80::1/64"]);
    }

    #[test]
    fn default_and_network_routes_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = "default 10.0.0.1 hn0\n10.20.0.0/16 10.0.0.254 hn0\nfd20::/32 fe80::9%hn0 hn0\n\
                    10.0.0.0/24 - hn0\n10.30.0.0/16 10.0.0.254 em0\n";
        fs::write(directory.path().join("routes"), text).unwrap();
        let found = routes(directory.path(), &parse_interfaces("hn0 link - up\n")).unwrap();
        assert_eq!(found.default.len(), 1);
        let texts: Vec<String> =
            found.statics.iter().map(|route| format!("{} {}", route.destination, route.gateway)).collect();
        assert_eq!(texts, ["10.20.0.0/16 10.0.0.254", "fd20::/32 fe80::9"]);
    }

    #[test]
    fn without_files_a_machine_has_a_loopback() {
        let directory = tempfile::tempdir().unwrap();
        let interfaces = interfaces(directory.path()).unwrap();
        assert_eq!(interfaces.len(), 1);
        assert!(interfaces[0].loopback);
        assert_eq!(routes(directory.path(), &interfaces).unwrap(), Routes::default());
        assert_eq!(sysctl(directory.path(), "kern.ostype").unwrap().as_deref(), Some("FreeBSD"));
        assert_eq!(sysctl(directory.path(), "hw.hn.vflist").unwrap(), None);
    }
}
