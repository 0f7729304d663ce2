//! Entry point of `hvsim`.
fn main() {}
