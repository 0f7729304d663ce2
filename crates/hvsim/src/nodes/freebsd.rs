//! The place of the devices on FreeBSD: their real names in `/dev`, by cuse(3). Linux's counterpart is
//! `nodes/linux`.

use std::io;
use std::path::Path;

use hv_core::sys::cuse::{ClientCall, CuseServer};

use super::SharedDevice;
use super::cuse::{self, Call, Kernel};
use crate::server::Options;

/// This device is the kernel's own, so suspensions are real.
const NOT_SIMULATED: &str = "ufssuspend";

/// Why the devices have no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// `/dev/cuse` cannot be opened.
    #[error("cannot open /dev/cuse{}", cuse_advice(.0))]
    Open(#[source] io::Error),
    /// A device cannot be created.
    #[error("cannot make /dev/{name}, which another hvsim or Hyper-V itself may have made")]
    Create {
        /// Its name below `/dev`.
        name: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// A root for FreeBSD's executables was asked for.
    #[error("--root is for FreeBSD's executables on Linux")]
    Root,
}

fn cuse_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => ": load the kernel's module with \"kldload cuse\"",
        io::ErrorKind::PermissionDenied => ": only root may",
        _ => "",
    }
}

/// Proof that the devices are served.
#[derive(Debug)]
pub(crate) struct Served;

/// The place of the devices.
#[derive(Debug)]
pub(crate) struct Place(CuseServer);

impl Place {
    /// Opens the kernel's side.
    pub(crate) fn prepare(options: &Options, _dir: &Path) -> Result<Self, PlaceError> {
        if options.root.is_some() {
            return Err(PlaceError::Root);
        }
        CuseServer::open().map(Self).map_err(PlaceError::Open)
    }

    /// The directory of the devices.
    #[expect(clippy::unused_self, reason = "the other platform's is not constant")]
    pub(crate) fn devices(&self) -> &Path {
        Path::new("/dev")
    }

    /// Serves the devices until the process ends.
    pub(crate) fn serve(self, mut devices: Vec<SharedDevice>) -> Result<Served, PlaceError> {
        devices.retain(|device| device.peek(|device, _| device.name()) != NOT_SIMULATED);
        for (number, device) in devices.iter().enumerate() {
            let (name, mode) = device.peek(|device, _| (device.name(), device.mode()));
            self.0.create(number, name, mode).map_err(|source| PlaceError::Create { name, source })?;
        }
        cuse::serve(devices, self.0);
        Ok(Served)
    }
}

impl Kernel for CuseServer {
    fn next(&self) -> io::Result<Call> {
        let ClientCall { device, handle, kind, argument, data } = CuseServer::next(self)?;
        Ok(Call { device, handle, kind, argument, data })
    }

    fn set_handle(&self, handle: usize) -> io::Result<()> {
        CuseServer::set_handle(self, handle)
    }

    fn copy_in(&self, call: &Call, bytes: &mut [u8]) -> io::Result<()> {
        CuseServer::copy_in(self, call.data, bytes)
    }

    fn copy_out(&self, call: &Call, bytes: &[u8]) -> io::Result<()> {
        CuseServer::copy_out(self, call.data, bytes)
    }

    fn finish(&self, result: i32) -> io::Result<()> {
        CuseServer::finish(self, result)
    }

    fn wake_pollers(&self) -> io::Result<()> {
        CuseServer::wake_pollers(self)
    }
}
