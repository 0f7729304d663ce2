//! Facts about the system: release, architecture, host name, other sysctls. They come from the running system
//! or from a directory.

use std::io;
use std::path::PathBuf;

use super::{os, simulated};

/// Facts that do not change while the system runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFacts {
    /// kern.ostype: `FreeBSD`.
    pub os_type: String,
    /// kern.osrelease: `14.3-RELEASE-p2`.
    pub os_release: String,
    /// kern.version: the kernel's build, one line.
    pub os_version: String,
    /// kern.osreldate: `1403000`. `None` if there is no such number.
    pub os_reldate: Option<u32>,
    /// hw.machine: `amd64`, `arm64`.
    pub machine: String,
    /// hw.machine_arch: `amd64`, `aarch64`.
    pub machine_arch: String,
}

/// Where facts about the machine are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FactsSource {
    /// The running system.
    #[default]
    System,
    /// A directory of text files (`sysctl`, `ifaddrs`, `routes`, `mounts`): a simulated machine.
    Directory(PathBuf),
}

impl From<Option<PathBuf>> for FactsSource {
    /// The directory, if one is given. Otherwise the running system.
    fn from(directory: Option<PathBuf>) -> Self {
        directory.map_or(Self::System, Self::Directory)
    }
}

impl FactsSource {
    /// The facts about the system, by sysctl(3) on FreeBSD, where uname(3) honours environment variables.
    ///
    /// # Errors
    /// sysctl(3) failed, or a file cannot be read.
    pub fn system_facts(&self) -> io::Result<SystemFacts> {
        let Self::Directory(directory) = self else { return os::system::facts() };
        let text = |name| Ok::<_, io::Error>(simulated::sysctl(directory, name)?.unwrap_or_default());
        Ok(SystemFacts {
            os_type: text("kern.ostype")?,
            os_release: text("kern.osrelease")?,
            os_version: text("kern.version")?,
            os_reldate: text("kern.osreldate")?.parse().ok(),
            machine: text("hw.machine")?,
            machine_arch: text("hw.machine_arch")?,
        })
    }

    /// The host name, which DHCP or an administrator may change at any time. Empty if none is set.
    ///
    /// # Errors
    /// A failed system call, or a file that cannot be read.
    pub fn host_name(&self) -> io::Result<String> {
        if let Self::Directory(directory) = self
            && let Some(name) = simulated::sysctl(directory, "kern.hostname")?
        {
            return Ok(name);
        }
        os::system::host_name()
    }

    /// The sysctl `name`, whose value is text. `None` if the kernel has no such sysctl.
    ///
    /// # Errors
    /// A failed sysctl(3), or a file that cannot be read. `Unsupported` on systems without sysctls.
    pub fn sysctl_text(&self, name: &str) -> io::Result<Option<String>> {
        match self {
            Self::System => os::system::sysctl_text(name),
            Self::Directory(directory) => simulated::sysctl(directory, name),
        }
    }

    /// The sysctl `name`, whose value is a number of 4 or 8 bytes. `None` if there is no such sysctl.
    ///
    /// # Errors
    /// As [`Self::sysctl_text`]; `InvalidData` if the value is no number.
    pub fn sysctl_number(&self, name: &str) -> io::Result<Option<i64>> {
        let Self::Directory(directory) = self else { return os::system::sysctl_number(name) };
        let number = |text: String| text.trim().parse().map_err(|_| invalid_number(name));
        simulated::sysctl(directory, name)?.map(number).transpose()
    }

    /// The device behind the interface with this index, such as `hn0`, even if the interface was renamed.
    /// `None` if there is no such interface or the system has no such information.
    ///
    /// In a directory of facts it is the value of `driver=` in the interface's line `link`.
    ///
    /// # Errors
    /// A failed sysctl(3), or a file that cannot be read.
    pub fn driver_name(&self, index: u32) -> io::Result<Option<String>> {
        match self {
            Self::System => os::system::driver_name(index),
            Self::Directory(directory) => simulated::driver_name(directory, index),
        }
    }

    /// The argument vector of process `pid`, each argument followed by a NUL.
    ///
    /// In a directory of facts it may be given under the numbers of kern.proc.args, `1.14.7.PID:str=dhclient:
    /// hn0`. Otherwise the running system is read.
    ///
    /// # Errors
    /// There is no such process, or it may not be read.
    pub fn process_arguments(&self, pid: u32) -> io::Result<Vec<u8>> {
        if let Self::Directory(directory) = self
            && let Some(arguments) = simulated::sysctl(directory, &format!("1.14.7.{pid}"))?
        {
            return Ok(arguments.into_bytes());
        }
        os::system::process_arguments(pid)
    }
}

/// The error for a sysctl that should be a number and is not.
pub(super) fn invalid_number(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("sysctl {name} is no number"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn the_running_system_has_facts() {
        let facts = FactsSource::System.system_facts().unwrap();
        for text in
            [&facts.os_type, &facts.os_release, &facts.os_version, &facts.machine, &facts.machine_arch]
        {
            assert!(!text.is_empty() && !text.contains(['\0', '\n']), "{facts:?}");
        }
        FactsSource::System.host_name().unwrap();
    }

    #[test]
    fn a_directory_replaces_the_facts_that_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let text =
            "kern.osrelease=15.0-STABLE\nkern.hostname=web1\nhw.hn.vf_transparent=1\nhw.hn.vflist=mce0\n";
        std::fs::write(directory.path().join("sysctl"), text).unwrap();
        let source = FactsSource::Directory(directory.path().to_owned());
        let facts = source.system_facts().unwrap();
        assert_eq!((facts.os_release.as_str(), facts.machine.as_str()), ("15.0-STABLE", "amd64"));
        assert_eq!(source.host_name().unwrap(), "web1");
        assert_eq!(source.sysctl_number("hw.hn.vf_transparent").unwrap(), Some(1));
        assert_eq!(source.sysctl_number("hw.hn.missing").unwrap(), None);
        assert!(source.sysctl_number("hw.hn.vflist").is_err());
        assert_eq!(source.sysctl_text("hw.hn.vflist").unwrap().as_deref(), Some("mce0"));
    }

    #[test]
    fn arguments_of_a_live_process_are_read() {
        let arguments = FactsSource::System.process_arguments(std::process::id()).unwrap();
        assert!(arguments.ends_with(b"\0"), "{arguments:?}");
        assert!(FactsSource::System.process_arguments(u32::MAX).is_err());
    }

    /// FreeBSD's kernel keeps the arguments until the process is collected (proc_reap of sys/kern/kern_exit.c).
    #[test]
    fn a_process_that_has_ended_and_was_not_collected_has_no_arguments() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo ready; read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Linux shows the arguments of a new program only a moment after it was started.
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let arguments = FactsSource::System.process_arguments(child.id()).unwrap();
        assert!(arguments.starts_with(b"/bin/sh\0"), "{arguments:?}");
        drop(child.stdin.take());
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        // WNOWAIT leaves it as it is.
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert_eq!(FactsSource::System.process_arguments(child.id()).unwrap(), b"");
        child.wait().unwrap();
    }
}
