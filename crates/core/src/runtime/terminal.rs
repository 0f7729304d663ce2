//! What a program says to the person at the terminal, who may have gone: nothing depends on it.
//!
//! `println!` and `eprintln!` panic where the stream cannot be written to, and would end a program before its
//! real work was done: devd(8) starts programs with whatever standard streams it has itself.

use std::io::{self, Write};

/// Writes a line to standard output.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a line to standard error.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
