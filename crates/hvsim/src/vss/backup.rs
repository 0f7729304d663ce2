//! The client's calls about live backups, and a whole backup in one.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::control::{Answer, Fault, Operation, Outcome, Side, Statistics, VssCommand};
use super::timeline::{self, Entry, Suspension};
use crate::client::{Client, Result};
use crate::control::{Command, Latencies};

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What came of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The answers, in order; after the first failure only the thaw of a freeze that succeeded is still asked
    /// for.
    pub answers: Vec<Answer>,
    /// What happened in the guest meanwhile.
    pub timeline: Vec<Entry>,
    /// How long each file system was suspended, in the order of suspending.
    pub suspensions: Vec<Suspension>,
}

impl Backup {
    /// Whether the host has a backup that it can use.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.answers.len() == 3 && self.answers.iter().all(Answer::is_ok)
    }
}

impl fmt::Display for Backup {
    /// The timeline, and the result.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&timeline::table(&self.timeline))?;
        let failed = self.answers.iter().find(|answer| !answer.is_ok());
        match failed {
            None => f.write_str("the backup is good"),
            Some(answer) => {
                write!(f, "no backup: the {} ended with {:?}", answer.operation.word(), answer.outcome)
            }
        }
    }
}

impl Client {
    /// Performs any command about live backups.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss<T: serde::de::DeserializeOwned>(&mut self, command: VssCommand) -> Result<T> {
        self.call(&Command::Vss(command))
    }

    /// The host sends a request of a live backup and waits for its answer.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn vss_ask(&mut self, operation: Operation) -> Result<Answer> {
        let limit = self.limit().map(milliseconds);
        self.vss(VssCommand::Ask { operation, limit })
    }

    /// Sends `count` requests, in turn, as fast as they are answered.
    ///
    /// # Errors
    /// See [`Client::ask_many`].
    pub fn vss_ask_many(&mut self, operations: Vec<Operation>, count: usize) -> Result<Latencies> {
        self.vss(VssCommand::AskMany { operations, count })
    }

    /// A whole backup: check, freeze, `pause` in which the host would take its snapshot, thaw.
    ///
    /// # Errors
    /// See [`Client::ask`]; a guest that says no is none, but a [`Backup`] that is not OK.
    pub fn vss_backup(&mut self, pause: Duration) -> Result<Backup> {
        self.vss_timeline(true)?;
        let mut answers = vec![self.vss_ask(Operation::Check)?];
        if answers.iter().all(Answer::is_ok) {
            let freeze = self.vss_ask(Operation::Freeze)?;
            answers.push(freeze);
            if freeze.outcome == Outcome::Success {
                std::thread::sleep(pause);
                answers.push(self.vss_ask(Operation::Thaw)?);
            }
        }
        let timeline = self.vss_timeline(true)?;
        let suspensions = timeline::suspensions(&timeline);
        Ok(Backup { answers, timeline, suspensions })
    }

    /// Waits until a program has a backup device open, and tells whether one has.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_open(&mut self, side: Side, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitOpen { side, open: true, limit: milliseconds(limit) })
    }

    /// Waits until no program has a backup device open: the kernel closes those of a killed one a moment
    /// after its end.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_closed(&mut self, side: Side, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitOpen { side, open: false, limit: milliseconds(limit) })
    }

    /// Waits until nothing is suspended, and tells whether that came true.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_thawed(&mut self, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitThawed { limit: milliseconds(limit) })
    }

    /// Somebody in the guest unmounts a file system: whether that came to its end at once. If not, it sleeps
    /// as on FreeBSD, until what it waits for is resumed.
    ///
    /// # Errors
    /// As umount(8): nothing is mounted there, or it is busy. See [`Client::call`].
    pub fn vss_unmount(&mut self, on: &str) -> Result<bool> {
        self.vss(VssCommand::Unmount { on: on.to_owned() })
    }

    /// From now on `vfs.runningbufspace` in the guest's facts falls as the writes of a sync(2) come to their
    /// end; how long they take is in the file `cache`, see [`super::facts`].
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_play_writes(&mut self) -> Result<()> {
        self.vss(VssCommand::PlayWrites)
    }

    /// The mount points that are suspended now, in the order of suspending.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_suspended(&mut self) -> Result<Vec<String>> {
        self.vss(VssCommand::Suspended)
    }

    /// Counters.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_statistics(&mut self) -> Result<Statistics> {
        self.vss(VssCommand::Statistics)
    }

    /// What happened.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_timeline(&mut self, take: bool) -> Result<Vec<Entry>> {
        self.vss(VssCommand::Timeline { take })
    }

    /// Changes how long the kernel waits for an answer.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_set_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.vss(VssCommand::SetTimeout { milliseconds: milliseconds(timeout) })
    }

    /// Makes a call of the guest fail.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_inject(&mut self, fault: Fault) -> Result<()> {
        self.vss(VssCommand::Inject(fault))
    }

    /// Removes the backup devices; their programs are killed.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_detach(&mut self) -> Result<()> {
        self.vss(VssCommand::Detach)
    }

    /// Brings the backup devices back, as new.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_attach(&mut self) -> Result<()> {
        self.vss(VssCommand::Attach)
    }
}
