//! Changes of the guest as plans: ordered steps, each with its undo. This module runs plans and decides none.
//!
//! An engine ([`crate::vf`], the injection of addresses) builds a [`Plan`] from facts and changes nothing.
//! The same plan is printed for `-n`, logged, and run by [`Plan::run`] through a [`Port`]. When a step fails,
//! its undo and those of all steps before it are performed in reverse order.

pub mod network;

use std::error::Error;
use std::fmt;

/// A step with its undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<S> {
    /// The step.
    pub step: S,
    /// The undo, in the order in which it is performed. It is performed even if the step failed half-way, so
    /// it must describe a state and not a difference.
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

    /// Brings about the state that `step` describes. Succeeds if it is already there.
    ///
    /// # Errors
    /// The state was not reached. A part of it may have been.
    fn perform(&mut self, step: &S) -> Result<(), Self::Error>;

    /// Called before each step is performed. The implementation decides what is logged.
    fn announce(&mut self, event: Event<'_, S>);
}

/// The next action of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a, S> {
    /// The next step of the plan.
    Doing(&'a S),
    /// A step of the undo.
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

/// A plan that failed and was undone.
#[derive(Debug)]
pub struct Failed<S, E> {
    /// The step that failed.
    pub step: S,
    /// Why.
    pub error: E,
    /// Steps of the undo that failed, each with the reason.
    pub left_behind: Vec<(S, E)>,
    /// The state afterwards, if it was examined.
    pub found: Option<Found>,
}

/// The state after the undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is as before.
    AsBefore,
    /// It differs in these respects.
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
    /// Adds a step at the end.
    pub fn push(&mut self, step: S, undo: Vec<S>) {
        self.steps.push(Planned { step, undo });
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps with their undo, in order.
    #[must_use]
    pub fn steps(&self) -> &[Planned<S>] {
        &self.steps
    }

    /// Adds the steps of `other` at the end.
    pub fn append(&mut self, mut other: Self) {
        self.steps.append(&mut other.steps);
    }

    /// Performs all steps in order. When one fails, its undo and those of all steps before it are performed
    /// in reverse order, each even if another one failed.
    ///
    /// # Errors
    /// [`Failed`] with the step that failed and the undo that failed.
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
    /// One step in a line.
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

    /// A stack. Each step is a number that is pushed; its negative removes it.
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
    fn steps_run_in_order_and_are_announced_as_printed() {
        let mut port = stack(&[]);
        three().run(&mut port).unwrap();
        assert_eq!(port.held, [1, 2, 3]);
        assert_eq!(port.events.join("\n") + "\n", three().to_string());
    }

    #[test]
    fn a_failure_at_any_step_undoes_all_in_reverse() {
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
    fn a_failing_undo_does_not_stop_the_others() {
        let mut port = stack(&[3, -2]);
        let failed = three().run(&mut port).unwrap_err();
        assert_eq!(port.held, [2]);
        assert_eq!(failed.to_string(), "cannot 3; then could not -2 (broken)");
    }

    #[test]
    fn a_failure_says_what_became_of_the_guest() {
        let failed = |left_behind: &[i32], found| {
            let broken = || io::Error::other("broken");
            let left_behind = left_behind.iter().map(|step| (*step, broken())).collect();
            Failed { step: 3, error: broken(), left_behind, found }
        };
        for (left_behind, found, expected) in [
            (&[][..], None, "cannot 3, each step was taken back"),
            (&[-2], None, "cannot 3; then could not -2 (broken)"),
            (&[], Some(Found::AsBefore), "cannot 3, everything was taken back"),
            (&[-2], Some(Found::AsBefore), "cannot 3; then could not -2 (broken), everything was taken back"),
            (&[], Some(Found::Differs(vec!["a".into(), "b".into()])), "cannot 3; not as it was: a, b"),
        ] {
            let failed = failed(left_behind, found);
            assert_eq!(failed.to_string(), expected);
            assert_eq!(failed.source().unwrap().to_string(), "broken");
        }
    }

    #[test]
    fn appended_steps_come_last() {
        let mut plan = three();
        let mut more = Plan::default();
        more.push(4, vec![-4]);
        plan.append(more);
        assert_eq!(plan.to_string(), "1\n2\n3\n4\n");
        assert_eq!(plan.steps()[3].undo, [-4]);
    }
}
