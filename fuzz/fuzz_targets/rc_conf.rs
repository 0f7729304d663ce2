#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (hv_fuzz::rc_conf::TARGET.check)(data);
});
