//! Scans all programs and brings all data to disk in a helper process. It is given a preparation and returns
//! its result within the limits. The daemon itself never makes a call that can hang.
//!
//! A file on a dead file server can block both for ever and uninterruptibly: the scan takes locks of mapped
//! files, and sync(2) walks all mounts. A helper that hangs is left behind and reaped when it ends. No other
//! helper is started for the same step before that.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use hv_core::sys::clock;
use hv_core::sys::process::Helper;
use hv_core::sys::processes::WithoutResidentCounts;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::scan::Scan;
use hv_core::vss::{Flush, Preparation, Prepared};

use crate::wire::{self, Line};

/// One step of a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Scan,
    Flush,
}

/// A helper process, as the daemon sees it.
pub(crate) trait Hand: Sized {
    /// Starts a helper for these steps.
    fn start(facts: &FactsSource, preparation: &Preparation, steps: &VecDeque<Step>) -> io::Result<Self>;
    fn id(&self) -> i32;
    /// Appends the helper's output to `text`. Returns true at its end.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<bool>;
    fn kill(&self);
    fn has_ended(&mut self) -> bool;
}

impl Hand for Helper {
    fn start(facts: &FactsSource, preparation: &Preparation, steps: &VecDeque<Step>) -> io::Result<Self> {
        let (facts, preparation, steps) = (facts.clone(), preparation.clone(), steps.clone());
        Self::start(move |pipe| work(&facts, &preparation, &steps, pipe))
    }

    fn id(&self) -> i32 {
        Self::id(self)
    }

    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        Self::read(self, text)
    }

    fn kill(&self) {
        Self::kill(self);
    }

    fn has_ended(&mut self) -> bool {
        Self::has_ended(self)
    }
}

/// Helpers that were given up and have not ended yet, each with the step in which it was given up.
#[derive(Debug)]
pub(crate) struct LeftBehind<H>(Vec<(Option<Step>, H)>);

impl<H> Default for LeftBehind<H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<H: Hand> LeftBehind<H> {
    /// Reaps the helpers that have ended.
    pub(crate) fn reap(&mut self) {
        self.0.retain_mut(|(_, helper)| !helper.has_ended());
    }

    fn of(&mut self, step: Step) -> Option<i32> {
        self.reap();
        self.0.iter().find(|(of, _)| *of == Some(step)).map(|(_, helper)| helper.id())
    }

    fn add(&mut self, step: Option<Step>, mut helper: H) {
        if !helper.has_ended() {
            self.0.push((step, helper));
        }
    }
}

/// A preparation under way.
#[derive(Debug)]
pub(crate) struct Preparing<H> {
    facts: FactsSource,
    preparation: Preparation,
    /// The steps that are left. The first one is under way.
    steps: VecDeque<Step>,
    helper: Option<H>,
    /// When the step under way began.
    since: Duration,
    /// When all steps must be done.
    until: Duration,
    text: Vec<u8>,
    part: Scan,
    prepared: Prepared,
    /// Held while a helper scans the programs.
    _counts: WithoutResidentCounts,
}

impl<H: Hand> Preparing<H> {
    /// Begins. The preparation may already be done on return.
    pub(crate) fn start(
        facts: &FactsSource,
        preparation: &Preparation,
        limit: Duration,
        left: &mut LeftBehind<H>,
    ) -> Self {
        let counts = match preparation.scan {
            Some(_) => WithoutResidentCounts::begin(facts),
            None => WithoutResidentCounts::none(),
        };
        let now = clock::monotonic();
        let mut preparing = Self {
            facts: facts.clone(),
            steps: steps(preparation),
            preparation: preparation.clone(),
            helper: None,
            since: now,
            until: now + limit,
            text: Vec::new(),
            part: Scan::default(),
            prepared: Prepared::default(),
            _counts: counts,
        };
        preparing.start_helper(left);
        preparing
    }

    /// The descriptor that becomes readable when [`Self::advance`] has something to do.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>>
    where
        H: AsFd,
    {
        self.helper.as_ref().map(AsFd::as_fd)
    }

    /// The time at which [`Self::advance`] must be called.
    pub(crate) fn deadline(&self) -> Duration {
        let limit = match self.steps.front() {
            Some(Step::Scan) => self.preparation.scan,
            Some(Step::Flush) => self.preparation.flush.as_ref().map(|flush| flush.limit),
            None => None,
        };
        self.until.min(self.since + limit.unwrap_or(Duration::ZERO))
    }

    /// Takes the helper's output, or gives the helper up after its limit. Returns the result when all steps
    /// are done.
    pub(crate) fn advance(&mut self, left: &mut LeftBehind<H>) -> Option<Prepared> {
        let ended = match self.helper.as_mut().map(|helper| helper.read(&mut self.text)) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => true,
            None => false,
        };
        self.take_lines();
        if self.steps.is_empty() {
            self.dismiss(left, None);
            return Some(std::mem::take(&mut self.prepared));
        }
        if ended {
            self.give_up("its process ended".to_owned(), left);
        } else if clock::monotonic() >= self.deadline() {
            let limit = self.deadline().saturating_sub(self.since);
            self.give_up(format!("it took longer than {limit:.1?}"), left);
        } else if self.helper.is_some() {
            return None;
        }
        // Another helper does the steps that are left.
        self.start_helper(left);
        self.steps.is_empty().then(|| std::mem::take(&mut self.prepared))
    }

    /// Gives the preparation up without a result.
    pub(crate) fn stop(mut self, left: &mut LeftBehind<H>) {
        let step = self.steps.front().copied();
        if let Some(helper) = &self.helper {
            helper.kill();
        }
        self.dismiss(left, step);
    }

    fn dismiss(&mut self, left: &mut LeftBehind<H>, step: Option<Step>) {
        if let Some(helper) = self.helper.take() {
            left.add(step, helper);
        }
    }

    fn start_helper(&mut self, left: &mut LeftBehind<H>) {
        self.since = clock::monotonic();
        while let Some(step) = self.steps.front().copied() {
            if let Some(pid) = left.of(step) {
                self.fail_for_good(format!("an earlier attempt has not come to its end yet (process {pid})"));
                continue;
            }
            match H::start(&self.facts, &self.preparation, &self.steps) {
                Ok(helper) => {
                    self.helper = Some(helper);
                    return;
                }
                Err(error) => self.fail_for_good(format!("no process can be had for it: {error}")),
            }
        }
    }

    fn take_lines(&mut self) {
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            match wire::parse(&line) {
                Some(Line::Part(part)) => wire::append(&mut self.part, *part),
                Some(Line::Scanned) => {
                    let part = std::mem::take(&mut self.part);
                    self.scanned(part);
                }
                Some(Line::ScanFailed(reason)) => self.fail(reason),
                Some(Line::Flushed) => {
                    self.prepared.flush = Some(Ok(()));
                    self.next();
                }
                Some(Line::FlushFailed(reason)) => self.fail(reason),
                None => log::debug!("a helper said {line:?}"),
            }
        }
    }

    fn scanned(&mut self, scan: Scan) {
        match &mut self.prepared.scan {
            Some(Ok(known)) => known.merge(scan),
            Some(Err(_)) => {}
            none => *none = Some(Ok(scan)),
        }
        self.next();
    }

    /// Goes to the next step.
    fn next(&mut self) {
        let now = clock::monotonic();
        let took = now.saturating_sub(self.since);
        match self.steps.pop_front() {
            Some(Step::Scan) => self.prepared.scan_took += took,
            Some(Step::Flush) => self.prepared.flush_took += took,
            None => {}
        }
        self.since = now;
    }

    /// The step under way failed. If it was a scan, the second scan would not be enough and is dropped, too.
    fn fail(&mut self, reason: String) {
        match self.steps.front() {
            Some(Step::Scan) => self.prepared.scan = Some(Err(reason)),
            Some(Step::Flush) => self.prepared.flush = Some(Err(reason)),
            None => return,
        }
        self.next();
    }

    fn give_up(&mut self, reason: String, left: &mut LeftBehind<H>) {
        let Some(step) = self.steps.front().copied() else { return };
        if let Some(helper) = &self.helper {
            helper.kill();
        }
        self.dismiss(left, Some(step));
        self.text.clear();
        self.part = Scan::default();
        self.fail_for_good(reason);
    }

    /// The same, and the failed step is not tried again.
    fn fail_for_good(&mut self, reason: String) {
        let step = self.steps.front().copied();
        self.fail(reason);
        self.steps.retain(|other| Some(*other) != step);
    }
}

fn steps(preparation: &Preparation) -> VecDeque<Step> {
    let scan = preparation.scan.map(|_| Step::Scan);
    let flush = preparation.flush.as_ref().map(|_| Step::Flush);
    let again = scan.filter(|_| flush.is_some());
    [scan, flush, again].into_iter().flatten().collect()
}

/// What the helper does. Its parent may have ended or no longer read; the helper ignores that.
fn work(facts: &FactsSource, preparation: &Preparation, steps: &VecDeque<Step>, pipe: &mut File) {
    for step in steps {
        let text = match step {
            Step::Scan => match facts.scan(&preparation.mounts, &preparation.vdevs) {
                Ok(scan) => wire::scan(&scan),
                Err(error) => wire::scan_failed(&error.to_string()),
            },
            Step::Flush => wire::flush(&flush(facts, preparation.flush.as_ref())),
        };
        if pipe.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn flush(facts: &FactsSource, flush: Option<&Flush>) -> Result<(), String> {
    let told = |what: &str, result: io::Result<()>| result.map_err(|error| format!("{what}: {error}"));
    told("sync", facts.sync())?;
    told("vfs.runningbufspace", facts.wait_for_writes())?;
    for mount in flush.into_iter().flat_map(|flush| &flush.mounts) {
        told(&format!("fsync {}", mount.on), facts.sync_mount(mount))?;
    }
    Ok(())
}

/// The same in this process, for a loop inside a program that has threads.
pub(crate) fn prepare_inline(facts: &FactsSource, preparation: &Preparation) -> Prepared {
    let mut prepared = Prepared::default();
    for step in steps(preparation) {
        match step {
            Step::Scan => {
                let scan =
                    facts.scan(&preparation.mounts, &preparation.vdevs).map_err(|error| error.to_string());
                match (&mut prepared.scan, scan) {
                    (Some(Ok(known)), Ok(scan)) => known.merge(scan),
                    (Some(Err(_)), _) => {}
                    (none, scan) => *none = Some(scan),
                }
            }
            Step::Flush => prepared.flush = Some(flush(facts, preparation.flush.as_ref())),
        }
    }
    prepared
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What each helper prints when it is asked, in order; what it prints after that; whether it dies when it
    /// is killed.
    #[derive(Debug, Clone, Copy)]
    struct Script {
        says: &'static str,
        ends: bool,
        dies: bool,
    }

    thread_local! {
        static SCRIPTS: RefCell<VecDeque<Script>> = const { RefCell::new(VecDeque::new()) };
        static STARTED: RefCell<Vec<Vec<Step>>> = const { RefCell::new(Vec::new()) };
        static ALIVE: RefCell<bool> = const { RefCell::new(true) };
    }

    #[derive(Debug)]
    struct Puppet {
        script: Script,
        said: bool,
        killed: std::cell::Cell<bool>,
    }

    impl Hand for Puppet {
        fn start(_: &FactsSource, _: &Preparation, steps: &VecDeque<Step>) -> io::Result<Self> {
            STARTED.with_borrow_mut(|started| started.push(steps.iter().copied().collect()));
            let script = SCRIPTS.with_borrow_mut(VecDeque::pop_front).ok_or(io::ErrorKind::WouldBlock)?;
            Ok(Self { script, said: false, killed: false.into() })
        }

        fn id(&self) -> i32 {
            77
        }

        fn read(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
            if !std::mem::replace(&mut self.said, true) {
                text.extend_from_slice(self.script.says.as_bytes());
            }
            Ok(self.script.ends)
        }

        fn kill(&self) {
            self.killed.set(true);
        }

        fn has_ended(&mut self) -> bool {
            self.script.ends || (self.killed.get() && self.script.dies) || !ALIVE.with_borrow(|alive| *alive)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const ALL: [Step; 3] = [Step::Scan, Step::Flush, Step::Scan];

    fn script(says: &'static str, ends: bool, dies: bool) -> Script {
        Script { says, ends, dies }
    }

    /// Prepares with helpers that follow the scripts. Limits pass at once.
    fn prepare(scripts: &[Script], left: &mut LeftBehind<Puppet>) -> (Prepared, Vec<Vec<Step>>) {
        SCRIPTS.with_borrow_mut(|all| *all = scripts.iter().copied().collect());
        STARTED.with_borrow_mut(Vec::clear);
        let preparation = Preparation {
            mounts: Vec::new(),
            vdevs: Vec::new(),
            scan: Some(Duration::ZERO),
            flush: Some(Flush { limit: Duration::ZERO, mounts: Vec::new() }),
        };
        let facts = FactsSource::Directory("/nonexistent".into());
        let mut preparing = Preparing::start(&facts, &preparation, SECOND, left);
        loop {
            if let Some(prepared) = preparing.advance(left) {
                return (prepared, STARTED.with_borrow(Clone::clone));
            }
        }
    }

    #[test]
    fn one_helper_does_all() {
        let mut left = LeftBehind::default();
        let says = "writer\t1,7\t9\t0\tp\t/f\nscanned\nflushed\nwriter\t1,7\t8\t0\tq\t/g\nscanned\n";
        let (prepared, started) = prepare(&[script(says, true, true)], &mut left);
        assert_eq!(started, [ALL]);
        assert_eq!(prepared.flush, Some(Ok(())));
        assert_eq!(prepared.scan.unwrap().unwrap().writers.len(), 2);
        assert!(left.0.is_empty());
    }

    #[test]
    fn another_helper_flushes_after_a_scan_that_hangs() {
        let mut left = LeftBehind::default();
        let scripts = [script("", false, false), script("flushed\n", true, true)];
        let (prepared, started) = prepare(&scripts, &mut left);
        assert_eq!(started, [ALL.to_vec(), vec![Step::Flush]]);
        assert!(prepared.scan.unwrap().unwrap_err().contains("took longer"));
        assert_eq!(prepared.flush, Some(Ok(())));
        assert_eq!(left.0.len(), 1);
        // While it hangs, no other scan is started.
        let (prepared, started) = prepare(&[script("flushed\n", true, true)], &mut left);
        assert_eq!(started, [[Step::Flush]]);
        let reason = prepared.scan.unwrap().unwrap_err();
        assert_eq!(reason, "an earlier attempt has not come to its end yet (process 77)");
        ALIVE.set(false);
        let (prepared, started) = prepare(&[script("scanned\nflushed\nscanned\n", true, true)], &mut left);
        assert_eq!(started, [ALL]);
        assert!(prepared.scan.unwrap().is_ok() && left.0.is_empty());
    }

    #[test]
    fn another_helper_scans_after_a_sync_that_hangs() {
        let mut left = LeftBehind::default();
        let scripts = [script("scanned\n", false, false), script("scanned\n", true, true)];
        let (prepared, started) = prepare(&scripts, &mut left);
        assert_eq!(started, [ALL.to_vec(), vec![Step::Scan]]);
        assert!(prepared.scan.unwrap().is_ok());
        assert!(prepared.flush.unwrap().unwrap_err().contains("took longer"));
        let (prepared, started) =
            prepare(&[script("scanned\n", false, true), script("scanned\n", true, true)], &mut left);
        // The sync is not tried while the first one hangs. The scans are.
        assert_eq!(started.len(), 2);
        assert!(prepared.scan.unwrap().is_ok() && prepared.flush.unwrap().is_err());
    }

    #[test]
    fn a_helper_that_ends_early_or_cannot_start_fails() {
        let mut left = LeftBehind::default();
        let (prepared, _) =
            prepare(&[script("scanned\nflus", true, true), script("", true, true)], &mut left);
        assert_eq!(prepared.flush, Some(Err("its process ended".into())));
        assert!(prepared.scan.unwrap().is_err());
        let (prepared, _) = prepare(&[], &mut left);
        assert!(prepared.scan.unwrap().unwrap_err().starts_with("no process can be had for it"));
        assert!(prepared.flush.unwrap().is_err() && left.0.is_empty());
        // A scan that failed by itself is not replaced by the second one.
        let says = "scan-failed\tsqlite3 (pid 9): EPERM\nflushed\nscanned\n";
        let (prepared, _) = prepare(&[script(says, true, true)], &mut left);
        assert_eq!(prepared.scan, Some(Err("sqlite3 (pid 9): EPERM".into())));
    }
}
