//! The simulated Hyper-V host.
