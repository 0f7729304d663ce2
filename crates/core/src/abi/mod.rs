//! Byte layouts of the kernel interfaces: pure codecs, no I/O.

pub mod kvp;
pub mod vss;
