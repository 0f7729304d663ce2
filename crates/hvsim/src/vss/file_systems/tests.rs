//! The rules of the table in the module's documentation: one test for each row. What fails here is the
//! simulated kernel, not a daemon.

use super::*;
use crate::vss::facts::{Mapping, Process};

const ALONE: Caller = Caller { threads: 1, writes_there: false };
const ME: u32 = 9;

fn mount(fs_type: &str, on: &str, from: &str, number: i32) -> Mount {
    let (fs_type, from, on) = (fs_type.into(), from.into(), on.into());
    Mount { fs_type, from, on, id: FsId([number, 7]), read_only: false, local: true }
}

/// `/`, a child of it, and a child of that.
fn three() -> Facts {
    let mounts = vec![
        mount("ufs", "/", "/dev/da0p2", 1),
        mount("zfs", "/z", "z", 2),
        mount("ufs", "/data", "/dev/da1", 3),
        mount("ufs", "/data/deep", "/dev/da2", 4),
    ];
    Facts { mounts, ..Facts::default() }
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

struct Guest {
    kernel: FileSystems,
    facts: Facts,
}

impl Guest {
    /// With descriptors 10, 11, 12 and 13 of `/dev/ufssuspend`.
    fn new(facts: Facts) -> Self {
        let mut kernel = FileSystems::default();
        for number in 0..4 {
            kernel.open(Handle(number), Opener { pid: ME }, 10 + i32::try_from(number).unwrap());
        }
        kernel.look(facts.clone(), Duration::ZERO);
        Self { kernel, facts }
    }

    fn mounted() -> Self {
        Self::new(three())
    }

    fn try_suspend(&mut self, handle: u64, number: i32, caller: Caller) -> Result<Duration, Errno> {
        let result = self.kernel.suspend(Handle(handle), FsId([number, 7]), at(1_000), caller);
        result.map(|(_, took)| took)
    }

    /// Suspends file systems, each through the descriptor at its index.
    fn suspend(&mut self, numbers: &[i32]) {
        for (handle, number) in (0..).zip(numbers) {
            self.try_suspend(handle, *number, ALONE).unwrap();
        }
    }

    fn suspended(&self) -> Vec<&str> {
        self.kernel.suspended().map(|mount| mount.on.as_str()).collect()
    }

    /// The violations so far.
    fn violations(&mut self) -> String {
        self.kernel.take_news().violations.join("\n")
    }

    fn look(&mut self, change: impl FnOnce(&mut Facts), now: Duration) {
        change(&mut self.facts);
        self.facts.changed = Some(now);
        self.kernel.look(self.facts.clone(), now);
    }

    fn map(&mut self, path: &str, on: &str, now: Duration) {
        let mappings = vec![Mapping { path: path.into(), on: on.into(), stores: true }];
        let process = Process { pid: 77, command: "sqlite3".into(), gone: false, mappings };
        self.look(|facts| facts.processes.push(process), now);
    }
}

// contract B12
#[test]
fn one_file_system_for_each_descriptor() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1]);
    assert_eq!(guest.try_suspend(0, 3, ALONE), Err(Errno::EBUSY));
    assert_eq!(guest.suspended(), ["/"]);
    guest.try_suspend(1, 3, ALONE).unwrap();
    assert_eq!(guest.suspended(), ["/", "/data"]);
}

// contract B15
#[test]
fn only_mounted_ufs_can_be_suspended() {
    let mut guest = Guest::mounted();
    assert_eq!(guest.try_suspend(0, 9, ALONE), Err(Errno::ENOENT));
    assert_eq!(guest.try_suspend(0, 2, ALONE), Err(Errno::EINVAL));
    assert_eq!(guest.try_suspend(9, 1, ALONE), Err(Errno::EBADF));
}

// contract B13, B14
#[test]
fn threads_and_open_files_of_the_caller_are_a_deadlock() {
    let mut guest = Guest::mounted();
    for caller in [Caller { threads: 2, ..ALONE }, Caller { writes_there: true, ..ALONE }] {
        assert_eq!(guest.try_suspend(0, 1, caller), Err(Errno::EDEADLK));
    }
    assert_eq!(guest.suspended(), [""; 0]);
}

// contract B15
#[test]
fn a_suspended_file_system_is_busy() {
    let mut guest = Guest::mounted();
    guest.suspend(&[3]);
    assert_eq!(guest.try_suspend(1, 3, ALONE), Err(Errno::EBUSY));
}

// contract B24
#[test]
fn a_file_system_being_unmounted_is_busy() {
    let mut guest = Guest::mounted();
    guest.look(|facts| facts.busy.push("/data".into()), at(1));
    assert_eq!(guest.try_suspend(0, 3, ALONE), Err(Errno::EBUSY));
    guest.look(|facts| facts.busy.clear(), at(2));
    guest.try_suspend(0, 3, ALONE).unwrap();
}

#[test]
fn resume_and_close_both_lift_it() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 3]);
    assert_eq!(guest.kernel.resume(Handle(1)).unwrap().on, "/data");
    assert_eq!(guest.kernel.resume(Handle(1)), Err(Errno::ENOENT));
    assert!(guest.kernel.close(Handle(0)));
    assert!(!guest.kernel.close(Handle(0)) && !guest.kernel.close(Handle(1)));
    assert_eq!(guest.suspended(), [""; 0]);
    assert_eq!(guest.kernel.open_count(), 2);
    assert_eq!(guest.violations(), "");
}

// contract B19
#[test]
fn a_resume_drops_stores_through_mappings() {
    for by_close in [false, true] {
        let mut guest = Guest::mounted();
        guest.map("/data/x-shm", "/data", at(1));
        guest.kernel.synced(at(2));
        guest.suspend(&[1, 3]);
        if by_close {
            guest.kernel.close(Handle(1));
        } else {
            guest.kernel.resume(Handle(1)).unwrap();
        }
        let lost = "the resume of /data dropped what was stored through a mapping: /data/x-shm of sqlite3 (process 77)";
        assert_eq!(guest.violations(), lost);
        guest.kernel.resume(Handle(0)).unwrap();
        assert_eq!(guest.violations(), "");
    }
    // Also for a program that came while the file system was suspended: its stores do not sleep.
    let mut guest = Guest::mounted();
    guest.suspend(&[3]);
    guest.map("/data/late", "/data", at(2_000));
    guest.kernel.resume(Handle(0)).unwrap();
    assert!(guest.violations().contains("/data/late"));
}

// contract B20
#[test]
fn a_sync_saves_only_pages_of_closed_mappings() {
    let mut guest = Guest::mounted();
    guest.map("/data/a", "/data", at(1));
    guest.look(|facts| facts.processes.clear(), at(10));
    guest.look(|facts| facts.left_dirty.push(("/data/b".into(), "/data".into())), at(11));
    // A sync(2) before the mapping was removed does not save its pages.
    guest.kernel.synced(at(5));
    guest.suspend(&[3]);
    guest.kernel.resume(Handle(0)).unwrap();
    let lost = guest.violations();
    assert!(lost.contains("/data/a of sqlite3") && lost.contains("/data/b of a program"), "{lost}");

    let mut guest = Guest::mounted();
    guest.map("/data/a", "/data", at(1));
    guest.look(|facts| facts.processes.clear(), at(10));
    guest.look(|facts| facts.left_dirty.push(("/data/b".into(), "/data".into())), at(11));
    guest.map("/data/c", "/data", at(11));
    guest.kernel.synced(at(20));
    guest.look(|_| (), at(12));
    guest.suspend(&[3]);
    guest.kernel.resume(Handle(0)).unwrap();
    let lost = guest.violations();
    assert!(!lost.contains("/data/a") && !lost.contains("/data/b") && lost.contains("/data/c"), "{lost}");
}

#[test]
fn a_sync_passes_over_suspended_file_systems() {
    let mut guest = Guest::mounted();
    guest.map("/data/a", "/data", at(1));
    guest.look(|facts| facts.processes.clear(), at(10));
    guest.suspend(&[3]);
    guest.kernel.synced(at(20));
    guest.kernel.resume(Handle(0)).unwrap();
    assert!(guest.violations().contains("/data/a"));
}

#[test]
fn a_suspension_takes_as_long_as_its_flush() {
    let slow = |facts: &mut Facts| facts.flush_times.push(("/data".into(), at(400)));
    let mut guest = Guest::mounted();
    guest.look(slow, at(1));
    assert_eq!(guest.try_suspend(0, 3, ALONE), Ok(at(400)));
    guest.kernel.resume(Handle(0)).unwrap();
    // sync(2) returns at once, and the writes continue.
    guest.kernel.synced(at(700));
    guest.kernel.synced(at(900));
    assert_eq!(guest.kernel.still_writing(at(900)), at(200));
    assert_eq!(guest.try_suspend(0, 3, ALONE), Ok(at(100)));
    guest.kernel.resume(Handle(0)).unwrap();
    guest.kernel.synced(at(500));
    assert_eq!(guest.kernel.still_writing(at(1_000)), at(0));
    assert_eq!(guest.try_suspend(0, 3, ALONE), Ok(at(0)));
}

#[test]
fn an_unmount_sleeps_until_the_mount_is_resumed() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 4]);
    assert_eq!(guest.kernel.unmount("/data"), Err(Errno::EBUSY));
    assert_eq!(guest.kernel.unmount("/nowhere"), Err(Errno::EINVAL));
    assert_eq!(guest.kernel.unmount("/data/deep"), Ok(Unmounting::Sleeps));
    assert_eq!(guest.kernel.unmount("/data/deep"), Err(Errno::EBUSY));
    guest.kernel.resume(Handle(1)).unwrap();
    assert_eq!(guest.kernel.take_news().unmounted, [FsId([4, 7])]);
    assert!(guest.kernel.table().iter().all(|mount| mount.on != "/data/deep"));
    guest.kernel.resume(Handle(0)).unwrap();
    assert_eq!(guest.kernel.unmount("/data"), Ok(Unmounting::Done));
    assert_eq!(guest.violations(), "");
}

// contract B17
#[test]
fn resuming_a_parent_first_hangs_behind_an_unmount() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 3, 4]);
    assert_eq!(guest.kernel.unmount("/data/deep"), Ok(Unmounting::Sleeps));
    assert_eq!(guest.kernel.resume(Handle(1)), Err(Errno::EINTR));
    let why = "resuming /data never ends: an umount of /data/deep holds the vnode that it covers and sleeps for the resume of /data/deep";
    assert_eq!(guest.violations(), why);
    // ffs_susp_lock is held: no call can resume anything any more, and the end of the process does not help.
    assert_eq!(guest.kernel.resume(Handle(2)), Err(Errno::EINTR));
    guest.kernel.exit(ME, &[]);
    assert_eq!(guest.suspended(), ["/", "/data", "/data/deep"]);
    assert_eq!(guest.kernel.open_count(), 0);
    // Without an umount the order is just as wrong, and is recorded.
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 3]);
    guest.kernel.resume(Handle(0)).unwrap();
    assert_eq!(
        guest.violations(),
        "/ was resumed before /data: an umount of /data in between would hang the machine"
    );
}

// contract B17
#[test]
fn suspending_a_parent_last_hangs_behind_an_unmount() {
    let mut guest = Guest::mounted();
    guest.suspend(&[4]);
    assert_eq!(guest.kernel.unmount("/data/deep"), Ok(Unmounting::Sleeps));
    assert_eq!(guest.try_suspend(1, 3, ALONE), Err(Errno::EINTR));
    assert!(guest.violations().starts_with("suspending /data never ends: an umount of /data/deep"));
    let mut guest = Guest::mounted();
    guest.suspend(&[3, 1]);
    assert_eq!(
        guest.violations(),
        "/ was suspended behind /data: an umount of /data in between would hang the machine"
    );
}

/// `/vm` holds the file in which `/data` is stored.
fn in_a_file(holder: &str) -> Facts {
    let mut facts = three();
    facts.mounts[2].from = "/dev/md0p1".into();
    facts.mounts.insert(1, mount("ufs", "/vm", "/dev/da3", 5));
    facts.images = vec![("md0".into(), format!("{holder}/disk.img"))];
    facts
}

#[test]
fn a_file_system_in_a_suspended_file_cannot_be_flushed() {
    let mut guest = Guest::new(in_a_file("/vm"));
    guest.suspend(&[5]);
    assert_eq!(guest.try_suspend(1, 3, ALONE), Err(Errno::EINTR));
    assert!(guest.violations().starts_with("suspending /data never ends: it is stored in a file on /vm"));
    // In the other order it can, and is resumed in reverse.
    let mut guest = Guest::new(in_a_file("/vm"));
    guest.suspend(&[1, 3, 5]);
    assert_eq!(guest.kernel.unmount("/data"), Err(Errno::EBUSY));
    assert_eq!(guest.kernel.unmount("/data/deep"), Ok(Unmounting::Done));
    assert_eq!(guest.kernel.unmount("/data"), Ok(Unmounting::Sleeps));
    guest.kernel.resume(Handle(2)).unwrap();
    guest.kernel.resume(Handle(1)).unwrap();
    guest.kernel.resume(Handle(0)).unwrap();
    assert_eq!(guest.violations(), "");
    // Although it is not suspended itself, its umount sleeps for the holder.
    let mut guest = Guest::new(in_a_file("/vm"));
    guest.suspend(&[1, 5]);
    guest.kernel.unmount("/data/deep").unwrap();
    assert_eq!(guest.kernel.unmount("/data"), Ok(Unmounting::Sleeps));
    assert_eq!(guest.kernel.resume(Handle(0)), Err(Errno::EINTR));
}

// contract B18
#[test]
fn a_holder_that_is_the_parent_must_not_be_suspended() {
    let mut guest = Guest::new(in_a_file(""));
    guest.suspend(&[1]);
    assert_eq!(
        guest.violations(),
        "/ is suspended, but /data, which is mounted on it, is stored in a file on it: an umount would hang the machine"
    );
    guest.kernel.unmount("/data/deep").unwrap();
    assert_eq!(guest.kernel.unmount("/data"), Ok(Unmounting::Sleeps));
    assert_eq!(guest.kernel.resume(Handle(0)), Err(Errno::EINTR));
    assert_eq!(guest.suspended(), ["/"]);
}

fn file(number: i32, on: i32) -> Descriptor {
    let target = Target::File { on: FsId([on, 7]), path: "/stdin".into(), writes: false };
    Descriptor { number, target }
}

// contract B23
#[test]
fn an_exit_never_thaws_behind_a_lower_file() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 3]);
    guest.kernel.exit(ME, &[file(0, 1)]);
    assert_eq!(guest.suspended(), ["/", "/data"]);
    assert_eq!(guest.kernel.open_count(), 0);
    let why = "the exit of process 9 never thaws: descriptor 0 (/stdin) is on a suspended file system, below the suspending ones";
    assert_eq!(guest.violations(), why);
    // Descriptors below it are closed, and in ascending order: here the parent before its child.
    let mut guest = Guest::mounted();
    guest.suspend(&[1, 3]);
    guest.kernel.exit(ME, &[]);
    assert_eq!(guest.suspended(), [""; 0]);
    assert!(guest.violations().contains("/ was resumed before /data"));
    let mut guest = Guest::mounted();
    guest.try_suspend(1, 1, ALONE).unwrap();
    guest.try_suspend(0, 3, ALONE).unwrap();
    guest.kernel.exit(ME, &[]);
    assert_eq!(guest.violations(), "");
}

#[test]
fn an_exit_thaws_before_it_closes_higher_files() {
    let mut guest = Guest::mounted();
    guest.suspend(&[1]);
    let device = Descriptor { number: 0, target: Target::Other };
    // A lower descriptor on a file system that is not suspended does no harm.
    guest.kernel.exit(ME, &[device, file(1, 3), file(20, 1)]);
    assert_eq!(guest.suspended(), [""; 0]);
    assert_eq!(guest.violations(), "");
}

// contract B22
#[test]
fn a_close_on_a_suspended_file_system_sleeps() {
    let mut guest = Guest::mounted();
    guest.suspend(&[3]);
    let before = [file(0, 3), file(1, 1), Descriptor { number: 2, target: Target::Other }];
    guest.kernel.audit_closed(&before, &before);
    guest.kernel.audit_closed(&before, &[before[0].clone()]);
    assert_eq!(guest.violations(), "");
    guest.kernel.audit_closed(&before, &[]);
    assert_eq!(
        guest.violations(),
        "the daemon closed /stdin on a suspended file system: close(2) would have slept until the thaw"
    );
}
