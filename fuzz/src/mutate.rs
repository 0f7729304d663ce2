//! Inputs from inputs: deterministic for a seed, so that a run can be repeated.

/// A small generator (xorshift64*): the same numbers for the same seed, everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from((self.number() >> 11).checked_rem(end).unwrap_or(0)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[5]
    }
}

/// Inputs never become longer.
const LONGEST: usize = 16 * 1024;
/// Numbers at which programs break.
const ODD: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b';', b'"', b'=', b' '];

/// Changes `input` in one to eight places; `other` is a further input to take from, `words` is a dictionary.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    for _ in 0..=random.below(8) {
        change(input, other, words, random);
    }
    input.truncate(LONGEST);
}

fn change(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let until = (at + 1 + random.below(64)).min(input.len());
    match random.below(10) {
        0 => flip(input, at, |byte| byte ^ (1 << random.below(8))),
        1 => {
            let byte = random.byte();
            flip(input, at, |_| byte);
        }
        2 => {
            let byte = ODD[random.below(ODD.len())];
            flip(input, at, |_| byte);
        }
        3 => {
            let step = random.byte() % 16;
            flip(input, at, |byte| byte.wrapping_add(step).wrapping_sub(8));
        }
        4 => insert(input, at, &(0..=random.below(16)).map(|_| random.byte()).collect::<Vec<u8>>()),
        5 => drop(input.drain(at.min(until)..until)),
        6 => insert(input, at, &input[at.min(until)..until].to_vec()),
        7 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(256)).min(other.len());
            insert(input, at, &other[from..to]);
        }
        8 => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            if let Some(word) = words.get(random.below(words.len())) {
                insert(input, at, word.as_bytes());
            }
        }
    }
}

fn flip(input: &mut [u8], at: usize, new: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = new(*byte);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if input.len() + bytes.len() <= LONGEST {
        drop(input.splice(at..at, bytes.iter().copied()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let make = || {
            let (mut input, mut random) = (b"seed".to_vec(), Random::new(7));
            (0..1000).for_each(|_| mutate(&mut input, b"other", &["word"], &mut random));
            input
        };
        assert_eq!(make(), make());
        assert!(make().len() <= LONGEST);
    }
}
