//! The smallest backup daemon: answers every request with one status, and suspends every UFS of a mount table
//! with one open and one call each.
//!
//! With it a benchmark measures the limit of machine and simulator. Without a mount table it plays an
//! application's own daemon.
//!
//! `hvsim-null-vss-daemon DEVICE STATUS [SUSPEND-DEVICE FACTS-DIR]`

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hv_core::abi::vss::{Answer, Operation, Status};
use hv_core::sys::system_facts::FactsSource;
use hv_core::sys::vss_device::{SuspendDevice, VssDevice};
use hv_core::vss::mounts::FsId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (device, status, suspension) = match arguments.as_slice() {
        [device, status] => (device, status, None),
        [device, status, suspender, facts] => (device, status, Some((suspender, facts))),
        _ => {
            eprintln!("usage: hvsim-null-vss-daemon DEVICE STATUS [SUSPEND-DEVICE FACTS-DIR]");
            return ExitCode::from(64);
        }
    };
    let status = if status == Path::new("0") { Status::Success } else { Status::Failure };
    match run(device, status, suspension.map(|(suspender, facts)| (suspender.as_path(), facts.as_path()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hvsim-null-vss-daemon: {}: {error}", device.display());
            ExitCode::from(69)
        }
    }
}

fn run(device: &Path, status: Status, suspension: Option<(&Path, &Path)>) -> io::Result<()> {
    let mut ids: Vec<FsId> = Vec::new();
    if let Some((_, facts)) = suspension {
        let table = FactsSource::Directory(facts.to_owned()).mounts()?;
        ids = table.iter().filter(|mount| mount.fs_type == "ufs").map(|mount| mount.id).collect();
    }
    let device = VssDevice::open(device)?;
    let mut suspended = Vec::with_capacity(ids.len());
    loop {
        let mut descriptors = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        let Some(request) = device.read()? else { continue };
        match (request.operation, suspension) {
            (Operation::Freeze, Some((path, _))) => {
                for id in &ids {
                    let suspender = SuspendDevice::open(path)?;
                    suspender.suspend(*id)?;
                    suspended.push(suspender);
                }
            }
            (Operation::Thaw, _) => {
                while let Some(suspender) = suspended.pop() {
                    suspender.resume()?;
                }
            }
            _ => {}
        }
        device.write(Answer { request, status })?;
    }
}
