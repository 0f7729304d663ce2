//! The kernel's side of a live backup in one thread, with a clock that only moves when it is told to. It is
//! for tests that perform very many orders of events. The devices are the same as on device files.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use hv_core::abi::vss::{Answer, Request};
use hv_core::vss::mounts::{FsId, Mount};
use nix::errno::Errno;

use super::control::{Fault, Operation, Outcome, Side};
use super::descriptors::Descriptor;
use super::driver::Ticket;
use super::facts::Facts;
use super::machine::{Backup, Machine, Settings};
use super::timeline::{Entry, Happening};
use crate::device::{Handle, Opener};

/// A guest's kernel.
#[derive(Debug)]
pub struct Kernel {
    machine: Machine,
    start: Instant,
    passed: Duration,
    next_handle: u64,
}

impl Kernel {
    /// A kernel after boot, with these mounts and processes.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let (wake, _) = channel();
        let mut machine = Machine::new(Settings::default(), wake);
        machine.slept = Some(Duration::ZERO);
        // Its processes are not in /proc.
        machine.scrutiny = false;
        let start = Instant::now();
        machine.file_systems.look(facts, Duration::ZERO);
        Self { machine, start, passed: Duration::ZERO, next_handle: 0 }
    }

    /// Time since the boot. It includes the sleep of callers in the kernel.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.passed + self.machine.slept.unwrap_or_default()
    }

    fn instant(&self) -> Instant {
        self.start + self.now()
    }

    /// Lets time pass. Events that become due happen.
    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.machine.driver.tick(self.instant());
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.instant();
        self.machine.driver.tick(now);
        self.machine.settle(Some(Side::FileSystem), now);
    }

    /// Replaces mounts and processes.
    pub fn set_facts(&mut self, facts: Facts) {
        let now = self.now();
        self.machine.file_systems.look(facts, now);
    }

    /// The mount table.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        self.machine.file_systems.table()
    }

    /// Mounts, processes and stored data.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.machine.file_systems.facts()
    }

    /// Sends a request of the host.
    pub fn submit(&mut self, operation: Operation) -> Ticket {
        let now = self.instant();
        self.machine.note(now, Happening::Sent { operation });
        let ticket = self.machine.driver.submit(operation, self.machine.clock(now));
        self.settle();
        ticket
    }

    /// Takes the host's result.
    pub fn take_answer(&mut self, ticket: Ticket) -> Option<Outcome> {
        self.machine.driver.take_answer(ticket)
    }

    fn handle(&mut self) -> Handle {
        self.next_handle += 1;
        Handle(self.next_handle)
    }

    /// A process opens `/dev/hv_fsvss_dev`.
    ///
    /// # Errors
    /// `EBUSY` while another process has it open, `ENXIO` if it does not exist.
    pub fn open_device(&mut self, pid: u32) -> Result<Handle, Errno> {
        let handle = self.handle();
        let now = self.instant();
        let clock = self.machine.clock(now);
        self.machine.driver.open(Side::FileSystem, handle, Opener { pid }, clock)?;
        self.settle();
        Ok(handle)
    }

    /// The process that has the device open closes it, or has died.
    pub fn close_device(&mut self, handle: Handle) {
        self.machine.driver.close(Side::FileSystem, handle);
        self.settle();
    }

    /// Whether a request waits to be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.machine.driver.is_waiting(Side::FileSystem)
    }

    /// Whether the devices exist.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.machine.driver.is_present()
    }

    /// READ.
    ///
    /// # Errors
    /// `ENXIO` if the device is gone.
    pub fn read(&mut self) -> Result<Option<Request>, Errno> {
        if !self.is_present() {
            return Err(Errno::ENXIO);
        }
        let bytes = self.machine.read(Side::FileSystem, self.instant());
        let message = bytes.as_slice().try_into().map_err(|_| Errno::EIO)?;
        Ok(Request::decode(message))
    }

    /// WRITE.
    ///
    /// # Errors
    /// `ENXIO` if the device is gone.
    pub fn write(&mut self, answer: Answer) -> Result<(), Errno> {
        if !self.is_present() {
            return Err(Errno::ENXIO);
        }
        self.settle();
        self.machine.write(Side::FileSystem, &answer.encode(), self.instant())?;
        self.settle();
        Ok(())
    }

    /// The age of the request with this id.
    #[must_use]
    pub fn age(&self, request: Request) -> Duration {
        let (real, _) = self.machine.clock(self.instant());
        Duration::from_nanos(request.age(real))
    }

    /// A process opens `/dev/ufssuspend` and gets this descriptor.
    pub fn open_suspender(&mut self, pid: u32, descriptor: i32) -> Handle {
        let handle = self.handle();
        self.machine.open_suspender(handle, Opener { pid }, Some(descriptor));
        handle
    }

    /// UFSSUSPEND. Its sleep moves the clock.
    ///
    /// # Errors
    /// The kernel's error. `EINTR` if the call would never return.
    pub fn suspend(&mut self, handle: Handle, FsId([low, high]): FsId) -> Result<(), Errno> {
        let mut input = low.to_ne_bytes().to_vec();
        input.extend(high.to_ne_bytes());
        let result = self.machine.suspend(handle, &input, self.instant());
        self.settle();
        result
    }

    /// UFSRESUME.
    ///
    /// # Errors
    /// The kernel's error. `EINTR` if the call would never return.
    pub fn resume(&mut self, handle: Handle) -> Result<(), Errno> {
        self.machine.resume(handle, self.instant())
    }

    /// A living process closes a descriptor of `/dev/ufssuspend`.
    pub fn close_suspender(&mut self, handle: Handle) {
        self.machine.close_suspender(handle, self.instant());
    }

    /// A process ends with these descriptors open, besides its suspenders.
    pub fn exit(&mut self, pid: u32, held: &[Descriptor]) {
        self.machine.exit(pid, held, self.instant());
    }

    /// sync(2).
    pub fn sync(&mut self) {
        let now = self.now();
        self.machine.file_systems.synced(now);
    }

    /// umount(8). Returns true if it is done, and false if it sleeps.
    ///
    /// # Errors
    /// `EINVAL` if nothing is mounted there, `EBUSY` if another file system is mounted on it.
    pub fn unmount(&mut self, on: &str) -> Result<bool, Errno> {
        self.machine.unmount(on, self.instant())
    }

    /// Makes a call fail or sleep.
    pub fn inject(&mut self, fault: Fault) {
        self.machine.faults.push(fault);
    }

    /// Clears faults that did not happen yet.
    pub fn forget_faults(&mut self) {
        self.machine.faults.clear();
    }

    /// Detaches the backup devices, and kills the process that has them open.
    pub fn detach(&mut self) {
        self.machine.driver.detach();
        self.settle();
    }

    /// Attaches them again.
    pub fn attach(&mut self) {
        self.machine.driver.attach();
    }

    /// The mount points that are suspended.
    #[must_use]
    pub fn suspended(&self) -> Vec<String> {
        self.machine.file_systems.suspended().map(|mount| mount.on.clone()).collect()
    }

    /// Whether a freeze was answered with success and nothing was resumed since.
    #[must_use]
    pub fn is_backup_in_force(&self) -> bool {
        self.machine.backup == Backup::Frozen
    }

    /// The violations of the kernel's rules.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.machine.violations
    }

    /// The events.
    #[must_use]
    pub fn timeline(&self) -> Vec<Entry> {
        self.machine.timeline.list()
    }

    /// Everything that decides about the future, as a text: two kernels with equal texts behave alike.
    /// Numbers of requests and handles, which only have to differ from each other, are left out.
    #[must_use]
    pub fn state(&self) -> String {
        let Machine { driver, file_systems, faults, backup, .. } = &self.machine;
        format!("{} {file_systems:?} {faults:?} {backup:?} {:?}", driver.state(self.instant()), self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vss::Call;
    use hv_core::abi::vss::Status;

    /// A guest with one UFS and a daemon that has the device open.
    fn guest() -> Kernel {
        let (fs_type, from, on) = ("ufs".into(), "/dev/da0".into(), "/".into());
        let mount = Mount { fs_type, from, on, id: FsId([1, 7]), read_only: false, local: true };
        let mut kernel = Kernel::new(Facts { mounts: vec![mount], ..Facts::default() });
        kernel.open_device(100).unwrap();
        kernel
    }

    /// The daemon performs `act` and answers with success.
    fn serve(kernel: &mut Kernel, operation: Operation, act: impl FnOnce(&mut Kernel)) -> Option<Outcome> {
        let ticket = kernel.submit(operation);
        let request = kernel.read().unwrap().unwrap();
        act(kernel);
        kernel.write(Answer { request, status: Status::Success }).unwrap();
        kernel.take_answer(ticket)
    }

    /// contract B25
    #[test]
    fn success_for_a_void_backup_is_a_violation() {
        let mut kernel = guest();
        serve(&mut kernel, Operation::Thaw, |_| ());
        assert!(kernel.violations()[0].contains("without a freeze"), "{:?}", kernel.violations());

        let mut kernel = guest();
        let handle = kernel.open_suspender(100, 4);
        serve(&mut kernel, Operation::Freeze, |kernel| kernel.suspend(handle, FsId([1, 7])).unwrap());
        assert!(kernel.is_backup_in_force());
        kernel.resume(handle).unwrap();
        serve(&mut kernel, Operation::Thaw, |_| ());
        assert!(kernel.violations()[0].contains("though writes were possible"), "{:?}", kernel.violations());
    }

    #[test]
    fn a_refused_second_freeze_keeps_the_backup_good() {
        let mut kernel = guest();
        let handle = kernel.open_suspender(100, 4);
        serve(&mut kernel, Operation::Freeze, |kernel| kernel.suspend(handle, FsId([1, 7])).unwrap());
        let ticket = kernel.submit(Operation::Freeze);
        let request = kernel.read().unwrap().unwrap();
        kernel.write(Answer { request, status: Status::Failure }).unwrap();
        assert_eq!(kernel.take_answer(ticket), Some(Outcome::Failure));
        serve(&mut kernel, Operation::Thaw, |kernel| kernel.resume(handle).unwrap());
        assert!(kernel.violations().is_empty(), "{:?}", kernel.violations());
    }

    /// contract B6, B8
    #[test]
    fn a_suspension_that_sleeps_too_long_is_a_failed_freeze() {
        let mut kernel = guest();
        kernel.inject(Fault { call: Call::Suspend, after: 0, errno: 0, delay: 16_000 });
        let handle = kernel.open_suspender(100, 4);
        let outcome =
            serve(&mut kernel, Operation::Freeze, |kernel| kernel.suspend(handle, FsId([1, 7])).unwrap());
        assert_eq!((outcome, kernel.now()), (Some(Outcome::TimedOut), Duration::from_secs(16)));
        assert_eq!(kernel.suspended(), ["/"]);
    }
}
