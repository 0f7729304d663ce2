//! The processes of this machine that the checks need. It lists them and judges none.

use std::io;

use hv_core::sys::system_facts::FactsSource;

/// The programs that are listed. A script is listed as its shell.
const PROGRAMS: [&str; 9] = [
    "hv_kvp_daemon",
    "hv_vss_daemon",
    "dhclient",
    "dhcpcd",
    "dual-dhclient",
    "sh",
    "ntpd",
    "chronyd",
    "openntpd",
];

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its arguments, or the title that it has set.
    pub(crate) command: String,
}

impl Process {
    /// Whether it runs the program with this name, and does not only have the name among its arguments.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let first = self.command.split(' ').next().unwrap_or_default();
        first.rsplit('/').next().unwrap_or_default().trim_end_matches(':') == name
    }
}

/// All processes that run one of the programs.
///
/// # Errors
/// The processes cannot be listed.
pub(crate) fn list(facts: &FactsSource) -> io::Result<Vec<Process>> {
    let found = facts.processes_of(&PROGRAMS)?;
    let process = |process: hv_core::net::processes::Process| {
        let words = String::from_utf8_lossy(&process.arguments).replace('\0', " ");
        Process { pid: process.pid, command: words.trim().to_owned() }
    };
    Ok(found.into_iter().map(process).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_recognised_by_its_name() {
        for (command, is_one) in [
            ("/usr/sbin/hv_kvp_daemon -n", true),
            ("hv_kvp_daemon: idle", true),
            ("vi hv_kvp_daemon", false),
            ("/bin/sh /etc/rc.d/hv_kvp_daemon start", false),
        ] {
            let process = Process { pid: 1, command: command.to_owned() };
            assert_eq!(process.runs("hv_kvp_daemon"), is_one, "{command}");
        }
    }
}
