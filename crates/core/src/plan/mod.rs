//! Changes of the guest as plans: ordered steps, each with what takes it back.
//!
//! Whoever decides ([`crate::vf`], the injection of addresses) builds a [`Plan`] from facts and touches
//! nothing. The same plan is printed for `-n`, logged, and run by [`Plan::run`] through a [`Port`]. When a
//! step fails, the step itself and all before it are taken back in reverse order.

pub mod network;

use std::error::Error;
use std::fmt;

/// A step and what takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<S> {
    /// What is to be done.
    pub step: S,
    /// What takes it back, in the order in which it is run. Each is run even where the step failed half-way,
    /// so each means a state to reach and not a difference.
    pub undo: Vec<S>,
}

/// Ordered steps. An empty plan means that everything is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<S> {
    steps: Vec<Planned<S>>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self { steps: Vec::new() }
    }
}

/// Performs steps.
pub trait Port<S> {
    /// Why a step failed.
    type Error: Error;

    /// Makes what `step` says true. A step that finds its outcome already there succeeds.
    ///
    /// # Errors
    /// The step's outcome was not reached; part of it can have been.
    fn perform(&mut self, step: &S) -> Result<(), Self::Error>;

    /// Hears of each step before it is performed; what is logged is decided here.
    fn announce(&mut self, event: Event<'_, S>);
}

/// What the executor is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a, S> {
    /// The next step of the plan.
    Doing(&'a S),
    /// A step that takes back what was done.
    Undoing(&'a S),
}

impl<S: fmt::Display> fmt::Display for Event<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doing(step) => write!(f, "{step}"),
            Self::Undoing(step) => write!(f, "undo: {step}"),
        }
    }
}

/// A plan that failed and was taken back.
#[derive(Debug)]
pub struct Failed<S, E> {
    /// The step that failed.
    pub step: S,
    /// Why.
    pub error: E,
    /// Steps that could not be taken back, each with the reason.
    pub left_behind: Vec<(S, E)>,
    /// What somebody found who looked at the state afterwards; `None` where nobody has.
    pub found: Option<Found>,
}

/// What a look at the state found after everything was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is as it was.
    AsBefore,
    /// It is not, in these respects.
    Differs(Vec<String>),
}

impl<S: fmt::Display, E: fmt::Display> fmt::Display for Failed<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.step)?;
        for (step, error) in &self.left_behind {
            write!(f, "; then could not {step} ({error})")?;
        }
        match &self.found {
            Some(Found::AsBefore) => write!(f, ", everything was taken back"),
            Some(Found::Differs(what)) => write!(f, "; not as it was: {}", what.join(", ")),
            None if self.left_behind.is_empty() => write!(f, ", each step was taken back"),
            None => Ok(()),
        }
    }
}

impl<S: fmt::Debug + fmt::Display, E: Error + 'static> Error for Failed<S, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<S> Plan<S> {
    /// Adds a step behind the others.
    pub fn push(&mut self, step: S, undo: Vec<S>) {
        self.steps.push(Planned { step, undo });
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps with their undo, in order.
    #[must_use]
    pub fn steps(&self) -> &[Planned<S>] {
        &self.steps
    }

    /// This plan and, behind it, `other`.
    pub fn append(&mut self, mut other: Self) {
        self.steps.append(&mut other.steps);
    }

    /// Performs all steps in order. When one fails, the undo of that step and of all before it are performed
    /// in reverse order, each even if another one failed.
    ///
    /// # Errors
    /// [`Failed`] with the failing step and what could not be taken back.
    pub fn run<P: Port<S>>(&self, port: &mut P) -> Result<(), Failed<S, P::Error>>
    where
        S: Clone,
    {
        for (position, planned) in self.steps.iter().enumerate() {
            port.announce(Event::Doing(&planned.step));
            if let Err(error) = port.perform(&planned.step) {
                let left_behind = take_back(&self.steps[..=position], port);
                return Err(Failed { step: planned.step.clone(), error, left_behind, found: None });
            }
        }
        Ok(())
    }
}

impl<S: fmt::Display> fmt::Display for Plan<S> {
    /// One step a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|planned| writeln!(f, "{}", planned.step))
    }
}

fn take_back<S: Clone, P: Port<S>>(done: &[Planned<S>], port: &mut P) -> Vec<(S, P::Error)> {
    let mut left_behind = Vec::new();
    for step in done.iter().rev().flat_map(|planned| &planned.undo) {
        port.announce(Event::Undoing(step));
        if let Err(error) = port.perform(step) {
            left_behind.push((step.clone(), error));
        }
    }
    left_behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Each step is a number that goes onto a stack; its negative takes it off.
    struct Stack {
        held: Vec<i32>,
        broken: Vec<i32>,
        events: Vec<String>,
    }

    impl Port<i32> for Stack {
        type Error = io::Error;

        fn perform(&mut self, step: &i32) -> io::Result<()> {
            if self.broken.contains(step) {
                return Err(io::Error::other("broken"));
            }
            if *step > 0 {
                self.held.push(*step);
            } else {
                self.held.retain(|held| held != &-step);
            }
            Ok(())
        }

        fn announce(&mut self, event: Event<'_, i32>) {
            self.events.push(event.to_string());
        }
    }

    fn stack(broken: &[i32]) -> Stack {
        Stack { held: Vec::new(), broken: broken.to_vec(), events: Vec::new() }
    }

    fn three() -> Plan<i32> {
        let mut plan = Plan::default();
        (1..=3).for_each(|number| plan.push(number, vec![-number]));
        plan
    }

    #[test]
    fn all_steps_run_in_order_and_are_announced_as_they_are_printed() {
        let mut port = stack(&[]);
        three().run(&mut port).unwrap();
        assert_eq!(port.held, [1, 2, 3]);
        assert_eq!(port.events.join("\n") + "\n", three().to_string());
    }

    #[test]
    fn failure_at_any_step_takes_everything_back_in_reverse() {
        for broken in 1..=3 {
            let mut port = stack(&[broken]);
            let failed = three().run(&mut port).unwrap_err();
            assert_eq!((failed.step, failed.left_behind.len()), (broken, 0));
            assert!(port.held.is_empty());
            let undone: Vec<String> = (1..=broken).rev().map(|number| format!("undo: -{number}")).collect();
            assert!(port.events.ends_with(&undone), "{:?}", port.events);
        }
    }

    #[test]
    fn an_undo_that_fails_does_not_stop_the_others_and_is_named() {
        let mut port = stack(&[3, -2]);
        let failed = three().run(&mut port).unwrap_err();
        assert_eq!(port.held, [2]);
        assert_eq!(failed.to_string(), "cannot 3; then could not -2 (broken)");
    }
}
