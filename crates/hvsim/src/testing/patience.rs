//! Waits for events that are not announced, such as the end of a process or a line in its output. It looks
//! repeatedly; it never replaces a wait for a real event.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long an expected event may take. A loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until there is a value. `None` if there is none within `limit`; the last look is after it.
pub fn look_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let late = Instant::now() >= end;
        match look() {
            None if !late => thread::sleep(PAUSE),
            seen => return seen,
        }
    }
}

/// Waits until another process has brought something about.
///
/// # Panics
/// It does not happen within [`PATIENCE`]. The text names `what`.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(look_for(PATIENCE, || is_so().then_some(())).is_some(), "{what} did not come");
}

/// Waits until a state is one of `allowed`.
///
/// # Panics
/// It is none of them within `limit`. The text has `what`, and the lines in which the state differs from the
/// first of them.
#[track_caller]
pub fn await_one_of<T: PartialEq + Debug>(
    limit: Duration,
    allowed: &[&T],
    what: impl FnOnce() -> String,
    mut state: impl FnMut() -> T,
) {
    let mut last = None;
    let is_allowed = || {
        let state = last.insert(state());
        allowed.iter().any(|wanted| *wanted == state).then_some(())
    };
    if look_for(limit, is_allowed).is_none() {
        let (is, wanted) = (last.map(|state| format!("{state:#?}")), allowed.first());
        let (is, wanted) = (is.unwrap_or_default(), wanted.map(|wanted| format!("{wanted:#?}")));
        let wanted = wanted.unwrap_or_default();
        let (missing, extra) = (lines_only_in(&wanted, &is), lines_only_in(&is, &wanted));
        panic!("{}\nmissing:\n{missing}too much:\n{extra}", what());
    }
}

fn lines_only_in(one: &str, other: &str) -> String {
    let known: Vec<&str> = other.lines().collect();
    one.lines().filter(|line| !known.contains(line)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "too late\nmissing:\n    2,\ntoo much:\n    3,\n")]
    fn a_state_that_stays_different_is_shown_by_its_lines() {
        await_one_of(Duration::ZERO, &[&vec![1, 2], &vec![4]], || "too late".to_owned(), || vec![1, 3]);
    }

    #[test]
    fn a_state_may_become_any_of_the_allowed_ones() {
        let mut state = 0;
        let next = || {
            state += 1;
            state
        };
        await_one_of(PATIENCE, &[&9, &3], String::new, next);
    }

    #[test]
    fn waiting_ends_with_the_event_or_the_limit() {
        let mut looks = 0;
        let mut third = || {
            looks += 1;
            (looks == 3).then_some("there")
        };
        assert_eq!(look_for(PATIENCE, &mut third), Some("there"));
        assert_eq!(look_for(Duration::from_millis(1), &mut third), None);
        assert_eq!(look_for(Duration::ZERO, || Some(1)), Some(1));
    }
}
