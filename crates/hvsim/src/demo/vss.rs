//! The chapter of the demo about live backup: a good backup, failures, and a killed daemon. The daemon is the
//! real one.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Result, Stage};
use crate::session::vss::{Session, Setup};
use crate::testing::PATIENCE;
use crate::vss::timeline;
use crate::vss::{Call, Fault, Operation, Outcome, Side};

/// The time of the simulated host's snapshot.
const SNAPSHOT: Duration = Duration::from_millis(50);
const EBUSY: i32 = 16;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.chapter("Live backup");
    let hook = "echo \"$(basename \"$0\") $1\" >>\"$CALLS\"".to_owned();
    let setup = Setup { hooks: vec![("10-database", hook)], ..Setup::default() };
    let mut session = Session::start(&setup);
    introduce(stage, &session, &setup);
    whole_backup(stage, &mut session)?;
    failure(stage, &mut session)?;
    veto(stage, &mut session, &setup)?;
    if session.without_device().is_none() {
        killed(stage, &mut session)?;
    }
    let violations = session.host().take_violations()?;
    stage
        .step("What the daemon did against the kernel's rules, and what it wrote while the guest was frozen");
    stage.check(violations.is_empty(), "nothing");
    violations.iter().for_each(|violation| stage.show(violation));
    Ok(())
}

fn introduce(stage: &mut Stage, session: &Session, setup: &Setup) {
    match session.without_device() {
        Some(reason) => {
            stage.show(format_args!(
                "no device files here ({reason}): the daemon's loop runs in this process"
            ));
        }
        None => stage.show("hv_vss_daemon runs on a simulated /dev/hv_fsvss_dev and /dev/ufssuspend"),
    }
    stage.step("The guest's mounts");
    let row = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        std::array::from_fn(|_| words.next().unwrap_or_default())
    };
    let rows: Vec<[String; 3]> = setup.mounts.lines().map(row).collect();
    stage.table(["TYPE", "ON", "FROM"], &rows);
}

fn whole_backup(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("The host makes a backup");
    let backup = session.host().vss_backup(SNAPSHOT)?;
    timeline::table(&backup.timeline).lines().for_each(|line| stage.show(line));
    stage.check(backup.is_ok(), "check, freeze and thaw are answered with yes");
    let order: Vec<&str> = backup.suspensions.iter().map(|suspension| suspension.on.as_str()).collect();
    stage.check(order == ["/", "/var/db/data"], "both UFS were suspended, / before what is mounted on it");
    let calls = session.wait_calls(3);
    let wanted = ["10-database freeze", "zpool sync tank", "10-database thaw"];
    stage.check(calls == wanted, format_args!("programs: {}", calls.join(", ")));
    let syncs = session.syncs();
    stage.check(
        syncs == ["sync", "sync", "fsync /boot/efi"],
        format_args!("brought to disk by: {}", syncs.join(", ")),
    );
    Ok(())
}

fn failure(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("The second of two file systems cannot be suspended");
    session.host().vss_inject(Fault { call: Call::Suspend, after: 1, errno: EBUSY, delay: 0 })?;
    let answer = session.host().vss_ask(Operation::Freeze)?;
    stage.check(answer.outcome == Outcome::Failure, "the freeze is answered with no");
    stage.check(session.host().vss_suspended()?.is_empty(), "nothing stays frozen");
    let calls = session.wait_calls(6);
    stage.check(
        calls.last().is_some_and(|call| call == "10-database abort"),
        "the hook is called with `abort`",
    );
    Ok(())
}

fn veto(stage: &mut Stage, session: &mut Session, setup: &Setup) -> Result<()> {
    stage.step("An ext2fs is mounted, which cannot be frozen; the host asks for a check");
    session.set_mounts(&format!("{}ext2fs /linux /dev/da2s1 local 9 9\n", setup.mounts));
    let answer = session.host().vss_ask(Operation::Check)?;
    stage.check(answer.outcome == Outcome::Failure, "the check is answered with no");
    session.set_mounts(&setup.mounts);
    let answer = session.host().vss_ask(Operation::Check)?;
    stage.check(answer.is_ok(), "and with yes when it is unmounted again");
    Ok(())
}

fn killed(stage: &mut Stage, session: &mut Session) -> Result<()> {
    stage.step("kill -9 while the guest is frozen; then the daemon starts again");
    let answer = session.host().vss_ask(Operation::Freeze)?;
    stage.check(answer.is_ok() && session.host().vss_suspended()?.len() == 2, "two file systems are frozen");
    session.daemon().signal(Signal::SIGKILL);
    stage.check(session.host().vss_wait_thawed(PATIENCE)?, "the kernel thaws both");
    session.host().vss_wait_closed(Side::FileSystem, PATIENCE)?;
    let answer = session.host().vss_ask(Operation::Thaw)?;
    stage.check(answer.outcome == Outcome::DaemonGone, "the host hears that its backup is void");
    session.start_daemon();
    stage.check(session.host().vss_backup(Duration::ZERO)?.is_ok(), "the next backup is good");
    Ok(())
}
