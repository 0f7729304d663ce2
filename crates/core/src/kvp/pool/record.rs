//! One record of a pool file: key and value in fixed arrays, padded with NULs. Converts between records and
//! texts; it knows no file.

use crate::abi::kvp::{KEY_SIZE, VALUE_SIZE};
use crate::kvp::{KvpKey, KvpValue};

/// Size of a record, in bytes.
pub(super) const RECORD_SIZE: usize = KEY_SIZE + VALUE_SIZE;
/// The same as a file offset.
pub(super) const RECORD_BYTES: u64 = RECORD_SIZE as u64;

/// The bytes of a record.
pub(super) type Image = [u8; RECORD_SIZE];

/// The record of a key and its value. Unused bytes are zero, because some programs split the whole file at
/// NULs.
pub(super) fn image(key: &KvpKey, value: &KvpValue) -> Image {
    compose(key.as_bytes(), value.as_bytes())
}

/// The same record with the bytes after its NULs cleared. The texts are kept.
pub(super) fn normalised(image: &Image) -> Image {
    compose(key_of(image), value_of(image))
}

/// The key's bytes: up to the first NUL, at most 511.
pub(super) fn key_of(image: &Image) -> &[u8] {
    text(&image[..KEY_SIZE])
}

/// The value's bytes: up to the first NUL, at most 2047.
pub(super) fn value_of(image: &Image) -> &[u8] {
    text(&image[KEY_SIZE..])
}

fn text(array: &[u8]) -> &[u8] {
    let longest = &array[..array.len() - 1];
    let end = longest.iter().position(|byte| *byte == 0).unwrap_or(longest.len());
    &longest[..end]
}

fn compose(key: &[u8], value: &[u8]) -> Image {
    let mut image = [0; RECORD_SIZE];
    image[..key.len()].copy_from_slice(key);
    image[KEY_SIZE..KEY_SIZE + value.len()].copy_from_slice(value);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    // contract K25
    #[test]
    fn unused_bytes_are_zero() {
        let image = image(&KvpKey::new(b"k").unwrap(), &KvpValue::new(b"vv").unwrap());
        assert_eq!(image.iter().filter(|byte| **byte != 0).count(), 3);
        assert_eq!((key_of(&image), value_of(&image)), (&b"k"[..], &b"vv"[..]));
    }

    #[test]
    fn a_missing_nul_cuts_the_last_byte() {
        let full = [b'x'; RECORD_SIZE];
        assert_eq!((key_of(&full).len(), value_of(&full).len()), (511, 2047));
    }

    #[test]
    fn normalising_clears_garbage_behind_nuls_and_keeps_the_texts() {
        let mut dirty = [b'#'; RECORD_SIZE];
        dirty[..3].copy_from_slice(b"k\xff\0");
        dirty[512..514].copy_from_slice(b"v\0");
        let clean = normalised(&dirty);
        assert_eq!((key_of(&clean), value_of(&clean)), (&b"k\xff"[..], &b"v"[..]));
        assert!(clean[2..512].iter().chain(&clean[513..]).all(|byte| *byte == 0));
    }
}
