//! Entry point of `hv_kvp_daemon`.
fn main() {}
