#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (hv_fuzz::undo::TARGET.check)(data);
});
