//! The host's new addresses put into effect, kept over a reboot, and taken back.

pub mod file;
pub mod persist;
pub mod rc_file;
pub mod record;
