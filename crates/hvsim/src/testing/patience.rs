//! Waits for events that are not announced, such as the end of a process or a line in its output. It looks
//! repeatedly; it never replaces a wait for a real event.

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

#[cfg(test)]
mod tests {
    use super::*;

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
