//! A root directory for FreeBSD's executables. It is made in the namespaces of one machine from a template
//! that all machines share, so each machine has its own `/etc`, `/var` and `/dev`, and nothing outlives it.
//!
//! The template is a directory with a loader and a libc for FreeBSD's ABI, made from the directory in
//! `FBSD_ABI`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

/// The environment variable with the template's path. If it is set, the test harness runs FreeBSD's
/// executables.
pub const VARIABLE: &str = "HVSIM_FREEBSD_ROOT";

/// Directories that programs only read. They are bind-mounted, so a machine needs no copy of the libraries.
const SHARED: [&str; 4] = ["bin", "lib", "lib64", "libexec"];

/// The devices of a guest, each a link into the machine's directory of devices.
const DEVICES: [&str; 4] = ["hv_kvp_dev", "hv_fsvss_dev", "hv_appvss_dev", "ufssuspend"];

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {path}")]
pub struct RootError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A root that can be made.
#[derive(Debug, Clone)]
pub struct Root {
    template: PathBuf,
}

impl Root {
    /// A root like `template`.
    ///
    /// # Errors
    /// It is no directory, or no template.
    pub fn of_template(template: &Path) -> Result<Self, RootError> {
        let template = fs::canonicalize(template).map_err(failed("find the root", template))?;
        let loader = template.join("libexec/ld-elf.so.1");
        fs::metadata(&loader).map_err(failed("find the loader of FreeBSD's programs", &loader))?;
        Ok(Self { template })
    }

    /// The path of the root in its namespaces: the template's `/tmp`, which is not needed otherwise.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.template.join("tmp")
    }

    /// Makes the root in the mount namespace of this process, which must be private. The directories in
    /// `shared` appear at their own paths inside, with mounts that are made in them later.
    ///
    /// # Errors
    /// An operation failed. It takes the rights of root.
    pub fn assemble(&self, shared: &[PathBuf]) -> Result<(), RootError> {
        let root = self.path();
        // Later mounts below a shared directory appear at its second place only if both places are shared
        // with each other.
        set_mount("share the mounts below", None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SHARED)?;
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .map_err(|error| failed("mount a root at", &root)(error.into()))?;
        self.copy_private(&root)?;
        let temporary = root.join("tmp");
        fs::create_dir(&temporary)
            .and_then(|()| fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)))
            .map_err(failed("make the directory", &temporary))?;
        for name in SHARED {
            bind(&self.template.join(name), &root.join(name))?;
        }
        for directory in shared {
            bind(directory, &root.join(directory.strip_prefix("/").unwrap_or(directory)))?;
        }
        self.mount_processes(&root.join("proc"))
    }

    /// FreeBSD has no such directory, but programs of this system in the root need it.
    fn mount_processes(&self, path: &Path) -> Result<(), RootError> {
        fs::create_dir_all(path).map_err(failed("make the directory", path))?;
        mount(Some("proc"), path, Some("proc"), MsFlags::empty(), None::<&str>)
            .map_err(|error| failed("mount", path)(error.into()))
    }

    fn copy_private(&self, root: &Path) -> Result<(), RootError> {
        let reading = failed("read", &self.template);
        let entries = fs::read_dir(&self.template).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let paths = entries.map_err(reading)?.into_iter().map(|entry| entry.path());
        let private = paths.filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            name != "tmp" && !SHARED.contains(&name)
        });
        let status = Command::new("/bin/cp").arg("-a").args(private).arg(root).status();
        match status.map_err(failed("copy", &self.template))? {
            status if status.success() => Ok(()),
            status => Err(failed("copy", &self.template)(io::Error::other(status.to_string()))),
        }
    }

    /// Makes a machine's devices available in the root's `/dev`.
    ///
    /// # Errors
    /// An operation failed.
    pub fn show_devices(&self, devices: &Path) -> Result<(), RootError> {
        for name in DEVICES {
            let link = self.path().join("dev").join(name);
            symlink(devices.join(name), &link).map_err(failed("make the link", &link))?;
        }
        Ok(())
    }

    /// Makes the facts in the directory `facts` available in the root.
    ///
    /// # Errors
    /// An operation failed.
    pub fn serve_facts(&self, facts: &Path) -> Result<(), RootError> {
        let link = self.path().join("etc/fbsd-abi");
        fs::remove_dir_all(&link).map_err(failed("remove", &link))?;
        symlink(facts, &link).map_err(failed("make the link", &link))
    }

    /// Changes the root of this process to the root, which must exist.
    ///
    /// # Errors
    /// The error of chroot(2) or chdir(2).
    pub fn enter(&self) -> Result<(), RootError> {
        let root = self.path();
        chroot(&root)
            .and_then(|()| chdir("/"))
            .map_err(|error| failed("change the root to", &root)(error.into()))
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootError {
    let path = path.to_owned();
    move |source| RootError { step, path, source }
}

fn bind(from: &Path, to: &Path) -> Result<(), RootError> {
    fs::create_dir_all(to).map_err(failed("make the directory", to))?;
    set_mount("mount", Some(from), to, MsFlags::MS_BIND)
}

fn set_mount(step: &'static str, from: Option<&Path>, to: &Path, flags: MsFlags) -> Result<(), RootError> {
    mount(from, to, None::<&str>, flags, None::<&str>).map_err(|error| failed(step, to)(error.into()))
}
