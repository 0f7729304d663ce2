//! rtsol(8): asks routers to advertise, and waits for an answer. The simulated router answers at once or
//! never.

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
