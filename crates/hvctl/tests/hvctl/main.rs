//! hvctl as a program, beside the real daemons under a simulated host. Its output is compared with snapshots.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod command_line;
mod doctor;
mod kvp;
mod manual;
mod network;
mod status;
mod support;
mod vss;
mod writers;
