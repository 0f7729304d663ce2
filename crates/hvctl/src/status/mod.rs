//! `hvctl status`: prints one page, as text or JSON, once or repeatedly. The facts come from `facts`.

mod facts;
mod page;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hv_core::runtime::config::Config;

pub(crate) use facts::{Daemon, DaemonState, Status, history, injected, json_lines, vfs};
pub(crate) use page::{backup_details, verdict};

use crate::cli::StatusArgs;
use crate::outcome::{Exit, Outcome};
use crate::output::{print, print_json, print_json_line};

pub(crate) fn run(config: &Config, arguments: &StatusArgs, json: bool) -> Outcome {
    if !arguments.watch {
        let status = Status::look(config);
        if json {
            print_json(&status);
        } else {
            print(&page::render(&status, now()));
        }
        return Ok(status.exit());
    }
    loop {
        let status = Status::look(config);
        if json {
            // A reader that closed the pipe ends the program.
            if print_json_line(&status).is_err() {
                return Ok(Exit::Ok);
            }
        } else {
            // Clears the screen and prints from its top.
            print(&format!("\x1b[H\x1b[2J{}", page::render(&status, now())));
        }
        std::thread::sleep(Duration::from_secs(arguments.interval));
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
