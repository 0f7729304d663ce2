//! Prints lines for the user at the terminal, who may have closed it. A failed write is ignored.
//!
//! `println!` and `eprintln!` panic if the stream cannot be written, and would end a program before its work
//! is done: devd(8) passes its own standard streams to programs.

use std::io::{self, Write};

/// Writes a line to standard output.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a line to standard error.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
