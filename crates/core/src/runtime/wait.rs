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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    fn ready(fds: &[BorrowedFd<'_>], deadline: Option<Duration>) -> Vec<Ready> {
        let wakeup = wait(&Signals::unhandled().unwrap(), fds, deadline).unwrap();
        assert_eq!(wakeup.signals, Arrived::default());
        wakeup.ready
    }

    #[test]
    fn readable_and_closed_descriptors_are_told_in_order() {
        let (idle, writer_of_idle) = io::pipe().unwrap();
        let (full, mut writer) = io::pipe().unwrap();
        let fds = [idle.as_fd(), full.as_fd()];
        writer.write_all(b"x").unwrap();
        assert_eq!(ready(&fds, None), [Ready::default(), Ready { readable: true, gone: false }]);
        drop(writer_of_idle);
        let both = ready(&fds, None);
        assert!(both[0].gone && both[1] == Ready { readable: true, gone: false }, "{both:?}");
    }

    #[test]
    fn nothing_is_ready_after_a_deadline_or_a_short_sleep() {
        let (idle, _writer) = io::pipe().unwrap();
        for deadline in [Some(Duration::ZERO), None, Some(Duration::MAX)] {
            assert_eq!(ready(&[idle.as_fd()], deadline), [Ready::default()], "{deadline:?}");
        }
        assert_eq!(ready(&[], None), []);
    }
}
