//! The place of the devices on Linux: a FUSE directory in a private mount namespace. FreeBSD's counterpart is
//! `nodes/freebsd`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fuser::BackgroundSession;

use super::{SharedDevice, fuse};
use crate::control::device_dir;
use crate::namespace::{self, NamespaceError};
use crate::root::{Root, RootError};
use crate::server::Options;

/// Why the devices have no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// FUSE or namespaces cannot be used here.
    #[error(transparent)]
    Namespace(NamespaceError),
    /// There is no root for FreeBSD's executables.
    #[error(transparent)]
    Root(RootError),
    /// The FUSE connection failed.
    #[error("cannot serve FUSE requests")]
    Fuse(#[source] io::Error),
}

/// The place of the devices.
#[derive(Debug)]
pub(crate) struct Place {
    devices: PathBuf,
    fuse: OwnedFd,
}

impl Place {
    /// Mounts the existing `DIR/dev` in private namespaces of this process. It must be called while the
    /// process has one thread. After an error it may be half moved into a namespace.
    pub(crate) fn prepare(options: &Options, dir: &Path) -> Result<Self, PlaceError> {
        let devices = device_dir(dir);
        namespace::isolate().map_err(PlaceError::Namespace)?;
        if let Some(template) = &options.root {
            make_root(template, dir, options.vss.facts.as_deref()).map_err(PlaceError::Root)?;
        }
        let fuse = namespace::mount_fuse(&devices).map_err(PlaceError::Namespace)?;
        Ok(Self { devices, fuse })
    }

    /// The directory of the devices.
    pub(crate) fn devices(&self) -> &Path {
        &self.devices
    }

    /// Serves the devices until the result is dropped.
    pub(crate) fn serve(self, devices: Vec<SharedDevice>) -> Result<BackgroundSession, PlaceError> {
        fuse::serve(devices, self.fuse).map_err(PlaceError::Fuse)
    }
}

/// It is made before the devices are mounted, so that their mount appears in the root, too.
fn make_root(template: &Path, dir: &Path, facts: Option<&Path>) -> Result<(), RootError> {
    let shared = dir.parent().unwrap_or(dir);
    let root = Root::of_template(template)?;
    // The simulated tools, which programs run, are beside this program.
    let tools = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    root.assemble(&std::iter::once(shared.to_owned()).chain(tools).collect::<Vec<_>>())?;
    root.show_devices(&device_dir(dir))?;
    facts.map_or(Ok(()), |facts| root.serve_facts(facts))
}
