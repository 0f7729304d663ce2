//! hyperv_vfup against a simulated network. Each module is a group of tests; guests and helpers are in
//! `guests` and `support`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod attacker;
mod cost;
mod devd;
mod failures;
mod guests;
mod handover;
mod migration;
mod rival_client;
mod storm;
mod support;
mod syscalls;
