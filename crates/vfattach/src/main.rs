//! `hyperv_vfattach`: devd(8) runs it for each new Ethernet interface.

use std::process::ExitCode;

use hv_core::sys::{confine, process};

fn main() -> ExitCode {
    // The waiting process would keep open what the caller left open.
    process::forget_caller();
    // It starts ifconfig(8) and the shell that reads rc.conf(5), which are root's already.
    confine::refuse_privileges();
    vfattach::run(std::env::args_os().skip(1))
}
