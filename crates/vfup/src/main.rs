//! `hyperv_vfup`: devd(8) runs it when the VF of a network interface is up.

use std::process::ExitCode;

fn main() -> ExitCode {
    vfup::run(std::env::args_os().skip(1))
}
