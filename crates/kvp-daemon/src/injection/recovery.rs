//! Completes or takes back what a killed daemon or a failure has left half-done, between requests. rc.conf(5)
//! decides which of both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hv_core::hn::lock::Lock;
use hv_core::hn::{self, Adapter};
use hv_core::injection::apply::Deadlines;
use hv_core::injection::file::{self, Content, FileError};
use hv_core::injection::persist;
use hv_core::injection::plan::Earlier;
use hv_core::injection::rc_file::RcFile;
use hv_core::injection::record::Record;
use hv_core::injection::step::Step;
use hv_core::kvp::ip_info::request::Method;
use hv_core::plan::network::NetworkStep;
use hv_core::runtime::error_chain;
use hv_core::sys::clock;
use hv_core::sys::network::NetworkSource;
use hv_core::vf::load::{load_facts, load_vf};
use hv_core::vf::plan::{plan_down, plan_up};

use super::pending_undo::{PendingUndo, Progress};
use super::{FACTS, Injector, LAST, LOCK, UNDO_SHARE, finish, restore};

impl Injector {
    /// Keeps the steps of a failed injection that are still to be taken back, before those of an earlier
    /// failure.
    pub(super) fn leave_behind(&mut self, hn: &Adapter, steps: Vec<Step>, lock: &mut Lock) {
        match self.pending.iter_mut().find(|pending| &pending.hn == hn) {
            Some(pending) => pending.put_in_front(steps),
            None if steps.is_empty() => finish(lock),
            None => self.pending.push(PendingUndo::undo(hn.clone(), steps)),
        }
    }

    /// Performs one step for one interface, so that requests are answered in between.
    pub(super) fn work_on_pending(&mut self) {
        let now = clock::monotonic();
        let Some(place) = self.pending.iter().position(|pending| pending.due() <= now) else { return };
        let mut pending = self.pending.remove(place);
        let Ok(mut lock) = Lock::take(&self.lock_dir, &pending.hn, Duration::ZERO) else {
            pending.postpone();
            return self.pending.push(pending);
        };
        if !lock.is_interrupted().unwrap_or(true) {
            // hyperv_vfup has corrected the interface meanwhile.
            return;
        }
        let mut port = self.port(&pending.hn, PendingUndo::deadlines());
        match pending.attempt(&mut port) {
            Progress::Going => self.pending.push(pending),
            Progress::Done => {
                finish(&mut lock);
                drop(lock);
                if let Some(method) = pending.completes() {
                    self.watch(&pending.hn, method, Earlier::default());
                    // The steps do not include name servers.
                    self.look_soon(&pending.hn);
                }
            }
            Progress::GivenUp => {}
        }
    }

    /// The last work before the daemon ends. The next daemon completes what is still half-done.
    pub(crate) fn finish(&mut self) {
        let until = clock::monotonic() + LAST;
        for mut pending in std::mem::take(&mut self.pending) {
            let Ok(mut lock) = Lock::take(&self.lock_dir, &pending.hn, LOCK) else { continue };
            let deadlines = Deadlines { steps: until, undo: until, share: UNDO_SHARE };
            let mut port = self.port(&pending.hn, deadlines);
            if pending.attempt_all(&mut port) == Progress::Done {
                finish(&mut lock);
            }
        }
    }

    /// Recovers one interface on which an earlier daemon was killed. rc.conf(5) decides: it is as before the
    /// injection, or already as the host wants. One interface at a time, so that requests are answered in
    /// between.
    pub(super) fn recover_interrupted(&mut self) {
        let Some(hn) = self.unfinished.pop() else { return };
        if let Err(error) = self.clear_files(&hn) {
            log::warn!("{hn}: {}", error_chain(&error));
        }
        match self.completion(&hn) {
            Ok((steps, method)) => {
                log::warn!("{hn}: an earlier change was not finished; it is made what rc.conf says");
                self.pending.push(PendingUndo::completion(hn, steps, method));
            }
            Err(error) => log::error!("{hn}: an earlier change was not finished: {error}"),
        }
    }

    /// Removes the files that a killed daemon had prepared, and what an undo file says about a change that
    /// never reached rc.conf(5): the whole of it where the copy of before is what rc.conf still is.
    fn clear_files(&self, hn: &Adapter) -> Result<(), FileError> {
        let directory = &self.kvp.ip_injection_dir;
        let (record, before) =
            (Record::path(directory, hn.name()), Record::before_path(directory, hn.name()));
        for path in [&record, &before, &file::real(&self.kvp.rc_conf)] {
            file::clear(path)?;
        }
        let bytes = |content: Option<Content>| content.map(|content| content.bytes);
        let (copy, now) = (bytes(file::load_own(&before)?), bytes(file::load(&self.kvp.rc_conf)?));
        if copy.is_some() && copy == now {
            file::store(&record, None)?;
            return file::store(&before, None);
        }
        let Some(held) = file::load_own(&record)? else { return Ok(()) };
        // One that cannot be read is reported by whoever needs it.
        let Ok(pending) = Record::parse(&held.bytes) else { return Ok(()) };
        let earlier = pending.earlier.clone();
        let settled = pending.settled(&RcFile::new(now.unwrap_or_default()));
        if earlier.is_some_and(|earlier| *earlier == settled) {
            let content = Content { bytes: settled.to_text().into_bytes(), ..held };
            file::store(&record, Some(&content))?;
        }
        Ok(())
    }

    /// Adds the other values of the host's last injection, if rc.conf(5) has its addresses.
    pub(super) fn with_record(&self, hn: &Adapter, method: Method) -> Method {
        let record =
            restore::load_settled(&Record::path(&self.kvp.ip_injection_dir, hn.name())).ok().flatten();
        match (method, record) {
            (Method::Static(read), Some(record))
                if read.addresses.iter().all(|a| record.given.addresses.contains(a)) =>
            {
                Method::Static(record.given)
            }
            (method, _) => method,
        }
    }

    /// The steps that bring an interface, or its lagg, to the configuration of rc.conf(5), and that
    /// configuration. A lagg without its VF is taken apart; the next VF joins it again.
    fn completion(&self, hn: &Adapter) -> Result<(Vec<Step>, Option<Method>), String> {
        let mut network = self.network.clone();
        network.set_command_limit(FACTS);
        let text = |error: &dyn std::error::Error| error_chain(error);
        let vf = load_vf(&self.source.facts, hn).map_err(|error| text(&error))?;
        let mut facts = load_facts(&network, &self.source, hn, vf).map_err(|error| text(&error))?;
        facts.interrupted = true;
        let lock = Lock::take(&self.lock_dir, hn, LOCK).map_err(|error| text(&error))?;
        facts.remembered = lock.routes(hn.name()).map_err(|error| text(&error))?;
        drop(lock);
        let method = persist::method_of(hn.name(), &facts.rc_conf).map(|method| self.with_record(hn, method));
        let joined = facts.is_joined(hn).then(|| plan_up(hn, &facts)).transpose().map_err(|e| text(&e))?;
        let plan = match joined.flatten() {
            Some(plan) => plan,
            None => {
                // The VF is left to hyperv_vfup.
                facts.vf = None;
                plan_down(hn, &facts).map_err(|error| text(&error))?
            }
        };
        let steps = plan.steps().iter().map(|planned| match &planned.step {
            NetworkStep::StartDhcp { interface, .. } => {
                Step::Network(NetworkStep::StartDhcp { interface: interface.clone(), wait: false })
            }
            step => Step::Network(step.clone()),
        });
        Ok((steps.collect(), method))
    }
}

/// The adapters whose lock has a mark and is free.
pub(super) fn unfinished(lock_dir: &Path, source: &NetworkSource) -> Vec<Adapter> {
    let entries = fs::read_dir(lock_dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let marked = |hn: &Adapter| {
        Lock::take(lock_dir, hn, Duration::ZERO).and_then(|lock| lock.is_interrupted()).unwrap_or(false)
    };
    let locked: Vec<Adapter> = names.filter_map(|name| Lock::interface(&name)).filter(marked).collect();
    if locked.is_empty() {
        return locked;
    }
    // With the present names of the interfaces.
    let interfaces = source.snapshot().map(|network| network.interfaces).unwrap_or_default();
    let known = hn::adapters(&source.facts, &interfaces);
    let named = |hn: Adapter| known.iter().find(|other| other.device() == hn.device()).cloned().unwrap_or(hn);
    locked.into_iter().map(named).collect()
}
