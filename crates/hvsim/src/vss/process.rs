//! What the kernel knows of the calling process, read from /proc.

use std::fs;

/// What a process had written, and which children it had, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Activity {
    /// Bytes handed to `write(2)` and its kin.
    written: u64,
    /// Such calls.
    calls: u64,
    children: String,
}

impl Activity {
    /// What its thread did so far, without children that it waited for; `None` if it cannot be looked at.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/io")).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        // Needs CONFIG_PROC_CHILDREN; without it children are not watched.
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
        // One that was there before may end.
        let new = self
            .children
            .split_whitespace()
            .find(|child| !earlier.children.split_whitespace().any(|old| old == *child));
        new.map(|_| format!("ran a program (its children are now {:?})", self.children.trim()))
    }
}

/// How many threads a process has; 1 if it cannot be told.
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

    /// What a shell does between two looks at it.
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
        // The end of its output is the sign that it is done.
        let mut line = String::new();
        while BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap() > 0 {}
        let after = Activity::of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        after.offence_since(&before)
    }

    // contract B16
    #[test]
    fn a_process_that_writes_or_starts_a_program_is_found_out() {
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
