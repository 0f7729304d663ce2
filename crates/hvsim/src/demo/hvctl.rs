//! The chapter of the demo about hvctl: what an administrator sees and does inside the guest. It runs the
//! real program.

use std::process::Output;
use std::time::Duration;

use super::{Result, Stage};
use crate::both::Both;
use crate::testing::{command_that_sees, eventually};

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.chapter("hvctl: the guest's side of it");
    let Some(mut guest) = Both::start(vec![("10-database", "exit 0".to_owned())]) else {
        stage.show("no device files here, so no daemon that could be asked");
        return Ok(());
    };
    stage.step("The host writes an item and makes a backup; a VF appears; an ext2fs is mounted");
    let written = guest.kvp.host().set(0, "Owner", "somebody")?.is_ok();
    guest.kvp.host().set(3, "VirtualMachineName", "web1")?;
    guest.kvp.guest().give_vf("mce0", "hn0")?;
    guest.kvp.guest().settle("mce0")?;
    stage.check(written && guest.vss.host().vss_backup(Duration::from_millis(50))?.is_ok(), "done");
    eventually("the backup is written down", || guest.vss.path("backups").exists());
    guest.set_mounts("ufs / /dev/gpt/rootfs local 1 7\next2fs /linux /dev/da1s1 local 2 7\n")?;

    stage.step("The administrator looks at it");
    let status = hvctl(stage, &guest, &["status"])?;
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    let root = guest.root().display().to_string();
    stage.show("");
    let doctor = hvctl(stage, &guest, &["doctor", "--root", &root])?;
    stage.check(text.matches("running, pid").count() == 2, "both daemons serve");
    stage.check(text.contains("good, "), "the backup was good");
    stage.check(
        doctor.status.code() == Some(1),
        "the next one would be refused, and `doctor` says what to change",
    );

    stage.step("A program reports its state to the host");
    let put = hvctl(stage, &guest, &["kvp", "put", "AppState", "healthy"])?;
    let answer = guest.kvp.host().get(1, "AppState")?;
    let value = answer.value().unwrap_or_default();
    stage.check(
        put.status.success() && value == "healthy",
        format_args!("the host gets AppState = {value:?}"),
    );
    let name = hvctl(stage, &guest, &["kvp", "get", "host", "VirtualMachineName"])?;
    stage.check(name.stdout == b"web1\n", "the name that the host has given this machine");
    Ok(())
}

/// Runs a command and prints its output.
fn hvctl(stage: &mut Stage, guest: &Both, arguments: &[&str]) -> Result<Output> {
    let mut command = command_that_sees("hvctl", &[&guest.kvp.path(""), &guest.vss.path("")]);
    let output = command.arg("-f").arg(guest.config()).args(arguments).output()?;
    // The paths of this machine's root and scratch files are not shown.
    let words: Vec<&str> = arguments.iter().copied().take_while(|word| *word != "--root").collect();
    stage.show(format_args!("# hvctl {}", words.join(" ")));
    let scratch = guest.kvp.path("").display().to_string();
    let text = String::from_utf8_lossy(&output.stdout).replace(scratch.trim_end_matches('/'), "");
    text.lines().for_each(|line| stage.show(line));
    Ok(output)
}
