//! Byte layouts of the kernel's interfaces. Pure codecs: they are given bytes and return types, or the
//! reverse. They do no I/O and know no operating system.

pub mod kvp;
pub mod vss;
