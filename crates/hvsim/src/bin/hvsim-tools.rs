//! The stand-ins for the network programs of the base system. The program acts as the one whose name it is
//! started under; the work is in `network::tools`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_default();
    ExitCode::from(hvsim::network::tools::main(&name, words.collect()))
}
