//! The host's new addresses put into effect, kept over a reboot, and taken back.

pub mod rc_file;
