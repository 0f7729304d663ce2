//! sysrc(8), as scripts use it: reads, sets and deletes variables of rc.conf(5). It edits lines and evaluates
//! no shell code.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | setting prints the old and the new value | `usr.sbin/sysrc/sysrc:864` | `sysrc_reads_sets_and_deletes_variables` |
//! | the last assignment is replaced, otherwise a line is added | `usr.sbin/bsdconfig/share/sysrc.subr:619 (f_sysrc_set)` | `sysrc_reads_sets_and_deletes_variables` |
//! | `-x` deletes the assignment | `usr.sbin/bsdconfig/share/sysrc.subr:673 (f_sysrc_delete)` | `sysrc_reads_sets_and_deletes_variables` |
//! | an unknown variable is an error with status 1; `-q` omits the message | `usr.sbin/sysrc/sysrc:874` | `sysrc_reads_sets_and_deletes_variables` |

use std::fs;
use std::io;
use std::path::PathBuf;

use super::Outcome;
use crate::network::root::Root;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let (mut bare, mut delete, mut quiet) = (false, false, false);
    let mut file: PathBuf = root.path("etc/rc.conf");
    let mut words = arguments.iter();
    let mut outcome = Outcome::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" => bare = true,
            "-q" => quiet = true,
            "-x" => delete = true,
            "-f" => file = words.next().map_or_else(PathBuf::new, PathBuf::from),
            _ => one(&file, word, bare, delete, quiet, &mut outcome)?,
        }
    }
    Ok(outcome)
}

fn one(
    file: &PathBuf,
    word: &str,
    bare: bool,
    delete: bool,
    quiet: bool,
    outcome: &mut Outcome,
) -> io::Result<()> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let (name, new) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let old = value(&text, name);
    match (new, old) {
        (None, None) => {
            if !quiet {
                outcome.err += &format!("sysrc: unknown variable '{name}'\n");
            }
            outcome.status = 1;
        }
        (None, Some(_)) if delete => fs::write(file, replaced(&text, name, None))?,
        (None, Some(old)) if bare => outcome.out += &format!("{old}\n"),
        (None, Some(old)) => outcome.out += &format!("{name}: {old}\n"),
        (Some(new), old) => {
            fs::write(file, replaced(&text, name, Some(new)))?;
            outcome.out += &format!("{name}: {} -> {new}\n", old.unwrap_or_default());
        }
    }
    Ok(())
}

fn assigns(line: &str, name: &str) -> bool {
    line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

/// The value of the last assignment.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| assigns(line, name))?;
    let (_, value) = line.split_once('=')?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// Replaces the last assignment, or adds one at the end. The value is not escaped, as in the real program.
fn replaced(text: &str, name: &str, new: Option<&str>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = new.map(|value| format!("{name}=\"{value}\""));
    match (lines.iter().rposition(|line| assigns(line, name)), line) {
        (Some(place), Some(line)) => lines[place] = line,
        (_, None) => lines.retain(|line| !assigns(line, name)),
        (None, Some(line)) => lines.push(line),
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
