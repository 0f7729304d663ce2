//! `hyperv_vfattach`: devd(8) runs it for each new Ethernet interface.

use std::process::ExitCode;

fn main() -> ExitCode {
    vfattach::close_inherited_descriptors();
    vfattach::run(std::env::args_os().skip(1))
}
