//! SET_IP_INFO: texts of the host become types or are refused, and what is kept for the next boot says what
//! was meant.

use std::path::Path;
use std::sync::LazyLock;

use hv_core::injection::json;
use hv_core::injection::persist::persist;
use hv_core::injection::plan::Target as Adapter;
use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::{Places, Record};
use hv_core::kvp::exchange::NetworkRequest;
use hv_core::kvp::ip_info::request::{Injection, Method, parse};
use hv_core::net::InterfaceName;

use crate::Target;
use crate::input::{Behaviour, Choices};
use crate::rc_conf::{file_of_pieces, shell_values};

/// See the module.
pub const TARGET: Target = Target {
    name: "injection",
    promise: "texts are addresses or refused; the next boot makes of rc.conf what was meant; undo leaves the lines that were there",
    check,
    words: &[
        "hn0",
        "10.1.1.5",
        "255.255.255.0",
        "fd00::5",
        "/64",
        "fe80::1",
        "::ffff:10.0.0.1",
        ";",
        " ",
        "\t",
    ],
};

static HN0: LazyLock<InterfaceName> = LazyLock::new(|| "hn0".parse().expect("a name"));

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let (text, plain) = file_of_pieces(&mut choices);
    let before = RcFile::new(text);
    let mut record = Record::new(HN0.clone(), Path::new("/etc/rc.conf"), &before);
    let mut file = before.clone();
    for _ in 0..=choices.below(3) {
        let request = request(&mut choices);
        match parse(&request) {
            Ok(injection) => {
                check_types(&request, &injection, &mut seen);
                if let Some((after, then)) = keep(&injection.method, (&file, plain), &record, &mut seen) {
                    (file, record) = (after, then);
                }
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 400 && !text.contains(char::is_control), "{text}");
                seen.saw(text.split_whitespace().last().unwrap_or_default().to_owned());
            }
        }
    }
    // Behind a line that ends in a backslash an empty line may stay: docs/reliability.md.
    if before.as_bytes().windows(2).any(|pair| pair == b"\\\n") {
        return seen.name();
    }
    let mut restored = file.clone();
    let foreign = record.restore(&mut restored, Places::OfOld);
    assert!(foreign.is_empty(), "nobody else has changed the file");
    // Lines of several variables may change places; the daemon puts back the whole file where only it has
    // written.
    assert_eq!(sorted_lines(&restored), sorted_lines(&before), "the lines that were there before");
    seen.name()
}

fn sorted_lines(file: &RcFile) -> Vec<String> {
    let text = String::from_utf8_lossy(file.as_bytes()).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn check_types(request: &NetworkRequest, injection: &Injection, seen: &mut Behaviour) {
    let name = injection.interface.as_str();
    assert!(name.starts_with("hn") || name.starts_with("lagg"));
    assert_eq!(name, request.adapter);
    let adapter = Adapter { hn: HN0.clone(), lagg: None };
    let document = json::document(&adapter, &injection.method, true);
    serde_json::from_str::<serde_json::Value>(&document).expect("a JSON document");
    assert!(document.ends_with("}\n") && document.matches('\n').count() == 1, "one line");
    let Method::Static(given) = &injection.method else { return seen.saw("dhcp") };
    seen.saw((given.addresses.len(), given.gateways.len(), given.name_servers.len()));
    assert!(!given.addresses.is_empty());
    // The bits of the families are a hint only: base's scripts look at the addresses.
    for address in &given.addresses {
        let ip = address.address;
        assert!(!ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback(), "{ip}");
        assert!(address.prefix > 0);
        let same = given.addresses.iter().filter(|other| other.address == ip).count();
        assert_eq!(same, 1, "{ip} once");
    }
    for gateway in &given.gateways {
        let link_local = matches!(gateway, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local());
        assert!(link_local || given.addresses.iter().any(|address| address.reaches(*gateway)), "{gateway}");
    }
    // What is printed of it means the same when the host sends it.
    let list = |texts: Vec<String>| texts.join(";");
    let again = NetworkRequest {
        addresses: list(given.addresses.iter().map(|a| a.address.to_string()).collect()),
        masks: list(given.addresses.iter().map(mask).collect()),
        gateways: list(given.gateways.iter().map(ToString::to_string).collect()),
        name_servers: list(given.name_servers.iter().map(ToString::to_string).collect()),
        ..request.clone()
    };
    assert_eq!(&parse(&again).expect("it was good"), injection);
}

fn mask(address: &hv_core::net::InterfaceAddress) -> String {
    match address.address {
        std::net::IpAddr::V4(_) => hv_core::net::ipv4_mask(address.prefix).to_string(),
        std::net::IpAddr::V6(_) => address.prefix.to_string(),
    }
}

/// Writes it to the file and looks what the shell makes of that. `None` where it is refused.
fn keep(
    method: &Method,
    (before, plain): (&RcFile, bool),
    record: &Record,
    seen: &mut Behaviour,
) -> Option<(RcFile, Record)> {
    let persisted = persist(&HN0, method, before, record).ok()?;
    let names = persisted.file.variables();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    // A file that the shell did not understand before is no file to write to: the daemon refuses it.
    let Some(values) = shell_values(persisted.file.as_bytes(), &names) else {
        seen.saw("no shell text");
        return None;
    };
    for change in persisted.record.variables.iter().filter(|_| plain) {
        let found =
            values.iter().find(|(name, _)| name == change.name.as_str()).map(|(_, value)| value.as_str());
        let wanted = change.written.as_deref();
        assert!(
            found == wanted || (wanted.is_none() && found == Some("")),
            "{}: {found:?}, not {wanted:?}",
            change.name
        );
    }
    let read = Record::parse(persisted.record.to_text().as_bytes()).expect("an undo file of our own");
    assert_eq!(read, persisted.record);
    Some((persisted.file, persisted.record))
}

fn request(choices: &mut Choices<'_>) -> NetworkRequest {
    let any = |choices: &mut Choices<'_>| String::from_utf8_lossy(choices.bytes(64)).into_owned();
    let adapter = match choices.byte() % 16 {
        0 => any(choices),
        1 => "lagg0".to_owned(),
        _ => "hn0".to_owned(),
    };
    let mut lists = [String::new(), String::new(), String::new(), String::new()];
    let mut family = 0;
    for _ in 0..=choices.below(4) {
        let net = choices.byte();
        let host = choices.byte();
        let (address, mask, gateway, bit) = if choices.yes() {
            let mask = choices.of(&["255.255.255.0", "255.255.0.0", "255.255.255.255", "255.255.255.254"]);
            (format!("10.{net}.1.{host}"), mask.to_owned(), format!("10.{net}.1.{}", choices.byte()), 1)
        } else {
            let mask = choices.of(&["64", "/64", "128", "/48"]);
            let gateway = if choices.yes() { "fe80::1".to_owned() } else { format!("fd00:{net}::{host:x}1") };
            (format!("fd00:{net}::{host:x}"), mask.to_owned(), gateway, 2)
        };
        family |= bit;
        add(&mut lists[0], &address);
        add(&mut lists[1], &mask);
        if choices.byte() % 4 == 0 {
            add(&mut lists[2], &gateway);
            add(&mut lists[3], &gateway);
        }
    }
    if choices.byte() % 8 == 0 {
        let list = choices.below(4);
        let text = any(choices);
        add(&mut lists[list], &text);
    }
    let [addresses, masks, gateways, name_servers] = lists;
    let address_family = if choices.byte() % 16 == 0 { choices.byte() } else { family };
    NetworkRequest {
        adapter,
        address_family,
        dhcp: choices.byte() % 8 == 0,
        addresses,
        masks,
        gateways,
        name_servers,
    }
}

fn add(list: &mut String, item: &str) {
    if !list.is_empty() {
        list.push(';');
    }
    list.push_str(item);
}
