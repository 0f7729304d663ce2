//! Key-value exchange: the engine, the pools, the intrinsic items and the IP information. The modules decide
//! from requests and facts; only `pool::files` touches files, behind the trait `Storage`.

pub mod auto;
pub mod entry_list;
pub mod exchange;
pub mod host_name;
pub mod ip_info;
pub mod pool;

use std::fmt;

use crate::abi::kvp::{KEY_SIZE, VALUE_SIZE};

/// One of the five pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PoolId {
    /// Written by the host's administrator.
    External = 0,
    /// Written by programs in the guest.
    Guest = 1,
    /// The intrinsic items, made by the daemon.
    Auto = 2,
    /// Written by the host about itself.
    AutoExternal = 3,
    /// For the host's own use.
    AutoInternal = 4,
}

impl PoolId {
    /// All of them, by number.
    pub const ALL: [Self; 5] =
        [Self::External, Self::Guest, Self::Auto, Self::AutoExternal, Self::AutoInternal];

    /// The pool with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number, which is also its position in [`Self::ALL`].
    #[must_use]
    pub fn number(self) -> usize {
        self as usize
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u8)
    }
}

/// A key: 1 to 511 bytes without a NUL. Mostly UTF-8, but a file may hold anything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvpKey(Vec<u8>);

/// A value: up to 2047 bytes without a NUL.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvpValue(Vec<u8>);

impl KvpKey {
    /// A key of these bytes, if they are valid.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        ((1..KEY_SIZE).contains(&bytes.len()) && !bytes.contains(&0)).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl KvpValue {
    /// A value of these bytes, if they are valid.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() < VALUE_SIZE && !bytes.contains(&0)).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KvpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for KvpValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_bounded() {
        assert!(KvpKey::new(b"").is_none());
        assert!(KvpKey::new(&[b'k'; 511]).is_some());
        assert!(KvpKey::new(&[b'k'; 512]).is_none());
        assert!(KvpKey::new(b"a\0b").is_none());
        assert!(KvpValue::new(b"").is_some());
        assert!(KvpValue::new(&[b'v'; 2047]).is_some());
        assert!(KvpValue::new(&[b'v'; 2048]).is_none());
    }

    #[test]
    fn a_log_shows_keys_and_values_in_one_line() {
        let (key, value) = (KvpKey::new(b"a\nb\xff").unwrap(), KvpValue::new(b"\"c\"").unwrap());
        assert_eq!(format!("{key:?} {value:?}"), "\"a\\nb\u{fffd}\" \"\\\"c\\\"\"");
    }

    // contract K41
    #[test]
    fn only_five_pools_exist() {
        for number in 0..=255 {
            assert_eq!(PoolId::from_number(number).is_some(), number < 5);
        }
    }
}
