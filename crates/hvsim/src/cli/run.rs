//! `hvsim run`: a program in the server's namespaces.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use super::{Failure, chain, required_dir};
use crate::client::Client;
use crate::namespace;

/// Comes back only with an error: the program takes this process over.
pub(super) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let mut dir = None;
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Value(program) => {
                words.push(program);
                words.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let dir = required_dir(dir)?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::Usage("no program".to_owned()));
    };
    let mut client = Client::connect(&dir)?;
    let server = client.hello()?;
    namespace::enter(server.pid).map_err(|error| Failure::Unavailable(chain(&error)))?;
    client.starting()?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::Unavailable(format!("cannot run {}: {error}", program.display())))
}
