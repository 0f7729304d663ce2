//! The mounted file systems, with the rules of FreeBSD's kernel: `/dev/ufssuspend`, which calls sleep for
//! which file systems, and what a resume discards.
//!
//! Nothing is read or waited for: mount table, processes and time are handed in. Where a call of the kernel
//! would never return, it fails here, the file systems stay suspended for good, and a violation has the
//! reason. A test that hangs would report nothing.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)` below `sys`.
//!
//! | contract | what a program sees | FreeBSD | test |
//! |---|---|---|---|
//! | B12 | one file system for each descriptor, a second one is EBUSY | `ufs/ffs/ffs_suspend.c:319 (ffs_susp_ioctl)`: `devfs_set_cdevpriv` | `one_file_system_for_each_descriptor` |
//! | B15 | ENOENT where nothing is mounted, EINVAL where it is no UFS | `ufs/ffs/ffs_suspend.c:293 (ffs_susp_ioctl)`, `ufs/ffs/ffs_suspend.c:182 (ffs_susp_suspend)`: `ffs_own_mount` | `only_mounted_ufs_can_be_suspended` |
//! | B13, B14 | EDEADLK for a second thread or a descriptor open for writing there | `ufs/ffs/ffs_suspend.c:307 (ffs_susp_ioctl)`, `kern/kern_descrip.c:4274 (descrip_check_write_mp)` | `threads_and_open_files_of_the_caller_are_a_deadlock` |
//! | B15 | EBUSY when it is suspended already | `ufs/ffs/ffs_suspend.c:185 (ffs_susp_suspend)` | `a_suspended_file_system_is_busy` |
//! | B24 | EBUSY while it is being unmounted | `kern/vfs_vnops.c:2119 (vfs_write_suspend)`: VS_SKIP_UNMOUNT | `a_file_system_being_unmounted_is_busy` |
//! | B12 | UFSRESUME and close both lift it | `ufs/ffs/ffs_suspend.c:323 (ffs_susp_ioctl)`, `ufs/ffs/ffs_suspend.c:243 (ffs_susp_dtor)` | `resume_and_close_both_lift_it` |
//! | B19 | both drop the pages of mappings, dirty ones too; stores through a mapping never slept | `ufs/ffs/ffs_suspend.c:264 (ffs_susp_dtor)`, `ufs/ffs/ffs_vfsops.c:880 (ffs_reload)`: `vinvalbuf(vp, 0)` | `a_resume_drops_stores_through_mappings` |
//! | B20, B21 | sync(2) saves the pages of files that are unmapped, not those of a program that goes on storing | `kern/vfs_syscalls.c:151 (kern_sync)`: `vfs_periodic` | `a_sync_saves_only_pages_of_closed_mappings` |
//! | B20 | sync(2) passes over suspended file systems | `kern/vfs_syscalls.c:149 (kern_sync)`: `vn_start_write(V_NOWAIT)` | `a_sync_passes_over_suspended_file_systems` |
//! | B20 | sync(2) starts the writes and returns; a suspension waits for those that are left | `kern/vfs_syscalls.c:152 (kern_sync)`: `VFS_SYNC(MNT_NOWAIT)`; `ufs/ffs/ffs_vfsops.c:1709 (ffs_sync)`: MNT_SUSPEND | `a_suspension_takes_as_long_as_its_flush` |
//! | B17 | umount(8) holds the covered vnode, which is the parent's, and sleeps until the mount is resumed | `kern/vfs_mount.c:2270 (dounmount)`: `vn_start_write(V_WAIT)`, with `coveredvp` locked | `an_unmount_sleeps_until_the_mount_is_resumed` |
//! | B17 | a resume needs every vnode and holds `ffs_susp_lock`: a parent's never ends while such an umount sleeps | `ufs/ffs/ffs_vfsops.c:876 (ffs_reload)`: `vget`; `ufs/ffs/ffs_suspend.c:250 (ffs_susp_dtor)`: `sx_xlock` | `resuming_a_parent_first_hangs_behind_an_unmount` |
//! | B17 | nor does the suspension of a parent | `ufs/ffs/ffs_vfsops.c:1744 (ffs_sync)`: `vget` of the changed covered directory | `suspending_a_parent_last_hangs_behind_an_unmount` |
//! | B18 | writes to a file system in a file sleep while the mount that holds the file is suspended, its own flush included | `dev/md/md.c:991 (mdstart_vnode)`: `vn_start_write` | `a_file_system_in_a_suspended_file_cannot_be_flushed` |
//! | B18 | if the holder is the parent, no order helps: umount sleeps for the holder, whose resume needs the covered vnode | `kern/vfs_mount.c:2270 (dounmount)`, `dev/md/md.c:991 (mdstart_vnode)` | `a_holder_that_is_the_parent_must_not_be_suspended` |
//! | B23 | an exit closes in ascending order, and the close of a file, directory or FIFO on a suspended file system sleeps | `kern/kern_descrip.c:2542 (fdescfree_fds)`; `kern/vfs_vnops.c:535 (vn_close1)`: `vn_start_write` | `an_exit_never_thaws_behind_a_lower_file` |
//! | B23 | descriptors of devices, sockets and pipes, and files above, do no harm | `kern/kern_descrip.c:2542 (fdescfree_fds)` | `an_exit_thaws_before_it_closes_higher_files` |
//! | B22 | close(2) of such a file sleeps in a living process, too | `kern/vfs_vnops.c:535 (vn_close1)` | `a_close_on_a_suspended_file_system_sleeps` |
//!
//! Other modules play further rules: `hv_core::sys::flush` fsync(2) of the root of an msdosfs (contract B27),
//! `vss::driver` the drivers of the backup devices, and `vss::machine` a void backup that is answered as a
//! good one (B25).

mod locks;
mod pages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use hv_core::vss::mounts::{FsId, Mount};
use nix::errno::Errno;

use super::descriptors::{Descriptor, Target};
use super::facts::Facts;
use super::timeline::Happening;
use crate::device::{Handle, Opener};
use pages::Pages;

/// What the kernel finds out about the calling process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) threads: usize,
    /// It holds a descriptor open for writing on the file system in question.
    pub(super) writes_there: bool,
}

/// One open description of `/dev/ufssuspend`.
#[derive(Debug, Clone)]
struct Suspender {
    opener: Opener,
    /// The number that its process has for it; -1 if it is not known.
    descriptor: i32,
    mount: Option<Mount>,
    /// No process has it any more, but the close never came to its end.
    lost: bool,
}

/// Whether an umount came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounting {
    Done,
    Sleeps,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileSystems {
    facts: Facts,
    open: BTreeMap<Handle, Suspender>,
    /// Those that suspend, in the order of suspending.
    order: Vec<Handle>,
    /// umount(8) sleeps on these, the covered vnode locked.
    unmounts: Vec<FsId>,
    pages: Pages,
    /// A call that never returns holds `ffs_susp_lock`.
    hung: bool,
    news: News,
}

/// What happened, and what should not have.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    pub(super) happened: Vec<Happening>,
    pub(super) violations: Vec<String>,
    pub(super) unmounted: Vec<FsId>,
}

impl FileSystems {
    /// What is mounted, who runs, and what is stored where, at `now`.
    pub(super) fn look(&mut self, facts: Facts, now: Duration) {
        self.pages.look(&facts, now);
        self.facts = facts;
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn table(&self) -> &[Mount] {
        &self.facts.mounts
    }

    /// What happened since the last call.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    pub(super) fn open(&mut self, handle: Handle, opener: Opener, descriptor: i32) {
        self.open.insert(handle, Suspender { opener, descriptor, mount: None, lost: false });
    }

    pub(super) fn opener(&self, handle: Handle) -> Option<Opener> {
        self.open.get(&handle).map(|suspender| suspender.opener)
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.values().filter(|suspender| !suspender.lost).count()
    }

    /// What is suspended, in the order of suspending.
    pub(super) fn suspended(&self) -> impl DoubleEndedIterator<Item = &Mount> {
        self.order.iter().filter_map(|handle| self.open.get(handle)?.mount.as_ref())
    }

    fn is_suspended(&self, id: FsId) -> bool {
        self.suspended().any(|mount| mount.id == id)
    }

    /// UFSSUSPEND, with the checks in the kernel's order: the file system, and how long the caller slept.
    pub(super) fn suspend(
        &mut self,
        handle: Handle,
        id: FsId,
        now: Duration,
        caller: Caller,
    ) -> Result<(Mount, Duration), Errno> {
        self.still_answers()?;
        let mount = self.facts.mounts.iter().find(|mount| mount.id == id).ok_or(Errno::ENOENT)?.clone();
        let suspender = self.open.get(&handle).ok_or(Errno::EBADF)?;
        if caller.threads > 1 || caller.writes_there {
            return Err(Errno::EDEADLK);
        }
        if mount.fs_type != "ufs" {
            return Err(Errno::EINVAL);
        }
        if self.is_suspended(id) || self.facts.busy.contains(&mount.on) {
            return Err(Errno::EBUSY);
        }
        // The kernel suspends first, finds the descriptor taken, and undoes it.
        let taken = suspender.mount.is_some();
        if let Some(reason) = self.never_suspends(&mount) {
            return Err(self.hang(&format!("suspending {}", mount.on), &reason));
        }
        match self.open.get_mut(&handle) {
            Some(suspender) if !taken => suspender.mount = Some(mount.clone()),
            _ => return Err(Errno::EBUSY),
        }
        self.order.push(handle);
        self.news.happened.push(Happening::Suspended { on: mount.on.clone() });
        self.audit_suspension(&mount);
        let took = self.pages.flush(&self.facts, &mount.on, now);
        Ok((mount, took))
    }

    /// UFSRESUME.
    pub(super) fn resume(&mut self, handle: Handle) -> Result<Mount, Errno> {
        self.still_answers()?;
        let suspender = self.open.get(&handle).ok_or(Errno::EBADF)?;
        let mount = suspender.mount.clone().ok_or(Errno::ENOENT)?;
        self.lift(handle, mount, true)
    }

    /// The descriptor is closed by a process that lives on; whether that lifted a suspension.
    pub(super) fn close(&mut self, handle: Handle) -> bool {
        let Some(suspender) = self.open.get(&handle) else { return false };
        let Some(mount) = suspender.mount.clone() else {
            self.open.remove(&handle);
            return false;
        };
        let lifted = self.still_answers().and_then(|()| self.lift(handle, mount, false)).is_ok();
        if lifted {
            self.open.remove(&handle);
        } else if let Some(suspender) = self.open.get_mut(&handle) {
            suspender.lost = true;
        }
        lifted
    }

    /// The process ends, with these descriptors open.
    pub(super) fn exit(&mut self, pid: u32, descriptors: &[Descriptor]) {
        let own = |(handle, suspender): (&Handle, &Suspender)| {
            (suspender.opener.pid == pid && !suspender.lost).then_some((suspender.descriptor, Some(*handle)))
        };
        let mut all: Vec<(i32, Option<Handle>)> = self.open.iter().filter_map(own).collect();
        let files = descriptors.iter().filter(|held| held.is_file());
        all.extend(files.map(|held| (held.number, None)));
        all.sort_by_key(|(number, _)| *number);
        let mut sleeps = false;
        for (number, handle) in all {
            let file = descriptors.iter().find(|held| held.number == number && held.is_file());
            match (handle, file) {
                (Some(handle), _) if sleeps => self.lose(handle),
                (Some(handle), _) => drop(self.close(handle)),
                (None, Some(held)) if !sleeps && self.blocks(held) => {
                    sleeps = true;
                    self.report_exit(pid, held);
                }
                _ => {}
            }
        }
    }

    /// A process whose exit never came that far.
    fn lose(&mut self, handle: Handle) {
        if let Some(suspender) = self.open.get_mut(&handle) {
            suspender.lost = true;
        }
    }

    fn blocks(&self, held: &Descriptor) -> bool {
        matches!(&held.target, Target::File { on, .. } if self.is_suspended(*on))
    }

    fn report_exit(&mut self, pid: u32, held: &Descriptor) {
        let above = self.open.values().any(|suspender| {
            suspender.opener.pid == pid && suspender.mount.is_some() && suspender.descriptor > held.number
        });
        if above {
            let text = format!(
                "the exit of process {pid} never thaws: descriptor {} ({}) is on a suspended file system, below the suspending ones",
                held.number,
                held.path()
            );
            self.news.violations.push(text);
        }
    }

    /// Descriptors that a living process had and has no more: close(2) of one on a suspended file system
    /// would sleep.
    pub(super) fn audit_closed(&mut self, before: &[Descriptor], after: &[Descriptor]) {
        let gone = before.iter().filter(|held| self.blocks(held) && !after.contains(held));
        let text = gone.map(|held| {
            let path = held.path();
            format!("the daemon closed {path} on a suspended file system: close(2) would have slept until the thaw")
        });
        let text: Vec<String> = text.collect();
        self.news.violations.extend(text);
    }

    /// sync(2) returned at `now`.
    pub(super) fn synced(&mut self, now: Duration) {
        let suspended: Vec<String> = self.suspended().map(|mount| mount.on.clone()).collect();
        self.pages.synced(&self.facts, &suspended, now);
    }

    /// fsync(2) of a file returned at `now`.
    pub(super) fn file_synced(&mut self, path: &str, now: Duration) {
        self.pages.file_synced(path, now);
    }

    /// How long the writes that sync(2) started will still take, or would: `vfs.runningbufspace` is above 0
    /// as long.
    pub(super) fn still_writing(&self, now: Duration) -> Duration {
        self.pages.still_writing(&self.facts, now)
    }

    /// umount(8) of a mount point.
    pub(super) fn unmount(&mut self, on: &str) -> Result<Unmounting, Errno> {
        let mount = self.facts.mounts.iter().rev().find(|mount| mount.on == on).ok_or(Errno::EINVAL)?.clone();
        if self.facts.mounts.iter().any(|other| self.parent(other) == Some(mount.id))
            || self.unmounts.contains(&mount.id)
        {
            return Err(Errno::EBUSY);
        }
        self.unmounts.push(mount.id);
        self.news.happened.push(Happening::Unmounting { on: mount.on });
        self.wake();
        Ok(if self.unmounts.contains(&mount.id) { Unmounting::Sleeps } else { Unmounting::Done })
    }

    fn still_answers(&self) -> Result<(), Errno> {
        // The caller sleeps for ffs_susp_lock, for ever.
        if self.hung { Err(Errno::EINTR) } else { Ok(()) }
    }

    fn hang(&mut self, what: &str, why: &str) -> Errno {
        self.hung = true;
        self.news.violations.push(format!("{what} never ends: {why}"));
        self.news.happened.push(Happening::Hung { call: what.to_owned() });
        Errno::EINTR
    }

    fn lift(&mut self, handle: Handle, mount: Mount, asked: bool) -> Result<Mount, Errno> {
        if let Some(reason) = self.never_resumes(&mount) {
            return Err(self.hang(&format!("resuming {}", mount.on), &reason));
        }
        self.audit_resume(&mount);
        if let Some(suspender) = self.open.get_mut(&handle) {
            suspender.mount = None;
        }
        self.order.retain(|known| *known != handle);
        self.news.happened.push(Happening::Resumed { on: mount.on.clone(), asked });
        for page in self.pages.drop_of(&mount.on) {
            let what = format!("{} of {} (process {})", page.path, page.program, page.pid);
            self.news.violations.push(format!(
                "the resume of {} dropped what was stored through a mapping: {what}",
                mount.on
            ));
            self.news.happened.push(Happening::PagesLost {
                on: mount.on.clone(),
                path: page.path,
                pid: page.pid,
            });
        }
        self.wake();
        Ok(mount)
    }

    /// Lets each umount that sleeps for nothing any more come to its end.
    fn wake(&mut self) {
        let awake: Vec<FsId> =
            self.unmounts.iter().copied().filter(|id| self.write_waits_for(*id).is_none()).collect();
        for id in awake {
            self.unmounts.retain(|other| *other != id);
            if let Some(place) = self.facts.mounts.iter().position(|mount| mount.id == id) {
                let mount = self.facts.mounts.remove(place);
                self.news.unmounted.push(id);
                self.news.happened.push(Happening::Unmounted { on: mount.on });
            }
        }
    }
}
