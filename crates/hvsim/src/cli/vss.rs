//! `hvsim host … vss …`: the words for backups. Each becomes calls of the client; answers are printed.

use std::time::Duration;

use super::Failure;
use super::host::show;
use crate::client::Client;
use crate::vss::{Operation, timeline};

/// The default time of a host's snapshot.
const PAUSE: Duration = Duration::from_millis(100);

/// Performs a command word.
pub(super) fn perform(
    verb: &str,
    client: &mut Client,
    json: bool,
    pause: Option<Duration>,
) -> Result<(), Failure> {
    match verb {
        "check" => ask(Operation::Check, client, json),
        "freeze" => ask(Operation::Freeze, client, json),
        "thaw" => ask(Operation::Thaw, client, json),
        "backup" => {
            let backup = client.vss_backup(pause.unwrap_or(PAUSE))?;
            show(json, &backup, || backup.to_string());
            if backup.is_ok() { Ok(()) } else { Err(Failure::Bad) }
        }
        "statistics" => {
            let found = client.vss_statistics()?;
            show(json, &found, || format!("{found:#?}"));
            Ok(())
        }
        "timeline" => {
            let found = client.vss_timeline(false)?;
            show(json, &found, || timeline::table(&found).trim_end().to_owned());
            Ok(())
        }
        "suspended" => {
            let found = client.vss_suspended()?;
            show(json, &found, || found.join("\n"));
            Ok(())
        }
        "detach" => Ok(client.vss_detach()?),
        "attach" => Ok(client.vss_attach()?),
        _ => Err(Failure::Usage(format!("vss {verb} is unknown"))),
    }
}

/// Unmounts a file system in the guest.
pub(super) fn unmount(on: &str, client: &mut Client) -> Result<(), Failure> {
    let done = client.vss_unmount(on)?;
    println!("{}", if done { "done" } else { "sleeps until it is resumed" });
    Ok(())
}

fn ask(operation: Operation, client: &mut Client, json: bool) -> Result<(), Failure> {
    let answer = client.vss_ask(operation)?;
    show(json, &answer, || format!("{:?}", answer.outcome).to_lowercase());
    if answer.is_ok() { Ok(()) } else { Err(Failure::Bad) }
}
