//! Signals as flags. They are blocked while the program works, and delivered only while it waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

static TERMINATE: AtomicBool = AtomicBool::new(false);
static RELOAD: AtomicBool = AtomicBool::new(false);
static CHILD: AtomicBool = AtomicBool::new(false);

/// The signals that [`Signals::install`] handles.
const HANDLED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD];

/// The signals that [`ignore_job_control`] ignores.
const JOB_CONTROL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Which signals arrived since the last call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrived {
    /// SIGTERM or SIGINT.
    pub terminate: bool,
    /// SIGHUP.
    pub reload: bool,
    /// SIGCHLD.
    pub child: bool,
}

/// The signals that a daemon handles. They stay blocked, so that no system call is interrupted; a wait
/// unblocks them by [`Self::wait_mask`].
#[derive(Debug, Clone, Copy)]
pub struct Signals {
    wait_mask: SigSet,
    handled: bool,
}

extern "C" fn note(number: libc::c_int) {
    // Only stores to atomics: async-signal-safe.
    flag(number).store(true, Ordering::Relaxed);
}

fn flag(number: libc::c_int) -> &'static AtomicBool {
    match number {
        libc::SIGTERM | libc::SIGINT => &TERMINATE,
        libc::SIGHUP => &RELOAD,
        _ => &CHILD,
    }
}

fn set_all(signals: &[Signal], handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::SA_NOCLDSTOP, SigSet::empty());
    for signal in signals {
        // SAFETY: the only handler there is only stores to atomics, which is async-signal-safe.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

impl Signals {
    /// Blocks SIGTERM, SIGINT, SIGHUP and SIGCHLD and installs their handlers.
    ///
    /// # Errors
    /// The error of sigaction(2) or sigprocmask(2).
    pub fn install() -> io::Result<Self> {
        let mut blocked = SigSet::empty();
        HANDLED.iter().for_each(|signal| blocked.add(*signal));
        let mut wait_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut wait_mask))?;
        HANDLED.iter().for_each(|signal| wait_mask.remove(*signal));
        set_all(&HANDLED, SigHandler::Handler(note))?;
        Ok(Self { wait_mask, handled: true })
    }

    /// For a loop inside another program, which handles its signals itself: no signal is ever taken, and the
    /// end of a child is not reported.
    ///
    /// # Errors
    /// The error of sigprocmask(2).
    pub fn unhandled() -> io::Result<Self> {
        let mut wait_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut wait_mask))?;
        Ok(Self { wait_mask, handled: false })
    }

    /// Whether signals are taken.
    #[must_use]
    pub fn are_handled(&self) -> bool {
        self.handled
    }

    /// The mask for a wait: the mask at the start, without our signals.
    #[must_use]
    pub fn wait_mask(&self) -> SigSet {
        self.wait_mask
    }

    /// The signals that arrived since the last call.
    #[must_use]
    pub fn take(&self) -> Arrived {
        Arrived {
            terminate: TERMINATE.swap(false, Ordering::Relaxed),
            reload: RELOAD.swap(false, Ordering::Relaxed),
            child: CHILD.swap(false, Ordering::Relaxed),
        }
    }
}

/// Ignores SIGTSTP, SIGTTIN and SIGTTOU: the deadlines of a daemon must run even if a user types ^Z. SIGSTOP
/// still stops the process.
///
/// # Errors
/// The error of sigaction(2).
pub fn ignore_job_control() -> io::Result<()> {
    set_all(&JOB_CONTROL, SigHandler::SigIgn)
}

/// Resets in a child what would survive exec(2): the signal mask and ignored signals. The handlers are reset
/// first, so that a pending signal has its default effect.
///
/// # Errors
/// The error of sigaction(2) or sigprocmask(2).
pub(super) fn reset_for_exec() -> io::Result<()> {
    set_all(&HANDLED, SigHandler::SigDfl)?;
    set_all(&JOB_CONTROL, SigHandler::SigDfl)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nothing here sends a signal or sets a flag: both concern the process of all tests.

    #[test]
    fn each_handled_signal_has_its_flag() {
        for (signal, wanted) in HANDLED.into_iter().zip([&TERMINATE, &TERMINATE, &RELOAD, &CHILD]) {
            assert!(std::ptr::eq(flag(signal as libc::c_int), wanted), "{signal}");
        }
    }

    #[test]
    fn a_loop_inside_another_program_takes_no_signal() {
        let signals = Signals::unhandled().unwrap();
        assert!(!signals.are_handled());
        assert_eq!(signals.wait_mask(), SigSet::thread_get_mask().unwrap(), "its mask stays as it is");
        assert_eq!(signals.take(), Arrived::default());
    }
}
