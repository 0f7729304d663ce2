//! The key-value exchange daemon.
