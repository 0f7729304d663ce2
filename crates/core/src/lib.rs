//! The code that the Hyper-V guest programs share: protocol, engines, operating system, runtime.
//!
//! Data flows one way: bytes → [`abi`] → engine ([`kvp`], [`vss`]) → action → driver. The engines do no I/O
//! and read no clock. [`sys`] is the only place with `unsafe` and with code for one operating system.

pub mod abi;
pub mod hn;
pub mod injection;
pub mod kvp;
pub mod net;
pub mod plan;
pub mod rc;
pub mod report;
pub mod runtime;
pub mod sys;
pub mod vf;
pub mod vss;

#[cfg(test)]
mod tests;
