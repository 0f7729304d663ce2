//! `-c`: performs a CHECK as the host would ask for it, and prints the answer with its reasons, as a table or
//! as JSON. It uses the daemon's own loop without the device, suspends nothing and runs no hook.

use std::fmt;
use std::fmt::Write as _;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use hv_core::abi::vss::{Answer, Operation, Request};
use hv_core::runtime::config::Config;
use hv_core::sys::signals::Signals;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::mounts::{FsId, Mount};
use hv_core::vss::{Findings, HeldOpen};

use crate::port::{SuspendPort, Suspender, VssPort};
use crate::serve::Driver;

/// The result of a check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// All that was looked at.
    pub findings: Findings,
    /// Why no backup can be made: one sentence for each reason. Empty if one can.
    pub refusals: Vec<String>,
    hook_dir: PathBuf,
}

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(String);

/// Does what the daemon does for a CHECK of the host, with the same limits but without the device. Changes
/// nothing. The calling program must have no threads, because the scan of all programs is made by a child
/// process.
///
/// # Errors
/// The mount table cannot be read.
pub fn check(config: &Config) -> Result<Checked, CheckError> {
    let failed = |error: &dyn fmt::Display| CheckError(error.to_string());
    let signals = Signals::unhandled().map_err(|error| failed(&error))?;
    let port = Once::new().map_err(|error| failed(&error))?;
    let mut driver = Driver::new(config, port, NoDevice);
    while driver.freezer().last_check().is_none() {
        driver.serve_once(&signals).map_err(|error| failed(&error))?;
    }
    let findings = driver.freezer().last_check().cloned().unwrap_or_default();
    if let Some(reason) = findings.trouble.first().filter(|_| findings.verdict.decisions.is_empty()) {
        return Err(failed(reason));
    }
    let refusals = findings.refusals();
    Ok(Checked { findings, refusals, hook_dir: config.vss.hook_dir.clone() })
}

/// A port that delivers one CHECK.
#[derive(Debug)]
struct Once {
    /// Always readable.
    readable: PipeReader,
    /// Open until the end, so that the reader does not hang up.
    _writer: PipeWriter,
    asked: bool,
}

impl Once {
    fn new() -> io::Result<Self> {
        let (readable, mut writer) = io::pipe()?;
        io::Write::write_all(&mut writer, b"?")?;
        Ok(Self { readable, _writer: writer, asked: false })
    }
}

impl VssPort for Once {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        if std::mem::replace(&mut self.asked, true) {
            // The next poll must not deliver a second request.
            let mut byte = [0];
            io::Read::read(&mut self.readable, &mut byte).ok();
            return Ok(None);
        }
        Ok(Some(Request { operation: Operation::Check, id: 1 }))
    }

    fn write(&mut self, _: Answer) -> io::Result<()> {
        Ok(())
    }
}

/// A check suspends nothing, so it needs no device.
#[derive(Debug)]
struct NoDevice;

impl SuspendPort for NoDevice {
    type Suspender = Self;

    fn open(&mut self) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The report is about the daemon's open files, not about this program's.
    fn held_open(&self, _: &FactsSource, _: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        Ok(Vec::new())
    }
}

impl Suspender for NoDevice {
    fn suspend(&self, _: FsId) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn resume(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Checked {
    /// Whether a backup can be made.
    #[must_use]
    pub fn allows_backup(&self) -> bool {
        self.refusals.is_empty()
    }

    /// The table, remarks for the reader, and in the last line whether a backup can be made.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.table();
        self.notes(&mut text);
        let rest = match self.refusals.len() {
            0 => "a backup can be made".to_owned(),
            1 => format!("no backup can be made: {}", self.refusals[0]),
            count => format!("no backup can be made, for {count} reasons:\n  {}", self.refusals.join("\n  ")),
        };
        text.push_str(&printable_lines(&rest));
        text
    }

    fn table(&self) -> String {
        let rows = self.findings.verdict.decisions.iter().map(|decision| {
            let mount = &decision.mount;
            [
                printable(&mount.on),
                printable(&mount.fs_type),
                decision.treatment.to_string(),
                decision.reason.to_string(),
            ]
        });
        let heading = ["MOUNT", "TYPE", "ACTION", "WHY"].map(str::to_owned);
        let rows: Vec<[String; 4]> = std::iter::once(heading).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (on, fs_type, action) = (width(0), width(1), width(2));
        let mut text = String::new();
        for row in &rows {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:on$}  {:fs_type$}  {:action$}  {}",
                row[0],
                row[1],
                row[2],
                printable(&row[3])
            );
        }
        text.push('\n');
        text
    }

    fn notes(&self, text: &mut String) {
        let mut line = |words: String| {
            let _ = writeln!(text, "{}", printable(&words));
        };
        for decision in self.findings.verdict.decisions.iter().filter(|d| !d.writers.is_empty()) {
            let on = &decision.mount.on;
            let harm =
                if decision.accepts_loss { ", and may lose in a backup what it stores there" } else { "" };
            decision
                .writers
                .iter()
                .for_each(|writer| line(format!("stores into {on} through memory: {writer}{harm}")));
        }
        for process in &self.findings.at_work {
            let text =
                format!("a freeze may fail while {} (pid {}) is at work", process.program, process.pid);
            line(text);
        }
        let hooks = &self.findings.hooks;
        hooks.faults.iter().chain(&hooks.passed_over).for_each(|skipped| line(skipped.to_string()));
        if !hooks.hooks.is_empty() {
            let names: Vec<&str> = hooks.hooks.iter().map(|hook| hook.name.as_str()).collect();
            line(format!("hooks in {}: {}", self.hook_dir.display(), names.join(", ")));
        }
    }
}

fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Replaces control characters: a mount point may hold any byte, and a terminal must not get them.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::vss::fates::Scanned;
    use hv_core::vss::hooks::{Hook, Selection, Skipped};
    use hv_core::vss::mounts::Policy;
    use hv_core::vss::scan::{Process, Scan, Writer};

    fn mount(fs_type: &str, on: &str, number: i32) -> Mount {
        let (fs_type, from, on) = (fs_type.into(), "x".into(), on.into());
        Mount { fs_type, from, on, id: FsId([number, 1]), read_only: false, local: true }
    }

    fn checked(findings: Findings) -> Checked {
        let refusals = findings.refusals();
        Checked { findings, refusals, hook_dir: "/d".into() }
    }

    #[test]
    fn the_table_has_treatments_and_reasons() {
        let table = [mount("ufs", "/", 1), mount("ext2fs", "/linux\x1b[2J", 2), mount("ufs", "/db", 3)];
        let process = |pid, program: &str| Process { pid, jail: 0, program: program.into() };
        let scan = Scan {
            writers: vec![Writer {
                on: FsId([3, 1]),
                process: process(812, "sqlite3"),
                file: "/db/x".into(),
            }],
            at_work: vec![process(5, "umount")],
            ..Scan::default()
        };
        let skipped = |path: &str, reason: &str| Skipped { path: path.into(), reason: reason.into() };
        let findings = Findings {
            verdict: Policy::default().judge_with(&table, &Scanned::Done(scan.clone())),
            at_work: scan.at_work,
            hooks: Selection {
                hooks: vec![Hook { name: "10-db".into(), path: "/d/10-db".into() }],
                faults: vec![skipped("/d/x", "it is a symbolic link")],
                passed_over: vec![skipped("/d/README", "not run, it is not executable")],
            },
            ..Findings::default()
        };
        assert_eq!(
            checked(findings).report(),
            "MOUNT            TYPE    ACTION   WHY\n\
             /                ufs     suspend  writes to it stop during the freeze\n\
             /linux\\u{1b}[2J  ext2fs  veto     a file system of this type cannot be frozen\n\
             /db              ufs     sync     programs store into it through memory: sqlite3 (pid 812) maps /db/x\n\
             \n\
             stores into /db through memory: sqlite3 (pid 812) maps /db/x\n\
             a freeze may fail while umount (pid 5) is at work\n\
             hook /d/x: it is a symbolic link\n\
             hook /d/README: not run, it is not executable\n\
             hooks in /d: 10-db\n\
             no backup can be made, for 2 reasons:\n  \
             /linux\\u{1b}[2J (ext2fs): a file system of this type cannot be frozen\n  \
             hook /d/x: it is a symbolic link"
        );
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let last = |table: &[Mount]| {
            let findings = Findings { verdict: Policy::default().judge(table), ..Findings::default() };
            checked(findings).report().lines().last().unwrap().to_owned()
        };
        assert_eq!(last(&[mount("ufs", "/", 1)]), "a backup can be made");
        let vetoes = "no backup can be made: /a (ext2fs): a file system of this type cannot be frozen";
        assert_eq!(last(&[mount("ext2fs", "/a", 1)]), vetoes);
    }
}
