//! Time: a monotonic clock for deadlines and the local time for log lines. Engines never call it; their
//! callers pass the time on.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Time since a fixed moment before the program started. It never goes back.
#[must_use]
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Identifies this boot of the system. `None` if the kernel has no identifier.
#[must_use]
pub fn boot_id() -> Option<u64> {
    super::os::system::boot_id()
}

/// `moment` in local time with microseconds and offset, as RFC 3339 and RFC 5424 write it.
#[must_use]
pub fn local_timestamp(moment: SystemTime) -> String {
    let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or(libc::time_t::MAX);
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values of the right types; localtime_r writes the second and keeps
    // neither. All bit patterns of `tm` are valid (integers and a pointer that is not followed), so it is
    // initialised either way.
    let parts = unsafe {
        libc::localtime_r(&raw const seconds, parts.as_mut_ptr());
        parts.assume_init()
    };
    let offset = parts.tm_gmtoff / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    let mut text = String::with_capacity(32);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{sign}{:02}:{:02}",
        i64::from(parts.tm_year) + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
        since_epoch.subsec_micros(),
        offset.abs() / 60,
        offset.abs() % 60,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_the_form_of_rfc_3339() {
        let text = local_timestamp(UNIX_EPOCH + Duration::new(86_400 * 365, 1_500));
        assert_eq!(text.len(), "1971-01-01T00:00:00.000001+00:00".len(), "{text}");
        assert_eq!(&text[19..26], ".000001", "{text}");
        assert!(text.starts_with("1970-12-31T") || text.starts_with("1971-01-01T"), "{text}");
    }
}
