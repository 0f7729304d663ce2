//! The processes that run certain programs, with their arguments. What such a process does is decided by
//! `net::processes`.

use std::io;

use super::process_records::Entry;
use super::system_facts::FactsSource;
use super::{os, simulated};
use crate::net::processes::Process;

/// The programs whose arguments are read. A script is listed as its shell.
const PROGRAMS: [&str; 5] = ["dhclient", "sh", "dhcpcd", "udhcpc", "dual-dhclient"];

impl FactsSource {
    /// The running DHCP clients and shells, with their arguments. A process that ends meanwhile is left out.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn network_processes(&self) -> io::Result<Vec<Process>> {
        self.processes_of(&PROGRAMS)
    }

    /// The processes of these programs, with their arguments. A process that ends meanwhile is left out.
    ///
    /// In a directory of facts they are in the file `procs`, with lines `proc PID COMM [ppid=N]`.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn processes_of(&self, programs: &[&str]) -> io::Result<Vec<Process>> {
        let entries = match self {
            Self::System => os::process_list::all()?,
            Self::Directory(directory) => {
                simulated_entries(&simulated::read(directory, "procs")?.unwrap_or_default())
            }
        };
        let known = entries.into_iter().filter(|entry| programs.contains(&entry.program.as_str()));
        let with_arguments = |entry: Entry| {
            let arguments =
                self.process_arguments(entry.pid).ok().filter(|arguments| !arguments.is_empty())?;
            Some(Process { pid: entry.pid, parent: entry.parent, arguments })
        };
        Ok(known.filter_map(with_arguments).collect())
    }
}

fn simulated_entries(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "proc").skip(1);
        let (pid, program) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let parent = words.find_map(|word| word.strip_prefix("ppid=")).and_then(|number| number.parse().ok());
        Some(Entry { pid, parent: parent.unwrap_or(1), jail: 0, program })
    };
    simulated::lines(text).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_directory_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let procs = "# a guest\nproc 7 dhclient ppid=3\nproc 8 sshd\nproc 9 sh\nmap /x on=/\nproc x sh\n";
        std::fs::write(directory.path().join("procs"), procs).unwrap();
        let sysctl = "1.14.7.7:str=dhclient: hn0\n1.14.7.8:str=sshd\n1.14.7.9:hex=736800780a00\n";
        std::fs::write(directory.path().join("sysctl"), sysctl).unwrap();
        let found = FactsSource::Directory(directory.path().to_owned()).network_processes().unwrap();
        let found: Vec<(u32, u32, &[u8])> =
            found.iter().map(|process| (process.pid, process.parent, process.arguments.as_slice())).collect();
        assert_eq!(found, [(7, 3, &b"dhclient: hn0"[..]), (9, 1, b"sh\0x\n\0")]);
    }

    #[test]
    fn the_running_system_lists_a_shell() {
        use std::process::{Command, Stdio};
        let mut command = Command::new("/bin/sh");
        let mut child = command.args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        let own = std::process::id();
        // Before it runs its program, the list shows it under its parent's name.
        let found = (0..500).find_map(|_| {
            let all = FactsSource::System.network_processes().unwrap();
            let found = all.into_iter().find(|process| process.pid == child.id());
            found.or_else(|| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                None
            })
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap().parent, own);
    }

    #[test]
    fn ended_process_is_left_out_before_its_parent_collects_it() {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", ":", "netif", "restart", "hn0"])
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let all = FactsSource::System.network_processes().unwrap();
        child.wait().unwrap();
        assert!(!all.iter().any(|process| process.pid == child.id()), "{all:?}");
    }
}
