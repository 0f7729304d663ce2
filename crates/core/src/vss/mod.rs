//! Live backup: which mounts are frozen, in what order, and how every way out of a freeze ends thawed.
//!
//! It is given what the mount table, the processes, the devices and the pools say, and decides; it does no
//! I/O and reads no clock.
//!
//! # Glossary
//! * *freeze*: the host's request, and the state from our answer to it until the thaw.
//! * *thaw*: the host's request that ends a freeze; its answer says whether the backup is good.
//! * *suspend*: UFSSUSPEND of one file system; who writes to it sleeps.
//! * *resume*: UFSRESUME, or the close of its descriptor: the file system takes writes again, and drops
//!   cached pages.
//! * *flush*: bringing a file system to disk without suspending it; in the copy it is as after a power cut.
//! * *mapped writer*: a program that can store into a file through a shared mapping, which no suspension
//!   stops.
//! * *holder*: the file system that the file lies on which another one is stored in.
//! * *held open*: a file that the daemon itself has open; it can keep the kernel from suspending, or an exit
//!   from resuming.
//! * *void*: a backup that ended before the host's thaw, or that never was; its thaw fails.
//! * *veto*: a reason for which no backup is made.

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
