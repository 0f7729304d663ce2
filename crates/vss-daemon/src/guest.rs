//! What is around the daemon besides its devices: time, mounts, hooks, and what runs beside the loop.
//!
//! It is asked by the loop and decides nothing.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hv_core::abi::vss::Request;
use hv_core::report::Backup;
use hv_core::runtime::config::Config;
use hv_core::runtime::exec::{self, Group, Running};
use hv_core::runtime::history;
use hv_core::sys::clock;
use hv_core::sys::process::Helper;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::hooks::Selection;
use hv_core::vss::mounts::Mount;
use hv_core::vss::{Ended, Event, Lane, Outcome, Task};

use crate::helper::{LeftBehind, Preparing, prepare_inline};
use crate::{hook_dir, programs};

/// All that the loop asks of the system, but for its devices. A test has another one, with a clock of its
/// own.
pub trait Guest {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// How long the kernel has had a request.
    fn age(&self, request: Request) -> Duration;

    /// Where facts about the system come from.
    fn facts(&self) -> &FactsSource;

    /// The mount table, oldest mount first.
    ///
    /// # Errors
    /// It cannot be read.
    fn mounts(&self) -> io::Result<Vec<Mount>>;

    /// The administrator's hooks.
    fn hooks(&self) -> Selection;

    /// Begins a task, one at a time for each lane; its end where that comes at once.
    fn start(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event>;

    /// The end of what runs in a lane, once it is there.
    fn advance(&mut self, lane: Lane) -> Option<Event>;

    /// Ends what runs in a lane, whose end is then no event any more.
    fn stop(&mut self, lane: Lane);

    /// The hooks of a backup are through; what they left running is killed or left alone.
    fn end_hooks(&mut self, kill: bool);

    /// When [`Self::advance`] is due at the latest.
    fn deadline(&self) -> Option<Duration>;

    /// What is readable when [`Self::advance`] has something to do.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// A child of this process ended.
    fn child_ended(&mut self);

    /// Writes down how a backup went that is over.
    fn keep(&mut self, backup: &Backup);

    /// Puts a new configuration into force.
    fn configure(&mut self, config: &Config);
}

/// The system that the daemon runs on.
#[derive(Debug)]
pub struct SystemGuest {
    facts: FactsSource,
    hook_dir: PathBuf,
    zpool: PathBuf,
    history: PathBuf,
    may_fork: bool,
    /// What runs for a check and for a backup.
    works: [Option<Work>; 2],
    /// What hooks of this backup may have left running.
    groups: Vec<Group>,
    left: LeftBehind<Helper>,
}

impl SystemGuest {
    /// Nothing runs yet. A process with threads may not fork, and does itself what helpers would do.
    pub(crate) fn new(config: &Config, may_fork: bool) -> Self {
        Self {
            facts: facts_source(config),
            hook_dir: config.vss.hook_dir.clone(),
            zpool: config.vss.zpool.clone(),
            history: config.vss.history.clone(),
            may_fork,
            works: [None, None],
            groups: Vec::new(),
            left: LeftBehind::default(),
        }
    }
}

/// What runs beside the loop.
#[derive(Debug)]
enum Work {
    Program(Task, Running),
    Preparing(Preparing<Helper>),
}

impl Work {
    fn deadline(&self) -> Duration {
        match self {
            Self::Program(_, running) => running.deadline(),
            Self::Preparing(preparing) => preparing.deadline(),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Program(_, running) => running.descriptors().collect(),
            Self::Preparing(preparing) => preparing.descriptor().into_iter().collect(),
        }
    }
}

impl Guest for SystemGuest {
    fn now(&self) -> Duration {
        clock::monotonic()
    }

    fn age(&self, request: Request) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_nanos(request.age(u64::try_from(now.as_nanos()).unwrap_or(0)))
    }

    fn facts(&self) -> &FactsSource {
        &self.facts
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        self.facts.mounts()
    }

    fn hooks(&self) -> Selection {
        hook_dir::list(&self.hook_dir)
    }

    fn start(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event> {
        if let Task::Prepare(preparation) = &task {
            if !self.may_fork {
                return Some(Event::Prepared(lane, prepare_inline(&self.facts, preparation)));
            }
            let preparing = Preparing::start(&self.facts, preparation, limit, &mut self.left);
            self.works[lane as usize] = Some(Work::Preparing(preparing));
            // It may have failed at once.
            return self.advance(lane);
        }
        let program = programs::program(&self.zpool, &task, limit)?;
        // A hook is another matter: one that hangs in a freeze must still be told of the abort.
        let hanging = if matches!(task, Task::Hook(..)) { None } else { exec::hanging(&program.path) };
        if let Some(pid) = hanging {
            let text = format!("{} hangs since an earlier attempt (process {pid})", program.path.display());
            let ended = Ended { outcome: Outcome::NotStarted(text), output: Vec::new() };
            return Some(Event::Ended(lane, ended));
        }
        match program.start() {
            Ok(running) => {
                self.works[lane as usize] = Some(Work::Program(task, running));
                None
            }
            Err(error) => Some(Event::Ended(lane, programs::ended(&task, Err(error)))),
        }
    }

    fn advance(&mut self, lane: Lane) -> Option<Event> {
        let event = match self.works[lane as usize].as_mut()? {
            Work::Program(task, running) => {
                let ended = programs::ended(task, running.advance()?);
                self.groups.extend(running.take_group());
                Event::Ended(lane, ended)
            }
            Work::Preparing(preparing) => Event::Prepared(lane, preparing.advance(&mut self.left)?),
        };
        self.works[lane as usize] = None;
        Some(event)
    }

    fn stop(&mut self, lane: Lane) {
        // A program is killed by being dropped.
        if let Some(Work::Preparing(preparing)) = self.works[lane as usize].take() {
            preparing.stop(&mut self.left);
        }
    }

    fn end_hooks(&mut self, kill: bool) {
        self.groups.drain(..).filter(|_| kill).for_each(|group| group.kill());
    }

    fn deadline(&self) -> Option<Duration> {
        self.works.iter().flatten().map(Work::deadline).min()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.works.iter().flatten().flat_map(Work::descriptors).collect()
    }

    fn child_ended(&mut self) {
        exec::reap();
        self.left.reap();
    }

    fn keep(&mut self, backup: &Backup) {
        if let Err(error) = history::append(&self.history, backup) {
            log::warn!("cannot write {}: {error}", self.history.display());
        }
    }

    fn configure(&mut self, config: &Config) {
        self.facts = facts_source(config);
        self.hook_dir.clone_from(&config.vss.hook_dir);
        self.zpool.clone_from(&config.vss.zpool);
        self.history.clone_from(&config.vss.history);
    }
}

pub(crate) fn facts_source(config: &Config) -> FactsSource {
    config.facts.dir.clone().map_or(FactsSource::System, FactsSource::Directory)
}
