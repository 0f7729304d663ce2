//! `hvsim bench`: parses its options and prints the report. The measurements are in `bench`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::Failure;
use super::serve::seconds;
use crate::bench::{self, Plan};
use crate::testing::program;

pub(super) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let subject = parser.try_raw_args().and_then(|words| words.peek().map(ToOwned::to_owned));
    match subject.as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("vss") => {
            parser.next()?;
            return run_vss(parser);
        }
        Some("vf") => {
            parser.next()?;
            return super::network::bench(parser);
        }
        Some("programs") => {
            parser.next()?;
            return run_programs(parser);
        }
        _ => {}
    }
    let (plan, json) = parse(parser)?;
    let report = bench::run(&plan).map_err(Failure::Unavailable)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{report}");
    }
    Ok(())
}

fn parse(mut parser: lexopt::Parser) -> Result<(Plan, bool), Failure> {
    let (mut daemon, mut json) = (None, false);
    let mut plan = Plan::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("daemon") => daemon = Some(PathBuf::from(parser.value()?)),
            Long("scratch") => plan.scratch = Some(PathBuf::from(parser.value()?)),
            Long("rounds") => plan.rounds = parser.value()?.parse()?,
            Long("exchanges") => plan.exchanges = parser.value()?.parse()?,
            Long("idle") => {
                let text = parser.value()?.string()?;
                plan.idle = if text == "0" { None } else { Some(seconds(&text)?) };
            }
            Long("spread") => plan.spread = true,
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.rounds == 0 || plan.exchanges < 10 {
        return Err(Failure::Usage("at least one round of ten exchanges".to_owned()));
    }
    plan.daemon = daemon.unwrap_or_else(|| program("hv_kvp_daemon"));
    // The program starts in another namespace, where the absolute path is the same.
    plan.daemon = std::fs::canonicalize(&plan.daemon)
        .map_err(|error| Failure::Unavailable(format!("{}: {error}", plan.daemon.display())))?;
    Ok((plan, json))
}

fn run_programs(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let (mut rounds, mut json) = (15, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if rounds == 0 {
        return Err(Failure::Usage("at least one round".to_owned()));
    }
    let report = bench::programs::run(rounds).map_err(Failure::Unavailable)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{report}");
    }
    Ok(())
}

fn run_vss(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let mut plan = bench::vss::Plan::default();
    let mut json = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => plan.rounds = parser.value()?.parse()?,
            Long("mounts") => plan.mounts = parser.value()?.parse()?,
            Long("cycles") => plan.cycles = parser.value()?.parse()?,
            Long("watch") => plan.watch = seconds(&parser.value()?.string()?)?,
            Long("spread") => plan.spread = true,
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.rounds == 0 || plan.mounts == 0 {
        return Err(Failure::Usage("at least one round and one mount".to_owned()));
    }
    let report = bench::vss::run(&plan).map_err(Failure::Unavailable)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{report}");
    }
    Ok(())
}
