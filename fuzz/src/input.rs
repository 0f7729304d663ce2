//! Reads choices from the bytes of a fuzz input, and names behaviours for the driver. It knows no target.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use arbitrary::Unstructured;

/// The choices that the bytes of one input make. Behind their end every choice is the first one.
#[derive(Debug)]
pub struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    /// The choices of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether there are choices left.
    #[must_use]
    pub fn left(&self) -> bool {
        !self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Yes or no.
    pub fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.choose_index(end).unwrap_or_default()
    }

    /// One of several.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// As many of the bytes as a choice says, at most `most`.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let count = self.below(most + 1).min(self.0.len());
        self.0.bytes(count).unwrap_or_default()
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// Collects what was seen.
#[derive(Debug, Default)]
pub struct Behaviour(DefaultHasher);

impl Behaviour {
    /// Something was seen.
    pub fn saw(&mut self, what: impl Hash) {
        what.hash(&mut self.0);
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> u64 {
        self.0.finish()
    }
}

/// The name of what was seen.
#[must_use]
pub fn behaviour(what: impl Hash) -> u64 {
    let mut behaviour = Behaviour::default();
    behaviour.saw(what);
    behaviour.name()
}

/// Whether a replay is to tell what it does.
#[must_use]
pub fn trace() -> bool {
    std::env::var_os("HV_FUZZ_TRACE").is_some()
}
