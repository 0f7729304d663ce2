//! `/dev/ufssuspend`: which descriptor suspends which file system.

use std::collections::BTreeMap;

use hv_core::vss::mounts::{FsId, Mount};
use nix::errno::Errno;

use crate::device::{Handle, Opener};

/// What the kernel finds out about the calling process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) threads: u32,
    /// It holds a descriptor open for writing on the file system in question.
    pub(super) writes_there: bool,
}

/// One open descriptor.
#[derive(Debug)]
struct Suspender {
    opener: Opener,
    mount: Option<Mount>,
}

#[derive(Debug, Default)]
pub(super) struct Suspenders {
    open: BTreeMap<Handle, Suspender>,
    /// Those that suspend, in the order of suspending.
    order: Vec<Handle>,
}

impl Suspenders {
    pub(super) fn open(&mut self, handle: Handle, opener: Opener) {
        self.open.insert(handle, Suspender { opener, mount: None });
    }

    pub(super) fn opener(&self, handle: Handle) -> Option<Opener> {
        self.open.get(&handle).map(|suspender| suspender.opener)
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// What is suspended, in the order of suspending.
    pub(super) fn suspended(&self) -> impl DoubleEndedIterator<Item = &Mount> {
        self.order.iter().filter_map(|handle| self.open.get(handle)?.mount.as_ref())
    }

    /// UFSSUSPEND, with the checks in the kernel's order.
    pub(super) fn suspend(
        &mut self,
        handle: Handle,
        id: FsId,
        table: &[Mount],
        look: impl FnOnce(u32) -> Caller,
    ) -> Result<Mount, Errno> {
        let mount = table.iter().find(|mount| mount.id == id).ok_or(Errno::ENOENT)?;
        let caller = self.opener(handle).map(|opener| look(opener.pid)).ok_or(Errno::EBADF)?;
        if caller.threads > 1 || caller.writes_there {
            return Err(Errno::EDEADLK);
        }
        if mount.fs_type != "ufs" {
            return Err(Errno::EINVAL);
        }
        if self.suspended().any(|suspended| suspended.id == id) {
            return Err(Errno::EBUSY);
        }
        let suspender = self.open.get_mut(&handle).ok_or(Errno::EBADF)?;
        // The kernel suspends first, finds the descriptor taken, and undoes it.
        if suspender.mount.is_some() {
            return Err(Errno::EBUSY);
        }
        suspender.mount = Some(mount.clone());
        self.order.push(handle);
        Ok(mount.clone())
    }

    /// UFSRESUME.
    pub(super) fn resume(&mut self, handle: Handle) -> Result<Mount, Errno> {
        let suspender = self.open.get_mut(&handle).ok_or(Errno::EBADF)?;
        let mount = suspender.mount.take().ok_or(Errno::ENOENT)?;
        self.order.retain(|known| *known != handle);
        Ok(mount)
    }

    /// The descriptor is closed, or its process is dead.
    pub(super) fn close(&mut self, handle: Handle) -> Option<Mount> {
        let mount = self.resume(handle).ok();
        self.open.remove(&handle);
        mount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Caller = Caller { threads: 1, writes_there: false };

    fn mount(fs_type: &str, on: &str, number: i32) -> Mount {
        Mount {
            fs_type: fs_type.into(),
            from: "/dev/da0".into(),
            on: on.into(),
            id: FsId([number, 7]),
            read_only: false,
            local: true,
        }
    }

    fn table() -> Vec<Mount> {
        vec![mount("ufs", "/", 1), mount("zfs", "/z", 2), mount("ufs", "/data", 3)]
    }

    fn with_handles(count: u64) -> Suspenders {
        let mut suspenders = Suspenders::default();
        (0..count).for_each(|handle| suspenders.open(Handle(handle), Opener { pid: 9 }));
        suspenders
    }

    fn suspend(
        suspenders: &mut Suspenders,
        handle: u64,
        number: i32,
        caller: Caller,
    ) -> Result<String, Errno> {
        let look = |pid| {
            assert_eq!(pid, 9);
            caller
        };
        suspenders.suspend(Handle(handle), FsId([number, 7]), &table(), look).map(|mount| mount.on)
    }

    fn suspended(suspenders: &Suspenders) -> Vec<&str> {
        suspenders.suspended().map(|mount| mount.on.as_str()).collect()
    }

    #[test]
    fn one_file_system_for_each_descriptor() {
        let mut suspenders = with_handles(2);
        assert_eq!(suspend(&mut suspenders, 0, 3, ALONE), Ok("/data".into()));
        assert_eq!(suspend(&mut suspenders, 0, 1, ALONE), Err(Errno::EBUSY));
        assert_eq!(suspended(&suspenders), ["/data"]);
        assert_eq!(suspend(&mut suspenders, 1, 1, ALONE), Ok("/".into()));
        assert_eq!(suspended(&suspenders), ["/data", "/"]);
    }

    #[test]
    fn what_is_suspended_already_is_busy() {
        let mut suspenders = with_handles(2);
        suspend(&mut suspenders, 0, 3, ALONE).unwrap();
        assert_eq!(suspend(&mut suspenders, 1, 3, ALONE), Err(Errno::EBUSY));
    }

    #[test]
    fn threads_and_open_files_of_the_caller_are_a_deadlock() {
        let mut suspenders = with_handles(1);
        for caller in [Caller { threads: 2, ..ALONE }, Caller { writes_there: true, ..ALONE }] {
            assert_eq!(suspend(&mut suspenders, 0, 1, caller), Err(Errno::EDEADLK));
        }
        assert_eq!(suspended(&suspenders), [""; 0]);
    }

    #[test]
    fn only_mounted_ufs_can_be_suspended() {
        let mut suspenders = with_handles(1);
        assert_eq!(suspend(&mut suspenders, 0, 9, ALONE), Err(Errno::ENOENT));
        assert_eq!(suspend(&mut suspenders, 0, 2, ALONE), Err(Errno::EINVAL));
    }

    #[test]
    fn resume_and_close_both_lift_it() {
        let mut suspenders = with_handles(2);
        suspend(&mut suspenders, 0, 3, ALONE).unwrap();
        suspend(&mut suspenders, 1, 1, ALONE).unwrap();
        assert_eq!(suspenders.resume(Handle(0)).unwrap().on, "/data");
        assert_eq!(suspenders.resume(Handle(0)), Err(Errno::ENOENT));
        assert_eq!(suspenders.close(Handle(1)).unwrap().on, "/");
        assert_eq!(suspenders.close(Handle(0)), None);
        assert_eq!(suspended(&suspenders), [""; 0]);
        assert_eq!(suspenders.open_count(), 0);
    }
}
