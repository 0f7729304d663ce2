//! `-c`: what a backup would do with each mount, for people.

use std::fmt::Write as _;
use std::path::Path;

use hv_core::vss::hooks::Selection;
use hv_core::vss::mounts::Verdict;

/// The table, and in its last lines whether a backup could be made.
pub(crate) fn report(verdict: &Verdict, hooks: &Selection, hook_dir: &Path) -> String {
    let rows = verdict.decisions.iter().map(|decision| {
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
        let _ =
            writeln!(text, "{:on$}  {:fs_type$}  {:action$}  {}", row[0], row[1], row[2], printable(&row[3]));
    }
    text.push('\n');
    for skipped in &hooks.skipped {
        let _ = writeln!(text, "{skipped}");
    }
    if !hooks.hooks.is_empty() {
        let names: Vec<&str> = hooks.hooks.iter().map(|hook| hook.name.as_str()).collect();
        let _ = writeln!(text, "hooks in {}: {}", hook_dir.display(), names.join(", "));
    }
    let vetoes = verdict.vetoes().count();
    text.push_str(&match vetoes {
        0 => "a backup can be made".to_owned(),
        1 => "no backup can be made: one mount vetoes".to_owned(),
        _ => format!("no backup can be made: {vetoes} mounts veto"),
    });
    text
}

/// Mount points may hold any byte; a terminal must not see control characters.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::vss::hooks::{Hook, Skipped};
    use hv_core::vss::mounts::{FsId, Mount, Policy};

    fn mount(fs_type: &str, on: &str) -> Mount {
        let (fs_type, from, on) = (fs_type.into(), "x".into(), on.into());
        Mount { fs_type, from, on, id: FsId([1, 1]), read_only: false, local: true }
    }

    #[test]
    fn the_table_says_what_and_why() {
        let table = [mount("ufs", "/"), mount("ext2fs", "/linux\x1b[2J"), mount("tmpfs", "/tmp")];
        let verdict = Policy::default().judge(&table);
        let hooks = Selection {
            hooks: vec![Hook { name: "10-db".into(), path: "/d/10-db".into() }],
            skipped: vec![Skipped { path: "/d/x".into(), reason: "it is a symbolic link" }],
        };
        assert_eq!(
            report(&verdict, &hooks, Path::new("/d")),
            "MOUNT            TYPE    ACTION   WHY\n\
             /                ufs     suspend  writes to it stop during the freeze\n\
             /linux\\u{1b}[2J  ext2fs  veto     a file system of this type cannot be frozen\n\
             /tmp             tmpfs   ignore   it has nothing on disk\n\
             \n\
             hook skipped path=/d/x: it is a symbolic link\n\
             hooks in /d: 10-db\n\
             no backup can be made: one mount vetoes"
        );
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let last = |table: &[Mount]| {
            let text = report(&Policy::default().judge(table), &Selection::default(), Path::new("/d"));
            text.lines().last().unwrap().to_owned()
        };
        assert_eq!(last(&[mount("ufs", "/")]), "a backup can be made");
        let two = [mount("ext2fs", "/a"), mount("ext2fs", "/b")];
        assert_eq!(last(&two), "no backup can be made: 2 mounts veto");
    }
}
