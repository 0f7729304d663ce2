//! A sample of the orders of events from `matrix.rs`, with the real program on the device files. It shows
//! that the simulated daemon there behaves like the program.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::time::Duration;

use hvsim::session::vss::{Session, Setup};
use hvsim::testing::PATIENCE;
use hvsim::vss::{Call, Fault, Operation, Side};
use nix::sys::signal::Signal;

const MOUNTS: &str = "\
ufs / /dev/da0 local 1 7
ufs /a /dev/da1 local 2 7
ufs /a/b /dev/da2 local 3 7
ufs /db /dev/da3 local 4 7
";
const PROCESSES: &str = "proc 812 sqlite3\nmap /db/x.db-shm on=/db\n";
const ORDERS: u64 = 20;
const LENGTH: u64 = 6;
const STEPS: u64 = 10;

/// The guest, and whether its daemon and its devices exist.
struct Guest {
    session: Session,
    runs: bool,
    attached: bool,
}

impl Guest {
    fn take(&mut self, step: u64) {
        match step {
            0 => self.ask(Operation::Check),
            1 | 2 => self.ask(Operation::Freeze),
            3 => self.ask(Operation::Thaw),
            4 => self.end(Signal::SIGKILL),
            5 => self.end(Signal::SIGTERM),
            6 => self.restart(),
            7 => self.unmount(),
            8 => self.lose_device(),
            // The watchdog thaws, if anything is suspended.
            _ => assert!(self.session.host().vss_wait_thawed(PATIENCE).unwrap()),
        }
    }

    fn ask(&mut self, operation: Operation) {
        // Before the first daemon after an attach, a request waits for a daemon.
        if self.runs {
            self.session.host().vss_ask(operation).unwrap();
        }
    }

    fn end(&mut self, signal: Signal) {
        if !std::mem::take(&mut self.runs) {
            return;
        }
        self.session.daemon().signal(signal);
        self.session.daemon().exit_code();
        assert!(self.session.host().vss_wait_thawed(PATIENCE).unwrap(), "{signal}");
    }

    fn lose_device(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.session.host().vss_detach().unwrap();
            self.end(Signal::SIGKILL);
        }
    }

    fn restart(&mut self) {
        if !std::mem::replace(&mut self.attached, true) {
            self.session.host().vss_attach().unwrap();
        }
        if !std::mem::replace(&mut self.runs, true) {
            assert!(self.session.host().vss_wait_closed(Side::FileSystem, PATIENCE).unwrap());
            self.session.start_daemon();
        }
    }

    fn unmount(&mut self) {
        // A second umount may fail as busy or as gone.
        let _ = self.session.host().vss_unmount("/a/b");
        let _ = self.session.host().vss_unmount("/a");
    }
}

#[test]
fn a_sample_of_orders_never_leaves_the_guest_frozen() {
    let setup = Setup { mounts: MOUNTS.into(), settings: "watchdog-ms = 1500".into(), ..Setup::default() };
    let session = match Session::start_on_device(&setup) {
        Ok(session) => session,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    session.set_fact("procs", PROCESSES);
    let mut guest = Guest { session, runs: true, attached: true };
    // Knuth's multiplier: the same sample each time, spread over all orders.
    let mut seed: u64 = 1;
    for _ in 0..ORDERS {
        let mut order = Vec::new();
        for _ in 0..LENGTH {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.push((seed >> 33) % STEPS);
            guest.take(*order.last().unwrap());
        }
        if guest.runs {
            guest.ask(Operation::Thaw);
        }
        assert!(guest.session.host().vss_suspended().unwrap().is_empty(), "{order:?}");
        guest.session.set_mounts(MOUNTS);
        guest.restart();
        let backup = guest.session.host().vss_backup(Duration::ZERO).unwrap();
        assert!(backup.is_ok(), "{order:?}: {backup}");
        assert_eq!(guest.session.host().vss_statistics().unwrap().lost_pages, 0, "{order:?}");
        let violations = guest.session.host().take_violations().unwrap();
        assert!(violations.is_empty(), "{order:?}: {violations:?}");
    }
}

#[test]
fn a_late_freeze_in_any_mount_is_undone_in_order() {
    let setup = Setup { mounts: MOUNTS.into(), settings: "answer-limit-ms = 300".into(), ..Setup::default() };
    let Ok(mut session) = Session::start_on_device(&setup) else { return };
    for late in 0..4 {
        session.host().vss_inject(Fault { call: Call::Suspend, after: late, errno: 0, delay: 350 }).unwrap();
        assert!(!session.host().vss_backup(Duration::ZERO).unwrap().is_ok(), "{late}");
        assert!(session.host().vss_suspended().unwrap().is_empty(), "{late}");
    }
}
