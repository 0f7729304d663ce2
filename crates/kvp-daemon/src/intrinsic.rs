//! The intrinsic items as the daemon would report them now, for `hvctl`. It needs no running daemon and
//! changes nothing.

use hv_core::runtime::config::Config;
use hv_core::runtime::wait::wait;
use hv_core::sys::signals::Signals;

use crate::guest::Guest;

/// The items of the AUTO pool, in the order of their enumeration. Completing the host name may take a few
/// seconds.
#[must_use]
pub fn items(config: &Config) -> Vec<(String, String)> {
    let mut guest = Guest::new(config);
    guest.start_lookup();
    if let Ok(signals) = Signals::unhandled() {
        while let Some(deadline) = guest.lookup_deadline() {
            let descriptors: Vec<_> = guest.lookup_descriptors().collect();
            if wait(&signals, &descriptors, Some(deadline)).is_err() {
                break;
            }
            drop(descriptors);
            guest.advance_lookup();
        }
    }
    (0..).map_while(|index| guest.item(index)).map(|(key, value)| (key.to_owned(), value)).collect()
}
