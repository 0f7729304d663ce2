//! One injection as a transaction: rc.conf(5) is written and checked, then the network is changed and
//! examined until it stays as it should be.
//!
//! It is given the host's configuration and a [`Guest`] that looks, performs and waits. It knows no clock and
//! no program. It reports success only after it has seen the host's configuration after its last change.
//!
//! rc.conf is written first, so that rc.d/dhclient then refuses a static interface. That is not enough: a
//! running script of rc(8) continues with the values that it has read, and a dhclient(8) that it has started
//! sets its address when it gets one. So the transaction waits for rivals, and corrects what they have done.

use super::apply::ApplyError;
use super::plan::{Earlier, Facts, Files, Target, plan_files, plan_live};
use super::step::Step;
use crate::kvp::ip_info::request::Method;
use crate::plan::{Event, Failed, Plan, Planned, Port};

/// The guest of a transaction.
pub trait Guest: Port<Step, Error = ApplyError> {
    /// Reads the network.
    ///
    /// # Errors
    /// It cannot be read.
    fn look(&mut self) -> Result<Facts, ApplyError>;

    /// Lets other programs work for a moment. `false` when the time for changes is over.
    fn pause(&mut self) -> bool;
}

/// How often in a row the state must be right, without a rival at work.
const STILL: u32 = 2;
/// The number of pauses between two looks at a tentative address. The kernel waits for a second
/// (sys/netinet6/nd6_nbr.c, `nd6_dad_start`).
const DAD_PAUSES: u32 = 4;
/// How often the network is changed at most. More changes mean that another program works against them.
const ROUNDS: u32 = 12;

/// The host's configuration and its target.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The interface.
    pub target: &'a Target,
    /// How it gets its addresses.
    pub method: &'a Method,
    /// The files that keep it over a reboot.
    pub files: Option<&'a Files>,
    /// What the interface had before the injection.
    pub earlier: &'a Earlier,
}

/// What the transaction saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed {
    /// The rivals, each once.
    pub rivals: Vec<String>,
    /// Whether a DHCP client was started.
    pub started_client: bool,
}

impl Transaction<'_> {
    /// Performs it.
    ///
    /// # Errors
    /// [`Failed`]: the changes were taken back, except for those that it lists.
    pub fn run(
        &self,
        first: Facts,
        guest: &mut impl Guest,
    ) -> (Witnessed, Result<(), Failed<Step, ApplyError>>) {
        let mut done = Done::default();
        let before = first.clone();
        let result = self.attempt(Some(first), &mut done, guest);
        let result = result.map_err(|trouble| {
            let (step, error) = *trouble;
            let left_behind = done.take_back(guest);
            // A step that could not be taken back is tried again without another look.
            let found = left_behind.is_empty().then(|| guest.look().ok()).flatten();
            let found = found.map(|now| now.compare(&before, self.target));
            Failed { step, error, left_behind, found }
        });
        (done.witnessed, result)
    }

    fn attempt(
        &self,
        mut first: Option<Facts>,
        done: &mut Done,
        guest: &mut impl Guest,
    ) -> Result<(), Trouble> {
        if let Some(files) = self.files {
            for planned in plan_files(self.target, self.method, files).steps() {
                done.perform(planned, guest)?;
            }
        }
        let goal = Step::Settle(self.target.live().clone());
        let failed = |error| Box::new((goal.clone(), error));
        let (mut still, mut rounds) = (0, 0);
        loop {
            let facts = first.take().map_or_else(|| guest.look(), Ok).map_err(failed)?;
            let busy = done.note_rivals(self.target, &facts);
            if let Some(client) = facts.foreign_client(self.target.live(), self.method) {
                return Err(failed(ApplyError::ForeignClient(client)));
            }
            let plan = if busy {
                Plan::default()
            } else {
                plan_live(self.target, self.method, &facts, self.earlier)
            };
            let has_time = match (busy, plan.is_empty()) {
                (false, true) if self.is_unsure(&facts).map_err(failed)? => {
                    if !(0..DAD_PAUSES).all(|_| guest.pause()) {
                        log::warn!(
                            "{}: nobody knows yet whether another node has its address",
                            self.target.hn
                        );
                        return Ok(());
                    }
                    true
                }
                (false, true) => {
                    still += 1;
                    // Without rivals nothing is waited for.
                    if still >= STILL || done.witnessed.rivals.is_empty() {
                        return Ok(());
                    }
                    guest.pause()
                }
                (false, false) => {
                    (still, rounds) = (0, rounds + 1);
                    if rounds > ROUNDS {
                        return Err(failed(ApplyError::NotStill(done.witnessed.rivals.join(", "))));
                    }
                    self.change(&plan, done, guest)?;
                    true
                }
                (true, _) => {
                    still = 0;
                    guest.pause()
                }
            };
            if !has_time {
                return Err(failed(ApplyError::NotStill(done.witnessed.rivals.join(", "))));
            }
        }
    }

    /// Whether one of the addresses is tentative. Without a link an address stays tentative.
    fn is_unsure(&self, facts: &Facts) -> Result<bool, ApplyError> {
        match facts.duplicated(self.target, self.method) {
            Some(address) => Err(ApplyError::Duplicated(address)),
            None => Ok(facts.tentative(self.target, self.method).is_some()),
        }
    }

    /// Performs the steps. If one fails while a rival works, the network is examined again: the rival may
    /// have removed something that the step relies on.
    fn change(&self, plan: &Plan<Step>, done: &mut Done, guest: &mut impl Guest) -> Result<(), Trouble> {
        for planned in plan.steps() {
            if let Err(trouble) = done.perform(planned, guest) {
                let busy = guest.look().is_ok_and(|facts| done.note_rivals(self.target, &facts));
                return if busy && guest.pause() { Ok(()) } else { Err(trouble) };
            }
        }
        Ok(())
    }
}

/// The step that failed, and the error.
type Trouble = Box<(Step, ApplyError)>;

/// The steps that were performed, with their undo.
#[derive(Debug, Default)]
struct Done {
    steps: Vec<Planned<Step>>,
    witnessed: Witnessed,
}

impl Done {
    fn perform(&mut self, planned: &Planned<Step>, guest: &mut impl Guest) -> Result<(), Trouble> {
        guest.announce(Event::Doing(&planned.step));
        self.witnessed.started_client |= planned.step.starts_client();
        self.steps.push(planned.clone());
        guest.perform(&planned.step).map_err(|error| Box::new((planned.step.clone(), error)))
    }

    fn take_back(&mut self, guest: &mut impl Guest) -> Vec<(Step, ApplyError)> {
        let mut left_behind = Vec::new();
        for step in std::mem::take(&mut self.steps).into_iter().rev().flat_map(|planned| planned.undo) {
            guest.announce(Event::Undoing(&step));
            if let Err(error) = guest.perform(&step) {
                left_behind.push((step, error));
            }
        }
        left_behind
    }

    /// Whether a rival works on the interface that must be waited for: a script of rc(8), or a dhclient(8)
    /// whose worker has ended. A client that serves is stopped instead.
    fn note_rivals(&mut self, target: &Target, facts: &Facts) -> bool {
        let mut names: Vec<String> = facts.at_work.scripts.iter().map(|script| script.name.clone()).collect();
        let live = target.live();
        if !facts.at_work.has_dhclient(live) && facts.at_work.dhclient_of(live).next().is_some() {
            names.push(format!("the end of dhclient on {live}"));
        }
        for name in &names {
            if !self.witnessed.rivals.contains(name) {
                log::info!("{}: {name} is at work on it and waited for", target.hn);
                self.witnessed.rivals.push(name.clone());
            }
        }
        !names.is_empty()
    }
}

#[cfg(test)]
mod tests;
