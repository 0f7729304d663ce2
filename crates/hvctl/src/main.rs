//! `hvctl`: what an administrator sees and does from inside a guest of Hyper-V.

use std::process::ExitCode;

fn main() -> ExitCode {
    hvctl::run(std::env::args_os())
}
