//! Private namespaces. Only the server and programs that enter see the mount. It needs no setuid helper and
//! no root, and disappears with the last process in it. What is mounted is decided elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

/// Why there is no private mount.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open /dev/fuse{}", fuse_advice(source))]
    OpenFuse {
        /// The error of the system.
        source: io::Error,
    },
    /// A new namespace is refused.
    #[error(
        "cannot make a private mount namespace: user namespaces are switched off here (see \
         /proc/sys/user/max_user_namespaces and kernel.unprivileged_userns_clone or \
         kernel.apparmor_restrict_unprivileged_userns) and this is not root"
    )]
    Unshare {
        /// The error of the system.
        source: Errno,
    },
    /// The user of a new user namespace cannot be mapped, or a mount cannot be made private.
    #[error("cannot {step}")]
    Prepare {
        /// The operation.
        step: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The file system cannot be mounted.
    #[error("cannot mount FUSE at {path}")]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// The error of the system.
        source: Errno,
    },
    /// Another process's namespaces cannot be entered.
    #[error("cannot enter the namespaces of process {pid}")]
    Enter {
        /// Its process id.
        pid: i32,
        /// The error of the system.
        source: io::Error,
    },
}

fn fuse_advice(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => ": load the kernel's module fuse, or give the container the device",
        Some(Errno::EACCES | Errno::EPERM) => {
            ": an ordinary user needs its mode to be 0666, as distributions set it"
        }
        _ => "",
    }
}

/// Moves this process into a mount namespace of its own. If that needs a user namespace, it creates one, too,
/// in which the process is root, as the guest's daemons are.
///
/// It must be called while the process has one thread. After an error the process may be half moved and must
/// exit.
///
/// # Errors
/// [`NamespaceError::Unshare`] if the system forbids it, otherwise [`NamespaceError::Prepare`].
pub fn isolate() -> Result<(), NamespaceError> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        if error != Errno::EPERM {
            return Err(NamespaceError::Unshare { source: error });
        }
        isolate_as_user()?;
    }
    // Otherwise the mount would also appear in the namespace that this one was copied from.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|source| NamespaceError::Prepare { step: "make the mounts private", source: source.into() })
}

fn isolate_as_user() -> Result<(), NamespaceError> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|source| NamespaceError::Unshare { source })?;
    let write = |path: &str, text: String| {
        fs::write(path, text)
            .map_err(|source| NamespaceError::Prepare { step: "map the user into the namespace", source })
    };
    // Only then does the kernel accept a group map from an unprivileged process.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Mounts a FUSE file system at the existing directory `path`. Returns the descriptor for serving it.
///
/// # Errors
/// [`NamespaceError::OpenFuse`] or [`NamespaceError::Mount`].
pub fn mount_fuse(path: &Path) -> Result<OwnedFd, NamespaceError> {
    let fuse = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|source| NamespaceError::OpenFuse { source })?;
    // The nodes' modes decide who may open them, as for a real device, so other users must be allowed in.
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
        fuse.as_raw_fd(),
        geteuid(),
        getegid()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    mount(Some("hvsim"), path, Some("fuse"), flags, Some(options.as_str()))
        .map_err(|source| NamespaceError::Mount { path: path.to_owned(), source })?;
    Ok(fuse.into())
}

/// Moves this process into the namespaces of process `pid`. The path of its working directory stays.
///
/// It must be called while the process has one thread.
///
/// # Errors
/// [`NamespaceError::Enter`].
pub fn enter(pid: i32) -> Result<(), NamespaceError> {
    enter_by_files(pid).map_err(|source| NamespaceError::Enter { pid, source })
}

fn enter_by_files(pid: i32) -> io::Result<()> {
    let here = std::env::current_dir();
    let of = |process: &str, kind: &str| PathBuf::from(format!("/proc/{process}/ns/{kind}"));
    let process = pid.to_string();
    let mounts = File::open(of(&process, "mnt"))?;
    // The user namespace first: only there an ordinary user may enter the other one.
    if fs::read_link(of("self", "user"))? != fs::read_link(of(&process, "user"))? {
        setns(File::open(of(&process, "user"))?, CloneFlags::CLONE_NEWUSER)?;
    }
    setns(mounts, CloneFlags::CLONE_NEWNS)?;
    match here {
        Ok(path) => std::env::set_current_dir(path),
        Err(_) => Ok(()),
    }
}
