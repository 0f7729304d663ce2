//! `hvsim soak`, and the writers that it starts: options and printing. The work is in `soak`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::Failure;
use super::serve::seconds;
use crate::soak::{self, writer};

pub(super) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let mut time = seconds("60")?;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("minutes") => time = seconds(&parser.value()?.string()?)?.saturating_mul(60),
            other => return Err(other.unexpected().into()),
        }
    }
    let report = soak::run(time).map_err(Failure::Unavailable)?;
    print!("{report}");
    if report.is_good() { Ok(()) } else { Err(Failure::Bad) }
}

pub(super) fn write(mut parser: lexopt::Parser) -> Result<(), Failure> {
    let number = parser.value()?.parse()?;
    let file = PathBuf::from(parser.value()?);
    writer::run(number, &file).map_err(|error| Failure::Unavailable(format!("{}: {error}", file.display())))
}
