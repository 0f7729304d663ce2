//! Counts the daemon's requests and serves them as a report on its control socket. It also records the host's
//! attempts to set addresses. It never changes an answer.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hv_core::kvp::exchange::{Action, NetworkRequest};
use hv_core::kvp::ip_info::request::{self, Method};
use hv_core::report::{
    Answered, Identity, Injection, KvpReport, Moment, Refused, Requests, injections_in, shortened, text,
};
use hv_core::runtime::config::Config;
use hv_core::runtime::control::ControlSocket;
use hv_core::runtime::history;
use hv_core::sys::clock;

/// The names under which requests are counted.
const KINDS: [&str; 7] = ["get", "enumerate", "set", "delete", "get-ip-info", "set-ip-info", "malformed"];

/// A request that was answered. One is made for each request, so it allocates nothing and reads one clock.
#[derive(Debug, Clone, Copy)]
struct Timed {
    /// Its index in [`KINDS`].
    kind: usize,
    /// When the answer was written, by the monotonic clock.
    at: Duration,
    took: Duration,
}

/// The counters, and the socket that serves them.
#[derive(Debug, Default)]
pub(crate) struct Books {
    counts: [u64; KINDS.len()],
    last: Option<Timed>,
    slowest: Option<Timed>,
    refused: u64,
    last_refused: Option<Refused>,
    /// The last warning: the reason if the request under way fails.
    warning: String,
    /// The host's attempts to set addresses that are not written yet.
    injections: Vec<Injection>,
    /// The file that they are written to.
    injections_file: PathBuf,
    told: Option<(ControlSocket, Identity)>,
}

impl Books {
    /// Applies a configuration.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.injections_file = injections_in(&config.kvp.ip_injection_dir);
    }

    /// Creates the socket. The daemon works without it, too.
    pub(crate) fn open(&mut self, path: &Path, identity: Identity) {
        match ControlSocket::bind(path) {
            Ok(socket) => self.told = Some((socket, identity)),
            Err(error) => log::warn!("no reports for hvctl(8): cannot make {}: {error}", path.display()),
        }
    }

    /// Removes the socket.
    pub(crate) fn close(&mut self) {
        if let Some((socket, _)) = self.told.take() {
            socket.remove();
        }
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.told.as_ref().map(|(socket, _)| socket.descriptor())
    }

    /// Sends a report to a waiting connection.
    pub(crate) fn report(&self) {
        let Some((socket, identity)) = &self.told else { return };
        socket.answer(|| {
            let now = Moment::now();
            // No request is served before the registration.
            text(&KvpReport { common: identity.common(now), registered: true, requests: self.requests(now) })
        });
    }

    fn requests(&self, now: Moment) -> Requests {
        let told = |timed: Timed| Answered {
            request: KINDS[timed.kind].to_owned(),
            at: now.unix.saturating_sub(now.monotonic.saturating_sub(timed.at).as_secs()),
            took: u64::try_from(timed.took.as_micros()).unwrap_or(u64::MAX),
        };
        let counted = KINDS.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        Requests {
            counts: counted.map(|(kind, count)| ((*kind).to_owned(), count)).collect(),
            last: self.last.map(told),
            slowest: self.slowest.map(told),
            refused: self.refused,
            last_refused: self.last_refused.clone(),
        }
    }

    /// Records the result of an attempt of the host to set addresses.
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

    /// Writes these records to the file, after the answer.
    pub(crate) fn write_injections(&mut self) {
        for injection in self.injections.drain(..) {
            if let Err(error) = history::append(&self.injections_file, &injection) {
                log::warn!("cannot write {}: {error}", self.injections_file.display());
            }
        }
    }

    /// Remembers a warning, which may be the reason of a failure.
    pub(crate) fn note(&mut self, warning: &str) {
        warning.clone_into(&mut self.warning);
    }

    /// Records that the request under way failed.
    pub(crate) fn failed(&mut self) {
        self.refused += 1;
        self.last_refused = Some(Refused { at: Moment::now().unix, reason: shortened(&self.warning) });
    }

    /// Records that a request was answered. It was begun at this monotonic time.
    pub(crate) fn answered(&mut self, action: &Action, begun: Duration) {
        let (kind, at) = (kind(action), clock::monotonic());
        let timed = Timed { kind, at, took: at.saturating_sub(begun) };
        self.counts[kind] += 1;
        self.last = Some(timed);
        if self.slowest.is_none_or(|slowest| timed.took > slowest.took) {
            self.slowest = Some(timed);
        }
    }
}

/// The index of a request in [`KINDS`].
fn kind(action: &Action) -> usize {
    match action {
        Action::Get(..) | Action::GetIntrinsic(_) => 0,
        Action::Enumerate(..) | Action::EnumerateIntrinsic(_) => 1,
        Action::Set(..) => 2,
        Action::Delete(..) => 3,
        Action::ReportNetwork(_) => 4,
        Action::ConfigureNetwork(_) => 5,
        Action::Refuse(..) => 6,
    }
}
