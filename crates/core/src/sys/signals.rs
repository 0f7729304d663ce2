//! Signals as flags: blocked while the program works, delivered only while it waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

static TERMINATE: AtomicBool = AtomicBool::new(false);
static RELOAD: AtomicBool = AtomicBool::new(false);
static CHILD: AtomicBool = AtomicBool::new(false);

/// What [`Signals::install`] handles.
const HANDLED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD];

/// What [`ignore_job_control`] ignores.
const JOB_CONTROL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Which signals came since they were last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrived {
    /// SIGTERM or SIGINT.
    pub terminate: bool,
    /// SIGHUP.
    pub reload: bool,
    /// SIGCHLD.
    pub child: bool,
}

/// The signals a daemon handles. They stay blocked for the life of the process, so that no system call is
/// ever interrupted half-way; a wait opens [`Self::wait_mask`] for its own duration.
#[derive(Debug, Clone, Copy)]
pub struct Signals {
    wait_mask: SigSet,
    handled: bool,
}

extern "C" fn note(number: libc::c_int) {
    // Only stores to atomics: async-signal-safe.
    match number {
        libc::SIGTERM | libc::SIGINT => TERMINATE.store(true, Ordering::Relaxed),
        libc::SIGHUP => RELOAD.store(true, Ordering::Relaxed),
        _ => CHILD.store(true, Ordering::Relaxed),
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
    /// What sigaction(2) or sigprocmask(2) say.
    pub fn install() -> io::Result<Self> {
        let mut blocked = SigSet::empty();
        HANDLED.iter().for_each(|signal| blocked.add(*signal));
        let mut wait_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut wait_mask))?;
        HANDLED.iter().for_each(|signal| wait_mask.remove(*signal));
        set_all(&HANDLED, SigHandler::Handler(note))?;
        Ok(Self { wait_mask, handled: true })
    }

    /// For a loop that runs inside another program, which keeps its own handling of signals: none is ever
    /// taken, and nothing tells of the end of a child.
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn unhandled() -> io::Result<Self> {
        let mut wait_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut wait_mask))?;
        Ok(Self { wait_mask, handled: false })
    }

    /// Whether signals are taken at all.
    #[must_use]
    pub fn are_handled(&self) -> bool {
        self.handled
    }

    /// The mask to wait with: what was blocked before, less our signals.
    #[must_use]
    pub fn wait_mask(&self) -> SigSet {
        self.wait_mask
    }

    /// What came since the last call.
    #[must_use]
    pub fn take(&self) -> Arrived {
        Arrived {
            terminate: TERMINATE.swap(false, Ordering::Relaxed),
            reload: RELOAD.swap(false, Ordering::Relaxed),
            child: CHILD.swap(false, Ordering::Relaxed),
        }
    }
}

/// Ignores SIGTSTP, SIGTTIN and SIGTTOU: for a daemon whose deadlines must run even when somebody types ^Z.
/// SIGSTOP stops every process.
///
/// # Errors
/// What sigaction(2) says.
pub fn ignore_job_control() -> io::Result<()> {
    set_all(&JOB_CONTROL, SigHandler::SigIgn)
}

/// Undoes in a child that is about to become another program what would outlive exec(2): the mask, and what
/// is ignored. The handlers go first, so that a signal that waits has the effect that its sender wants.
///
/// # Errors
/// What sigaction(2) or sigprocmask(2) say.
pub(super) fn reset_for_exec() -> io::Result<()> {
    set_all(&HANDLED, SigHandler::SigDfl)?;
    set_all(&JOB_CONTROL, SigHandler::SigDfl)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
