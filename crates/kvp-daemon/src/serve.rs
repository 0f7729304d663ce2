//! The loop: one request, one answer, and sleep in between.

use std::fmt;
use std::io;

use hv_core::kvp::exchange::Exchange;
use hv_core::kvp::pool::storage::Storage;
use hv_core::runtime::log as logging;
use hv_core::runtime::wait::wait;
use hv_core::sys::signals::Signals;

use crate::port::KvpPort;
use crate::service::Service;

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// SIGTERM or SIGINT came.
    Terminated,
    /// SIGHUP came: the caller reads the configuration and comes back.
    Reload,
}

/// Why the loop cannot go on.
#[derive(Debug)]
pub enum ServeError {
    /// The device is gone.
    DeviceGone(&'static str),
    /// An operation on the device failed.
    Device(&'static str, io::Error),
    /// Waiting failed.
    Wait(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceGone(how) => write!(f, "the device is gone ({how})"),
            Self::Device(doing, _) => write!(f, "cannot {doing} the device"),
            Self::Wait(_) => f.write_str("cannot wait for the device"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DeviceGone(_) => None,
            Self::Device(_, source) | Self::Wait(source) => Some(source),
        }
    }
}

/// Serves requests of a registered port until a signal or the end of the device.
///
/// # Errors
/// See [`ServeError`]. A request that cannot be fulfilled is answered with its error code and is none.
pub fn serve<S: Storage>(
    port: &mut impl KvpPort,
    service: &mut Service<S>,
    signals: &Signals,
) -> Result<End, ServeError> {
    let mut exchange = Exchange::new();
    loop {
        let deadline = service.deadline().into_iter().chain(logging::retry_at()).min();
        let mut descriptors = vec![port.descriptor()];
        descriptors.extend(service.descriptors());
        let wakeup = wait(signals, &descriptors, deadline).map_err(ServeError::Wait)?;
        let device = wakeup.ready.first().copied().unwrap_or_default();
        // Signals are seen only here, between two requests: an answer in hand is always finished.
        if wakeup.signals.terminate {
            return Ok(End::Terminated);
        }
        if device.gone {
            return Err(ServeError::DeviceGone("hang-up"));
        }
        if device.readable {
            answer_one(port, &mut exchange, service)?;
            service.at_leisure();
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
            // Whatever it is, the next poll(2) would announce the same request again: better gone than spinning.
            Err(error) => return Err(ServeError::Device("read from", error)),
        }
    };
    let action = exchange.begin(size);
    let outcome = service.perform(&action);
    let Some(answer) = exchange.finish(&outcome) else { return Ok(()) };
    match port.write_answer(answer) {
        Ok(()) => Ok(()),
        // An answer to an operation that the kernel does not know is refused after the host has got it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            log::debug!("the kernel refused an answer: {error}");
            Ok(())
        }
        Err(error) => Err(ServeError::Device("write to", error)),
    }
}
