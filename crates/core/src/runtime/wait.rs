//! The one place where a daemon sleeps: waits for descriptors, signals and a deadline. It decides nothing
//! about what follows.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::sys::clock;
use crate::sys::signals::{Arrived, Signals};

/// What ended a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wakeup {
    /// The poll(2) result of each descriptor, in the order given.
    pub ready: Vec<Ready>,
    /// The signals that arrived, during the wait or before it.
    pub signals: Arrived,
}

/// What poll(2) reports about one descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// POLLIN.
    pub readable: bool,
    /// POLLERR, POLLHUP or POLLNVAL: the object behind the descriptor is gone.
    pub gone: bool,
}

/// The longest sleep of a loop inside another program, which no signal wakes when a child ends.
const WITHOUT_SIGNALS: Duration = Duration::from_millis(10);

/// Sleeps until a descriptor is readable, a signal arrives or the monotonic `deadline` has passed. Without a
/// deadline nothing else wakes the process, so an idle daemon costs nothing.
///
/// # Errors
/// The error of ppoll(2), except EINTR, which means that a signal arrived.
pub fn wait(signals: &Signals, fds: &[BorrowedFd<'_>], deadline: Option<Duration>) -> io::Result<Wakeup> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let sleep = deadline.map(|at| at.saturating_sub(clock::monotonic()));
    let sleep = if signals.are_handled() {
        sleep
    } else {
        Some(sleep.map_or(WITHOUT_SIGNALS, |sleep| sleep.min(WITHOUT_SIGNALS)))
    };
    let timeout = sleep.map(TimeSpec::from);
    let answered = match ppoll(&mut polled, timeout, Some(signals.wait_mask())) {
        Ok(count) => count > 0,
        Err(Errno::EINTR) => false,
        Err(error) => return Err(error.into()),
    };
    let ready = polled.iter().map(|fd| if answered { read_flags(fd) } else { Ready::default() }).collect();
    Ok(Wakeup { ready, signals: signals.take() })
}

fn read_flags(fd: &PollFd<'_>) -> Ready {
    // Flags that nix does not know are not the ones that were requested.
    let flags = fd.revents().unwrap_or(PollFlags::empty());
    Ready {
        readable: flags.contains(PollFlags::POLLIN),
        gone: flags.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL),
    }
}
