//! The smallest key-value daemon: registers, then returns every message with the status OK.
//!
//! With it a benchmark measures the limit of machine and simulator.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use hvsim::kvp::layout::{MESSAGE_SIZE, OP_REGISTER, OPERATION, STATUS_OK};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: hvsim-null-daemon DEVICE");
        return ExitCode::from(64);
    };
    let result = OpenOptions::new().read(true).write(true).open(&path).and_then(|device| serve(&device));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hvsim-null-daemon: {}: {error}", path.display());
            ExitCode::from(69)
        }
    }
}

fn serve(device: &File) -> std::io::Result<()> {
    let mut message = [0; MESSAGE_SIZE];
    message[OPERATION] = OP_REGISTER;
    device.write_all_at(&message, 0)?;
    loop {
        let mut descriptors = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        device.read_at(&mut message, 0)?;
        message[..4].copy_from_slice(&STATUS_OK.to_le_bytes());
        match device.write_at(&message, 0) {
            // The driver does not know the operation. The host has its answer.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
            result => {
                result?;
            }
        }
    }
}
