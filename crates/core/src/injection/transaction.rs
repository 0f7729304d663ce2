//! One injection as one transaction: rc.conf(5) is written and measured, then the live network is changed and
//! looked at again until it holds still.
//!
//! It is given what the host wants and a [`Guest`] that looks, performs and waits; it knows no clock and no
//! program. It never says that the host's state is there without having seen it after the last change.
//!
//! rc.conf comes first, so that rc.d/dhclient refuses an interface that is to be static from then on. That is
//! not enough: a script of rc(8) that already runs goes on with the values that it has read, and a
//! dhclient(8) that it has started sets its address when it gets one. So a rival is waited for, and what it
//! has done is put right.

use super::apply::ApplyError;
use super::plan::{Facts, Files, Target, plan_files, plan_live};
use super::step::Step;
use crate::kvp::ip_info::request::Method;
use crate::net::InterfaceAddress;
use crate::plan::{Event, Failed, Plan, Planned, Port};

/// The guest, as a transaction needs it.
pub trait Guest: Port<Step, Error = ApplyError> {
    /// Looks at the live network.
    ///
    /// # Errors
    /// It cannot be read.
    fn look(&mut self) -> Result<Facts, ApplyError>;

    /// Lets others go on for a moment; `false` when the time for changes is up.
    fn pause(&mut self) -> bool;
}

/// How often in a row the state must be seen right, with nobody at work on it.
const STILL: u32 = 2;
/// How often the live network is changed; who needs more fights with somebody.
const ROUNDS: u32 = 12;

/// What the host wants, and where.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The interface.
    pub target: &'a Target,
    /// What it is to become.
    pub method: &'a Method,
    /// What keeps it over a reboot.
    pub files: Option<&'a Files>,
    /// Addresses that are nobody's any more: those that the interface had, and no client.
    pub gone: &'a [InterfaceAddress],
}

/// What was seen in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed {
    /// Those that were at work on the interface, each once.
    pub rivals: Vec<String>,
    /// Whether a DHCP client was started.
    pub started_client: bool,
}

impl Transaction<'_> {
    /// Carries it out.
    ///
    /// # Errors
    /// [`Failed`]: what was done is taken back, but for what it lists.
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
            // What could not be taken back is tried again, and looked at no more.
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
            let plan =
                if busy { Plan::default() } else { plan_live(self.target, self.method, &facts, self.gone) };
            let has_time = match (busy, plan.is_empty()) {
                (false, true) => {
                    still += 1;
                    // In a quiet guest nobody is waited for.
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

    /// A step that fails beside a rival is one more reason to look again: that may have taken away what the
    /// step relies on.
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

/// The step that failed, and why.
type Trouble = Box<(Step, ApplyError)>;

/// What has been done so far, with what takes it back.
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

    /// Whether somebody is at work on the interface who must be waited for: a script of rc(8), or what is
    /// left of a dhclient(8) whose worker is gone. A client that serves is no reason to wait, it is stopped.
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
