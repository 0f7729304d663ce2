//! The program `hvsim`. Everything is in the library; see [`hvsim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hvsim::cli::run(std::env::args_os().skip(1).collect())
}
