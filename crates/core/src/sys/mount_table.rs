//! The table of mounted file systems, and the files that this process has open on them. It reads both and
//! judges neither.

use std::io;

use super::system_facts::FactsSource;
use super::{freebsd_abi as abi, os, simulated};
use crate::vss::HeldOpen;
use crate::vss::mounts::{FsId, Mount};

impl FactsSource {
    /// All mounts, oldest first, by getfsstat(2) with MNT_NOWAIT. No file system is asked for anything, so a
    /// dead file server does not block the call.
    ///
    /// In a directory of facts they are in the file `mounts`, with lines `TYPE ON FROM FLAGS FSID0 FSID1`.
    /// The flags are a number or names joined by commas, and `\040` is a blank. On Linux the system's own
    /// mounts are for display only.
    ///
    /// # Errors
    /// A system call failed, or the file cannot be read or has a malformed line.
    pub fn mounts(&self) -> io::Result<Vec<Mount>> {
        match self {
            Self::System => os::mounts::table(),
            Self::Directory(directory) => {
                parse_table(&simulated::read(directory, "mounts")?.unwrap_or_default())
            }
        }
    }

    /// The files, directories and FIFOs that this process has open, with the file system of each. Those on no
    /// mount of `table` are left out, and so are devices, sockets and pipes.
    ///
    /// # Errors
    /// The process cannot read its own descriptors.
    pub fn held_open(&self, table: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        os::mounts::held_open(table)
    }
}

/// Points standard input at /dev/null if it is a file, a directory or a FIFO on a mount of `table`, and
/// standard output and error if they are and are not writable. Closing such a descriptor on a suspended file
/// system sleeps, and a process that exits would never come to the descriptors that resume. Writable ones
/// stay: they veto, and the administrator should see that.
///
/// # Errors
/// The process cannot read its own descriptors, or /dev/null cannot be put in place.
pub fn replace_standard_files(table: &[Mount]) -> io::Result<()> {
    for held in os::mounts::held_open(table)?.iter().filter(|held| held.descriptor <= 2) {
        if held.descriptor == 0 || !held.writable {
            super::process::silence(held.descriptor)?;
        }
    }
    Ok(())
}

fn parse_table(text: &str) -> io::Result<Vec<Mount>> {
    simulated::lines(text)
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is no line of a mount table"))
            })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let mut words = line.split_ascii_whitespace();
    let (fs_type, on, from, flags) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let id = FsId([words.next()?.parse().ok()?, words.next()?.parse().ok()?]);
    let flags = parse_flags(flags)?;
    Some(Mount {
        fs_type: fs_type.to_owned(),
        from: unescape(from),
        on: unescape(on),
        id,
        read_only: flags & abi::MNT_RDONLY != 0,
        local: flags & abi::MNT_LOCAL != 0,
    })
}

/// Numbers and names joined by commas. Only the names that a backup needs are known.
fn parse_flags(text: &str) -> Option<u64> {
    text.split([',', '|']).map(parse_flag).try_fold(0, |flags, flag| Some(flags | flag?))
}

fn parse_flag(word: &str) -> Option<u64> {
    match (word, word.strip_prefix("0x")) {
        (_, Some(hex)) => u64::from_str_radix(hex, 16).ok(),
        ("rdonly" | "ro", _) => Some(abi::MNT_RDONLY),
        ("local", _) => Some(abi::MNT_LOCAL),
        _ if word.starts_with(|c: char| c.is_ascii_digit()) => word.parse().ok(),
        _ => Some(0),
    }
}

/// Replaces a backslash with three octal digits by their byte, as in fstab(5).
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3).and_then(octal_byte)).flatten();
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_mount_table_are_parsed() {
        let table = parse_table(
            "# the root\nufs / /dev/da0p2 local,rootfs 7 -9\nzfs /a\\040b tank/a\\040b 0x1001 1 2\n\
             nfs /x server:/x 0,nosuid,1 3 4\n\n",
        )
        .unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(
            (table[0].fs_type.as_str(), table[0].on.as_str(), table[0].id),
            ("ufs", "/", FsId([7, -9]))
        );
        assert!(table[0].local && !table[0].read_only);
        assert_eq!((table[1].from.as_str(), table[1].on.as_str()), ("tank/a b", "/a b"));
        assert!(table[1].local && table[1].read_only);
        assert!(!table[2].local && table[2].read_only);
    }

    #[test]
    fn a_malformed_line_is_an_error_that_quotes_it() {
        for line in ["ufs", "ufs / a local 1", "ufs / a local 1 x", "ufs / a 0xg 1 2", "ufs / a 1x 1 2"] {
            assert!(parse_table(line).unwrap_err().to_string().contains(line), "{line}");
        }
    }

    #[test]
    fn only_complete_escapes_are_replaced() {
        assert_eq!(unescape("a\\040b\\\\04\\777\\303\\251"), "a b\\\\04\\777é");
    }

    #[test]
    fn a_missing_file_is_a_machine_without_mounts() {
        let directory = tempfile::tempdir().unwrap();
        let source = FactsSource::Directory(directory.path().to_owned());
        assert_eq!(source.mounts().unwrap(), []);
    }

    #[test]
    fn the_running_system_has_a_root() {
        assert!(FactsSource::System.mounts().unwrap().iter().any(|mount| mount.on == "/"));
    }

    // FreeBSD itself knows on which file system a file is, and does not know this table.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_open_is_found_on_its_mount() {
        let directory = tempfile::tempdir().unwrap();
        let on = directory.path().to_str().unwrap();
        let table = parse_table(&format!("ufs {on} a local 77 1\nufs {on}/deeper b local 78 1\n")).unwrap();
        let held = |table| FactsSource::default().held_open(table).unwrap();
        let path = directory.path().join("log");
        let file = std::fs::File::create(&path).unwrap();
        let found: Vec<(FsId, bool)> =
            held(&table).into_iter().map(|held| (held.id, held.writable)).collect();
        assert_eq!(found, [(FsId([77, 1]), true)]);
        drop(file);
        let reader = std::fs::File::open(&path).unwrap();
        let found = held(&table);
        assert_eq!(
            (found.len(), found[0].writable, found[0].path.as_str()),
            (1, false, path.to_str().unwrap())
        );
        drop(reader);
        let _directory = std::fs::File::open(directory.path()).unwrap();
        assert_eq!(held(&table).len(), 1);
        let _pipe = std::io::pipe().unwrap();
        assert_eq!(held(&table).len(), 1);
    }
}
