//! `hyperv_vfup`: devd(8) runs it when the VF of a network interface is up.

use std::process::ExitCode;

use hv_core::sys::process::forget_caller;

fn main() -> ExitCode {
    // A DHCP client outlives this program by far.
    forget_caller();
    vfup::run(std::env::args_os().skip(1))
}
