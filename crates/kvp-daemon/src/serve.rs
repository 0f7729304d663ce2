//! The loop of the daemon: reads one request, writes one answer, and sleeps in between. What an answer says
//! is decided elsewhere.

use std::io;

use hv_core::kvp::exchange::Exchange;
use hv_core::kvp::pool::storage::Storage;
use hv_core::runtime::log as logging;
use hv_core::runtime::wait::wait;
use hv_core::sys::clock;
use hv_core::sys::signals::Signals;

use crate::port::KvpPort;
use crate::service::Service;

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// SIGTERM or SIGINT arrived.
    Terminated,
    /// SIGHUP arrived. The caller reads the configuration and calls again.
    Reload,
}

/// Why the loop ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The device is gone.
    #[error("the device is gone ({0})")]
    DeviceGone(&'static str),
    /// An operation on the device failed.
    #[error("cannot {0} the device")]
    Device(&'static str, #[source] io::Error),
    /// The wait for events failed.
    #[error("cannot wait for the device")]
    Wait(#[source] io::Error),
}

/// Serves requests of a registered port until a signal arrives or the device is gone.
///
/// # Errors
/// See [`ServeError`]. A request that fails is answered with its error code, and is no error here.
pub fn serve<S: Storage>(
    port: &mut impl KvpPort,
    service: &mut Service<S>,
    signals: &Signals,
) -> Result<End, ServeError> {
    let mut exchange = Exchange::new();
    loop {
        let deadline = service.deadline().into_iter().chain(logging::retry_at()).min();
        // Enough room for the descriptors of an idle daemon.
        let mut descriptors = Vec::with_capacity(4);
        descriptors.push(port.descriptor());
        descriptors.extend(service.control_descriptor());
        descriptors.extend(service.descriptors());
        let wakeup = wait(signals, &descriptors, deadline).map_err(ServeError::Wait)?;
        let device = wakeup.ready.first().copied().unwrap_or_default();
        let control = wakeup.ready.get(1).filter(|_| service.control_descriptor().is_some());
        // Signals are handled only here, between two requests, so a request is always answered first.
        if wakeup.signals.terminate {
            return Ok(End::Terminated);
        }
        if device.gone {
            return Err(ServeError::DeviceGone("hang-up"));
        }
        if device.readable {
            answer_one(port, &mut exchange, service)?;
            service.after_answer();
        }
        if control.is_some_and(|control| control.readable) {
            service.report();
        }
        service.advance();
        logging::retry();
        if wakeup.signals.reload {
            return Ok(End::Reload);
        }
    }
}

fn answer_one<S: Storage>(
    port: &mut impl KvpPort,
    exchange: &mut Exchange,
    service: &mut Service<S>,
) -> Result<(), ServeError> {
    let size = loop {
        match port.read_request(exchange.buffer()) {
            Ok(size) => break size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // After any error the next poll(2) would announce the same request again. Ending is better than
            // spinning.
            Err(error) => return Err(ServeError::Device("read from", error)),
        }
    };
    let begun = clock::monotonic();
    let action = exchange.begin(size);
    let outcome = service.perform(&action);
    let Some(answer) = exchange.finish(&outcome) else { return Ok(()) };
    let written = port.write_answer(answer);
    service.answered(&action, begun);
    match written {
        Ok(()) => Ok(()),
        // The kernel refuses the answer to an operation that it does not know, after the host has got it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            log::debug!("the kernel refused an answer: {error}");
            Ok(())
        }
        Err(error) => Err(ServeError::Device("write to", error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::path::Path;

    use hv_core::abi::kvp::{MESSAGE_SIZE, Message};
    use hv_core::runtime::config::Config;
    use nix::errno::Errno;
    use nix::unistd::{pipe, write};

    use super::*;

    /// A device that announces one request and then fails as the test wants.
    struct Port {
        announcement: OwnedFd,
        announcer: Option<OwnedFd>,
        read: Result<usize, Errno>,
        write: Result<(), Errno>,
        answers: Vec<Message>,
    }

    impl KvpPort for Port {
        fn descriptor(&self) -> BorrowedFd<'_> {
            self.announcement.as_fd()
        }

        fn register(&mut self, _registration: &Message) -> io::Result<()> {
            Ok(())
        }

        fn read_request(&mut self, _buffer: &mut [u8; MESSAGE_SIZE]) -> io::Result<usize> {
            Ok(self.read?)
        }

        fn write_answer(&mut self, answer: &Message) -> io::Result<()> {
            self.answers.push(answer.clone());
            // The device is gone after its first answer, so that every test ends.
            nix::unistd::read(&self.announcement, &mut [0])?;
            self.announcer = None;
            Ok(self.write?)
        }
    }

    fn run(read: Result<usize, Errno>, write_result: Result<(), Errno>) -> (ServeError, Vec<Message>) {
        let (announcement, announcer) = pipe().unwrap();
        write(&announcer, &[1]).unwrap();
        let mut port =
            Port { announcement, announcer: Some(announcer), read, write: write_result, answers: Vec::new() };
        let scratch = tempfile::tempdir().unwrap();
        let pools = scratch.path().join("pool").display().to_string();
        let config = format!("[kvp]\npool-dir = {pools:?}\ngetent = \"/nonexistent\"\n");
        let config = Config::parse(&config, Path::new("test")).unwrap();
        let mut service = Service::open(&config);
        let signals = Signals::unhandled().unwrap();
        let end = serve(&mut port, &mut service, &signals).unwrap_err();
        (end, port.answers)
    }

    #[test]
    fn a_device_that_hangs_up_ends_the_loop() {
        let (end, answers) = run(Ok(MESSAGE_SIZE), Ok(()));
        assert_eq!(end.to_string(), "the device is gone (hang-up)");
        assert_eq!(answers.len(), 1);
    }

    #[test]
    fn unreadable_device_ends_the_loop_at_once() {
        for errno in [Errno::ENXIO, Errno::EIO, Errno::ENODEV, Errno::EPERM, Errno::EAGAIN] {
            let (end, answers) = run(Err(errno), Ok(()));
            assert_eq!(end.to_string(), "cannot read from the device");
            assert!(answers.is_empty());
        }
    }

    #[test]
    fn an_answer_is_never_written_twice() {
        let (end, answers) = run(Ok(MESSAGE_SIZE), Err(Errno::EINVAL));
        assert_eq!(end.to_string(), "the device is gone (hang-up)");
        assert_eq!(answers.len(), 1);
        let (end, answers) = run(Ok(MESSAGE_SIZE), Err(Errno::ENXIO));
        assert_eq!(end.to_string(), "cannot write to the device");
        assert_eq!(answers.len(), 1);
    }

    #[test]
    fn a_short_read_is_answered_with_a_failure() {
        for size in [0, 1, MESSAGE_SIZE - 1] {
            let (_, answers) = run(Ok(size), Ok(()));
            assert_eq!(answers[0].bytes()[..4], [0x05, 0x40, 0x00, 0x80]);
        }
    }
}
