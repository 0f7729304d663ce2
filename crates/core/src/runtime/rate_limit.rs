//! A bound on how often a peer can make us log: the same reason rarely, a new reason at once.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// The most reasons that are remembered; the one that came first is forgotten first.
const MOST_REASONS: usize = 64;

/// A limit for each reason of its own: `burst` times in each `interval`.
///
/// A reason is the guest's own words. What the host wrote would be new each time if it liked.
#[derive(Debug, Clone)]
pub struct Reasons {
    burst: u32,
    interval: Duration,
    known: VecDeque<(String, RateLimit)>,
    /// Of all reasons, since one was last logged.
    suppressed: u64,
}

/// How much of one reason has passed in its window.
#[derive(Debug, Clone, Default)]
struct RateLimit {
    began: Option<Duration>,
    passed: u32,
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

impl Verdict {
    /// The line as it is logged; `None` for one that is not.
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
    /// Each reason at most `burst` times in any window of `interval` that began with it.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, known: VecDeque::new(), suppressed: 0 }
    }

    /// Whether what comes for this reason at monotonic time `now` may be logged.
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

    /// What began with these words is over: when it comes again, that is news.
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
    fn a_new_reason_passes_at_once_however_many_of_another_came() {
        let mut reasons = Reasons::new(1, Duration::from_secs(60));
        assert_eq!(reasons.check("a", AT(0)), Verdict::Log { suppressed: 0 });
        for second in 1..50 {
            assert_eq!(reasons.check("a", AT(second)), Verdict::Suppress);
        }
        assert_eq!(reasons.check("b", AT(50)), Verdict::Log { suppressed: 49 });
        // Coming back is not being new.
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
    fn the_line_tells_how_many_were_left_out() {
        assert_eq!(Verdict::Log { suppressed: 0 }.line(&"text").as_deref(), Some("text"));
        assert_eq!(Verdict::Log { suppressed: 3 }.line(&"text").as_deref(), Some("text unlogged=3"));
        assert_eq!(Verdict::Suppress.line(&"text"), None);
    }
}
