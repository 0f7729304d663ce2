//! `hvsim demo`: a scripted session. Each step shows what the host sees, and whether that is right. The
//! chapters are in their own modules.

mod hvctl;
mod injection;
mod kvp;
mod vf;
mod vss;

use std::fmt::{self, Display};
use std::io::{self, Write};

use crate::client::ClientError;
use crate::kvp::IpInfo;
use crate::network::Guest;

/// Why the demo ends early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The simulated host does not answer.
    #[error(transparent)]
    Host(#[from] ClientError),
    /// A file or a process of the demo failed.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A step cannot continue.
    #[error("{0}")]
    Step(String),
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, DemoError>;

/// The output of the demo, and the number of checks that failed.
#[derive(Debug, Default)]
pub struct Stage {
    wrong: u32,
    checks: u32,
}

impl Stage {
    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.line(format_args!("\n{title}\n{}", "=".repeat(title.chars().count())));
    }

    /// Begins a step.
    pub fn step(&mut self, text: impl Display) {
        self.line(format_args!("\n* {text}"));
    }

    /// Prints something that the host or the administrator sees.
    pub fn show(&mut self, text: impl Display) {
        self.line(format_args!("    {text}"));
    }

    /// Prints a table with a heading.
    pub fn table<const N: usize>(&mut self, heading: [&str; N], rows: &[[String; N]]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heading[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |cells: [&str; N]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.show(line(heading));
        for row in rows {
            self.show(line(std::array::from_fn(|column| row[column].as_str())));
        }
    }

    /// Prints the host's view of an adapter.
    pub fn ip_info(&mut self, ip: &IpInfo) {
        let rows = [
            ("addresses", &ip.addresses),
            ("masks", &ip.masks),
            ("gateways", &ip.gateways),
            ("name servers", &ip.name_servers),
        ];
        self.table(["WHAT", "VALUE"], &rows.map(|(what, value)| [what.to_owned(), value.clone()]));
    }

    /// Prints the output of the guest's ifconfig(8) for an interface, and returns it.
    ///
    /// # Errors
    /// The simulated network cannot be read.
    pub fn ifconfig(&mut self, guest: &Guest, name: &str) -> Result<String> {
        let text = guest.ifconfig(name)?;
        self.show(format_args!("# ifconfig {name}"));
        text.lines().for_each(|line| self.show(line.replace('\t', "        ")));
        Ok(text)
    }

    /// Prints a check with its result, and counts it if it failed.
    pub fn check(&mut self, holds: bool, what: impl Display) {
        self.checks += 1;
        self.wrong += u32::from(!holds);
        let mark = if holds { "ok   " } else { "WRONG" };
        self.line(format_args!("    {mark} {what}"));
    }

    /// Prints a line. A closed standard output must not end the demo in the middle, with processes left
    /// behind.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let _ = writeln!(io::stdout(), "{text}");
    }
}

/// Runs the whole demo. Returns whether all checks passed.
pub fn run() -> bool {
    let mut stage = Stage::default();
    for chapter in [kvp::play, injection::play, vf::play, vss::play, hvctl::play] {
        if let Err(error) = chapter(&mut stage) {
            stage.check(false, format_args!("the demo cannot go on: {error}"));
        }
    }
    let (checks, wrong) = (stage.checks, stage.wrong);
    stage.line(format_args!("\n{checks} checks, {wrong} wrong"));
    wrong == 0
}
