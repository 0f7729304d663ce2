//! Capsicum and procctl(2). What needs which right is said in sys/sys/capsicum.h.

use std::ffi::{c_int, c_ulong, c_ulonglong};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::confine::Keep;

/// Limits the rights, and for ioctl(2) the requests.
pub(in crate::sys) fn limit(descriptor: BorrowedFd<'_>, keep: Keep<'_>) -> io::Result<()> {
    match keep {
        Keep::Messages => limit_rights(descriptor, [libc::CAP_PREAD, libc::CAP_PWRITE, libc::CAP_EVENT]),
        Keep::Requests(requests) => {
            // One right stands twice, because the list has the length of the other case.
            limit_rights(descriptor, [libc::CAP_IOCTL, libc::CAP_EVENT, libc::CAP_EVENT])?;
            let requests: Vec<c_ulong> = requests.iter().map(|request| *request as c_ulong).collect();
            // SAFETY: the descriptor is open, and the pointer is to as many numbers as the length says; the
            // kernel copies them.
            let result =
                unsafe { libc::cap_ioctls_limit(descriptor.as_raw_fd(), requests.as_ptr(), requests.len()) };
            outcome(result)
        }
    }
}

fn limit_rights(descriptor: BorrowedFd<'_>, [first, second, third]: [u64; 3]) -> io::Result<()> {
    let mut rights = MaybeUninit::<libc::cap_rights_t>::zeroed();
    let end: c_ulonglong = 0;
    // SAFETY: the set is initialised by the first call, which takes rights of 64 bits up to a zero and keeps
    // no pointer; the second call reads the set, and the descriptor is open.
    let result = unsafe {
        libc::__cap_rights_init(
            libc::CAP_RIGHTS_VERSION,
            rights.as_mut_ptr(),
            c_ulonglong::from(first),
            c_ulonglong::from(second),
            c_ulonglong::from(third),
            end,
        );
        libc::cap_rights_limit(descriptor.as_raw_fd(), rights.as_ptr())
    };
    outcome(result)
}

/// PROC_NO_NEW_PRIVS_CTL, of the calling process.
pub(in crate::sys) fn refuse_privileges() -> io::Result<()> {
    let mut enable: c_int = libc::PROC_NO_NEW_PRIVS_ENABLE;
    let own = nix::unistd::getpid().as_raw();
    // SAFETY: the request reads one int, which lives until the call returns.
    let result = unsafe {
        libc::procctl(
            libc::P_PID,
            libc::id_t::from(own),
            libc::PROC_NO_NEW_PRIVS_CTL,
            (&raw mut enable).cast(),
        )
    };
    outcome(result)
}

fn outcome(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs::{self, File, OpenOptions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::errno::Errno;

    use crate::sys::confine;

    /// FIONREAD and FIONBIO (sys/sys/filio.h).
    const FIONREAD: c_ulong = 0x4004_667f;
    const FIONBIO: c_ulong = 0x8004_667e;

    fn has_capsicum() -> bool {
        let found = crate::sys::freebsd::system::sysctl_number("kern.features.security_capabilities");
        let has = matches!(found, Ok(Some(1)));
        if !has {
            eprintln!("skipped: this kernel has no Capsicum");
        }
        has
    }

    fn is_refused<T: std::fmt::Debug>(result: io::Result<T>, what: &str) {
        let errno = result.expect_err(what).raw_os_error();
        assert_eq!(errno, Some(Errno::ENOTCAPABLE as i32), "{what}");
    }

    fn ioctl(file: impl AsFd, request: c_ulong) -> io::Result<()> {
        let mut number: c_int = 0;
        // SAFETY: both requests read or write one int, which lives until the call returns.
        outcome(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, &raw mut number) })
    }

    #[test]
    fn a_descriptor_for_messages_is_good_for_nothing_else() {
        if !has_capsicum() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device");
        fs::write(&path, "message").unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        confine::limit(file.as_fd(), Keep::Messages);
        // SAFETY: the number is that of an open descriptor, which nothing else owns.
        let copy = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(libc::dup(file.as_raw_fd())) };
        for file in [&file, &copy] {
            file.write_all_at(b"answer!", 0).unwrap();
            let mut read = [0; 7];
            file.read_exact_at(&mut read, 0).unwrap();
            assert_eq!(&read, b"answer!");
            is_refused(file.metadata(), "fstat");
            is_refused(file.set_len(0), "ftruncate");
            is_refused(file.sync_all(), "fsync");
            is_refused(file.set_permissions(fs::Permissions::from_mode(0o777)), "fchmod");
            is_refused(std::os::unix::fs::fchown(file, Some(1), None), "fchown");
            is_refused(ioctl(file, FIONREAD), "ioctl");
        }
        assert_eq!(fs::read(&path).unwrap(), b"answer!");
    }

    #[test]
    fn a_descriptor_for_requests_knows_no_others() {
        if !has_capsicum() {
            return;
        }
        let (reader, _writer) = io::pipe().unwrap();
        ioctl(&reader, FIONBIO).unwrap();
        confine::limit(reader.as_fd(), Keep::Requests(&[FIONREAD]));
        ioctl(&reader, FIONREAD).unwrap();
        is_refused(ioctl(&reader, FIONBIO), "another request");
        is_refused(io::Read::read(&mut &reader, &mut [0]), "read");
    }

    /// What the test below runs in a process of its own, which it limits for good.
    const SET_ID: &str = "HV_TEST_SET_ID";

    #[test]
    fn runs_the_program_that_the_variable_names() {
        let Some(program) = std::env::var_os(SET_ID) else { return };
        confine::refuse_privileges();
        panic!("{}", Command::new(program).arg("-u").exec());
    }

    #[test]
    fn a_set_id_program_gives_no_privileges() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: only root can make a set-id program of root's");
        }
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("id");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy("/usr/bin/id", &program).unwrap();
        chown(&program, Some(0), None).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let id = |command: &mut Command| {
            let output = command.uid(65_534).current_dir("/").output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // Without the limit, so that it is the limit that shows.
        assert_eq!(id(Command::new(&program).arg("-u")).trim(), "0");
        let own = directory.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
        let mut limited = Command::new(own);
        limited.args(["--exact", "--nocapture"]);
        limited.arg("sys::freebsd::confine::tests::runs_the_program_that_the_variable_names");
        let said = id(limited.env(SET_ID, &program));
        // The last word, not the last line: with one processor the name of the test stands before it.
        assert_eq!(said.split_whitespace().last(), Some("65534"), "{said}");
    }
}
