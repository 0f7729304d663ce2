//! The client's calls about live backups, and a whole backup in one call. The results are the devices'.

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

/// The result of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The answers, in order. After the first failure only the thaw after a successful freeze is still sent.
    pub answers: Vec<Answer>,
    /// The events in the guest meanwhile.
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
    /// The timeline and the result.
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

    /// Sends a request of a live backup and waits for its answer.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn vss_ask(&mut self, operation: Operation) -> Result<Answer> {
        let limit = self.limit().map(milliseconds);
        self.vss(VssCommand::Ask { operation, limit })
    }

    /// Sends `count` requests in turn, as fast as they are answered.
    ///
    /// # Errors
    /// See [`Client::ask_many`].
    pub fn vss_ask_many(&mut self, operations: Vec<Operation>, count: usize) -> Result<Latencies> {
        self.vss(VssCommand::AskMany { operations, count })
    }

    /// A whole backup: check, freeze, `pause` for the host's snapshot, thaw.
    ///
    /// # Errors
    /// See [`Client::ask`]. A guest that refuses is no error, but a [`Backup`] that is not OK.
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

    /// Waits until a program has a backup device open. Returns whether one has.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_open(&mut self, side: Side, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitOpen { side, open: true, limit: milliseconds(limit) })
    }

    /// Waits until no program has a backup device open. The kernel closes the devices of a killed program a
    /// moment after its end.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_closed(&mut self, side: Side, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitOpen { side, open: false, limit: milliseconds(limit) })
    }

    /// Waits until nothing is suspended. Returns whether that happened.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_wait_thawed(&mut self, limit: Duration) -> Result<bool> {
        self.vss(VssCommand::WaitThawed { limit: milliseconds(limit) })
    }

    /// Unmounts a file system in the guest. Returns whether that ended at once; otherwise it sleeps until its
    /// file system is resumed, as on FreeBSD.
    ///
    /// # Errors
    /// The error of umount(8): nothing is mounted there, or it is busy. See [`Client::call`].
    pub fn vss_unmount(&mut self, on: &str) -> Result<bool> {
        self.vss(VssCommand::Unmount { on: on.to_owned() })
    }

    /// From now on `vfs.runningbufspace` in the guest's facts falls as the writes of a sync(2) are completed.
    /// The file `cache` has their duration, see [`super::facts`].
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

    /// The counters.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_statistics(&mut self) -> Result<Statistics> {
        self.vss(VssCommand::Statistics)
    }

    /// The events so far.
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

    /// Removes the backup devices. Their programs are killed.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_detach(&mut self) -> Result<()> {
        self.vss(VssCommand::Detach)
    }

    /// Creates the backup devices again.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn vss_attach(&mut self) -> Result<()> {
        self.vss(VssCommand::Attach)
    }
}
