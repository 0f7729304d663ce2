//! The undo file of one interface: what injections changed in rc.conf(5), and what was there before. It makes
//! and reads the text; the file is written elsewhere.
//!
//! The file is TOML, `IF.toml` in the directory `kvp.ip-injection-dir`, for root alone:
//!
//! ```toml
//! format = 1
//! interface = "hn0"
//! rc-conf = "/etc/rc.conf"
//! final-newline = true
//! addresses = ["10.1.1.5/24"]
//! gateways = ["10.1.1.1"]
//! name-servers = ["10.1.1.2"]
//!
//! [[variable]]
//! name = "ifconfig_hn0"
//! written = "inet 10.1.1.5/24"
//! was = "DHCP"
//!
//! [[variable.old]]
//! number = 3
//! text = "ifconfig_hn0=\"DHCP\"\n"
//! ```
//!
//! `addresses`, `gateways` and `name-servers` are the host's last values, empty after DHCP. Each `variable`
//! was written with the value `written`, or removed if that is missing. Its `old` are the lines that assigned
//! it before the first injection, and `was` is the value that the shell read from the whole file then
//! (`was-set = false`: it was not set). If a variable was edited after an injection, the lines of that edit
//! become its `old` at the next one.
//!
//! A record that another one replaces stays in it as the table `earlier`, with everything but the names of the
//! files and the format. It counts for as long as rc.conf is what that earlier record says, which is so when an
//! injection was killed between the undo file and rc.conf.
//!
//! While only injections have written the file, `IF.before` is the file from before the first one, and
//! `written-length` and `written-crc32` identify the last written contents.

mod read;

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::rc_file::{Line, RcFile, Variable};
use crate::kvp::ip_info::request::{Method, StaticAddresses};
use crate::net::InterfaceName;

/// The only format so far.
const FORMAT: usize = 1;

/// The contents of an undo file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The interface of hn(4) whose variables are recorded.
    pub interface: InterfaceName,
    /// The file that holds them.
    pub rc_conf: PathBuf,
    /// Whether that file ended with a newline before the first injection.
    pub final_newline: bool,
    /// The host's last values.
    pub given: StaticAddresses,
    /// The variables that differ from before.
    pub variables: Vec<Change>,
    /// The last written contents, if the file from before the first injection is kept.
    pub written: Option<Fingerprint>,
    /// The record of the injection before, which counts until the file is written.
    pub earlier: Option<Box<Self>>,
}

/// A change of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: Variable,
    /// The written value. `None`: it was removed.
    pub written: Option<String>,
    /// The lines that assigned it before.
    pub old: Vec<Line>,
    /// The value that the shell read from the file before.
    pub was: Was,
}

/// The value of a variable before the first injection, as the shell read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Was {
    /// Unknown: an undo file of an earlier release.
    #[default]
    Unknown,
    /// Not set.
    Unset,
    /// Set to this.
    Set(String),
}

/// Identifies the contents of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes.
    pub length: usize,
    /// Their CRC-32.
    pub crc: u32,
}

impl Fingerprint {
    /// The fingerprint of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len(), crc: crc32fast::hash(bytes) }
    }
}

/// Why a text is no undo file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(String);

impl Record {
    /// The path of the undo file of `interface` in `directory`.
    #[must_use]
    pub fn path(directory: &Path, interface: &InterfaceName) -> PathBuf {
        directory.join(format!("{interface}.toml"))
    }

    /// A record from before the first injection.
    #[must_use]
    pub fn new(interface: InterfaceName, rc_conf: &Path, file: &RcFile) -> Self {
        Self {
            interface,
            rc_conf: rc_conf.to_owned(),
            final_newline: file.has_final_newline(),
            given: StaticAddresses::default(),
            variables: Vec::new(),
            written: None,
            earlier: None,
        }
    }

    /// The path of the copy of the file from before the first injection.
    #[must_use]
    pub fn before_path(directory: &Path, interface: &InterfaceName) -> PathBuf {
        directory.join(format!("{interface}.before"))
    }

    /// Reads an undo file.
    ///
    /// # Errors
    /// It is no undo file, or has a later format.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError("it is no UTF-8".to_owned()))?;
        let table = DeTable::parse(text).map_err(|error| RecordError(error.message().replace('\n', " ")))?;
        read::record(table.get_ref())
    }

    /// The text of the undo file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from("# What hv_kvp_daemon changed for its host. \"hv_kvp_daemon -R ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\" takes it back.\nformat = {FORMAT}", self.interface);
        let _ = writeln!(text, "interface = {}", quoted(self.interface.as_str()));
        let _ = writeln!(text, "rc-conf = {}", quoted(&self.rc_conf.to_string_lossy()));
        self.write_values(&mut text, "");
        if let Some(earlier) = &self.earlier {
            text.push_str("\n# Counts until rc.conf is written.\n[earlier]\n");
            earlier.write_values(&mut text, "earlier.");
        }
        text
    }

    /// Everything that an injection changes. The tables of an earlier record have a prefix.
    fn write_values(&self, text: &mut String, prefix: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "final-newline = {}", self.final_newline);
        let _ = writeln!(text, "addresses = {}", list(&self.given.addresses));
        let _ = writeln!(text, "gateways = {}", list(&self.given.gateways));
        let _ = writeln!(text, "name-servers = {}", list(&self.given.name_servers));
        if let Some(Fingerprint { length, crc }) = self.written {
            let _ = writeln!(text, "written-length = {length}\nwritten-crc32 = {crc}");
        }
        for change in &self.variables {
            let _ = writeln!(text, "\n[[{prefix}variable]]\nname = {}", quoted(change.name.as_str()));
            if let Some(written) = &change.written {
                let _ = writeln!(text, "written = {}", quoted(written));
            }
            match &change.was {
                Was::Unknown => {}
                Was::Unset => text.push_str("was-set = false\n"),
                Was::Set(value) => {
                    let _ = writeln!(text, "was = {}", quoted(value));
                }
            }
            for line in &change.old {
                let _ = writeln!(text, "\n[[{prefix}variable.old]]\nnumber = {}", line.number);
                let _ = writeln!(text, "text = {}", quoted(&line.text));
            }
        }
    }

    /// The record that counts for a file with these bytes: the earlier one if the file was not written since.
    /// Other parts of the file may have been edited. It has no earlier one.
    #[must_use]
    pub fn settled(mut self, file: &RcFile) -> Self {
        let Some(earlier) = self.earlier.take() else { return self };
        let now = Some(Fingerprint::of(file.as_bytes()));
        let rank = |record: &Self| {
            let written = record.variables.iter().filter(|change| change.is_as_written(file)).count();
            // A file that is only in part as one of them says has been edited. Of two that fit the one with
            // more variables explains more of the file.
            (record.written == now, Reverse(record.variables.len() - written), written)
        };
        if rank(&earlier) > rank(&self) { *earlier } else { self }
    }

    /// The value that was last written to the variable, if it was not edited since.
    #[must_use]
    pub fn still_written(&self, file: &RcFile, name: &Variable) -> Option<&str> {
        let change = self.variables.iter().find(|change| &change.name == name)?;
        change.written.as_deref().filter(|written| file.value(name).as_deref() == Some(written))
    }

    /// The record after an injection that changed `before` to `after` and examined the variables `names`.
    #[must_use]
    pub fn updated(&self, before: &RcFile, after: &RcFile, names: &[Variable], method: &Method) -> Self {
        let untouched = self.variables.is_empty();
        let mut variables: Vec<Change> = Vec::new();
        for name in self.variables.iter().map(|change| &change.name).chain(names) {
            let old = self.old_lines(before, name);
            let known = variables.iter().any(|change| &change.name == name);
            if !known && !same_text(&old, &after.lines_of(name)) {
                let was = self.was(before, name);
                variables.push(Change { name: name.clone(), written: after.value(name), old, was });
            }
        }
        let given = match method {
            Method::Dhcp => StaticAddresses::default(),
            Method::Static(given) => given.clone(),
        };
        let final_newline = if untouched { before.has_final_newline() } else { self.final_newline };
        // A file that is not written leaves nothing open.
        let is_pending = !untouched && before != after;
        let earlier = is_pending.then(|| Box::new(Self { earlier: None, ..self.clone() }));
        Self { given, variables, final_newline, earlier, ..self.clone() }
    }

    /// The value before the first injection, unless the variable was edited since.
    fn was(&self, before: &RcFile, name: &Variable) -> Was {
        let known = self.variables.iter().find(|change| &change.name == name);
        known
            .filter(|change| change.is_as_written(before))
            .map(|change| change.was.clone())
            .unwrap_or_default()
    }

    /// The lines that count as those from before the first injection.
    fn old_lines(&self, before: &RcFile, name: &Variable) -> Vec<Line> {
        match self.variables.iter().find(|change| &change.name == name) {
            Some(change) if change.is_as_written(before) => change.old.clone(),
            _ => before.lines_of(name),
        }
    }

    /// Takes all changes back. Returns the variables that were edited since, which are left alone. If other
    /// parts of the file were edited since, an old line can be inserted into the middle of something, so the
    /// caller lets the shell read the result.
    pub fn restore(&self, file: &mut RcFile, places: Places) -> Vec<Variable> {
        let (mut ours, foreign): (Vec<&Change>, Vec<&Change>) =
            self.variables.iter().partition(|change| change.is_as_written(file));
        if places == Places::OfTheHost {
            ours.retain(|change| !file.replace_lines_of(&change.name, &change.old));
        }
        ours.iter().for_each(|change| file.remove_lines_of(&change.name));
        // In the order of their places, so that the lines before each are already there.
        let mut lines: Vec<&Line> = Vec::new();
        for line in ours.iter().flat_map(|change| &change.old) {
            let place = lines.partition_point(|other| other.number <= line.number);
            lines.insert(place, line);
        }
        lines.into_iter().for_each(|line| file.put_back(line));
        if !self.final_newline && foreign.is_empty() {
            file.drop_final_newline();
        }
        foreign.into_iter().map(|change| change.name.clone()).collect()
    }

    /// Adopts the former lines of `other`: where `other` wrote lines that count as old here, the lines from
    /// before it count instead. Returns whether there were any.
    pub fn inherit(&mut self, other: &Self) -> bool {
        let mut any = false;
        for change in &mut self.variables {
            let earlier = other.variables.iter().find(|earlier| earlier.name == change.name);
            let old = change.old_value();
            if let Some(earlier) = earlier.filter(|earlier| earlier.written == old) {
                change.old.clone_from(&earlier.old);
                change.was = earlier.was.clone();
                any = true;
            }
        }
        any
    }
}

/// Where old lines are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// At their former numbers: the file is byte for byte as before, if it was not edited since.
    OfOld,
    /// At the places of the host's lines, and at their former numbers only where there are none.
    OfTheHost,
}

impl Change {
    /// The value of the old lines. `None` if there were none, or only the shell can evaluate them.
    #[must_use]
    pub fn old_value(&self) -> Option<String> {
        let text: String = self.old.iter().map(|line| line.text.as_str()).collect();
        RcFile::new(text.into_bytes()).value(&self.name)
    }

    fn is_as_written(&self, file: &RcFile) -> bool {
        match &self.written {
            Some(written) => file.value(&self.name).as_ref() == Some(written),
            None => file.lines_of(&self.name).is_empty(),
        }
    }
}

fn same_text(one: &[Line], other: &[Line]) -> bool {
    one.iter().map(|line| &line.text).eq(other.iter().map(|line| &line.text))
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::rc_file::Value;

    const BEFORE: &str = "hostname=\"x\"\nifconfig_hn0=\"DHCP\" # old \\ way\nmoused=NO\nifconfig_hn0_alias0='inet \
                          10.0.0.6/32'\nlast=1";

    fn file(text: &str) -> RcFile {
        RcFile::new(text.as_bytes().to_vec())
    }

    fn names() -> Vec<Variable> {
        ["defaultrouter", "ifconfig_hn0", "ifconfig_hn0_alias0"]
            .map(|name| Variable::new(name).unwrap())
            .into()
    }

    fn given() -> Method {
        Method::Static(StaticAddresses {
            addresses: vec!["10.1.1.5/24".parse().unwrap(), "fd00::5/64".parse().unwrap()],
            gateways: vec!["10.1.1.1".parse().unwrap()],
            name_servers: vec!["fd00::53".parse().unwrap()],
        })
    }

    fn inject(text: &str, record: Option<Record>, values: [Option<&str>; 3]) -> (RcFile, Record) {
        let before = file(text);
        let mut after = before.clone();
        for (name, value) in names().iter().zip(values) {
            match value {
                Some(value) => after.set(name, &Value::new(value).unwrap()),
                None => after.remove(name),
            }
        }
        let start = || Record::new("hn0".parse().unwrap(), Path::new("/etc/rc.conf"), &before);
        let record = record.unwrap_or_else(start).updated(&before, &after, &names(), &given());
        (after, record)
    }

    fn text(file: &RcFile) -> &str {
        std::str::from_utf8(file.as_bytes()).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (_, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        assert_eq!(Record::parse(record.to_text().as_bytes()).unwrap(), record);
        let odd = Change {
            name: names()[0].clone(),
            written: None,
            old: vec![Line { number: 1, text: "a=\"\\\"\t\u{1}\u{e9}\u{7f}\n".into() }],
            was: Was::Set("x \"y\"".into()),
        };
        let unset = Change { name: names()[1].clone(), was: Was::Unset, ..odd.clone() };
        let written = Some(Fingerprint::of(b"x"));
        let record = Record { variables: vec![odd, unset], written, ..record };
        assert_eq!(Record::parse(record.to_text().as_bytes()).unwrap(), record);
    }

    #[test]
    fn a_restored_file_is_the_same_byte_for_byte() {
        let (mut after, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        assert_ne!(text(&after), BEFORE);
        assert!(record.restore(&mut after, Places::OfOld).is_empty());
        assert_eq!(text(&after), BEFORE);
    }

    #[test]
    fn several_injections_are_taken_back_to_before_the_first() {
        let (after, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        let (after, record) = inject(text(&after), Some(record), [None, Some("DHCP"), None]);
        let (mut after, record) = inject(
            text(&after),
            Some(record),
            [Some("10.2.2.1"), Some("inet 10.2.2.5/24"), Some("inet 10.2.2.6/24")],
        );
        record.restore(&mut after, Places::OfOld);
        assert_eq!(text(&after), BEFORE);
    }

    #[test]
    fn an_earlier_record_counts_until_the_file_is_written() {
        let (first, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        // One variable changes, one is as before the first injection, one is removed.
        let values = [Some("10.2.2.1"), Some("DHCP"), Some("inet 10.0.0.6/32")];
        let (second, pending) = inject(text(&first), Some(record.clone()), values);
        let read = Record::parse(pending.to_text().as_bytes()).unwrap();
        assert_eq!(read, pending);
        assert_eq!(pending.clone().settled(&first), record);
        assert_eq!(pending.clone().settled(&second), Record { earlier: None, ..pending.clone() });
        for (at, file_of) in [(0, &first), (1, &second)] {
            // An administrator has added a line since.
            let mut edited = file(&format!("{}added=1", text(file_of)));
            let left_alone = pending.clone().settled(&edited).restore(&mut edited, Places::OfOld);
            assert_eq!(left_alone, [], "{at}");
            assert_eq!(text(&edited), format!("{BEFORE}\nadded=1"), "{at}");
        }
    }

    #[test]
    fn last_written_contents_decide_between_two_records() {
        let (first, mut record) = inject(BEFORE, None, [Some("10.1.1.1"), None, None]);
        record.written = Some(Fingerprint::of(first.as_bytes()));
        let (second, mut pending) =
            inject(text(&first), Some(record.clone()), [Some("10.2.2.1"), None, None]);
        pending.written = Some(Fingerprint::of(second.as_bytes()));
        assert_eq!(pending.clone().settled(&first), record);
        assert_eq!(pending.clone().settled(&second), Record { earlier: None, ..pending });
    }

    #[test]
    fn a_killed_injection_leaves_no_trace_in_the_next_record() {
        let (first, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        let never = [Some("10.2.2.1"), None, Some("inet 10.0.0.7/32")];
        let (_, pending) = inject(text(&first), Some(record.clone()), never);
        let third = [Some("10.3.3.1"), Some("inet 10.3.3.5/24"), None];
        let settled = pending.settled(&first);
        let (mut after, next) = inject(text(&first), Some(settled), third);
        assert_eq!(next.earlier.as_deref(), Some(&record));
        next.restore(&mut after, Places::OfOld);
        assert_eq!(text(&after), BEFORE);
    }

    #[test]
    fn variables_edited_since_are_left_alone() {
        let (after, record) = inject(BEFORE, None, [Some("10.1.1.1"), Some("inet 10.1.1.5/24"), None]);
        let edited = text(&after).replace("inet 10.1.1.5/24", "inet 10.7.7.7/24");
        let mut restored = file(&edited);
        assert_eq!(record.restore(&mut restored, Places::OfOld), [names()[1].clone()]);
        assert!(text(&restored).contains("10.7.7.7") && !text(&restored).contains("defaultrouter"));
        let (mut after, record) = inject(&edited, Some(record), [None, Some("inet 10.1.1.9/24"), None]);
        record.restore(&mut after, Places::OfOld);
        assert!(text(&after).contains("ifconfig_hn0=\"inet 10.7.7.7/24\" # old"), "the later change counts");
    }

    #[test]
    fn an_unchanged_variable_is_not_recorded() {
        let (_, record) = inject(BEFORE, None, [None, Some("DHCP"), Some("inet 10.0.0.6/32")]);
        assert_eq!(record.variables, []);
    }

    #[test]
    fn malformed_undo_files_are_refused() {
        let good = inject(BEFORE, None, [None, None, None]).1.to_text();
        assert!(Record::parse(good.as_bytes()).is_ok());
        for (old, new) in [
            ("format = 1", "format = 2"),
            ("\"hn0\"", "\"hn0; reboot\""),
            ("\"10.1.1.5/24\"", "\"10.1.1.5/99\""),
            ("\"10.1.1.1\"", "\"x\""),
            ("name = \"ifconfig_hn0\"", "name = \"x;y\""),
            ("number = ", "nummer = "),
            ("final-newline", "newline"),
        ] {
            assert!(good.contains(old), "{old}");
            assert!(Record::parse(good.replace(old, new).as_bytes()).is_err(), "{new}");
        }
        assert!(Record::parse(b"\xff").is_err() && Record::parse(b"").is_err());
        for earlier in ["earlier = 1\n", "[earlier]\n", "[earlier.earlier]\n"] {
            assert!(Record::parse(format!("{good}\n{earlier}").as_bytes()).is_err(), "{earlier}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        let good = inject(BEFORE, None, [None, None, None]).1.to_text();
        for place in ["format = 1", "name = \"ifconfig_hn0\"", "number = 2"] {
            let bad = good.replacen(place, &format!("extra = 1\n{place}"), 1);
            assert_ne!(bad, good);
            assert!(Record::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_files_are_named_after_the_interface() {
        let hn0 = "hn0".parse().unwrap();
        assert_eq!(Record::path(Path::new("/db"), &hn0), Path::new("/db/hn0.toml"));
        assert_eq!(Record::before_path(Path::new("/db"), &hn0), Path::new("/db/hn0.before"));
        assert_eq!(quoted("a\n\t\"\\"), "\"a\\n\\t\\\"\\\\\"", "as an administrator would write it");
    }

    #[test]
    fn the_last_newline_before_the_first_injection_counts() {
        let hn0 = "hn0".parse().unwrap();
        let record = Record::new(hn0, Path::new("/etc/rc.conf"), &file("a=1"));
        assert!(!record.final_newline);
        let (after, record) = inject("a=1\n", Some(record), [Some("10.1.1.1"), None, None]);
        assert!(record.final_newline, "it was edited before anything was injected");
        let edited = text(&after).trim_end().to_owned();
        assert!(inject(&edited, Some(record), [Some("10.2.2.1"), None, None]).1.final_newline);
    }

    #[test]
    fn the_former_value_is_known_until_an_edit() {
        let (after, mut record) = inject(BEFORE, None, [Some("10.1.1.1"), None, None]);
        record.variables.iter_mut().for_each(|change| change.was = Was::Set("10.9.9.1".into()));
        let again = inject(text(&after), Some(record.clone()), [Some("10.2.2.1"), None, None]).1;
        assert_eq!(again.variables[0].was, Was::Set("10.9.9.1".into()));
        let edited = text(&after).replace("10.1.1.1", "10.7.7.1");
        let again = inject(&edited, Some(record), [Some("10.2.2.1"), None, None]).1;
        let router = again.variables.iter().find(|change| change.name == names()[0]).unwrap();
        assert_eq!(router.was, Was::Unknown);
    }

    #[test]
    fn old_lines_take_the_place_of_the_hosts() {
        let kept = Some("inet 10.0.0.6/32");
        let (after, record) = inject(BEFORE, None, [None, Some("inet 10.1.1.5/24"), kept]);
        let edited = format!("# one\n# two\n{}", text(&after));
        for (places, wanted) in [
            (Places::OfTheHost, format!("# one\n# two\n{BEFORE}")),
            (
                Places::OfOld,
                format!("# one\nifconfig_hn0=\"DHCP\" # old \\ way\n# two\n{BEFORE}").replacen(
                    "x\"\nifconfig_hn0=\"DHCP\" # old \\ way",
                    "x\"",
                    1,
                ),
            ),
        ] {
            let mut restored = file(&edited);
            assert_eq!(record.restore(&mut restored, places), []);
            assert_eq!(text(&restored), wanted, "{places:?}");
        }
    }

    #[test]
    fn lines_of_another_injection_are_passed_over() {
        // hn0 wrote the router first, then hn1. Whoever takes hn0 back leaves hn1 with the lines before both.
        let before = "defaultrouter=\"10.9.9.1\"\n";
        let (after, mut first) = inject(before, None, [Some("10.1.1.1"), None, None]);
        first.variables[0].was = Was::Set("10.9.9.1".into());
        let (_, second) = inject(text(&after), None, [Some("10.2.2.1"), None, None]);
        assert_eq!(second.variables[0].old_value().as_deref(), Some("10.1.1.1"));
        let mut inherited = second.clone();
        assert!(inherited.inherit(&first));
        assert_eq!(inherited.variables[0].old, first.variables[0].old);
        assert_eq!(inherited.variables[0].was, first.variables[0].was);
        let mut other = first.clone();
        other.variables[0].written = Some("10.3.3.1".into());
        let mut none = second.clone();
        assert!(!none.inherit(&other));
        other.variables[0].name = names()[1].clone();
        other.variables[0].written = Some("10.1.1.1".into());
        assert!(!none.inherit(&other));
        assert_eq!(none, second);
    }
}
