//! rtsol(8): asks routers to advertise, and waits for an answer. The simulated router answers at once or
//! never.
//!
//! The sources are those of FreeBSD 14.0-STABLE (`sys/conf/newvers.sh`; `__FreeBSD_version` 1400507), as
//! `file:line (function)`. Each row has a test.
//!
//! | behaviour | FreeBSD | test |
//! |---|---|---|
//! | an interface that cannot be initialized is an error with status 1 | `usr.sbin/rtsold/rtsold.c:270 (main)` | `an_unknown_interface_is_an_error_of_rtsol` |
//! | the interface gets what the router advertises | `usr.sbin/rtsold/rtsold.c:643 (rtsol_check_timer)` | `autoconfiguration_moves_to_the_lagg` |

use std::io;

use super::Outcome;
use crate::network::root::Root;

pub(super) fn run(root: &Root, arguments: &[String]) -> io::Result<Outcome> {
    let Some(name) = arguments.iter().find(|word| !word.starts_with('-')) else {
        return Ok(Outcome::failed("usage: rtsol [-adDFiu] interface..."));
    };
    root.change(|state| {
        if !state.interfaces.contains_key(name) {
            return Outcome::failed(format!("rtsol: invalid interface {name}"));
        }
        state.advertise(name);
        Outcome::default()
    })
}
