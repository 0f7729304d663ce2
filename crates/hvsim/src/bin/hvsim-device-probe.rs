//! Makes one call on a device for each line of standard input, and prints its result. It adds nothing of its
//! own, so a test can break every rule.
//!
//! ```text
//! open PATH          register             poll MILLISECONDS
//! pread SIZE OFFSET  read SIZE            close
//! pwrite SIZE OFFSET OPERATION            answer STATUS
//! ```
//!
//! `answer` sends the message that was read last, with a status in place of its header. An error clears the
//! rest.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use hvsim::kvp::layout::{MESSAGE_SIZE, OP_REGISTER};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[derive(Default)]
struct Probe {
    device: Option<File>,
    last: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut probe = Probe::default();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let result = probe.call(&words).unwrap_or_else(|error| match error.raw_os_error() {
            Some(number) => format!("{:?}", Errno::from_raw(number)),
            None => error.to_string(),
        });
        println!("{result}");
        io::stdout().flush()?;
    }
    Ok(())
}

impl Probe {
    fn call(&mut self, words: &[&str]) -> io::Result<String> {
        match words {
            ["open", path] => {
                self.device = Some(OpenOptions::new().read(true).write(true).open(path)?);
                Ok("ok".to_owned())
            }
            ["close"] => {
                self.device = None;
                Ok("ok".to_owned())
            }
            ["register"] => self.pwrite(MESSAGE_SIZE, 0, OP_REGISTER),
            ["poll", limit] => poll_device(self.device()?, number(limit)?),
            ["pread", size, offset] => {
                let mut bytes = vec![0; number(size)?];
                let len = self.device()?.read_at(&mut bytes, number(offset)?)?;
                self.received(bytes, len)
            }
            ["read", size] => {
                let mut bytes = vec![0; number(size)?];
                let len = self.device()?.read(&mut bytes)?;
                self.received(bytes, len)
            }
            ["pwrite", size, offset, operation] => {
                self.pwrite(number(size)?, number(offset)?, number(operation)?)
            }
            ["answer", status] => {
                let mut answer = self.last.clone();
                let status = number::<u32>(status)?;
                if status != 0 {
                    answer.fill(0);
                }
                answer[..4].copy_from_slice(&status.to_le_bytes());
                Ok(self.device()?.write_at(&answer, 0)?.to_string())
            }
            _ => Err(io::Error::other("unknown call")),
        }
    }

    fn device(&self) -> io::Result<&File> {
        self.device.as_ref().ok_or_else(|| io::Error::other("nothing is open"))
    }

    fn pwrite(&self, size: usize, offset: u64, operation: u8) -> io::Result<String> {
        let mut message = vec![0; size];
        message[0] = operation;
        Ok(self.device()?.write_at(&message, offset)?.to_string())
    }

    fn received(&mut self, mut bytes: Vec<u8>, len: usize) -> io::Result<String> {
        bytes.truncate(len);
        let result = format!("{len} {:02x?}", &bytes[..len.min(2)]);
        self.last = bytes;
        Ok(result)
    }
}

fn poll_device(device: &File, limit: u16) -> io::Result<String> {
    let mut descriptors = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
    poll(&mut descriptors, PollTimeout::from(limit))?;
    let events = descriptors[0].revents().unwrap_or(PollFlags::empty());
    let names: Vec<&str> = events.iter_names().map(|(name, _)| name).collect();
    Ok(if names.is_empty() { "nothing".to_owned() } else { names.join(" ") })
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other("no number"))
}
