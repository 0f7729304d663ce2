//! Live backup: which mounts are frozen, in what order, and how every way out of a freeze ends thawed.
//!
//! It is given what the mount table, the processes, the devices and the pools say, and decides. It does no
//! I/O, reads no clock and starts no program.
//!
//! # Glossary
//! * *freeze*: the host's request, and the state from our answer to it until the thaw.
//! * *thaw*: the host's request that ends a freeze; its answer says whether the backup is good.
//! * *suspend*: UFSSUSPEND of one file system; a program that writes to it sleeps.
//! * *resume*: UFSRESUME, or closing the descriptor of the suspension. The file system takes writes again and
//!   drops its cached pages.
//! * *flush*: bringing a file system to disk without suspending it. In the backup it is as after a power cut.
//! * *mapped writer*: a program that can store into a file through a shared mapping. No suspension stops it.
//! * *holder*: the mount that has the file in which another file system is stored.
//! * *held open*: a file that the daemon itself has open. It can keep the kernel from suspending its file
//!   system, or an exit of the daemon from resuming it.
//! * *void*: a backup that ended before the host's thaw, or that never began. The host's thaw fails.
//! * *veto*: a reason against making a backup.

pub mod fates;
#[cfg(test)]
mod fixtures;
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
