//! What the daemon uses besides its devices: time, mounts, hooks and helper processes. It does what the loop
//! asks for, and decides nothing.

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

/// Everything that the loop asks of the system, except the devices. Tests implement it with a clock of their
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

    /// Begins a task. Each lane has one at a time. Returns the end of the task if it comes at once.
    fn start(&mut self, lane: Lane, task: Task, limit: Duration) -> Option<Event>;

    /// The end of the task in a lane, if it has ended.
    fn advance(&mut self, lane: Lane) -> Option<Event>;

    /// Ends the task in a lane. No event reports its end.
    fn stop(&mut self, lane: Lane);

    /// All hooks of a backup have ended. Processes that they left are killed or left alone.
    fn end_hooks(&mut self, kill: bool);

    /// When [`Self::advance`] is due at the latest.
    fn deadline(&self) -> Option<Duration>;

    /// The descriptors that become readable when [`Self::advance`] has something to do.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// A child of this process ended.
    fn child_ended(&mut self);

    /// Writes the record of a finished backup.
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
    /// The task of each lane.
    works: [Option<Work>; 2],
    /// Process groups in which hooks of this backup may have left processes.
    groups: Vec<Group>,
    left: LeftBehind<Helper>,
}

impl SystemGuest {
    /// A guest in which nothing runs. Without `may_fork` no helper process is started, and this process does
    /// the work of helpers itself, because a process with threads must not fork.
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

/// A task that runs beside the loop.
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
            // It may have failed already.
            return self.advance(lane);
        }
        let program = programs::program(&self.zpool, &task, limit)?;
        let refusal = match &task {
            // One that hung in the freeze is started nevertheless: it must be told of the abort.
            Task::Hook(hook, _) => hook_dir::distrust(hook),
            _ => exec::hanging(&program.path).map(|pid| {
                format!("{} hangs since an earlier attempt (process {pid})", program.path.display())
            }),
        };
        if let Some(reason) = refusal {
            let ended = Ended { outcome: Outcome::NotStarted(reason), output: Vec::new() };
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
        // Dropping a program kills it.
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
