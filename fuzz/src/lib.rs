//! What no input may break, as properties of bytes. Each target is one function from bytes; both drivers call
//! it: the program of this crate, which runs on stable Rust everywhere, and libFuzzer through `fuzz_targets`.
//!
//! A function panics where a property does not hold. What it returns names the behaviour that it saw: the
//! driver keeps an input that leads to a new one and goes on from there.

pub mod abi;
pub mod configuration;
pub mod driver;
pub mod injection;
pub mod input;
pub mod kvp;
pub mod mutate;
pub mod plans;
pub mod pools;
pub mod rc_conf;
pub mod tools;
pub mod undo;
pub mod vss;

/// One thing that is fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is also the directory of its seeds.
    pub name: &'static str,
    /// What must hold, in one line.
    pub promise: &'static str,
    /// Checks one input.
    pub check: fn(&[u8]) -> u64,
    /// Words that mean something to the code under test.
    pub words: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    abi::TARGET,
    kvp::TARGET,
    pools::TARGET,
    vss::TARGET,
    injection::TARGET,
    undo::TARGET,
    rc_conf::TARGET,
    plans::TARGET,
    tools::TARGET,
    configuration::TARGET,
];

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
