//! The steps of an injection, and their texts. They are performed by `apply`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::Content;
use crate::kvp::ip_info::request::Method;
use crate::net::InterfaceName;
use crate::plan::network::NetworkStep;

/// The name under which resolvconf(8) keeps name servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResolvLabel(String);

impl ResolvLabel {
    /// The label of the host's name servers for the interface. dhclient(8) uses the plain name.
    #[must_use]
    pub fn of_host(interface: &InterfaceName) -> Self {
        Self(format!("{interface}.hyperv"))
    }

    /// The label of the name servers that dhclient(8) got on the interface.
    #[must_use]
    pub fn of_dhclient(interface: &InterfaceName) -> Self {
        Self(interface.to_string())
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResolvLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A replacement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The file.
    pub path: PathBuf,
    /// Its present contents. If they differ, another program has changed it meanwhile.
    pub from: Option<Content>,
    /// Its new contents.
    pub to: Option<Content>,
}

impl FileChange {
    /// The change that takes it back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { path: self.path.clone(), from: self.to.clone(), to: self.from.clone() }
    }
}

/// The outcome of rc.conf(5) that rc(8) should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The interface that is configured at boot.
    pub hn: InterfaceName,
    /// The lagg that replaces it.
    pub lagg: Option<InterfaceName>,
    /// The written configuration.
    pub method: Method,
}

/// One step. Each describes a state, so performing it twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A change of the network.
    Network(NetworkStep),
    /// resolvconf(8) has exactly this text under the label.
    SetNameServers {
        /// The label.
        label: ResolvLabel,
        /// Lines of resolv.conf(5).
        text: String,
    },
    /// resolvconf(8) has nothing under the label.
    DropNameServers(ResolvLabel),
    /// A file is replaced, created or removed.
    Store(FileChange),
    /// All files of rc.conf(5) together have the expected outcome.
    Check(Expectation),
    /// The interface is as it should be, and no other program works on it.
    Settle(InterfaceName),
}

impl Step {
    /// Whether it starts a DHCP client.
    #[must_use]
    pub fn starts_client(&self) -> bool {
        matches!(self, Self::Network(NetworkStep::StartDhcp { .. }))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.display().to_string();
        match self {
            Self::Network(step) => step.fmt(f),
            Self::SetNameServers { label, text } => {
                write!(f, "set the name servers of {label} to")?;
                let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
                addresses.into_iter().try_for_each(|address| write!(f, " {}", address.escape_debug()))
            }
            Self::DropNameServers(label) => write!(f, "drop the name servers of {label}"),
            Self::Store(FileChange { path: at, to: Some(_), .. }) => write!(f, "write {}", path(at)),
            Self::Store(FileChange { path: at, .. }) => write!(f, "remove {}", path(at)),
            Self::Settle(interface) => write!(f, "bring {interface} to rest"),
            Self::Check(expectation) => write!(f, "check what the next boot makes of {}", expectation.hn),
        }
    }
}
