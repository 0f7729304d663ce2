//! hyperv_vfup against a simulated network.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cost;
mod devd;
mod failures;
mod guests;
mod handover;
mod migration;
mod storm;
mod support;
