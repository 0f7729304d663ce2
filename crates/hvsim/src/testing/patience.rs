//! Waiting for what nobody announces, such as the end of a process or a line in its output.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until there is something to see. `None` where there is not within `limit`; the last look is after
/// it.
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

/// Waits for something that another process brings about.
///
/// # Panics
/// It does not happen within [`PATIENCE`]; the text names `what`.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(look_for(PATIENCE, || is_so().then_some(())).is_some(), "{what} did not come");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_seen_and_what_does_not_is_given_up() {
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
