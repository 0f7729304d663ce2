//! `hv_kvp_daemon`: the guest's end of Hyper-V's key-value exchange.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvp_daemon::run(std::env::args_os().skip(1))
}
