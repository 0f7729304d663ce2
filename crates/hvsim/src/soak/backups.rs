//! The part of a soak that backs up a guest every few seconds. It checks each answer and the state between
//! backups.

use std::time::Duration;

use super::process::Sample;
use super::{Counts, Shared, count};
use crate::session::vss::{Session, Setup};

const EVERY: Duration = Duration::from_secs(3);
const HOOK: &str = "exit 0";

pub(super) fn guest() -> Result<Session, String> {
    let hooks = vec![("10-database", HOOK.to_owned()), ("20-queue", HOOK.to_owned())];
    Session::start_on_device(&Setup { hooks, options: vec!["-n"], ..Setup::default() })
}

/// Runs until the end. Returns the daemon's first and last sample.
pub(super) fn run(session: &mut Session, shared: &Shared, counts: &Counts) -> Option<(Sample, Sample)> {
    let pid = session.daemon().pid();
    let mut first = None;
    while !shared.is_over() {
        match session.host().vss_backup(Duration::from_millis(50)) {
            Ok(backup) if backup.is_ok() => count(&counts.backups),
            Ok(backup) => shared.complain(format!("{backup}")),
            Err(error) => return shared.fail(format!("backup: {error}")),
        }
        if first.is_none() {
            first = Sample::at_rest(pid);
        }
        shared.pause(EVERY);
    }
    match session.host().vss_suspended() {
        Ok(suspended) if suspended.is_empty() => {}
        other => shared.complain(format!("frozen at the end: {other:?}")),
    }
    first.zip(Sample::at_rest(pid))
}

impl Shared {
    fn fail<T>(&self, text: String) -> Option<T> {
        self.complain(text);
        None
    }
}
