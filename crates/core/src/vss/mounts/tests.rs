//! Decisions about mounts, by the default rules and by a policy. Mount tables are made up.

use super::*;

/// A mount from `type from on flags`. The flags are the letters r for read-only and l for local.
fn mount(line: &str, number: i32) -> Mount {
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = words.get(3).copied().unwrap_or("");
    Mount {
        fs_type: words[0].into(),
        from: words[1].into(),
        on: words[2].into(),
        id: FsId([number, 1]),
        read_only: flags.contains('r'),
        local: flags.contains('l'),
    }
}

fn table(lines: &[&str]) -> Vec<Mount> {
    (1..).zip(lines).map(|(number, line)| mount(line, number)).collect()
}

fn glob(text: &str) -> Glob {
    Glob::try_from(text.to_owned()).unwrap()
}

fn judge(lines: &[&str]) -> Verdict {
    Policy::default().judge(&table(lines))
}

fn single(line: &str) -> (Treatment, Reason) {
    let decision = judge(&[line]).decisions.remove(0);
    (decision.treatment, decision.reason)
}

#[test]
fn the_default_follows_type_and_flags() {
    use Reason as R;
    use Treatment as T;
    for (line, treatment, reason) in [
        ("ufs /dev/da0p2 / l", T::Suspend, R::Ufs),
        ("ufs /dev/da0p2 / lr", T::Ignore, R::ReadOnly),
        ("ufs /dev/da0p2 / -", T::Ignore, R::OtherMachine),
        ("zfs zroot/ROOT/default / l", T::Sync, R::Zfs),
        ("zfs zroot/var/log@daily /mnt lr", T::Ignore, R::ReadOnly),
        ("devfs devfs /dev l", T::Ignore, R::NothingOnDisk),
        ("fdescfs fdesc /dev/fd l", T::Ignore, R::NothingOnDisk),
        ("procfs proc /proc l", T::Ignore, R::NothingOnDisk),
        ("linprocfs linprocfs /compat/linux/proc l", T::Ignore, R::NothingOnDisk),
        ("linsysfs linsysfs /compat/linux/sys l", T::Ignore, R::NothingOnDisk),
        ("tmpfs tmpfs /tmp l", T::Ignore, R::NothingOnDisk),
        ("mqueuefs null /mnt/mqueue l", T::Ignore, R::NothingOnDisk),
        ("autofs map /net l", T::Ignore, R::NothingOnDisk),
        ("nfs server:/export /home -", T::Ignore, R::OtherMachine),
        ("smbfs //u@server/share /smb -", T::Ignore, R::OtherMachine),
        ("p9fs share /shared -", T::Ignore, R::OtherMachine),
        ("msdosfs /dev/gpt/efiboot0 /boot/efi l", T::Sync, R::EfiPartition),
        ("msdosfs /dev/da0p1 /boot/efi l", T::Sync, R::EfiPartition),
        ("msdosfs /dev/gpt/efiboot1 /boot/efi2 l", T::Sync, R::EfiPartition),
        ("msdosfs /dev/msdosfs/EFISYS /esp l", T::Sync, R::EfiPartition),
        ("msdosfs /dev/gpt/efibootx /esp l", T::Veto, R::CannotFreeze),
        ("msdosfs /dev/da1s1 /boot/efi2 l", T::Veto, R::CannotFreeze),
        ("msdosfs /dev/da1s1 /usb l", T::Veto, R::CannotFreeze),
        ("msdosfs /dev/da1s1 /usb lr", T::Ignore, R::ReadOnly),
        ("ext2fs /dev/da1p1 /linux l", T::Veto, R::CannotFreeze),
        ("fusefs /dev/fuse /fuse -", T::Veto, R::CannotFreeze),
        ("fusefs.sshfs /dev/fuse /fuse -", T::Ignore, R::OtherMachine),
        ("fusefs.rclone /dev/fuse /fuse -", T::Ignore, R::OtherMachine),
        // The kernel cuts the name to 15 characters.
        ("fusefs.google-d /dev/fuse /fuse -", T::Ignore, R::OtherMachine),
        ("fusefs.sshf /dev/fuse /fuse -", T::Veto, R::CannotFreeze),
        ("fusefsx whatever /x -", T::Ignore, R::OtherMachine),
        ("cd9660 /dev/cd0 /cdrom lr", T::Ignore, R::ReadOnly),
        ("newfs /dev/da9 /new l", T::Veto, R::CannotFreeze),
        ("UFS /dev/da9 /new l", T::Veto, R::CannotFreeze),
    ] {
        assert_eq!(single(line), (treatment, reason), "{line}");
    }
}

#[test]
fn names_are_compared_whole() {
    // A prefix match would take /devel for a part of /dev, as base does.
    let verdict = judge(&["ufs a / l", "devfs devfs /dev l", "ext2fs b /devel l", "ext2fs c /dev/x l"]);
    let vetoed: Vec<&str> = verdict.vetoes().map(|d| d.mount.on.as_str()).collect();
    assert_eq!(vetoed, ["/devel", "/dev/x"]);
    for (path, directory, wanted) in [
        ("/devel", "/dev", false),
        ("/dev", "/dev", true),
        ("/dev/fd", "/dev", true),
        ("/x", "/", true),
        ("/", "/", true),
        ("/dev", "/dev/", true),
        ("/de", "/dev", false),
    ] {
        assert_eq!(is_below(path, directory), wanted, "{path} {directory}");
    }
}

#[test]
fn a_nullfs_follows_the_mount_that_it_shows() {
    let stacked = |from: &str| {
        let last = format!("nullfs {from} /jails/www/x l");
        let mut verdict = judge(&[
            "ufs a / l",
            "ufs b /usr l",
            "ext2fs c /usr/linux l",
            "tmpfs t /tmp l",
            "nullfs /usr/src /src l",
            &last,
        ]);
        let decision = verdict.decisions.remove(5);
        (decision.treatment, decision.reason)
    };
    assert_eq!(stacked("/usr/ports"), (Treatment::Ignore, Reason::ShowsPartOf("/usr".into())));
    assert_eq!(stacked("/usrx"), (Treatment::Ignore, Reason::ShowsPartOf("/".into())));
    assert_eq!(stacked("/tmp"), (Treatment::Ignore, Reason::ShowsPartOf("/tmp".into())));
    assert_eq!(stacked("/src/sys"), (Treatment::Ignore, Reason::ShowsPartOf("/src".into())));
    assert_eq!(stacked("/usr/linux/a"), (Treatment::Veto, Reason::ShowsPartOfVeto("/usr/linux".into())));
    assert_eq!(stacked("relative"), (Treatment::Veto, Reason::ShowsUnknown("relative".into())));
}

#[test]
fn a_nullfs_over_its_own_source_shows_the_mount_below() {
    // It is mounted over its own source, and is younger than every mount that it can show.
    let verdict = judge(&["ufs a / l", "nullfs /data /data l", "ext2fs b /data l"]);
    assert_eq!(verdict.decisions[1].reason, Reason::ShowsPartOf("/".into()));
}

#[test]
fn a_unionfs_shows_two_mounts() {
    let verdict = judge(&[
        "ufs a / l",
        "ext2fs b /linux l",
        "unionfs <above>:/data /mnt l",
        "unionfs <below>:/linux /mnt2 l",
        "unionfs <above>:/data /linux/x l",
    ]);
    let treatments: Vec<Treatment> = verdict.decisions[2..].iter().map(|d| d.treatment).collect();
    assert_eq!(treatments, [Treatment::Ignore, Treatment::Veto, Treatment::Veto]);
}

#[test]
fn youngest_of_two_mounts_on_one_directory_holds_its_paths() {
    let verdict = judge(&["ufs a / l", "ext2fs b /mnt l", "ufs c /mnt l", "nullfs /mnt/x /y l"]);
    assert_eq!(verdict.decisions[3].reason, Reason::ShowsPartOf("/mnt".into()));
    let mounts = table(&["ufs a / l", "ufs b /mnt l", "ufs c /mnt l"]);
    assert_eq!(mount_of(&mounts, "/mnt/x").unwrap().from, "c");
    assert_eq!(mount_of(&mounts, "/mntx").unwrap().from, "a");
    assert!(mount_of(&mounts[1..], "/usr").is_none());
}

#[test]
fn root_is_suspended_first_and_ignored_mounts_never() {
    let verdict =
        judge(&["ufs a / l", "devfs d /dev l", "ufs b /usr l", "ufs c /usr/ro lr", "ufs md0 /img l"]);
    let order: Vec<&str> = verdict.to_suspend().map(|mount| mount.on.as_str()).collect();
    assert_eq!(order, ["/", "/usr", "/img"]);
    assert!(verdict.allows_backup());
}

#[test]
fn each_pool_is_synced_once() {
    let verdict = judge(&[
        "zfs zroot/ROOT/default / l",
        "zfs zroot /zroot l",
        "zfs tank/a /a l",
        "zfs ro/a /b lr",
        "zfs -rf/a /c l",
        "msdosfs /dev/gpt/efiboot0 /boot/efi l",
    ]);
    let plan = verdict.sync_plan();
    assert_eq!(plan.pools, ["zroot", "tank"]);
    let on: Vec<&str> = plan.mounts.iter().map(|mount| mount.on.as_str()).collect();
    assert_eq!(on, ["/c", "/boot/efi"]);
    assert_eq!(judge(&["ufs a / l"]).sync_plan(), SyncPlan::default());
}

#[test]
fn the_first_rule_that_applies_wins_over_the_defaults() {
    let rule = |fs_type: Option<&str>, on: Option<&str>, treatment| Rule {
        fs_type: fs_type.map(str::to_owned),
        mount_point: on.map(glob),
        treatment: Some(treatment),
        mapped_writers: None,
    };
    let policy = Policy {
        exclude: vec![glob("/scratch/*")],
        rules: vec![
            rule(Some("ext2fs"), Some("/linux"), Treatment::Sync),
            rule(Some("ext2fs"), None, Treatment::Ignore),
            rule(None, Some("/precious/**"), Treatment::Veto),
            rule(Some("fusefs.ntfs"), None, Treatment::Suspend),
            rule(Some("ufs"), Some("/var"), Treatment::Sync),
        ],
        ..Policy::default()
    };
    let verdict = policy.judge(&table(&[
        "ufs a / l",
        "ext2fs b /linux l",
        "ext2fs c /other l",
        "ufs d /precious/a/b l",
        "fusefs.ntfs e /ntfs -",
        "fusefs f /scratch/x -",
        "ufs g /var l",
        "ufs h /precious/ro lr",
        "nullfs /scratch/x/y /z l",
    ]));
    let found: Vec<(Treatment, Reason)> =
        verdict.decisions.iter().map(|d| (d.treatment, d.reason.clone())).collect();
    assert_eq!(
        found,
        [
            (Treatment::Suspend, Reason::Ufs),
            (Treatment::Sync, Reason::Configured(1)),
            (Treatment::Ignore, Reason::Configured(2)),
            (Treatment::Veto, Reason::Configured(3)),
            (Treatment::Veto, Reason::NotSuspendable(4)),
            (Treatment::Ignore, Reason::Excluded(glob("/scratch/*"))),
            (Treatment::Sync, Reason::Configured(5)),
            (Treatment::Ignore, Reason::ReadOnly),
            (Treatment::Ignore, Reason::ShowsPartOf("/scratch/x".into())),
        ]
    );
    let plan = verdict.sync_plan();
    let on: Vec<&str> = plan.mounts.iter().map(|mount| mount.on.as_str()).collect();
    assert_eq!(on, ["/linux", "/var"]);
    assert!(!verdict.allows_backup());
}

#[test]
fn ufs_on_a_zvol_is_suspended_with_a_caveat() {
    let verdict =
        judge(&["ufs /dev/zvol/tank/db /db l", "ufs /dev/zvolume /x l", "ufs /dev/zvol/tank/ro /ro lr"]);
    let found: Vec<(Treatment, Reason)> =
        verdict.decisions.iter().map(|d| (d.treatment, d.reason.clone())).collect();
    let wanted = [
        (Treatment::Suspend, Reason::UfsOnZvol),
        (Treatment::Suspend, Reason::Ufs),
        (Treatment::Ignore, Reason::ReadOnly),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn default_installs_of_ufs_and_zfs_can_be_backed_up() {
    let efi = "msdosfs /dev/gpt/efiboot0 /boot/efi l";
    assert!(judge(&["ufs /dev/da0p2 / l", "devfs devfs /dev l", efi]).allows_backup());
    let zfs = ["zfs zroot/ROOT/default / l", "devfs devfs /dev l", efi, "zfs zroot/tmp /tmp l"];
    assert!(judge(&zfs).allows_backup());
}

#[test]
fn a_decision_names_mount_type_and_cause() {
    let verdict = judge(&["ext2fs /dev/da1p1 /linux l"]);
    assert_eq!(
        verdict.decisions[0].to_string(),
        "/linux (ext2fs): a file system of this type cannot be frozen"
    );
}

#[test]
fn fates_and_file_systems_are_shown_as_in_tables() {
    assert_eq!(FsId([0x1f, -2]).to_string(), "0000001f:fffffffe");
    let words = [Treatment::Suspend, Treatment::Sync, Treatment::Ignore, Treatment::Veto];
    assert_eq!(words.map(|word| format!("{word:<8}|")), ["suspend |", "sync    |", "ignore  |", "veto    |"]);
}

#[test]
fn only_an_msdosfs_that_cannot_be_frozen_may_be_efi() {
    assert!(judge(&["msdosfs /dev/da1s1 /usb l"]).may_be_efi());
    assert!(!judge(&["ext2fs /dev/da1p1 /linux l"]).may_be_efi());
    let veto = Rule {
        fs_type: None,
        mount_point: Some(glob("/usb")),
        treatment: Some(Treatment::Veto),
        mapped_writers: None,
    };
    let policy = Policy { rules: vec![veto], ..Policy::default() };
    let verdict = policy.judge(&table(&["msdosfs /dev/da1s1 /usb l"]));
    assert_eq!((verdict.vetoes().count(), verdict.may_be_efi()), (1, false), "the administrator has decided");
}
