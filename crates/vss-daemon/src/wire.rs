//! The protocol between a helper process and the daemon: lines of text with fields between tabs. It encodes
//! and parses lines; it neither reads nor writes.

use hv_core::vss::mounts::FsId;
use hv_core::vss::scan::{Process, Scan, Writer};
use hv_core::vss::stores::{Held, Unknown};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A part of a scan.
    Part(Box<Scan>),
    /// The scan is complete.
    Scanned,
    /// The scan failed.
    ScanFailed(String),
    /// All data is on disk.
    Flushed,
    /// The flush failed.
    FlushFailed(String),
}

/// The lines of a whole scan.
pub(crate) fn scan(scan: &Scan) -> String {
    let mut text = String::new();
    let mut add = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| escape(field)).collect();
        text.push_str(&fields.join("\t"));
        text.push('\n');
    };
    for Writer { on, process, file } in &scan.writers {
        let Process { pid, jail, program } = process;
        add(&["writer", &id(*on), &pid.to_string(), &jail.to_string(), program, file]);
    }
    for Process { pid, jail, program } in &scan.at_work {
        add(&["at-work", &pid.to_string(), &jail.to_string(), program]);
    }
    for Held { mount, holder } in &scan.stores.held {
        add(&["held", &id(*mount), &id(*holder)]);
    }
    for Unknown { holder, device } in &scan.stores.unknown {
        add(&["unknown", &id(*holder), device]);
    }
    for mount in &scan.stores.efi {
        add(&["efi", &id(*mount)]);
    }
    text.push_str("scanned\n");
    text
}

/// The line of a scan that failed.
pub(crate) fn scan_failed(reason: &str) -> String {
    format!("scan-failed\t{}\n", escape(reason))
}

/// The line of a flush that ended.
pub(crate) fn flush(result: &Result<(), String>) -> String {
    match result {
        Ok(()) => "flushed\n".to_owned(),
        Err(reason) => format!("flush-failed\t{}\n", escape(reason)),
    }
}

/// Parses one line. `None` if it is not a line of this protocol.
pub(crate) fn parse(line: &str) -> Option<Line> {
    let fields: Vec<String> = line.split('\t').map(unescape).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let mut part = Scan::default();
    match *fields.as_slice() {
        ["scanned"] => return Some(Line::Scanned),
        ["scan-failed", reason] => return Some(Line::ScanFailed(reason.to_owned())),
        ["flushed"] => return Some(Line::Flushed),
        ["flush-failed", reason] => return Some(Line::FlushFailed(reason.to_owned())),
        ["writer", on, pid, jail, program, file] => {
            let process = process(pid, jail, program)?;
            part.writers.push(Writer { on: parse_id(on)?, process, file: file.to_owned() });
        }
        ["at-work", pid, jail, program] => part.at_work.push(process(pid, jail, program)?),
        ["held", mount, holder] => {
            part.stores.held.push(Held { mount: parse_id(mount)?, holder: parse_id(holder)? });
        }
        ["unknown", holder, device] => {
            part.stores.unknown.push(Unknown { holder: parse_id(holder)?, device: device.to_owned() });
        }
        ["efi", mount] => part.stores.efi.push(parse_id(mount)?),
        _ => return None,
    }
    Some(Line::Part(Box::new(part)))
}

/// Adds a part of a scan.
pub(crate) fn append(scan: &mut Scan, part: Scan) {
    scan.writers.extend(part.writers);
    scan.at_work.extend(part.at_work);
    scan.stores.held.extend(part.stores.held);
    scan.stores.unknown.extend(part.stores.unknown);
    scan.stores.efi.extend(part.stores.efi);
}

fn process(pid: &str, jail: &str, program: &str) -> Option<Process> {
    Some(Process { pid: pid.parse().ok()?, jail: jail.parse().ok()?, program: program.to_owned() })
}

fn id(id: FsId) -> String {
    format!("{},{}", id.0[0], id.0[1])
}

fn parse_id(text: &str) -> Option<FsId> {
    let (first, second) = text.split_once(',')?;
    Some(FsId([first.parse().ok()?, second.parse().ok()?]))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match if c == '\\' { chars.next() } else { Some(c) } {
            Some('t') if c == '\\' => result.push('\t'),
            Some('n') if c == '\\' => result.push('\n'),
            Some(other) => result.push(other),
            None => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::vss::stores::Stores;

    #[test]
    fn a_scan_is_the_same_after_encoding_and_parsing() {
        let process = Process { pid: 812, jail: 3, program: "a\tb".into() };
        let whole = Scan {
            writers: vec![Writer { on: FsId([-7, 1]), process: process.clone(), file: "/a\\t\nb".into() }],
            at_work: vec![process],
            stores: Stores {
                efi: vec![FsId([1, -2])],
                held: vec![Held { mount: FsId([1, 2]), holder: FsId([3, 4]) }],
                unknown: vec![Unknown { holder: FsId([5, 6]), device: "md7".into() }],
            },
        };
        let text = scan(&whole);
        let mut lines = text.lines().map(|line| parse(line).unwrap());
        let mut again = Scan::default();
        for line in lines.by_ref() {
            match line {
                Line::Part(part) => append(&mut again, *part),
                other => assert_eq!(other, Line::Scanned),
            }
        }
        assert_eq!(again, whole);
    }

    #[test]
    fn failures_keep_their_reasons_and_unknown_lines_are_rejected() {
        let line = |text: String| parse(text.trim_end()).unwrap();
        assert_eq!(line(scan_failed("a\nb")), Line::ScanFailed("a\nb".into()));
        assert_eq!(line(flush(&Err("x".into()))), Line::FlushFailed("x".into()));
        assert_eq!(line(flush(&Ok(()))), Line::Flushed);
        for text in ["", "writer\t1", "efi\tx", "scanned\tx", "held\t1,2\t3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
