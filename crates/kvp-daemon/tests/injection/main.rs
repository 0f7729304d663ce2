//! SET_IP_INFO as the host sees it, on a simulated network: the daemon's answers, the network, the files.
//! Each module is a group of tests; `support` has the scene.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod attacker;
mod faults;
mod guests;
mod policy;
mod restore;
mod rivals;
mod round_trip;
mod support;
mod syscalls;
