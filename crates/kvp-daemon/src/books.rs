//! What the daemon tells about its work on its control socket.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use hv_core::kvp::exchange::Action;
use hv_core::report::{Identity, KvpReport, Moment, Requests, text};
use hv_core::runtime::control::ControlSocket;

/// Counters, and the socket on which they are told.
#[derive(Debug, Default)]
pub(crate) struct Books {
    requests: Requests,
    /// The last warning: why a request fails that fails now.
    warning: String,
    told: Option<(ControlSocket, Identity)>,
}

impl Books {
    /// Makes the socket. Without it everything else works.
    pub(crate) fn open(&mut self, path: &Path, identity: Identity) {
        match ControlSocket::bind(path) {
            Ok(socket) => self.told = Some((socket, identity)),
            Err(error) => log::warn!("no reports for hvctl(8): cannot make {}: {error}", path.display()),
        }
    }

    /// Removes it.
    pub(crate) fn close(&mut self) {
        if let Some((socket, _)) = self.told.take() {
            socket.remove();
        }
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.told.as_ref().map(|(socket, _)| socket.descriptor())
    }

    /// Gives one who waits a report.
    pub(crate) fn report(&self) {
        let Some((socket, identity)) = &self.told else { return };
        socket.answer(|| {
            let common = identity.common(Moment::now());
            // Nothing is served before the registration.
            text(&KvpReport { common, registered: true, requests: self.requests.clone() })
        });
    }

    /// A warning that may be the reason of a failed answer.
    pub(crate) fn note(&mut self, warning: &str) {
        warning.clone_into(&mut self.warning);
    }

    /// The request in hand fails.
    pub(crate) fn failed(&mut self) {
        self.requests.refuse(&self.warning, Moment::now());
    }

    /// The answer to a request that was begun at this monotonic time is written.
    pub(crate) fn answered(&mut self, action: &Action, begun: Duration) {
        let now = Moment::now();
        let kind = kind(action);
        self.requests.count(kind);
        self.requests.answered(kind, now.monotonic.saturating_sub(begun), now);
    }
}

/// The name under which a request is counted.
fn kind(action: &Action) -> &'static str {
    match action {
        Action::Get(..) | Action::GetIntrinsic(_) => "get",
        Action::Enumerate(..) | Action::EnumerateIntrinsic(_) => "enumerate",
        Action::Set(..) => "set",
        Action::Delete(..) => "delete",
        Action::ReportNetwork(_) => "get-ip-info",
        Action::ConfigureNetwork(_) => "set-ip-info",
        Action::Refuse(..) => "malformed",
    }
}
