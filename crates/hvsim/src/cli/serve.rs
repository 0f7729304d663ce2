//! `hvsim serve`: parses the options of the server and starts it. Serving is in `server`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;

use super::{Failure, chain, required_dir};
use crate::kvp::{Adapter, Settings};
use crate::server::{self, Options};
use crate::vss;

pub(super) fn run(parser: lexopt::Parser) -> Result<(), Failure> {
    let options = parse(parser)?;
    server::serve(&options, |dir| {
        let mut out = std::io::stdout();
        // The process that started this may no longer read.
        let _ = writeln!(out, "ready {}", dir.display()).and_then(|()| out.flush());
    })
    .map_err(|error| Failure::Unavailable(chain(&error)))
}

fn parse(mut parser: lexopt::Parser) -> Result<Options, Failure> {
    let mut dir = None;
    let mut kvp = Settings::default();
    let mut vss = vss::Settings::default();
    let (mut root, mut while_stdin) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("timeout") => kvp.timeout = seconds(&parser.value()?.string()?)?,
            Long("vss-timeout") => vss.timeout = seconds(&parser.value()?.string()?)?,
            Long("facts") => vss.facts = Some(absolute(&PathBuf::from(parser.value()?))?),
            Long("adapter") => kvp.adapters.push(adapter(&parser.value()?.string()?)?),
            Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Long("while-stdin") => while_stdin = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Options { dir: required_dir(dir)?, kvp, vss, root, while_stdin })
}

/// A positive number of seconds, possibly with a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, Failure> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no number of seconds")))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn adapter(text: &str) -> Result<Adapter, Failure> {
    let wrong = || Failure::Usage(format!("{text:?} is no hnN=GUID"));
    let (interface, guid) = text.split_once('=').ok_or_else(wrong)?;
    let guid = guid.trim_matches(['{', '}']);
    if guid.is_empty() {
        return Err(wrong());
    }
    Ok(Adapter { guid: guid.to_owned(), interface: interface.parse().map_err(|_| wrong())? })
}
