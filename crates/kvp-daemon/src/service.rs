//! Performs the engine's actions with pools, facts and injections, and does postponed work after the answer.
//! It never reads or writes the device.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use hv_core::abi::kvp::Code;
use hv_core::kvp::exchange::{Action, NetworkRequest, Outcome};
use hv_core::kvp::pool::files::PoolFiles;
use hv_core::kvp::pool::storage::Storage;
use hv_core::kvp::pool::{Limits, PoolError, Pools, Record};
use hv_core::kvp::{KvpKey, KvpValue, PoolId};
use hv_core::report::Identity;
use hv_core::runtime::config::Config;
use hv_core::runtime::error_chain;
use hv_core::runtime::rate_limit::Reasons;
use hv_core::sys::clock;

use crate::books::Books;
use crate::guest::Guest;
use crate::injection::Injector;

/// How long after the last change the pools are settled. A burst of changes then costs one synchronisation.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// How often recovering an earlier process's changes is tried again, after a lock or the disk prevented it.
const RECOVER_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often each reason is logged in the interval, because the host can repeat a request that fails.
const WARNINGS: u32 = 1;
const WARNINGS_PER: Duration = Duration::from_secs(600);

/// The services behind the requests.
#[derive(Debug)]
pub struct Service<S = PoolFiles> {
    pools: Pools<S>,
    guest: Guest,
    injector: Injector,
    settle_at: Option<Duration>,
    warnings: Reasons,
    books: Books,
}

impl Service {
    /// Opens the pools and reads the first facts. Errors are logged.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        Self::with_storage(config, PoolFiles::new(&config.kvp.pool_dir))
    }
}

impl<S: Storage> Service<S> {
    /// The same with another storage of the pools.
    pub fn with_storage(config: &Config, storage: S) -> Self {
        let (pools, problems) = Pools::open(storage, limits(config));
        for problem in problems {
            log::error!("pools are not complete: {}", error_chain(&problem));
        }
        let guest = Guest::new(config);
        let injector = Injector::new(config);
        let recover_at = clock::monotonic().saturating_add(RECOVER_AGAIN_AFTER);
        let settle_at = (!pools.is_recovered()).then_some(recover_at);
        let warnings = Reasons::new(WARNINGS, WARNINGS_PER);
        let mut books = Books::default();
        books.configure(config);
        Self { pools, guest, injector, settle_at, warnings, books }
    }

    /// Applies a configuration that was read again. Device and pool directory stay.
    pub fn reconfigure(&mut self, config: &Config) {
        self.pools.set_limits(limits(config));
        self.guest.reconfigure(config);
        self.injector.reconfigure(config);
        self.books.configure(config);
    }

    /// Performs one action. Every error becomes a failed outcome.
    pub fn perform(&mut self, action: &Action) -> Outcome {
        log::debug!("request {}", describe(action));
        let outcome = match action {
            Action::Get(pool, key) => self.get(*pool, key),
            Action::Enumerate(pool, index) => self.enumerate(*pool, *index),
            Action::Set(pool, key, value) => self.set(*pool, key, value),
            Action::Delete(pool, key) => self.delete(*pool, key),
            Action::GetIntrinsic(key) => self.get_intrinsic(key),
            Action::EnumerateIntrinsic(index) => match self.guest.item(*index) {
                Some((key, value)) => Outcome::Item { key: key.into(), value: value.into() },
                None => Outcome::NoSuchItem,
            },
            Action::ReportNetwork(adapter) => self.report_network(adapter),
            Action::ConfigureNetwork(request) => self.configure_network(request),
            Action::Refuse(code, reason) => {
                self.warn(reason, &format!("request refused code={code}: {reason}"));
                Outcome::Failed(*code)
            }
        };
        if let Outcome::Failed(code) = &outcome {
            log::debug!("answer code={code}");
            self.books.failed();
        }
        outcome
    }

    /// Records that the answer is written. The action was begun at this monotonic time.
    pub(crate) fn answered(&mut self, action: &Action, begun: Duration) {
        self.books.answered(action, begun);
    }

    /// Creates the socket on which the daemon reports. The daemon works without it, too.
    pub(crate) fn open_control(&mut self, path: &Path, identity: Identity) {
        self.books.open(path, identity);
    }

    /// Removes the socket.
    pub(crate) fn close_control(&mut self) {
        self.books.close();
    }

    /// The descriptor that is readable while a connection waits for a report.
    pub(crate) fn control_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.books.descriptor()
    }

    /// Sends a report to a waiting connection.
    pub(crate) fn report(&self) {
        self.books.report();
    }

    fn get(&mut self, pool: PoolId, key: &KvpKey) -> Outcome {
        match self.pools.get(pool, key) {
            Ok(Some(record)) => Outcome::Value(record.value),
            Ok(None) => Outcome::NoSuchItem,
            Err(error) => self.fail("get", &error),
        }
    }

    fn enumerate(&mut self, pool: PoolId, index: u32) -> Outcome {
        match self.pools.enumerate(pool, index) {
            Ok(Some(Record { key, value })) => Outcome::Item { key, value },
            Ok(None) => Outcome::NoSuchItem,
            Err(error) => self.fail("enumerate", &error),
        }
    }

    fn set(&mut self, pool: PoolId, key: &KvpKey, value: &KvpValue) -> Outcome {
        let result = self.pools.set(pool, key, value);
        self.note_change();
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => self.fail("set", &error),
        }
    }

    fn delete(&mut self, pool: PoolId, key: &KvpKey) -> Outcome {
        let result = self.pools.delete(pool, key);
        self.note_change();
        match result {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::NoSuchItem,
            Err(error) => self.fail("delete", &error),
        }
    }

    fn get_intrinsic(&mut self, key: &KvpKey) -> Outcome {
        let value = std::str::from_utf8(key.as_bytes()).ok().and_then(|key| self.guest.value_of(key));
        value.map_or(Outcome::NoSuchItem, |value| Outcome::Value(value.into()))
    }

    fn report_network(&mut self, adapter: &str) -> Outcome {
        match self.guest.ip_info(adapter, |network| self.injector.complete(network)) {
            Ok(info) => Outcome::Network(info),
            Err(error) => {
                self.warn("network not reported", &format!("network not reported: {error}"));
                Outcome::Failed(Code::GuidNotFound)
            }
        }
    }

    fn configure_network(&mut self, request: &NetworkRequest) -> Outcome {
        let result = self.injector.configure(request);
        self.guest.forget_network();
        match result {
            Ok(()) => {
                self.books.injected(request, None);
                Outcome::Done
            }
            Err(error) => {
                let adapter: String = request.adapter.chars().take(64).collect();
                let text = error_chain(&error);
                self.books.injected(request, Some(&text));
                // Always logged: it is rare, and an administrator waits for the address.
                let text = format!("network not configured adapter={adapter:?}: {text}");
                self.books.note(&text);
                log::warn!("{text}");
                Outcome::Failed(error.code())
            }
        }
    }

    fn fail(&mut self, operation: &str, error: &PoolError) -> Outcome {
        self.warn(&reason_of(error), &format!("request failed op={operation}: {}", error_chain(error)));
        Outcome::Failed(Code::Fail)
    }

    /// Logs a failure, unless the same reason was logged recently. `reason` must be in our own words, without
    /// the host's.
    fn warn(&mut self, reason: &str, text: &str) {
        self.books.note(text);
        if let Some(line) = self.warnings.check(reason, clock::monotonic()).line(&text) {
            log::warn!("{line}");
        }
    }

    fn note_change(&mut self) {
        self.settle_at = self.pools.unsettled().then(|| clock::monotonic().saturating_add(SETTLE_AFTER));
    }

    /// Does the postponed work: after the start and after each answer.
    pub fn after_answer(&mut self) {
        self.guest.start_lookup();
        self.injector.after_answer();
        self.books.write_injections();
    }

    /// The other descriptors that wake the daemon.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.guest.lookup_descriptors().chain(self.injector.descriptors())
    }

    /// When postponed work is due. `None` if there is none.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let others = self.guest.lookup_deadline().into_iter().chain(self.injector.deadline());
        self.settle_at.into_iter().chain(others).min()
    }

    /// Does the postponed work that is due.
    pub(crate) fn advance(&mut self) {
        self.guest.advance_lookup();
        self.injector.advance();
        if self.settle_at.is_some_and(|at| clock::monotonic() >= at) {
            self.settle();
        }
    }

    /// Does what is left before the program ends.
    pub(crate) fn finish(&mut self) {
        self.settle();
        self.injector.finish();
        self.close_control();
    }

    /// Settles the pools. Changes that cannot be settled now are safe in the journal.
    fn settle(&mut self) {
        self.settle_at = None;
        if let Err(error) = self.pools.settle() {
            let text = format!("pool files are not up to date yet: {}", error_chain(&error));
            self.warn(&format!("settle {}", reason_of(&error)), &text);
            let pause = if self.pools.is_recovered() { 60 * SETTLE_AFTER } else { RECOVER_AGAIN_AFTER };
            self.settle_at = Some(clock::monotonic().saturating_add(pause));
        }
    }
}

/// The error without numbers that change while the reason stays.
fn reason_of(error: &PoolError) -> String {
    match error {
        PoolError::Full { pool, .. } => format!("full {pool}"),
        PoolError::TooLarge { pool, .. } => format!("too large {pool}"),
        error => error_chain(error),
    }
}

fn limits(config: &Config) -> Limits {
    Limits { max_records: config.kvp.max_records, lock_wait: config.kvp.lock_wait() }
}

/// The action without its values.
fn describe(action: &Action) -> String {
    match action {
        Action::Get(pool, key) => format!("op=get pool={pool} key={key:?}"),
        Action::Enumerate(pool, index) => format!("op=enumerate pool={pool} index={index}"),
        Action::Set(pool, key, value) => {
            format!("op=set pool={pool} key={key:?} bytes={}", value.as_bytes().len())
        }
        Action::Delete(pool, key) => format!("op=delete pool={pool} key={key:?}"),
        Action::GetIntrinsic(key) => format!("op=get pool=2 key={key:?}"),
        Action::EnumerateIntrinsic(index) => format!("op=enumerate pool=2 index={index}"),
        Action::ReportNetwork(adapter) => format!("op=get-ip-info adapter={adapter:?}"),
        Action::ConfigureNetwork(request) => format!("op=set-ip-info adapter={:?}", request.adapter),
        Action::Refuse(code, _) => format!("malformed code={code}"),
    }
}
