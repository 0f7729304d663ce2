//! The kernel's conversions between UTF-8 and UTF-16 (`sys/dev/hyperv/utilities/unicode.h`), with all their
//! errors: a guest gets and sends texts only through them.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)` below `sys`. Each row has a test.
//!
//! | contract | what a program or the host sees | FreeBSD | test |
//! |---|---|---|---|
//! | K16 | surrogates and U+F800 to U+FFFF are left out towards the guest | `dev/hyperv/utilities/unicode.h:164 (utf16_to_utf8)`, `dev/hyperv/utilities/unicode.h:180 (utf16_to_utf8)` | `other_characters_are_lost_on_the_way_to_the_guest` |
//! | K16 | the second half of a pair is wrong towards the host | `dev/hyperv/utilities/unicode.h:124 (utf8_to_utf16)` | `the_second_surrogate_is_mangled_towards_the_host` |
//! | | storing stops at the first character that has no room, and counting goes on | `dev/hyperv/utilities/unicode.h:149 (utf16_to_utf8)` | `storing_stops_at_the_first_character_without_room` |
//! | | a byte from 0xa0 on without a continuation is taken for ISO 8859-1, other broken bytes are left out | `dev/hyperv/utilities/unicode.h:59 (utf8_to_utf16)`, `dev/hyperv/utilities/unicode.h:68 (utf8_to_utf16)` | `broken_utf8_becomes_latin_1_or_nothing` |

/// Converts like the kernel's `utf16_to_utf8`: all units of `units`, NULs included, into `out` as far as it
/// has room. Returns the length of the whole text.
///
/// Surrogates, paired or not, and U+F800 to U+FFFF are left out: the kernel's masks take the latter for
/// surrogates, and it looks for the second half of a pair in the first.
pub fn utf16_to_utf8(out: &mut [u8], units: impl Iterator<Item = u16>) -> usize {
    // The kernel counts in 16 bits. No host message is long enough for that to matter.
    let mut position = 0;
    let mut stopped = false;
    for unit in units {
        let mut bytes = [0; 3];
        let bytes: &[u8] = match unit {
            0..0x80 => {
                bytes[0] = low_byte(unit);
                &bytes[..1]
            }
            0x80..0x800 => {
                bytes[0] = 0xc0 | low_byte(unit >> 6);
                bytes[1] = 0x80 | low_byte(unit & 0x3f);
                &bytes[..2]
            }
            _ if matches!(unit & 0xdc00, 0xd800 | 0xdc00) => continue,
            _ => {
                bytes[0] = 0xe0 | low_byte(unit >> 12);
                bytes[1] = 0x80 | low_byte((unit >> 6) & 0x3f);
                bytes[2] = 0x80 | low_byte(unit & 0x3f);
                &bytes
            }
        };
        // After a character that does not fit, nothing is stored, not even a shorter one.
        stopped |= position + bytes.len() > out.len();
        if !stopped {
            out[position..position + bytes.len()].copy_from_slice(bytes);
        }
        position += bytes.len();
    }
    position
}

/// Converts like the kernel's `utf8_to_utf16` and returns all units. The kernel stores only the first ones
/// but counts all of them.
///
/// Bytes that are not UTF-8 are taken as ISO 8859-1 from 0xa0 on and left out below. The second half of a
/// surrogate pair is wrong (18 bits are masked where 10 should be).
#[must_use]
pub fn utf8_to_utf16(text: &[u8]) -> Vec<u16> {
    let at = |index: usize| text.get(index).copied().unwrap_or(0);
    let continues = |index: usize| at(index) & 0xc0 == 0x80;
    let bits = |index: usize| u32::from(at(index) & 0x3f);
    let mut units = Vec::with_capacity(text.len());
    let mut here = 0;
    while here < text.len() {
        let lead = at(here);
        let wide = u32::from(lead);
        if lead < 0x80 || (!continues(here + 1) && lead >= 0xa0) {
            units.push(u16::from(lead));
            here += 1;
        } else if (0xc0..0xe0).contains(&lead) && continues(here + 1) {
            let character = ((wide & 0x3f) << 6) | bits(here + 1);
            here += 2;
            if character >= 0x80 {
                units.push(low_unit(character));
            }
        } else if (0xe0..0xf0).contains(&lead) && continues(here + 1) && continues(here + 2) {
            let character = ((wide & 0x0f) << 12) | (bits(here + 1) << 6) | bits(here + 2);
            here += 3;
            if character >= 0x800 && character & 0xdf00 != 0xd800 {
                units.push(low_unit(character));
            }
        } else if (0xf0..0xf5).contains(&lead) && (1..=3).all(|n| continues(here + n)) {
            let character =
                ((wide & 0x03) << 18) | (bits(here + 1) << 12) | (bits(here + 2) << 6) | bits(here + 3);
            here += 4;
            if let Some(rest) = character.checked_sub(0x1_0000) {
                units.push(low_unit(0xd800 | (rest >> 10)));
                units.push(low_unit(0xdc00 | (rest & 0x3_ffff)));
            }
        } else {
            here += 1;
        }
    }
    units
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is asked for")]
fn low_byte(unit: u16) -> u8 {
    unit as u8
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel stores into a 16-bit variable as well")]
fn low_unit(character: u32) -> u16 {
    character as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_utf8(text: &str, room: usize) -> (Vec<u8>, usize) {
        let mut out = vec![0; room];
        let len = utf16_to_utf8(&mut out, text.encode_utf16());
        (out, len)
    }

    #[test]
    fn characters_of_the_basic_plane_survive() {
        for text in ["abc", "é", "日本", "Größe €", "\u{7ff}\u{800}\u{d7ff}\u{e000}\u{f7ff}"] {
            let (bytes, len) = to_utf8(text, 100);
            assert_eq!(&bytes[..len], text.as_bytes());
            assert_eq!(utf8_to_utf16(text.as_bytes()), text.encode_utf16().collect::<Vec<_>>());
        }
    }

    // contract K16
    #[test]
    fn other_characters_are_lost_on_the_way_to_the_guest() {
        for text in ["a😀b", "a\u{f800}b", "a\u{ffff}b"] {
            let (bytes, len) = to_utf8(text, 100);
            assert_eq!(&bytes[..len], b"ab", "{text:?}");
        }
    }

    #[test]
    fn the_second_surrogate_is_mangled_towards_the_host() {
        assert_eq!(utf8_to_utf16("😀".as_bytes()), [0xd83d, 0xfe00]);
    }

    #[test]
    fn storing_stops_at_the_first_character_without_room() {
        let (bytes, len) = to_utf8("ab日c", 4);
        assert_eq!((bytes.as_slice(), len), (&b"ab\0\0"[..], 6));
    }

    #[test]
    fn broken_utf8_becomes_latin_1_or_nothing() {
        assert_eq!(utf8_to_utf16(b"a\xe4b"), [0x61, 0xe4, 0x62]);
        assert_eq!(utf8_to_utf16(b"a\x80b"), [0x61, 0x62]);
        assert_eq!(utf8_to_utf16(b"a\xe6\x97"), [0x61]);
    }
}
