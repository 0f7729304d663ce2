//! `hvsim demo`: runs the demo and turns its result into an exit code.

use super::Failure;
use crate::demo;

pub(super) fn run(mut parser: lexopt::Parser) -> Result<(), Failure> {
    if let Some(argument) = parser.next()? {
        return Err(argument.unexpected().into());
    }
    if demo::run() { Ok(()) } else { Err(Failure::Bad) }
}
