//! rc.conf(5): edited in place, and read by a real shell afterwards.
//!
//! The files are made of harmless pieces only, because a shell runs them: no redirection, no pipe, no slash,
//! and a PATH with nothing in it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use hv_core::injection::rc_file::{RcFile, Value, Variable};
use hv_core::rc::{FILE_SCRIPT, RcConf};

use crate::Target;
use crate::input::{Behaviour, Choices};

/// See the module.
pub const TARGET: Target = Target {
    name: "rc_conf",
    promise: "what is written reads back in a real shell as it was meant; all else stays byte for byte",
    check,
    words: &[],
};

const NAMES: [&str; 8] = [
    "ifconfig_hn0",
    "ifconfig_hn0_ipv6",
    "ifconfig_hn0_alias0",
    "ifconfig_hn0_aliases",
    "ipv4_addrs_hn0",
    "defaultrouter",
    "ipv6_defaultrouter",
    "hostname",
];

/// Pieces of a file. None starts a program or writes a file.
const PIECES: [&str; 33] = [
    "=",
    "=\"",
    "\"",
    "'",
    "='",
    "\n",
    "\n",
    "\n",
    "\n",
    " ",
    "#",
    " # note",
    "\\",
    "\\\n",
    "$hostname",
    "${hostname}",
    ";",
    "; ",
    "DHCP",
    "SYNCDHCP",
    "inet 10.0.0.6",
    "inet 10.0.0.5 netmask 255.255.255.0",
    "inet6 fd00::6",
    "inet6 accept_rtadv",
    "mtu 9000",
    "-rxcsum",
    "up",
    "10.0.0.1",
    "export ",
    "=\"\"",
    "\t",
    "é",
    ":",
];

/// A file of whole assignments, each on a line of its own, and where it is not plain of odd pieces, too. What
/// a shell makes of those the programs do not know: they ask it afterwards and refuse.
pub fn file_of_pieces(choices: &mut Choices<'_>) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let plain = choices.yes();
    for _ in 0..choices.below(24) {
        match choices.byte() % if plain { 3 } else { 8 } {
            0..=2 => {
                let (name, quote) = (choices.of(&NAMES), choices.of(&["\"", "\"", "'"]));
                let value = choices.of(&[
                    "DHCP",
                    "inet 10.0.0.5 netmask 255.255.255.0",
                    "10.0.0.1",
                    "",
                    "up mtu 9000",
                ]);
                let ends = ["\n", "\n", " # note\n", " \n", "\n\n# note\n", "", "; "];
                let end = choices.of(if plain { &ends[..5] } else { &ends });
                text.extend(format!("{name}={quote}{value}{quote}{end}").into_bytes());
            }
            3 => text.extend(choices.of(&NAMES).as_bytes()),
            4 if choices.byte() % 8 == 0 => text.push(0xe9),
            _ => text.extend(choices.of(&PIECES).as_bytes()),
        }
    }
    while text.ends_with(b"\\") {
        text.pop();
    }
    (text, plain)
}

fn check(data: &[u8]) -> u64 {
    let mut choices = Choices::new(data);
    let mut seen = Behaviour::default();
    let (text, plain) = file_of_pieces(&mut choices);
    let before = RcFile::new(text);
    let understood = shell_values(before.as_bytes(), &NAMES).filter(|_| plain);
    if let Some(values) = &understood {
        check_reading(&before, values, &mut seen);
    }
    let mut after = before.clone();
    let mut wanted: Vec<(&str, Option<&str>)> = Vec::new();
    for _ in 0..=choices.below(4) {
        let name = choices.of(&NAMES);
        let variable = Variable::new(name).expect("a name");
        wanted.retain(|(other, _)| *other != name);
        if choices.byte() % 4 == 0 {
            after.remove(&variable);
            wanted.push((name, None));
        } else {
            let value = choices.of(&["inet 10.1.1.5/24", "DHCP", "", "10.1.1.1", "inet6 fd00::5/64 up"]);
            after.set(&variable, &Value::new(value).expect("a harmless value"));
            wanted.push((name, Some(value)));
        }
    }
    // In a file that the shell cannot read, an open quotation may hide what was added. The daemon refuses
    // such a file.
    if understood.is_some() {
        wanted.iter().for_each(|(name, value)| check_written(&after, name, *value));
    }
    if understood.is_some() {
        let values =
            shell_values(after.as_bytes(), &NAMES).expect("the shell understands the file as before");
        for (name, wanted) in wanted {
            let found = values.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
            let same = found == wanted || (wanted.is_none() && found == Some(""));
            assert!(same, "{name} is {found:?}, not {wanted:?}, in {}", after.as_bytes().escape_ascii());
        }
    }
    seen.saw(understood.is_some());
    seen.name()
}

fn check_written(file: &RcFile, name: &str, wanted: Option<&str>) {
    let variable = Variable::new(name).expect("a name");
    let found = file.value(&variable);
    let Some(wanted) = wanted else {
        return assert!(found.is_none_or(|found| found.is_empty()), "{name} is gone");
    };
    assert_eq!(found.as_deref(), Some(wanted), "{name}");
    let mut again = file.clone();
    again.set(&variable, &Value::new(wanted).expect("a harmless value"));
    assert_eq!(&again, file, "writing it again changes nothing");
}

/// Where the file says a value without the shell's help, the shell says the same.
fn check_reading(file: &RcFile, values: &[(String, String)], seen: &mut Behaviour) {
    for name in NAMES {
        let ours = file.value(&Variable::new(name).expect("a name"));
        let shell = values.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        seen.saw((ours.is_some(), shell.is_some()));
        if let Some(ours) = ours {
            assert_eq!(Some(ours.as_str()), shell, "{name} in {}", file.as_bytes().escape_ascii());
        }
    }
}

static SCRATCH: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a scratch directory"));

/// What a shell makes of the file, by the snippet of the programs; `None` where it does not understand it.
#[must_use]
pub fn shell_values(file: &[u8], names: &[&str]) -> Option<Vec<(String, String)>> {
    let path = SCRATCH.path().join(format!("rc.conf.{:?}", std::thread::current().id()));
    let mut written = std::fs::File::create(&path).expect("a scratch file");
    written.write_all(file).expect("a scratch file");
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(FILE_SCRIPT)
        .arg("sh")
        .arg(&path)
        .args(names)
        .env_clear()
        .env("PATH", "/nonexistent")
        .current_dir(SCRATCH.path())
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    if !output.status.success() || !output.stderr.is_empty() {
        return None;
    }
    let parsed = RcConf::parse(&output.stdout);
    Some(names.iter().filter_map(|name| Some(((*name).to_owned(), parsed.value(name)?.to_owned()))).collect())
}
