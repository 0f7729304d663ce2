//! What the daemon tells about its work on its control socket.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hv_core::kvp::exchange::{Action, NetworkRequest};
use hv_core::kvp::ip_info::request::{self, Method};
use hv_core::report::{Identity, Injection, KvpReport, Moment, Requests, injections_in, shortened, text};
use hv_core::runtime::config::Config;
use hv_core::runtime::control::ControlSocket;
use hv_core::runtime::history;

/// Counters, and the socket on which they are told.
#[derive(Debug, Default)]
pub(crate) struct Books {
    requests: Requests,
    /// The last warning: why a request fails that fails now.
    warning: String,
    /// What the host wanted of the network and was not written down yet.
    injections: Vec<Injection>,
    /// Where it is written down.
    injections_file: PathBuf,
    told: Option<(ControlSocket, Identity)>,
}

impl Books {
    /// Takes over a configuration.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.injections_file = injections_in(&config.kvp.ip_injection_dir);
    }

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

    /// What became of a wish of the host's for the network.
    pub(crate) fn injected(&mut self, request: &NetworkRequest, refused: Option<&str>) {
        let wanted = match request::parse(request).map(|injection| injection.method) {
            Ok(Method::Dhcp) => "DHCP".to_owned(),
            Ok(Method::Static(given)) => {
                let addresses: Vec<String> = given.addresses.iter().map(ToString::to_string).collect();
                addresses.join(" ")
            }
            Err(_) => String::new(),
        };
        self.injections.push(Injection {
            at: Moment::now().unix,
            adapter: request.adapter.chars().take(64).collect(),
            wanted: shortened(&wanted),
            refused: refused.map(shortened),
        });
    }

    /// Writes it down, when nobody waits any more.
    pub(crate) fn write_injections(&mut self) {
        for injection in self.injections.drain(..) {
            if let Err(error) = history::append(&self.injections_file, &injection) {
                log::warn!("cannot write {}: {error}", self.injections_file.display());
            }
        }
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
