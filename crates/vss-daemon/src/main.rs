//! `hv_vss_daemon`: freezes and thaws the guest for the host's live backup.

use std::process::ExitCode;

fn main() -> ExitCode {
    vss_daemon::run(std::env::args_os().skip(1))
}
