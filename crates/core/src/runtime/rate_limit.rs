//! A bound on how often a peer can make us log.

use std::time::Duration;

/// Lets `burst` lines through in each `interval` and counts the rest.
#[derive(Debug, Clone)]
pub struct RateLimit {
    burst: u32,
    interval: Duration,
    began: Option<Duration>,
    passed: u32,
    suppressed: u64,
}

/// What to do with one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Log it, and say that this many before it were not logged.
    Log {
        /// Lines dropped since the last one that passed.
        suppressed: u64,
    },
    /// Count it only.
    Suppress,
}

impl RateLimit {
    /// At most `burst` lines in any window of `interval` that began with a line.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, began: None, passed: 0, suppressed: 0 }
    }

    /// Begins a new window with the next line, which passes.
    pub fn restart(&mut self) {
        self.began = None;
    }

    /// Whether a line at monotonic time `now` may be logged.
    pub fn check(&mut self, now: Duration) -> Verdict {
        let fresh = self.began.is_none_or(|began| now.saturating_sub(began) >= self.interval);
        if fresh {
            self.began = Some(now);
            self.passed = 0;
        }
        if self.passed >= self.burst {
            self.suppressed += 1;
            return Verdict::Suppress;
        }
        self.passed += 1;
        Verdict::Log { suppressed: std::mem::take(&mut self.suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_passes_as_a_burst_and_a_count() {
        let mut limit = RateLimit::new(2, Duration::from_secs(60));
        let at = Duration::from_secs;
        assert_eq!(limit.check(at(0)), Verdict::Log { suppressed: 0 });
        assert_eq!(limit.check(at(1)), Verdict::Log { suppressed: 0 });
        assert_eq!(limit.check(at(2)), Verdict::Suppress);
        assert_eq!(limit.check(at(59)), Verdict::Suppress);
        assert_eq!(limit.check(at(60)), Verdict::Log { suppressed: 2 });
        assert_eq!(limit.check(at(61)), Verdict::Log { suppressed: 0 });
        assert_eq!(limit.check(at(62)), Verdict::Suppress);
        limit.restart();
        assert_eq!(limit.check(at(63)), Verdict::Log { suppressed: 1 });
    }
}
