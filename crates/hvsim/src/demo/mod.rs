//! `hvsim demo`: a scripted session, each step with what the host sees and whether that is as it must be.

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

/// Why the demo stops in the middle.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The simulated host does not answer.
    #[error(transparent)]
    Host(#[from] ClientError),
    /// A file or a process of the demo itself.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Something is not as the step needs it to go on.
    #[error("{0}")]
    Step(String),
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, DemoError>;

/// What the spectator sees, and the count of what was not as it must be.
#[derive(Debug, Default)]
pub struct Stage {
    wrong: u32,
    checks: u32,
}

impl Stage {
    /// A chapter begins.
    pub fn chapter(&mut self, title: &str) {
        self.line(format_args!("\n{title}\n{}", "=".repeat(title.chars().count())));
    }

    /// A step begins.
    pub fn step(&mut self, text: impl Display) {
        self.line(format_args!("\n* {text}"));
    }

    /// Something that is seen.
    pub fn show(&mut self, text: impl Display) {
        self.line(format_args!("    {text}"));
    }

    /// A table with a heading.
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

    /// What the host is told about an adapter.
    pub fn ip_info(&mut self, ip: &IpInfo) {
        let rows = [
            ("addresses", &ip.addresses),
            ("masks", &ip.masks),
            ("gateways", &ip.gateways),
            ("name servers", &ip.name_servers),
        ];
        self.table(["WHAT", "VALUE"], &rows.map(|(what, value)| [what.to_owned(), value.clone()]));
    }

    /// What ifconfig(8) of the guest prints about an interface, which is returned.
    ///
    /// # Errors
    /// The simulated network cannot be read.
    pub fn ifconfig(&mut self, guest: &Guest, name: &str) -> Result<String> {
        let text = guest.ifconfig(name)?;
        self.show(format_args!("# ifconfig {name}"));
        text.lines().for_each(|line| self.show(line.replace('\t', "        ")));
        Ok(text)
    }

    /// Something that must hold: said with a mark, and counted when it does not.
    pub fn check(&mut self, holds: bool, what: impl Display) {
        self.checks += 1;
        self.wrong += u32::from(!holds);
        let mark = if holds { "ok   " } else { "WRONG" };
        self.line(format_args!("    {mark} {what}"));
    }

    /// A closed standard output must not end the demo in the middle, with processes left behind.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let _ = writeln!(io::stdout(), "{text}");
    }
}

/// Runs the whole demo. `true` when everything was as it must be.
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
