//! The host's new addresses put into effect, kept over a reboot, and taken back.

pub mod advice;
pub mod apply;
pub mod file;
pub mod json;
pub mod load;
pub mod persist;
pub mod plan;
pub mod rc_file;
pub mod record;
pub mod report;
pub mod step;
pub mod transaction;
