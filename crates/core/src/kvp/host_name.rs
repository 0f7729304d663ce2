//! FullyQualifiedDomainName, without waiting for a resolver. It decides when the resolver runs and which name
//! is reported.
//!
//! [`FqdnCache`] decides; its driver runs getent(1). The driver calls [`FqdnCache::wants_lookup`] only after
//! an answer was written, so an idle guest starts nothing. It reports the end of the run to
//! [`FqdnCache::lookup_finished`], and kills a run that is not over by [`FqdnCache::deadline`].

use std::net::IpAddr;
use std::time::Duration;

/// A run that takes longer is killed.
pub const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// An answer older than this is looked up again.
pub const REFRESH: Duration = Duration::from_secs(600);
/// The pause after the first failure; each further failure doubles it, up to [`REFRESH`].
pub const FIRST_RETRY: Duration = Duration::from_secs(30);

/// The last good answer of the resolver, and when to look up again.
///
/// `now` is monotonic time since any fixed moment.
#[derive(Debug, Default)]
pub struct FqdnCache {
    /// The host name that the other fields belong to.
    host: String,
    answer: Option<String>,
    running: Option<Lookup>,
    failures: u32,
    /// When the next run is due. `None`: at once.
    due: Option<Duration>,
}

#[derive(Debug)]
struct Lookup {
    host: String,
    deadline: Duration,
}

impl FqdnCache {
    /// The name to report now. A host name with a dot is used unchanged. Any other name is completed by the
    /// resolver's last answer, and bare before the first one.
    #[must_use]
    pub fn value<'a>(&'a self, host: &'a str) -> &'a str {
        match &self.answer {
            Some(answer) if self.host == host && !host.contains('.') => answer,
            _ => host,
        }
    }

    /// The name to look up now, if a run is due: the host name changed, the last answer is old, or the pause
    /// after a failure is over. The run counts as started.
    pub fn wants_lookup(&mut self, host: &str, now: Duration) -> Option<String> {
        if self.running.is_some() {
            return None;
        }
        if self.host != host {
            *self = Self { host: host.to_owned(), ..Self::default() };
        }
        // A label cannot be an option or a path. No other text may become an argument.
        if !is_label(host) || self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.running = Some(Lookup { host: host.to_owned(), deadline: now.saturating_add(LOOKUP_LIMIT) });
        Some(host.to_owned())
    }

    /// Makes the next run due at once, because the resolver's configuration may have changed. The last answer
    /// stays until the run ends.
    pub fn look_again(&mut self) {
        self.due = None;
        self.failures = 0;
    }

    /// When the run under way must be over. The driver then kills it and reports a failure.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.running.as_ref().map(|lookup| lookup.deadline)
    }

    /// The end of the run: what `getent hosts NAME` printed, or `Err` if the run failed, was killed or never
    /// began.
    ///
    /// A failure keeps the last good answer. An output that does not complete the name is an answer, too.
    pub fn lookup_finished(&mut self, now: Duration, output: Result<&[u8], ()>) {
        let Some(lookup) = self.running.take() else { return };
        if lookup.host != self.host {
            return;
        }
        let names = output.ok().filter(|_| now <= lookup.deadline).and_then(parse_hosts);
        let pause = match names {
            Some(names) => {
                self.answer = completed(&self.host, names);
                self.failures = 0;
                REFRESH
            }
            None => {
                let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(8));
                self.failures = self.failures.saturating_add(1);
                pause.min(REFRESH)
            }
        };
        self.due = Some(now.saturating_add(pause));
    }
}

/// The host names in the output of `getent hosts`, whose lines have an address, the canonical name and
/// aliases. `None` if no line has that form.
fn parse_hosts(output: &[u8]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for line in output.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let mut words = line.split_ascii_whitespace();
        if words.next().is_some_and(|word| word.parse::<IpAddr>().is_ok()) {
            names
                .extend(words.map(|name| name.strip_suffix('.').unwrap_or(name)).filter(|n| is_host_name(n)));
        }
    }
    (!names.is_empty()).then_some(names)
}

/// The first name that begins with the label `host` and has a domain. Otherwise the first name with any
/// domain that is not a name of the loopback (the target of a CNAME).
fn completed(host: &str, names: Vec<&str>) -> Option<String> {
    let domains = names.into_iter().filter(|name| name.contains('.') && !is_localhost(name));
    let domains: Vec<&str> = domains.collect();
    let first_label =
        |name: &str| name.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(host));
    let own = domains.iter().find(|name| first_label(name));
    own.or(domains.first()).map(|name| (*name).to_owned())
}

fn is_localhost(name: &str) -> bool {
    name.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

/// Whether this is a name by RFC 1123: at most 253 characters, labels of letters, digits and inner hyphens.
/// Text that is an address is not a name.
fn is_host_name(name: &str) -> bool {
    let numeric_end = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(is_label) && !numeric_end
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);
    const SECOND: Duration = Duration::from_secs(1);

    /// A cache that has looked `web1` up with this output.
    fn looked_up(output: &[u8]) -> FqdnCache {
        let mut cache = FqdnCache::default();
        assert_eq!(cache.wants_lookup("web1", START).as_deref(), Some("web1"));
        cache.lookup_finished(START, Ok(output));
        cache
    }

    #[test]
    fn a_name_with_a_dot_is_never_looked_up() {
        let mut cache = looked_up(b"10.0.0.5 web1.example.com\n");
        assert_eq!(cache.value("web1.other.org"), "web1.other.org");
        assert_eq!(cache.wants_lookup("web1.other.org", START + REFRESH), None);
    }

    #[test]
    fn the_bare_name_is_reported_until_the_resolver_answers() {
        let mut cache = FqdnCache::default();
        assert_eq!(cache.value("web1"), "web1");
        cache.wants_lookup("web1", START).unwrap();
        assert_eq!(cache.value("web1"), "web1");
        cache.lookup_finished(START + SECOND, Ok(b"10.0.0.5          web1.example.com  web1\n"));
        assert_eq!(cache.value("web1"), "web1.example.com");
    }

    #[test]
    fn one_run_at_a_time_and_none_while_fresh() {
        let mut cache = FqdnCache::default();
        cache.wants_lookup("web1", START).unwrap();
        assert_eq!(cache.deadline(), Some(START + LOOKUP_LIMIT));
        assert_eq!(cache.wants_lookup("web1", START + REFRESH), None);
        cache.lookup_finished(START, Ok(b"10.0.0.5 web1.example.com\n"));
        assert_eq!(cache.deadline(), None);
        assert_eq!(cache.wants_lookup("web1", START + REFRESH - SECOND), None);
        assert!(cache.wants_lookup("web1", START + REFRESH).is_some());
    }

    #[test]
    fn a_new_host_name_is_looked_up_at_once() {
        let mut cache = looked_up(b"10.0.0.5 web1.example.com\n");
        assert_eq!(cache.value("web2"), "web2");
        assert_eq!(cache.wants_lookup("web2", START + SECOND).as_deref(), Some("web2"));
        assert_eq!(cache.value("web1"), "web1");
    }

    #[test]
    fn an_answer_for_the_former_host_name_is_dropped() {
        let mut cache = FqdnCache::default();
        cache.wants_lookup("web1", START).unwrap();
        assert_eq!(cache.wants_lookup("web2", START + SECOND), None);
        cache.lookup_finished(START + SECOND, Ok(b"10.0.0.5 web1.example.com\n"));
        assert_eq!(cache.value("web2"), "web2");
        assert_eq!(cache.wants_lookup("web2", START + SECOND).as_deref(), Some("web2"));
    }

    #[test]
    fn failures_keep_the_last_good_answer_and_back_off() {
        let mut cache = looked_up(b"10.0.0.5 web1.example.com\n");
        let mut now = START + REFRESH;
        for pause in [30, 60, 120, 240, 480, 600, 600, 600, 600, 600, 600] {
            cache.wants_lookup("web1", now).unwrap();
            cache.lookup_finished(now, Err(()));
            assert_eq!(cache.value("web1"), "web1.example.com");
            assert_eq!(cache.wants_lookup("web1", now + Duration::from_secs(pause - 1)), None, "{pause}");
            now += Duration::from_secs(pause);
        }
        cache.wants_lookup("web1", now).unwrap();
        cache.lookup_finished(now, Ok(b"10.0.0.5 web1.new.org\n"));
        assert_eq!(cache.value("web1"), "web1.new.org");
    }

    #[test]
    fn looking_again_keeps_the_answer_until_the_next() {
        let mut cache = looked_up(b"10.0.0.5 web1.example.com\n");
        cache.look_again();
        assert_eq!(cache.value("web1"), "web1.example.com");
        assert!(cache.wants_lookup("web1", START + SECOND).is_some());
        cache.lookup_finished(START + SECOND, Err(()));
        assert_eq!(cache.value("web1"), "web1.example.com");
    }

    #[test]
    fn output_after_the_deadline_is_a_failure() {
        let mut cache = FqdnCache::default();
        cache.wants_lookup("web1", START).unwrap();
        cache.lookup_finished(START + LOOKUP_LIMIT + SECOND, Ok(b"10.0.0.5 web1.example.com\n"));
        assert_eq!(cache.value("web1"), "web1");
    }

    #[test]
    fn an_end_without_a_run_changes_nothing() {
        let mut cache = looked_up(b"10.0.0.5 web1.example.com\n");
        cache.lookup_finished(START, Ok(b"10.0.0.5 evil.example.com\n"));
        assert_eq!(cache.value("web1"), "web1.example.com");
    }

    #[test]
    fn a_malformed_host_name_never_becomes_an_argument() {
        let long = "x".repeat(64);
        for host in ["", "-h", "web1-", "web 1", "web1;reboot", "../x", "wéb", "a\0b", &long] {
            assert_eq!(FqdnCache::default().wants_lookup(host, START), None, "{host:?}");
            assert_eq!(FqdnCache::default().value(host), host);
        }
    }

    #[test]
    fn names_are_chosen_from_what_getent_prints() {
        let table: &[(&[u8], &str)] = &[
            (b"10.0.0.5          web1.example.com  web1\n", "web1.example.com"),
            (b"10.0.0.5 web1 web1.example.com\n", "web1.example.com"),
            (b"::1 localhost web1\n10.0.0.5 WEB1.Example.com.\n", "WEB1.Example.com"),
            (b"127.0.0.1 localhost localhost.my.domain web1\n", "web1"),
            (b"10.0.0.5 srv12.example.com web1\n", "srv12.example.com"),
            (b"10.0.0.5 srv12.example.com web1.example.com\n", "web1.example.com"),
            (b"fd00::5  web1.example.com", "web1.example.com"),
            (b"10.0.0.5 web10.example.com web1.b.org\n", "web1.b.org"),
            (b"10.0.0.5 web1\n", "web1"),
            (b"10.0.0.5 10.0.0.5\n", "web1"),
        ];
        for (output, expected) in table {
            assert_eq!(looked_up(output).value("web1"), *expected, "{}", output.escape_ascii());
        }
    }

    #[test]
    fn error_texts_and_garbage_are_never_names() {
        let label = format!("10.0.0.5 {}.com\n", "x".repeat(64));
        let long = format!("10.0.0.5 {}com\n", "x.".repeat(130));
        let table: &[&[u8]] = &[
            b"",
            b"\n\n",
            b"getaddrinfo failed\n",
            b"getent: host not found.com\n",
            b"10.0.0.5\n",
            b"10.0.0.5 web1..example.com\n",
            b"10.0.0.5 web1.ex_ample.com\n",
            b"10.0.0.5 -web1.example.com\n",
            b"10.0.0.5 web1.example.com;x\n",
            b"10.0.0.5 web1.ex\xc3\xa4mple.com\n",
            b"10.0.0.5 web1.\xff.com\n",
            b"# unknown  web1.example.com\n",
            b"\0\x01\x02",
            label.as_bytes(),
            long.as_bytes(),
        ];
        for output in table {
            let mut cache = looked_up(output);
            assert_eq!(cache.value("web1"), "web1", "{}", output.escape_ascii());
            // None of this output is an answer, so the next try comes soon.
            assert!(cache.wants_lookup("web1", START + FIRST_RETRY).is_some(), "{}", output.escape_ascii());
        }
    }
}
