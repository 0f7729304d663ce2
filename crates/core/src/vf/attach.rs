//! Decides what a new Ethernet interface is: a VF to bring up, or not. It is given two sysctls and reads
//! nothing.

use crate::net::InterfaceName;

/// The kernel's facts about VFs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VfFacts {
    /// `hw.hn.vf_transparent`. `None` on kernels without the mode, which counts as 0.
    pub transparent: Option<i64>,
    /// `hw.hn.vflist`: VF interfaces, separated by blanks. `None` on kernels without hn(4)'s VF support.
    pub list: Option<String>,
}

/// What to do about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The kernel handles VFs itself.
    Transparent,
    /// It is no VF.
    NotVf,
    /// It is a VF to bring up.
    BringUp,
}

impl VfFacts {
    /// Whether the kernel handles VFs itself.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        self.transparent.is_some_and(|value| value != 0)
    }

    /// The decision about `interface`. Whole names are compared: mce1 is not mce10.
    #[must_use]
    pub fn decide(&self, interface: &InterfaceName) -> Decision {
        if self.is_transparent() {
            return Decision::Transparent;
        }
        let list = self.list.as_deref().unwrap_or_default();
        if list.split_whitespace().any(|name| name == interface.as_str()) {
            Decision::BringUp
        } else {
            Decision::NotVf
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vfs_are_recognised_by_their_whole_name() {
        for (transparent, list, name, wanted) in [
            (Some(1), Some("mce0"), "mce0", Decision::Transparent),
            (Some(-1), Some("mce0"), "mce0", Decision::Transparent),
            (Some(0), Some("mce0"), "mce0", Decision::BringUp),
            (None, Some("mce0"), "mce0", Decision::BringUp),
            (None, None, "mce0", Decision::NotVf),
            (Some(0), None, "mce0", Decision::NotVf),
            (Some(0), Some(""), "mce0", Decision::NotVf),
            (Some(0), Some("mce10 mce11"), "mce1", Decision::NotVf),
            (Some(0), Some("mce10 mce1"), "mce1", Decision::BringUp),
            (Some(0), Some("mce1"), "mce10", Decision::NotVf),
        ] {
            let facts = VfFacts { transparent, list: list.map(str::to_owned) };
            assert_eq!(facts.decide(&name.parse().unwrap()), wanted, "{facts:?} {name}");
        }
    }
}
