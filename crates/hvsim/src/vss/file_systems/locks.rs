//! Which calls sleep for which: covered vnodes, suspensions, and the threads of md(4). It decides whether a
//! suspension or resume can ever return.

use hv_core::vss::mounts::{FsId, Mount, mount_of};

use super::FileSystems;

impl FileSystems {
    fn mount(&self, id: FsId) -> Option<&Mount> {
        self.facts.mounts.iter().find(|mount| mount.id == id)
    }

    fn name(&self, id: FsId) -> &str {
        self.mount(id).map_or("?", |mount| mount.on.as_str())
    }

    /// The file system with the covered vnode of a mount point: the youngest older one that has the path.
    pub(super) fn parent(&self, mount: &Mount) -> Option<FsId> {
        let place = self.facts.mounts.iter().position(|known| known.id == mount.id)?;
        mount_of(&self.facts.mounts[..place], &mount.on).map(|parent| parent.id)
    }

    /// The file system with the file in which this one is stored.
    fn holder(&self, mount: &Mount) -> Option<FsId> {
        let file = self.facts.file_of(&mount.from)?;
        mount_of(&self.facts.mounts, file).map(|holder| holder.id)
    }

    /// The suspended file system for whose resume a write to this one sleeps: itself, or its holder.
    pub(super) fn write_waits_for(&self, id: FsId) -> Option<FsId> {
        let mut next = Some(id);
        // A chain of files in files is not longer than the mount table.
        for _ in 0..=self.facts.mounts.len() {
            let id = next?;
            if self.is_suspended(id) {
                return Some(id);
            }
            next = self.mount(id).and_then(|mount| self.holder(mount));
        }
        None
    }

    /// The umounts that sleep with a vnode of `parent` locked: what they unmount, and for whose resume they
    /// sleep.
    fn sleepers_on(&self, parent: FsId) -> impl Iterator<Item = (FsId, FsId)> {
        self.unmounts.iter().filter_map(move |id| {
            let mount = self.mount(*id)?;
            (self.parent(mount) == Some(parent)).then_some(())?;
            Some((*id, self.write_waits_for(*id)?))
        })
    }

    /// Why UFSSUSPEND of a file system would never return.
    pub(super) fn never_suspends(&self, mount: &Mount) -> Option<String> {
        if let Some(holder) = self.holder(mount).and_then(|holder| self.write_waits_for(holder)) {
            let on = self.name(holder);
            return Some(format!(
                "it is stored in a file on {on}, which is suspended, so that its flush sleeps"
            ));
        }
        let (child, waits_for) = self.sleepers_on(mount.id).next()?;
        let (child, waits_for) = (self.name(child), self.name(waits_for));
        Some(format!(
            "an umount of {child} holds the vnode that it covers and sleeps for the resume of {waits_for}"
        ))
    }

    /// Why a resume of a file system would never return.
    pub(super) fn never_resumes(&self, mount: &Mount) -> Option<String> {
        let (child, waits_for) = self.sleepers_on(mount.id).next()?;
        let (child, waits_for) = (self.name(child), self.name(waits_for));
        Some(format!(
            "an umount of {child} holds the vnode that it covers and sleeps for the resume of {waits_for}"
        ))
    }

    /// Records that an umount at this moment would hang the machine, whether or not one happens.
    pub(super) fn audit_suspension(&mut self, mount: &Mount) {
        if let Some((child, waits_for)) = self.unmountable_trap(mount) {
            let on = &mount.on;
            let text = if waits_for == *on {
                format!(
                    "{on} is suspended, but {child}, which is mounted on it, is stored in a file on it: an umount would hang the machine"
                )
            } else {
                format!(
                    "{on} was suspended behind {waits_for}: an umount of {child} in between would hang the machine"
                )
            };
            self.news.violations.push(text);
        }
    }

    /// See [`Self::audit_suspension`].
    pub(super) fn audit_resume(&mut self, mount: &Mount) {
        if let Some((child, waits_for)) = self.unmountable_trap(mount) {
            let text = format!(
                "{} was resumed before {waits_for}: an umount of {child} in between would hang the machine",
                mount.on
            );
            self.news.violations.push(text);
        }
    }

    /// A mount on this file system whose umount would sleep, and for whose resume.
    fn unmountable_trap(&self, parent: &Mount) -> Option<(String, String)> {
        self.facts.mounts.iter().find_map(|child| {
            (self.parent(child) == Some(parent.id)).then_some(())?;
            let waits_for = self.write_waits_for(child.id)?;
            Some((child.on.clone(), self.name(waits_for).to_owned()))
        })
    }
}
