//! The section `[vss]`: settings of live backup, translated into the engine's limits and policy. It decides
//! about no mount.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::vss::Limits;
use crate::vss::mounts::{Glob, MappedWriters, Policy, Rule, Treatment};

/// The section `[vss]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Vss {
    /// The device of the kernel's live backup.
    pub device: PathBuf,
    /// The device that suspends UFS.
    pub suspend_device: PathBuf,
    /// From the delivery of a freeze to its answer, in milliseconds: 100 to 13,000. The kernel gives up after
    /// 15 seconds.
    pub answer_limit_ms: u64,
    /// From the answer to a freeze to a thaw without the host, in milliseconds: up to an hour. 0 means never.
    pub watchdog_ms: u64,
    /// The directory of the hooks.
    pub hook_dir: PathBuf,
    /// How long one hook may take before the freeze, in milliseconds: 100 to 13,000. A hook never gets more
    /// than is left of [`Self::answer_limit_ms`].
    pub freeze_hook_limit_ms: u64,
    /// How long one hook may take after the thaw, in milliseconds: 100 to 600,000.
    pub thaw_hook_limit_ms: u64,
    /// zpool(8).
    pub zpool: PathBuf,
    /// The socket on which the daemon reports to hvctl(8).
    pub control_socket: PathBuf,
    /// The file in which the last backups are recorded.
    pub history: PathBuf,
    /// How long zpool(8) may take to list the pools, in milliseconds: 100 to 10,000.
    pub zpool_limit_ms: u64,
    /// What is done with a mount that programs can store into through shared mappings.
    pub mapped_writers: MappedWriters,
    /// How long the scan for such programs may take, in milliseconds: 50 to 5,000.
    pub scan_limit_ms: u64,
    /// How long sync(2) and the writes that it starts may take, in milliseconds: 100 to 12,000. They never
    /// get more than is left of [`Self::answer_limit_ms`].
    pub sync_limit_ms: u64,
    /// Patterns of mount points that a backup ignores.
    pub exclude: Vec<Glob>,
    /// Rules for mounts. The first that applies wins; without one the defaults hold.
    pub mounts: Vec<MountRule>,
}

/// `[[vss.mounts]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MountRule {
    /// The exact name of a file system type. Missing: any.
    #[serde(rename = "type")]
    pub fs_type: Option<String>,
    /// A pattern of the mount point. Missing: any.
    pub mount_point: Option<Glob>,
    /// The treatment. Missing: as without this rule.
    pub action: Option<Treatment>,
    /// The treatment when programs can store into it through shared mappings. Missing: with the action
    /// "suspend" it is suspended nevertheless.
    pub mapped_writers: Option<MappedWriters>,
}

impl Default for Vss {
    fn default() -> Self {
        Self {
            device: "/dev/hv_fsvss_dev".into(),
            suspend_device: "/dev/ufssuspend".into(),
            answer_limit_ms: 10_000,
            watchdog_ms: 60_000,
            hook_dir: "/usr/local/etc/hyperv/vss.d".into(),
            freeze_hook_limit_ms: 5_000,
            thaw_hook_limit_ms: 30_000,
            zpool: "/sbin/zpool".into(),
            control_socket: "/var/run/hv_vss_daemon.sock".into(),
            history: "/var/db/hyperv/backups".into(),
            zpool_limit_ms: 2_000,
            mapped_writers: MappedWriters::Flush,
            scan_limit_ms: 1_000,
            sync_limit_ms: 6_000,
            exclude: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

impl Vss {
    /// The time limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            answer: Duration::from_millis(self.answer_limit_ms),
            watchdog: (self.watchdog_ms > 0).then(|| Duration::from_millis(self.watchdog_ms)),
            freeze_hook: Duration::from_millis(self.freeze_hook_limit_ms),
            thaw_hook: Duration::from_millis(self.thaw_hook_limit_ms),
            scan: Duration::from_millis(self.scan_limit_ms),
            sync: Duration::from_millis(self.sync_limit_ms),
            zpool: Duration::from_millis(self.zpool_limit_ms),
        }
    }

    /// The rules for mounts.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let rule = |rule: &MountRule| Rule {
            fs_type: rule.fs_type.clone(),
            mount_point: rule.mount_point.clone(),
            treatment: rule.action,
            mapped_writers: rule.mapped_writers,
        };
        Policy {
            exclude: self.exclude.clone(),
            rules: self.mounts.iter().map(rule).collect(),
            mapped_writers: self.mapped_writers,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let check = |good: bool, key, expected| {
            if good { Ok(()) } else { Err(ConfigError::Value { key, expected }) }
        };
        let hook_range = 100..=13_000;
        check(hook_range.contains(&self.answer_limit_ms), "vss.answer-limit-ms", "from 100 to 13000")?;
        check(self.watchdog_ms <= 3_600_000, "vss.watchdog-ms", "from 0 to 3600000")?;
        check(
            hook_range.contains(&self.freeze_hook_limit_ms),
            "vss.freeze-hook-limit-ms",
            "from 100 to 13000",
        )?;
        check(
            (100..=600_000).contains(&self.thaw_hook_limit_ms),
            "vss.thaw-hook-limit-ms",
            "from 100 to 600000",
        )?;
        check((50..=5_000).contains(&self.scan_limit_ms), "vss.scan-limit-ms", "from 50 to 5000")?;
        check((100..=12_000).contains(&self.sync_limit_ms), "vss.sync-limit-ms", "from 100 to 12000")?;
        check((100..=10_000).contains(&self.zpool_limit_ms), "vss.zpool-limit-ms", "from 100 to 10000")?;
        let named = |rule: &MountRule| rule.fs_type.is_some() || rule.mount_point.is_some();
        check(self.mounts.iter().all(named), "vss.mounts", "entries that name a type or a mount-point")?;
        let says = |rule: &MountRule| rule.action.is_some() || rule.mapped_writers.is_some();
        check(self.mounts.iter().all(says), "vss.mounts", "entries with an action or mapped-writers")?;
        let ufs = |rule: &MountRule| {
            rule.action != Some(Treatment::Suspend) || rule.fs_type.as_ref().is_none_or(|name| name == "ufs")
        };
        check(self.mounts.iter().all(ufs), "vss.mounts", "entries that suspend nothing but ufs")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<Vss, String> {
        Config::parse(text, Path::new("x.toml")).map(|config| config.vss).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_and_exclusions_become_a_policy() {
        let vss = parse(
            "[vss]\nexclude = [\"/scratch/**\"]\n[[vss.mounts]]\ntype = \"ext2fs\"\nmount-point = \"/l*\"\n\
             action = \"sync\"\n[[vss.mounts]]\nmount-point = \"/usb\"\naction = \"veto\"\n",
        )
        .unwrap();
        let policy = vss.policy();
        assert_eq!(policy.exclude[0].as_str(), "/scratch/**");
        assert_eq!(policy.rules.len(), 2);
        assert_eq!(policy.rules[0].fs_type.as_deref(), Some("ext2fs"));
        assert_eq!((policy.rules[1].treatment, &policy.rules[1].fs_type), (Some(Treatment::Veto), &None));
    }

    #[test]
    fn defaults_are_those_of_the_engine() {
        assert_eq!(parse("").unwrap().limits(), Limits::default());
        assert_eq!(parse("").unwrap().policy(), Policy::default());
        assert_eq!(parse("[vss]\nwatchdog-ms = 0").unwrap().limits().watchdog, None);
    }

    #[test]
    fn mapped_writers_are_set_for_all_mounts_and_for_one() {
        let vss = parse(
            "[vss]\nmapped-writers = \"refuse\"\n[[vss.mounts]]\nmount-point = \"/db\"\nmapped-writers = \"flush\"\n",
        )
        .unwrap();
        let policy = vss.policy();
        assert_eq!(policy.mapped_writers, MappedWriters::Refuse);
        assert_eq!(
            (policy.rules[0].treatment, policy.rules[0].mapped_writers),
            (None, Some(MappedWriters::Flush))
        );
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (text, wanted) in [
            ("[vss]\nanswer-limit-ms = 14000", "vss.answer-limit-ms must be"),
            ("[vss]\nwatchdog-ms = 3600001", "vss.watchdog-ms must be"),
            ("[vss]\nfreeze-hook-limit-ms = 1", "vss.freeze-hook-limit-ms must be"),
            ("[vss]\nthaw-hook-limit-ms = 1", "vss.thaw-hook-limit-ms must be"),
            ("[vss]\nexclude = [\"mnt\"]", "x.toml:2:11: a pattern of mount points must begin with"),
            ("[[vss.mounts]]\naction = \"sync\"", "vss.mounts must be entries that name"),
            (
                "[[vss.mounts]]\ntype = \"zfs\"\naction = \"suspend\"",
                "vss.mounts must be entries that suspend",
            ),
            ("[[vss.mounts]]\ntype = \"zfs\"\naction = \"freeze\"", "x.toml:3:10: unknown variant `freeze`"),
            ("[[vss.mounts]]\ntype = \"zfs\"", "vss.mounts must be entries with an action or mapped-writers"),
            ("[vss]\nmapped-writers = \"stop\"", "x.toml:2:18: unknown variant `stop`"),
            ("[vss]\nscan-limit-ms = 1", "vss.scan-limit-ms must be"),
            ("[vss]\nsync-limit-ms = 13000", "vss.sync-limit-ms must be"),
            ("[vss]\nzpool-limit-ms = 1", "vss.zpool-limit-ms must be"),
            ("[[vss.mounts]]\nfs = \"zfs\"\naction = \"sync\"", "x.toml:2:1: unknown field `fs`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
