//! What the kernel knows of the calling process, read from /proc.

use std::fs;
use std::path::{Path, PathBuf};

use hv_core::vss::mounts::{FsId, Mount, mount_of};

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
    /// What the process did so far; `None` if it cannot be looked at.
    pub(super) fn of(pid: u32) -> Option<Self> {
        // Of its one thread: the process's own figures grow by those of each child that it waits for.
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
pub(super) fn threads(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    count.unwrap_or(1)
}

/// Whether a process holds a file open for writing on the file system `id` of `table`: a simulated file system is the
/// directory that its mount point names. The simulated devices are on none.
pub(super) fn holds_open_for_writing(pid: u32, id: FsId, table: &[Mount]) -> bool {
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| PathBuf::from("/"));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let simulators: Vec<&str> = mounts.lines().filter_map(simulators_mount).collect();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut files = entries.filter_map(|entry| {
        let number = entry.file_name().into_string().ok()?;
        written_file(pid, &number, &entry.path(), &simulators)
    });
    files.any(|path| {
        // As the process itself sees it.
        let inside = path.strip_prefix(&root).map_or(path.clone(), |rest| Path::new("/").join(rest));
        let mount = inside.to_str().and_then(|path| mount_of(table, path));
        mount.is_some_and(|mount| mount.id == id)
    })
}

/// The number of a mount, if it is one of the simulator's (proc_pid_mountinfo(5)).
fn simulators_mount(line: &str) -> Option<&str> {
    let (left, right) = line.split_once(" - ")?;
    right.starts_with("fuse hvsim ").then(|| left.split(' ').next()).flatten()
}

/// Where a descriptor leads, if it is open for writing on a regular file. A file of the simulator must not be looked at
/// in any other way than this, for the thread that would have to answer is this one.
fn written_file(pid: u32, number: &str, link: &Path, simulators: &[&str]) -> Option<PathBuf> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let field = |name: &str| info.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
    let writes = u32::from_str_radix(field("flags:")?, 8).ok()? & 0o3 != 0;
    if !writes || simulators.contains(&field("mnt_id:")?) {
        return None;
    }
    fs::metadata(link).is_ok_and(|metadata| metadata.is_file()).then(|| fs::read_link(link).ok()).flatten()
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

    #[test]
    fn a_process_that_writes_or_starts_a_program_is_found_out() {
        assert_eq!(offence_of(":"), None);
        assert_eq!(offence_of("echo secret"), Some("wrote 7 bytes in 1 calls".to_owned()));
        let offence = offence_of("/bin/sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >/dev/null");
        assert!(offence.is_some(), "{offence:?}");
    }

    #[test]
    fn the_simulators_own_mounts_are_known() {
        let fuse = "171 163 0:52 / /tmp/x/dev rw,nosuid,nodev,noatime - fuse hvsim rw,user_id=0";
        assert_eq!(simulators_mount(fuse), Some("171"));
        assert_eq!(simulators_mount("30 1 0:25 / / rw,relatime - fuse sshfs rw"), None);
        assert_eq!(simulators_mount("30 1 0:25 / /hvsim rw,relatime - ext4 hvsim rw"), None);
    }

    #[test]
    fn own_threads_and_files_are_counted() {
        let pid = std::process::id();
        assert!(threads(pid) >= 2);
        let directory = tempfile::tempdir().unwrap();
        let on = directory.path().to_str().unwrap().to_owned();
        let mount = Mount {
            fs_type: "ufs".into(),
            from: "/dev/da0".into(),
            on,
            id: FsId([7, 7]),
            read_only: false,
            local: true,
        };
        let table = [mount];
        let holds = || holds_open_for_writing(pid, FsId([7, 7]), &table);
        let path = directory.path().join("log");
        let file = fs::File::create(&path).unwrap();
        assert!(holds());
        drop(file);
        let _reader = fs::File::open(&path).unwrap();
        assert!(!holds());
    }
}
