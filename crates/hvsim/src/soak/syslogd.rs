//! The part of a soak that plays a syslogd which is absent half of the time. It reads log lines and drops
//! them.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Counts, Shared, count};

const TURN: Duration = Duration::from_secs(7);

pub(super) fn run(path: &Path, shared: &Shared, counts: &Counts) {
    while !shared.is_over() {
        let _ = fs::remove_file(path);
        let Ok(socket) = UnixDatagram::bind(path) else {
            return shared.complain("the log socket cannot be made");
        };
        let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
        let end = Instant::now() + TURN;
        let mut line = [0; 8192];
        while Instant::now() < end && !shared.is_over() {
            let _ = socket.recv(&mut line);
        }
        drop(socket);
        let _ = fs::remove_file(path);
        count(&counts.outages);
        shared.pause(TURN);
    }
}
