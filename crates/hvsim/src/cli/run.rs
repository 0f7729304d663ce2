//! `hvsim run`: replaces itself by a program in the server's namespaces, or in a root directory for FreeBSD's
//! executables. It changes nothing in the server.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use super::{Failure, chain, required_dir};
use crate::client::Client;
use crate::namespace;
use crate::root::Root;

/// Returns only on an error: otherwise the program replaces this process.
pub(super) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let (mut dir, mut root, mut facts, mut shared) = (None, None, None, Vec::new());
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Long("share") => shared.push(PathBuf::from(parser.value()?)),
            Long("facts") => facts = Some(PathBuf::from(parser.value()?)),
            Value(program) => {
                words.push(program);
                words.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::Usage("no program".to_owned()));
    };
    let root = root.as_deref().map(Root::of_template).transpose().map_err(unavailable)?;
    match &root {
        Some(root) if dir.is_none() => {
            namespace::isolate().map_err(unavailable)?;
            root.assemble(&shared).map_err(unavailable)?;
            facts.map_or(Ok(()), |facts| root.serve_facts(&facts)).map_err(unavailable)?;
        }
        _ => {
            let mut client = Client::connect(&required_dir(dir)?)?;
            namespace::enter(client.hello()?.pid).map_err(unavailable)?;
            client.starting()?;
        }
    }
    if let Some(root) = root {
        root.enter().map_err(unavailable)?;
    }
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::Unavailable(format!("cannot run {}: {error}", program.display())))
}

fn unavailable(error: impl std::error::Error) -> Failure {
    Failure::Unavailable(chain(&error))
}
