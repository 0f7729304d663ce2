//! Live backup: which mounts are frozen, in what order, and how every way out of a freeze ends thawed.

mod freezer;
pub mod hooks;
pub mod mounts;

pub use freezer::{
    Action, Ended, Event, Freezer, HeldOpen, KERNEL_LIMIT, Leaving, Limits, Outcome, Purpose, Rules,
    Suspended, Task,
};
