//! Values of sysctl(3): fetching a value whose size may change, and parsing its bytes.
//!
//! Pure except for the call that it is given, so that a table that grows between two calls is tested
//! everywhere.

use std::io;

use super::freebsd_abi::ENOMEM;

/// Larger values are refused. The tables that this crate reads are much smaller.
pub const LIMIT: usize = 32 << 20;

/// Calls `fetch` with more and more room until the value fits. The first try has `guess` bytes.
///
/// `fetch` fills the buffer and returns how much of it, or without a buffer returns the wanted room. The
/// table may grow between the two, so the wanted room is only a hint, and each try has at least twice the
/// room of the one before. A buffer that is full to the last byte counts as too small: the kernel's dump of
/// routes does not report a lack of room (sys/net/rtsock.c ignores the error of a single record).
///
/// # Errors
/// The error of `fetch`, except `ENOMEM`. `ENOMEM` for a value larger than [`LIMIT`].
pub fn read_growing(
    guess: usize,
    mut fetch: impl FnMut(Option<&mut [u8]>) -> io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut room = guess;
    loop {
        let mut value = vec![0; room];
        match fetch(Some(&mut value)) {
            Ok(length) if length < room => {
                value.truncate(length);
                return Ok(value);
            }
            Ok(_) if room >= LIMIT => return Err(io::Error::from_raw_os_error(ENOMEM)),
            Err(error) if error.raw_os_error() != Some(ENOMEM) || room >= LIMIT => return Err(error),
            _ => room = (room * 2).max(fetch(None).unwrap_or(0)).min(LIMIT),
        }
    }
}

/// The bytes of a string up to the first NUL, without white space at the end.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim_end().to_owned()
}

/// The number in the bytes of an int or a long.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b, c, d] => Some(i64::from(i32::from_ne_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_ne_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    /// A table with these sizes, one at each call. The last one stays.
    fn table(sizes: &'static [usize]) -> impl FnMut(Option<&mut [u8]>) -> io::Result<usize> {
        let mut calls = sizes.iter();
        let mut size = 0;
        move |buffer| {
            size = *calls.next().unwrap_or(&size);
            match buffer {
                None => Ok(size),
                Some(buffer) => buffer.get_mut(..size).ok_or_else(|| errno(ENOMEM)).map(|part| {
                    part.fill(7);
                    size
                }),
            }
        }
    }

    #[test]
    fn a_value_that_fits_takes_one_call() {
        let mut calls = 0;
        let mut inner = table(&[100]);
        let value = read_growing(128, |buffer| {
            calls += 1;
            inner(buffer)
        });
        assert_eq!((value.unwrap(), calls), (vec![7; 100], 1));
        assert_eq!(read_growing(128, table(&[0])).unwrap(), [0_u8; 0]);
    }

    #[test]
    fn a_table_that_changes_size_is_read_whole() {
        for sizes in [&[500, 400, 900, 1000, 1700][..], &[500, 400, 300], &[5000, 5000, 6000, 6001, 6002]] {
            let last = *sizes.last().unwrap();
            let value = read_growing(128, table(sizes)).unwrap();
            assert!(value.len() <= last && value.iter().all(|byte| *byte == 7), "{sizes:?}");
        }
    }

    #[test]
    fn a_table_that_never_fits_is_an_error() {
        let error = read_growing(128, table(&[usize::MAX])).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOMEM));
    }

    #[test]
    fn a_full_buffer_counts_as_too_small() {
        let table: Vec<u8> = (0..20_000u32).map(|number| number.to_le_bytes()[0]).collect();
        for guess in [8192, 19_999, 20_000] {
            let value = read_growing(guess, |buffer| {
                let Some(buffer) = buffer else { return Ok(table.len()) };
                let length = buffer.len().min(table.len());
                buffer[..length].copy_from_slice(&table[..length]);
                Ok(length)
            });
            assert_eq!(value.unwrap(), table, "{guess}");
        }
        let error = read_growing(1 << 20, |buffer| Ok(buffer.map_or(0, |buffer| buffer.len()))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOMEM));
    }

    #[test]
    fn other_errors_end_at_once() {
        let mut calls = 0;
        let result = read_growing(128, |_| {
            calls += 1;
            Err(errno(1))
        });
        assert_eq!((result.unwrap_err().raw_os_error(), calls), (Some(1), 1));
    }

    #[test]
    fn strings_end_at_their_nul_and_numbers_have_two_sizes() {
        assert_eq!(text(b"FreeBSD 14.3 GENERIC\n\0junk"), "FreeBSD 14.3 GENERIC");
        assert_eq!(text(b""), "");
        assert_eq!(number(&(-7_i32).to_ne_bytes()), Some(-7));
        assert_eq!(number(&i64::MIN.to_ne_bytes()), Some(i64::MIN));
        assert_eq!(number(&[1, 2, 3]), None);
    }
}
