//! Live backup: which mounts are frozen, in what order, and how every way out of a freeze ends thawed.

pub mod mounts;
