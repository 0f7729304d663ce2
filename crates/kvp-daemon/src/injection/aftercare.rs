//! The injector's work between requests: keeps interfaces as they were reported to the host, and watches
//! their DHCP clients. What a watch decides is in `watch` and `lease`.

use std::time::Duration;

use hv_core::hn::Adapter;
use hv_core::hn::lock::Lock;
use hv_core::injection::apply::Deadlines;
use hv_core::injection::plan::{self, Earlier, Facts, Target, plan_live};
use hv_core::injection::transaction::Transaction;
use hv_core::injection::{load, persist};
use hv_core::kvp::ip_info::request::Method;
use hv_core::net::InterfaceName;
use hv_core::rc::load_rc_conf;
use hv_core::runtime::config::IpInjection;
use hv_core::runtime::error_chain;
use hv_core::sys::clock;
use hv_core::sys::route_socket::RouteSocket;

use super::lease::{LeaseWatch, Look};
use super::watch::Watch;
use super::{FACTS, Injector};

/// The time limit of one repair. An injection that comes meanwhile then takes at most 3.6 seconds, and the
/// kernel waits for five.
const REPAIR: Duration = Duration::from_millis(900);

impl Injector {
    /// Watches the interface for `method` from now on.
    pub(super) fn watch(&mut self, hn: &Adapter, method: Method, earlier: Earlier) {
        self.forget_watch(hn);
        if self.routes.is_none() {
            match RouteSocket::open(&self.source.facts) {
                Ok(socket) => self.routes = Some(socket),
                Err(error) => return log::warn!("{hn}: later changes by others are not noticed: {error}"),
            }
        }
        self.watches.push(Watch::new(hn.clone(), method, earlier, clock::monotonic()));
    }

    /// Watches the interface for the configuration of rc.conf(5), after an injection that failed beside
    /// rivals: because of an rc.conf(5) that is restored by now, they may have left work out. `before` is the
    /// former configuration.
    pub(super) fn watch_rc_conf(&mut self, hn: &Adapter, before: Method, earlier: Earlier) {
        self.watch(hn, before, Earlier { gone: Vec::new(), ..earlier });
        for watch in self.watches.iter_mut().filter(|watch| watch.hn.device() == hn.device()) {
            watch.by_rc_conf = true;
        }
        self.look_soon(hn);
    }

    /// Makes a look due without a message.
    pub(super) fn look_soon(&mut self, hn: &Adapter) {
        let now = clock::monotonic();
        for watch in self.watches.iter_mut().filter(|watch| watch.hn.device() == hn.device()) {
            watch.note(now, []);
        }
    }

    /// Watches the interface as long as a lease is waited for, which can be longer than the usual time.
    pub(super) fn watch_for_lease(&mut self, hn: &Adapter) {
        let until = clock::monotonic().saturating_add(self.network.lease_limit());
        for watch in self.watches.iter_mut().filter(|watch| watch.hn.device() == hn.device()) {
            watch.extend(until);
        }
    }

    pub(super) fn forget_watch(&mut self, hn: &Adapter) {
        self.watches.retain(|watch| watch.hn.device() != hn.device());
    }

    /// One interface at a time, because requests must be answered in between.
    pub(super) fn advance_watches(&mut self) {
        self.note_changes();
        let now = clock::monotonic();
        if let Some(place) = self.watches.iter().position(|watch| watch.due() <= now) {
            let mut watch = self.watches.remove(place);
            if self.look_after(&mut watch, now) {
                self.watches.push(watch);
            }
        }
        if self.watches.is_empty() {
            self.routes = None;
        }
    }

    fn note_changes(&mut self) {
        if !self.routes.as_ref().is_some_and(RouteSocket::take) {
            return;
        }
        let now = clock::monotonic();
        for watch in &mut self.watches {
            let names: Vec<InterfaceName> = vec![watch.hn.name().clone(), watch.hn.lagg().clone()];
            let at_work = self.source.at_work(&names).unwrap_or_default();
            let scripts = at_work.scripts.into_iter().map(|script| script.name);
            let client = at_work.clients.into_iter().map(|(interface, _)| format!("dhclient of {interface}"));
            watch.note(now, scripts.chain(client));
        }
    }

    /// Looks at an interface. Returns whether the watch continues.
    fn look_after(&mut self, watch: &mut Watch, now: Duration) -> bool {
        if watch.is_exhausted(now) {
            log::error!("{}: others go on changing it; it is left alone now", watch.hn);
            return false;
        }
        // The process that has the lock is this suite's: it corrects the interface, and causes a message.
        let Ok(_lock) = Lock::take(&self.lock_dir, &watch.hn, Duration::ZERO) else {
            watch.postpone(now);
            return true;
        };
        let facts = match load::load_facts(&self.network, &self.source, &watch.hn, FACTS) {
            Ok(facts) => facts,
            Err(error) => {
                log::warn!("{}: not looked at: {}", watch.hn, error_chain(&error));
                watch.postpone(now);
                return true;
            }
        };
        let Ok(target) = plan::target(&watch.hn, &facts) else { return false };
        if !facts.at_work.scripts.is_empty() {
            watch.postpone(now);
            return true;
        }
        if std::mem::take(&mut watch.by_rc_conf)
            && let Some(method) = self.method_at_boot(&watch.hn)
        {
            watch.method = method;
        }
        if plan_live(&target, &watch.method, &facts, &watch.earlier).is_empty() {
            watch.log_duplicated(facts.duplicated(&target, &watch.method));
            return !watch.is_right(now);
        }
        self.put_right(watch, &target, facts, now)
    }

    fn put_right(&mut self, watch: &mut Watch, target: &Target, facts: Facts, now: Duration) -> bool {
        if !self.is_wanted_at_boot(&watch.method, target) {
            log::info!("{}: rc.conf was changed since; it is left alone", watch.hn);
            return false;
        }
        let rival = watch.begin_repair(now);
        log::warn!("{}: {rival} has changed what the host configured, it is put right", watch.hn);
        let until = now + REPAIR;
        let deadlines = Deadlines { steps: until, undo: until, share: REPAIR };
        let mut port = self.port(&watch.hn, deadlines);
        let transaction = Transaction { target, method: &watch.method, files: None, earlier: &watch.earlier };
        let (witnessed, result) = transaction.run(facts, &mut port);
        if let Err(failed) = result {
            log::warn!("{}: not put right yet: {}", watch.hn, error_chain(&failed));
        }
        if witnessed.started_client {
            self.lease = Some(LeaseWatch::new(target.clone(), watch.hn.clone(), self.network.lease_limit()));
        }
        true
    }

    /// The configuration of the interface in rc.conf(5). `None` if it has none, or cannot be read.
    fn method_at_boot(&self, hn: &Adapter) -> Option<Method> {
        let mut network = self.network.clone();
        network.set_command_limit(FACTS);
        let read = load_rc_conf(&network, &[hn.name()]).ok()?;
        persist::method_of(hn.name(), &read).map(|method| self.with_record(hn, method))
    }

    /// Whether rc.conf(5) still has this configuration. If the administrator changed it, that is the wanted
    /// one.
    fn is_wanted_at_boot(&self, method: &Method, target: &Target) -> bool {
        if self.kvp.ip_injection != IpInjection::Persist {
            return true;
        }
        let mut network = self.network.clone();
        network.set_command_limit(FACTS);
        let names: Vec<&InterfaceName> = std::iter::once(&target.hn).chain(&target.lagg).collect();
        let rc_conf = load_rc_conf(&network, &names);
        rc_conf.is_ok_and(|read| persist::check(&target.hn, target.lagg.as_ref(), method, &read).is_ok())
    }

    pub(super) fn advance_lease(&mut self) {
        let now = clock::monotonic();
        let Some(mut lease) = self.lease.take_if(|lease| lease.next_look() <= now) else { return };
        let network = match self.source.snapshot() {
            Ok(network) => network,
            Err(error) => {
                return log::warn!("{}: the DHCP client is not watched any more: {error}", lease.hn());
            }
        };
        match lease.look(now, &network) {
            Look::Over => {}
            Look::Wait => self.lease = Some(lease),
            Look::Restart => {
                self.restart_client(&lease);
                self.lease = Some(lease);
            }
        }
    }

    /// Starts the client again. Without a link dhclient(8) gives up after 11 seconds, and only devd(8) would
    /// start it again, when the link comes up.
    fn restart_client(&self, lease: &LeaseWatch) {
        let Ok(_lock) = Lock::take(&self.lock_dir, lease.hn(), Duration::ZERO) else { return };
        let until = clock::monotonic() + REPAIR;
        let mut port = self.port(lease.hn(), Deadlines { steps: until, undo: until, share: REPAIR });
        if let Err(error) = port.start_client(lease.interface()) {
            log::warn!("{}: {}", lease.hn(), error_chain(&error));
        }
    }
}
