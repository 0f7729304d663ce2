//! `hvsim host`: plays the host against a running server. Each command word becomes one call of the client;
//! answers are printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;
use serde::Serialize;

use super::serve::seconds;
use super::{Failure, required_dir};
use crate::client::Client;
use crate::kvp::{HostAnswer, HostRequest, HostValue, IpInfo, Item, Statistics, layout};

/// Long enough for a request that waits for one that times out.
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Arguments {
    dir: Option<PathBuf>,
    json: bool,
    expect: Option<u32>,
    limit: Option<Duration>,
    take: bool,
    kind: Option<String>,
    ip: IpInfo,
    addresses: Vec<String>,
    pause: Option<Duration>,
    words: Vec<String>,
}

pub(super) fn run(parser: lexopt::Parser) -> Result<(), Failure> {
    let arguments = parse(parser)?;
    let dir = required_dir(arguments.dir.clone())?;
    if let [kind, verb, rest @ ..] = arguments.words.as_slice()
        && kind == "vf"
    {
        return change_vf(&dir, verb, rest);
    }
    let mut words = arguments.words.iter().map(String::as_str);
    let limit = arguments.limit.unwrap_or(DEFAULT_LIMIT);
    let action = match (words.next(), words.next()) {
        (Some("vss"), Some(verb)) if verb != "unmount" && words.next().is_none() => {
            let mut client = Client::connect(&dir)?.with_limit(limit);
            return super::vss::perform(verb, &mut client, arguments.json, arguments.pause);
        }
        (Some("vss"), Some("unmount")) => {
            let (Some(on), None) = (words.next(), words.next()) else {
                return Err(Failure::Usage("vss unmount wants a mount point".to_owned()));
            };
            return super::vss::unmount(on, &mut Client::connect(&dir)?);
        }
        (Some("violations"), None) => Action::Violations,
        (Some("kvp"), Some(verb)) => kvp_action(verb, &words.collect::<Vec<_>>(), &arguments)?,
        _ => return Err(Failure::Usage("no command for the host".to_owned())),
    };
    let mut client = Client::connect(&dir)?.with_limit(limit);
    perform(action, &mut client, &arguments)
}

#[cfg(target_os = "linux")]
fn change_vf(dir: &Path, verb: &str, rest: &[String]) -> Result<(), Failure> {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    super::network::host(dir, verb, &rest)
}

#[cfg(not(target_os = "linux"))]
fn change_vf(_dir: &Path, _verb: &str, _rest: &[String]) -> Result<(), Failure> {
    Err(super::only_on_linux("vf"))
}

enum Action {
    Violations,
    Statistics,
    Detach,
    Attach,
    Enumerate(u8),
    Ask(HostRequest),
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, Failure> {
    let mut found = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => found.dir = Some(PathBuf::from(parser.value()?)),
            Long("json") => found.json = true,
            Long("expect") => found.expect = Some(status(&parser.value()?.string()?)?),
            Long("limit") => found.limit = Some(seconds(&parser.value()?.string()?)?),
            Long("take") => found.take = true,
            Long("type") => found.kind = Some(parser.value()?.string()?),
            Long("pause") => found.pause = Some(seconds(&parser.value()?.string()?)?),
            Long("dhcp") => found.ip.dhcp = true,
            Long("address") => found.addresses.push(parser.value()?.string()?),
            Long("mask") => found.ip.masks = parser.value()?.string()?,
            Long("gateway") => add_item(&mut found.ip.gateways, &parser.value()?.string()?),
            Long("dns") => add_item(&mut found.ip.name_servers, &parser.value()?.string()?),
            Value(word) => found.words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(found)
}

fn kvp_action(verb: &str, words: &[&str], arguments: &Arguments) -> Result<Action, Failure> {
    let request = match (verb, words) {
        ("statistics", []) => return Ok(Action::Statistics),
        ("detach", []) => return Ok(Action::Detach),
        ("attach", []) => return Ok(Action::Attach),
        ("enumerate", [pool]) => return Ok(Action::Enumerate(number(pool)?)),
        ("get", [pool, key]) => HostRequest::Get { pool: number(pool)?, key: (*key).to_owned() },
        ("set", [pool, key, text]) => HostRequest::Set {
            pool: number(pool)?,
            key: (*key).to_owned(),
            value: value(text, arguments.kind.as_deref())?,
        },
        ("delete", [pool, key]) => HostRequest::Delete { pool: number(pool)?, key: (*key).to_owned() },
        ("ip-info", [mac]) => HostRequest::GetIpInfo { adapter: (*mac).to_owned() },
        ("set-ip", [adapter]) => HostRequest::SetIpInfo { info: new_addresses(adapter, arguments)? },
        ("raw", [opcode, pool]) => raw(opcode, pool, "")?,
        ("raw", [opcode, pool, hex]) => raw(opcode, pool, hex)?,
        _ => return Err(Failure::Usage(format!("kvp {verb} is unknown or lacks an argument"))),
    };
    Ok(Action::Ask(request))
}

fn add_item(list: &mut String, item: &str) {
    if !list.is_empty() {
        list.push(';');
    }
    list.push_str(item);
}

/// The lists for SET_IP_INFO. With `--mask` they are sent exactly as given.
fn new_addresses(adapter: &str, arguments: &Arguments) -> Result<IpInfo, Failure> {
    let given = &arguments.ip;
    if !given.masks.is_empty() {
        let addresses = arguments.addresses.join(";");
        let has = |mark: char| addresses.contains(mark);
        let family = u8::from(has('.')) | (u8::from(has(':')) << 1);
        return Ok(IpInfo { adapter: adapter.to_owned(), family, addresses, ..given.clone() });
    }
    let addresses: Vec<&str> = arguments.addresses.iter().map(String::as_str).collect();
    let info = IpInfo::with_addresses(adapter, &addresses).map_err(Failure::Usage)?;
    Ok(IpInfo {
        dhcp: given.dhcp,
        gateways: given.gateways.clone(),
        name_servers: given.name_servers.clone(),
        ..info
    })
}

fn raw(opcode: &str, pool: &str, hex: &str) -> Result<HostRequest, Failure> {
    let body = parse_hex(hex).ok_or_else(|| Failure::Usage(format!("{hex:?} is no row of hex bytes")))?;
    Ok(HostRequest::Raw { opcode: number(opcode)?, pool: number(pool)?, body })
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(|digit| hex_digit(digit).ok()).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn hex_digit(digit: u8) -> Result<u8, ()> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(())
}

fn number(text: &str) -> Result<u8, Failure> {
    text.parse().map_err(|_| Failure::Usage(format!("{text:?} is no number from 0 to 255")))
}

fn value(text: &str, kind: Option<&str>) -> Result<HostValue, Failure> {
    let wrong = |_| Failure::Usage(format!("{text:?} is no number of that type"));
    match kind.unwrap_or("string") {
        "string" => Ok(HostValue::String(text.to_owned())),
        "u32" => text.parse().map(HostValue::U32).map_err(wrong),
        "u64" => text.parse().map(HostValue::U64).map_err(wrong),
        "qword" => text.parse().map(HostValue::Qword).map_err(wrong),
        other => Err(Failure::Usage(format!("unknown type {other:?}"))),
    }
}

fn status(text: &str) -> Result<u32, Failure> {
    let known = layout::STATUSES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    let number = || match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    known
        .map(|(code, _)| *code)
        .or_else(number)
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no status")))
}

fn perform(action: Action, client: &mut Client, arguments: &Arguments) -> Result<(), Failure> {
    match action {
        Action::Violations => {
            let found = if arguments.take { client.take_violations()? } else { client.violations()? };
            show(arguments.json, &found, || found.join("\n"));
            if found.is_empty() { Ok(()) } else { Err(Failure::Bad) }
        }
        Action::Statistics => {
            let found = client.statistics()?;
            show(arguments.json, &found, || statistics_table(&found));
            Ok(())
        }
        Action::Detach => Ok(client.detach()?),
        Action::Attach => Ok(client.attach()?),
        Action::Enumerate(pool) => {
            let (items, last) = client.enumerate(pool)?;
            show(arguments.json, &Listing { items: &items, end: &last }, || table(&items));
            judge(&last, arguments.expect.or(Some(layout::STATUS_CONT)))
        }
        Action::Ask(request) => {
            let answer = client.ask(request)?;
            show(arguments.json, &answer, || describe(&answer));
            judge(&answer, arguments.expect)
        }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    items: &'a [Item],
    /// The answer that ended the enumeration.
    end: &'a HostAnswer,
}

pub(super) fn show(json: bool, found: &impl Serialize, people: impl FnOnce() -> String) {
    let text = if json { serde_json::to_string(found).unwrap_or_default() } else { people() };
    if !text.is_empty() {
        println!("{text}");
    }
}

fn judge(answer: &HostAnswer, expect: Option<u32>) -> Result<(), Failure> {
    if answer.code == expect.unwrap_or(layout::STATUS_OK) {
        return Ok(());
    }
    eprintln!("hvsim: the guest answered {}", code_text(answer));
    Err(Failure::Bad)
}

fn code_text(answer: &HostAnswer) -> String {
    let name = layout::status_name(answer.code).unwrap_or("unknown");
    let why = match (answer.detached, answer.timed_out) {
        (true, _) => ", because the device is gone",
        (_, true) => ", because no daemon answered in time",
        _ => "",
    };
    format!("{name} ({:#010x}){why}", answer.code)
}

fn describe(answer: &HostAnswer) -> String {
    match (&answer.item, &answer.ip) {
        (Some(item), _) => escape(&item.value),
        (_, Some(ip)) => ip_table(ip),
        _ if answer.is_ok() => "OK".to_owned(),
        _ => String::new(),
    }
}

fn statistics_table(found: &Statistics) -> String {
    let daemon = match (found.registered, found.opener) {
        (true, pid) => format!("registered, process {pid}"),
        (false, 0) => "none".to_owned(),
        (false, pid) => format!("process {pid} has the device open but is not registered"),
    };
    let rows = [
        ("daemon", daemon),
        ("registrations", found.registrations.to_string()),
        ("polls", found.polls.to_string()),
        ("most polls without progress", found.most_polls_without_progress.to_string()),
        ("reads", found.reads.to_string()),
        ("writes", found.writes.to_string()),
        ("requests without an answer in time", found.timeouts.to_string()),
    ];
    let rows: Vec<String> = rows.iter().map(|(name, text)| format!("{name:<36}{text}")).collect();
    rows.join("\n")
}

fn ip_table(ip: &IpInfo) -> String {
    let families = match ip.family {
        1 => "IPv4",
        2 => "IPv6",
        3 => "IPv4 and IPv6",
        _ => "none",
    };
    let rows = [
        ("adapter", ip.adapter.as_str()),
        ("families", families),
        ("DHCP", if ip.dhcp { "yes" } else { "no" }),
        ("addresses", &ip.addresses),
        ("masks", &ip.masks),
        ("gateways", &ip.gateways),
        ("name servers", &ip.name_servers),
    ];
    let rows: Vec<String> = rows.iter().map(|(name, text)| format!("{name:<13}{}", escape(text))).collect();
    rows.join("\n")
}

fn table(items: &[Item]) -> String {
    let width = items.iter().map(|item| escape(&item.key).chars().count()).max().unwrap_or(0).max(3);
    let row = |key: &str, value: &str| format!("{key:<width$}  {value}").trim_end().to_owned();
    let rows = items.iter().map(|item| row(&escape(&item.key), &escape(&item.value)));
    std::iter::once(row("KEY", "VALUE")).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Escapes control characters, which a guest may send and a terminal must not get.
fn escape(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> Result<IpInfo, Failure> {
        let arguments = parse(lexopt::Parser::from_args(words))?;
        new_addresses("hn0", &arguments)
    }

    #[test]
    fn prefix_lengths_become_the_lists_of_a_host() {
        let words = ["--address", "10.1.1.5/24", "--address", "fd00::5/64", "--gateway", "10.1.1.1"];
        let words = [&words[..], &["--gateway", "fe80::1", "--dns", "10.1.1.2"]].concat();
        let wanted = IpInfo {
            adapter: "hn0".into(),
            family: 3,
            dhcp: false,
            addresses: "10.1.1.5;fd00::5".into(),
            masks: "255.255.255.0;64".into(),
            gateways: "10.1.1.1;fe80::1".into(),
            name_servers: "10.1.1.2".into(),
        };
        assert_eq!(request(&words).ok(), Some(wanted));
        let dhcp = request(&["--dhcp"]).ok().unwrap();
        assert!(dhcp.dhcp && dhcp.addresses.is_empty());
    }

    #[test]
    fn with_masks_the_lists_are_sent_unchanged() {
        let info = request(&["--address", "$(id);x", "--mask", ";;", "--gateway", "a;b"]).ok().unwrap();
        assert_eq!((info.addresses.as_str(), info.masks.as_str()), ("$(id);x", ";;"));
        assert_eq!(info.gateways, "a;b");
    }

    #[test]
    fn addresses_without_prefix_length_are_refused() {
        for words in [&["--address", "10.1.1.5"][..], &["--address", "x/24"], &["--address", "10.1.1.5/33"]] {
            assert!(matches!(request(words), Err(Failure::Usage(_))), "{words:?}");
        }
    }
}
