//! Prints a C file of static assertions; FreeBSD's headers must accept it.

fn main() {
    print!("{}", hv_core::sys::freebsd_abi::c_source());
}
