//! The limit of machine and simulator: a guest whose daemon makes only the bare calls. It is no model of a
//! backup.

use std::fs;

use super::text;
use crate::testing::{Machine, PATIENCE, Process, program};
use crate::vss::Side;

/// A machine whose daemon makes only the bare calls.
pub(super) struct NullGuest {
    // Dropped before the machine.
    daemon: Option<Process>,
    pub(super) machine: Machine,
}

impl NullGuest {
    pub(super) fn start(mounts: &str) -> Result<Self, String> {
        let mut guest = Self { daemon: None, machine: Machine::start()? };
        guest.set_mounts(mounts)?;
        Ok(guest)
    }

    /// Starts its daemon again, because the daemon reads the mount table once.
    pub(super) fn set_mounts(&mut self, mounts: &str) -> Result<(), String> {
        self.daemon = None;
        self.machine.host().vss_wait_closed(Side::FileSystem, PATIENCE).map_err(text)?;
        let facts = self.machine.facts_dir();
        self.set_fact("mounts", mounts)?;
        let device = self.machine.device_dir().join(Side::FileSystem.node());
        let suspender = self.machine.device_dir().join("ufssuspend");
        let arguments = [device.as_os_str(), "0".as_ref(), suspender.as_os_str(), facts.as_os_str()];
        let daemon = self.machine.spawn(program("hvsim-null-vss-daemon"), arguments);
        if !self.machine.host().vss_wait_open(Side::FileSystem, PATIENCE).map_err(text)? {
            return Err(format!("the null daemon does not start: {}", daemon.output()));
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    pub(super) fn set_fact(&self, name: &str, content: &str) -> Result<(), String> {
        fs::write(self.machine.facts_dir().join(name), content).map_err(text)
    }
}
