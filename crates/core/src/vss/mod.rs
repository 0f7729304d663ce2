//! Live backup: which mounts are frozen, in what order, and how every way out of a freeze ends thawed.

pub mod fates;
mod freezer;
pub mod hooks;
pub mod mounts;
pub mod pools;
pub mod scan;
pub mod stores;

pub use freezer::{
    Action, Ended, Event, Findings, Flush, Freezer, HeldOpen, KERNEL_LIMIT, Lane, Leaving, Limits, Outcome,
    Preparation, Prepared, Rules, Survey, Suspended, Task,
};
