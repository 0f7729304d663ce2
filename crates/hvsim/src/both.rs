//! A guest with both daemons, for `hvctl`, which examines both. Each daemon has a machine of its own; hvctl
//! has one configuration that names both.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::network::State;
use crate::network::guest::static_rc_conf;
use crate::session::kvp::{NetworkSetup, Session, Setup};
use crate::session::vss;

/// Mounts that can be backed up.
const MOUNTS: &str = "ufs / /dev/gpt/rootfs local 1 7\ntmpfs /tmp tmpfs local 2 7\n";
/// devd's rules as a port installs them.
const RULES: &str = "notify 110 {\n};\n";

/// The guest.
#[derive(Debug)]
pub struct Both {
    /// The key-value daemon under its host, with a network.
    pub kvp: Session,
    /// The backup daemon under its host.
    pub vss: vss::Session,
}

impl Both {
    /// Starts both daemons. `None` if there can be no device files.
    ///
    /// # Panics
    /// The guest cannot be set up.
    #[must_use]
    pub fn start(hooks: Vec<(&'static str, String)>) -> Option<Self> {
        let mut state = State::default();
        state.add_static_hn(0);
        let network = Some(NetworkSetup { state, rc_conf: static_rc_conf(0) });
        let kvp = Session::start(&Setup { network, ..Setup::default() });
        if kvp.without_device().is_some() {
            return None;
        }
        let vss = vss::Session::start_on_device(&vss::Setup { hooks, ..vss::Setup::default() }).ok()?;
        let both = Self { kvp, vss };
        both.prepare().expect("no scratch file");
        Some(both)
    }

    fn prepare(&self) -> io::Result<()> {
        let second = fs::read_to_string(self.vss.path("hyperv.toml"))?;
        let section = second.split_once("[vss]\n").map_or("", |(_, section)| section);
        let first = fs::read_to_string(self.kvp.path("hyperv.toml"))?;
        fs::write(self.config(), format!("{first}\n[vss]\n{section}"))?;
        self.set_mounts(MOUNTS)?;
        let devd = self.root().join("usr/local/etc/devd");
        fs::create_dir_all(&devd)?;
        fs::write(devd.join("hyperv.conf"), RULES)
    }

    /// The configuration that names both daemons.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.kvp.path("both.toml")
    }

    /// The directory that replaces `/`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.kvp.path("root")
    }

    /// Replaces the mount table that hvctl sees.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_mounts(&self, table: &str) -> io::Result<()> {
        fs::write(self.kvp.path("guest/facts/mounts"), table)
    }
}
