//! The daemon's loop inside the test, for cases that no process can show: a panic, and a port that breaks its
//! contract.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use hv_core::abi::vss::{Answer, Operation, Request, Status};
use hv_core::runtime::config::Config;
use hv_core::sys::signals::Signals;
use hv_core::sys::system_facts::FactsSource;
use hv_core::vss::HeldOpen;
use hv_core::vss::mounts::{FsId, Mount};
use vss_daemon::port::{SuspendPort, Suspender, VssPort};
use vss_daemon::serve::{Driver, End};

/// Always readable. Hands out its requests, then panics or fails.
struct Port {
    readable: io::PipeReader,
    requests: Vec<Request>,
    panics: bool,
    answers: Rc<Cell<Vec<Status>>>,
}

impl VssPort for Port {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn read(&mut self) -> io::Result<Option<Request>> {
        assert!(!self.panics || !self.requests.is_empty(), "a defect");
        if self.requests.is_empty() {
            return Err(io::Error::other("no such device"));
        }
        Ok(Some(self.requests.remove(0)))
    }

    fn write(&mut self, answer: Answer) -> io::Result<()> {
        let mut answers = self.answers.take();
        answers.push(answer.status);
        self.answers.set(answers);
        Ok(())
    }
}

/// Counts what is suspended.
struct Suspenders(Rc<Cell<i32>>);

struct Counting {
    count: Rc<Cell<i32>>,
    suspends: Cell<bool>,
}

impl SuspendPort for Suspenders {
    type Suspender = Counting;

    fn open(&mut self) -> io::Result<Counting> {
        Ok(Counting { count: Rc::clone(&self.0), suspends: Cell::new(false) })
    }

    /// This process is the test's: its open files are not the daemon's.
    fn held_open(&self, _facts: &FactsSource, _mounts: &[Mount]) -> io::Result<Vec<HeldOpen>> {
        Ok(Vec::new())
    }

    fn may_fork(&self) -> bool {
        false
    }
}

impl Suspender for Counting {
    fn suspend(&self, _: FsId) -> io::Result<()> {
        self.suspends.set(true);
        self.count.set(self.count.get() + 1);
        Ok(())
    }

    fn resume(&self) -> io::Result<()> {
        // The device fails to resume, so the drop must do it.
        Err(io::Error::other("cannot resume"))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if self.suspends.get() {
            self.count.set(self.count.get() - 1);
        }
    }
}

/// How many file systems stay suspended, the answers, and how the loop ended (`None`: by a panic).
fn run(operations: &[Operation], panics: bool) -> (i32, Vec<Status>, Option<End>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mounts"), "ufs / a local 1 7\nufs /b b local 2 7\n").unwrap();
    let text = format!("[facts]\ndir = {:?}\n[vss]\nhook-dir = \"/nonexistent\"\n", directory.path());
    let config = Config::parse(&text, Path::new("x.toml")).unwrap();
    let (readable, mut writer) = io::pipe().unwrap();
    io::Write::write_all(&mut writer, b"x").unwrap();
    let requests = operations.iter().map(|operation| Request { operation: *operation, id: 1 }).collect();
    let answers = Rc::new(Cell::new(Vec::new()));
    let suspended = Rc::new(Cell::new(0));
    let port = Port { readable, requests, panics, answers: Rc::clone(&answers) };
    let ports = Suspenders(Rc::clone(&suspended));
    let end = catch_unwind(AssertUnwindSafe(move || {
        let mut driver = Driver::new(&config, port, ports);
        driver.serve(&Signals::unhandled().unwrap()).unwrap()
    }));
    (suspended.get(), answers.take(), end.ok())
}

#[test]
fn a_panic_while_frozen_thaws() {
    let (suspended, answers, end) = run(&[Operation::Freeze], true);
    assert_eq!((suspended, answers, end), (0, vec![Status::Success], None));
}

#[test]
fn a_failing_device_thaws_even_when_resuming_fails() {
    let (suspended, answers, end) = run(&[Operation::Freeze], false);
    assert_eq!((suspended, answers, end), (0, vec![Status::Success], Some(End::DeviceGone)));
}

#[test]
fn a_thaw_whose_calls_fail_thaws_by_closing() {
    let (suspended, answers, end) = run(&[Operation::Freeze, Operation::Thaw, Operation::Freeze], false);
    assert_eq!((suspended, end), (0, Some(End::DeviceGone)));
    assert_eq!(answers, [Status::Success; 3]);
}

#[test]
fn an_unknown_operation_is_answered() {
    let (_, answers, _) = run(&[Operation::Other(0), Operation::Other(77), Operation::Check], false);
    assert_eq!(answers, [Status::Failure, Status::Failure, Status::Success]);
}
