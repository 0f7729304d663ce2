//! The target `tools` for cargo-fuzz. It gives the bytes of libFuzzer to the check in the library `hv_fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (hv_fuzz::tools::TARGET.check)(data);
});
