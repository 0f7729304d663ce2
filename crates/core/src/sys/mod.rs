//! The operating system: FreeBSD and Linux behind one signature each.
