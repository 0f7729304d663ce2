//! Prints a C file of static assertions. FreeBSD's headers must compile it; with the argument `kvp` those of
//! the source tree.

use hv_core::sys::freebsd_abi::{c_source, c_source_of_kvp};

fn main() {
    let of_kvp = std::env::args().nth(1).is_some_and(|argument| argument == "kvp");
    print!("{}", if of_kvp { c_source_of_kvp() } else { c_source() });
}
