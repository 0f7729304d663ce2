//! Limits how often a peer can cause log lines: a new reason is logged at once, the same reason rarely. It is
//! given the time and writes nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// The most reasons that are remembered. The oldest is forgotten first.
const MOST_REASONS: usize = 64;

/// A limit for each reason: `burst` lines in each `interval`.
///
/// A reason must be in the guest's own words. The host could make its own words different each time.
#[derive(Debug, Clone)]
pub struct Reasons {
    burst: u32,
    interval: Duration,
    known: VecDeque<(String, RateLimit)>,
    /// Lines of all reasons that were not logged since the last one that was.
    suppressed: u64,
}

/// The use of one reason's limit.
#[derive(Debug, Clone, Default)]
struct RateLimit {
    began: Option<Duration>,
    passed: u32,
}

/// The decision about one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Log it, with the number of lines that were not logged before it.
    Log {
        /// Lines that were not logged since the last one that was.
        suppressed: u64,
    },
    /// Only count it.
    Suppress,
}

impl Verdict {
    /// The line as it is logged. `None` if it is not.
    #[must_use]
    pub fn line(self, text: &dyn fmt::Display) -> Option<String> {
        match self {
            Self::Suppress => None,
            Self::Log { suppressed: 0 } => Some(text.to_string()),
            Self::Log { suppressed } => Some(format!("{text} unlogged={suppressed}")),
        }
    }
}

impl Reasons {
    /// Allows each reason `burst` lines in an `interval`, which begins with the first of them.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, known: VecDeque::new(), suppressed: 0 }
    }

    /// Whether a line for this reason may be logged at the monotonic time `now`.
    pub fn check(&mut self, reason: &str, now: Duration) -> Verdict {
        let (burst, interval) = (self.burst, self.interval);
        let known = self.known.iter_mut().find(|(known, _)| known == reason);
        let passes = match known {
            Some((_, limit)) => limit.passes(burst, interval, now),
            None => self.learn(reason).passes(burst, interval, now),
        };
        if passes {
            return Verdict::Log { suppressed: std::mem::take(&mut self.suppressed) };
        }
        self.suppressed += 1;
        Verdict::Suppress
    }

    fn learn(&mut self, reason: &str) -> &mut RateLimit {
        if self.known.len() >= MOST_REASONS {
            self.known.pop_front();
        }
        self.known.push_back((reason.to_owned(), RateLimit::default()));
        let last = self.known.len() - 1;
        &mut self.known[last].1
    }

    /// Forgets reasons that begin with these words: the next such line is new.
    pub fn forget(&mut self, beginning: &str) {
        self.known.retain(|(reason, _)| !reason.starts_with(beginning));
    }
}

impl RateLimit {
    fn passes(&mut self, burst: u32, interval: Duration, now: Duration) -> bool {
        if self.began.is_none_or(|began| now.saturating_sub(began) >= interval) {
            *self = Self { began: Some(now), passed: 0 };
        }
        let passes = self.passed < burst;
        self.passed += u32::from(passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_flood_passes_as_a_burst_and_a_count() {
        let mut reasons = Reasons::new(2, Duration::from_secs(60));
        let mut check = |seconds| reasons.check("why", AT(seconds));
        assert_eq!(check(0), Verdict::Log { suppressed: 0 });
        assert_eq!(check(1), Verdict::Log { suppressed: 0 });
        assert_eq!(check(2), Verdict::Suppress);
        assert_eq!(check(59), Verdict::Suppress);
        assert_eq!(check(60), Verdict::Log { suppressed: 2 });
        assert_eq!(check(61), Verdict::Log { suppressed: 0 });
        assert_eq!(check(62), Verdict::Suppress);
    }

    #[test]
    fn a_new_reason_is_logged_at_once() {
        let mut reasons = Reasons::new(1, Duration::from_secs(60));
        assert_eq!(reasons.check("a", AT(0)), Verdict::Log { suppressed: 0 });
        for second in 1..50 {
            assert_eq!(reasons.check("a", AT(second)), Verdict::Suppress);
        }
        assert_eq!(reasons.check("b", AT(50)), Verdict::Log { suppressed: 49 });
        // A reason that returns is not new.
        assert_eq!(reasons.check("a", AT(51)), Verdict::Suppress);
        reasons.forget("a");
        assert_eq!(reasons.check("a", AT(52)), Verdict::Log { suppressed: 1 });
        assert_eq!(reasons.check("b", AT(53)), Verdict::Suppress);
    }

    #[test]
    fn many_reasons_take_no_more_memory() {
        let mut reasons = Reasons::new(1, Duration::from_secs(60));
        for number in 0..1000 {
            reasons.check(&number.to_string(), AT(0));
        }
        assert_eq!(reasons.known.len(), MOST_REASONS);
    }

    #[test]
    fn a_line_has_the_count_of_suppressed_ones() {
        assert_eq!(Verdict::Log { suppressed: 0 }.line(&"text").as_deref(), Some("text"));
        assert_eq!(Verdict::Log { suppressed: 3 }.line(&"text").as_deref(), Some("text unlogged=3"));
        assert_eq!(Verdict::Suppress.line(&"text"), None);
    }
}
