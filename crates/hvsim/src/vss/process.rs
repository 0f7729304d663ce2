//! What the kernel knows about a calling process, read from /proc: its threads, writes and children. It is
//! used to judge a frozen daemon.

use std::fs;

/// The writes and children of a process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Activity {
    /// Bytes passed to `write(2)` and similar calls.
    written: u64,
    /// The number of such calls.
    calls: u64,
    children: String,
}

impl Activity {
    /// The writes of its thread so far, without those of children that it collected. `None` if it cannot be
    /// read.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/io")).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        // It needs CONFIG_PROC_CHILDREN. Without it children are not observed.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Some(Self { written: field("wchar:")?, calls: field("syscw:")?, children })
    }

    /// What the process did since `earlier` that a frozen daemon must not do.
    pub(super) fn offence_since(&self, earlier: &Self) -> Option<String> {
        let calls = self.calls.saturating_sub(earlier.calls);
        if calls > 0 || self.written != earlier.written {
            let bytes = self.written.saturating_sub(earlier.written);
            return Some(format!("wrote {bytes} bytes in {calls} calls"));
        }
        // Former children may have ended.
        let new = self
            .children
            .split_whitespace()
            .find(|child| !earlier.children.split_whitespace().any(|old| old == *child));
        new.map(|_| format!("ran a program (its children are now {:?})", self.children.trim()))
    }
}

/// The number of threads of a process. 1 if it cannot be read.
pub(super) fn threads(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    count.unwrap_or(1)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    /// The offence of a shell between two looks at it.
    fn offence_of(script: &str) -> Option<String> {
        let text = format!("read go; {script}; exec 1>&-; read end");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = Activity::of(child.id()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        // It is done when its output ends.
        let mut line = String::new();
        while BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap() > 0 {}
        let after = Activity::of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        after.offence_since(&before)
    }

    // contract B16
    #[test]
    fn writes_and_new_programs_of_a_process_are_found() {
        assert_eq!(offence_of(":"), None);
        assert_eq!(offence_of("echo secret"), Some("wrote 7 bytes in 1 calls".to_owned()));
        let offence = offence_of("/bin/sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >/dev/null");
        assert!(offence.is_some(), "{offence:?}");
    }

    #[test]
    fn own_threads_are_counted() {
        assert!(threads(std::process::id()) >= 2);
    }
}
